using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Rows of float32 of a few tokens, in device memory that is taken once.</summary>
internal sealed class RowBuffer : IDisposable
{
    private readonly bool _isPart;

    private RowBuffer(RowBuffer whole, int width) => (Width, Address, Memory, _isPart) = (width, whole.Address, whole.Memory, true);

    /// <param name="width">columns</param>
    /// <param name="device">where it lies</param>
    public RowBuffer(int width, TorchSharp.torch.Device device)
    {
        Width = width;
        Memory = zeros([RowKernels.MostRows, width], ScalarType.Float32, device).DetachFromDisposeScope();
        Address = TensorMemory.Pointer(Memory);
    }

    /// <summary>[<see cref="RowKernels.MostRows"/>, width]; owned. Of one that was narrowed, that of the whole.</summary>
    public Tensor Memory { get; }

    public nint Address { get; }

    public int Width { get; }

    /// <summary>The same memory with fewer columns, whose rows lie end to end.</summary>
    public RowBuffer Narrow(int width) => width == Width ? this : new(this, width);

    public void Dispose()
    {
        if (!_isPart)
        {
            Memory.Dispose();
        }
    }
}

/// <summary>Numbers of as many rows as kernels take at once.</summary>
[InlineArray(RowKernels.MostRows)]
internal struct RowNumbers
{
    private int _first;
}

/// <summary>A root-mean-square norm.</summary>
/// <param name="Weight">[size], in the type that is computed in</param>
/// <param name="Epsilon">added to the mean square</param>
/// <param name="IsCentered">whether the mean is taken off first</param>
/// <param name="Bias">[size], added afterwards to what is centered; or zero</param>
internal readonly record struct RowNorm(nint Weight, double Epsilon, bool IsCentered = false, nint Bias = 0);

/// <summary>Where keys and values of a new token go, for some neighbouring heads: those of a head lie two parts apart.</summary>
/// <param name="Row">the token's row in its batch</param>
/// <param name="FirstHead">first of the heads</param>
/// <param name="Heads">how many</param>
/// <param name="Key">of the first head; its value lies a part further</param>
/// <param name="Part">bytes of a part</param>
internal readonly record struct RowTarget(int Row, int FirstHead, int Heads, nint Key, long Part);

/// <summary>Keys and values of neighbouring tokens, rows end to end.</summary>
/// <param name="Keys">of the first of the heads</param>
/// <param name="Values">of the first of the heads</param>
/// <param name="Head">bytes from one head to the next</param>
/// <param name="Count">tokens</param>
internal readonly record struct KeyRows(nint Keys, nint Values, long Head, int Count);

/// <summary>Keys at neighbouring positions that some rows attend.</summary>
/// <param name="Source">the first of the pieces that they lie in</param>
/// <param name="Sources">how many pieces, in the order of positions; on a GPU two at most</param>
/// <param name="First">first of the rows</param>
/// <param name="Count">how many rows; all see all of the keys</param>
/// <remarks>Kernels cut it into splits from its beginning on. So it begins where a split does, or ends within one.</remarks>
internal readonly record struct KeySpan(int Source, int Sources, int First, int Count);

/// <summary>What some rows attend next, for some neighbouring heads.</summary>
internal sealed class AttentionWork
{
    /// <summary>In the order of positions for each row. Their splits lie at fixed positions, so that a row's sums do not depend on its company.</summary>
    public List<KeySpan> Spans { get; } = [];

    public List<KeyRows> Sources { get; } = [];

    /// <summary>First of the KV heads.</summary>
    public int FirstHead { get; set; }

    /// <summary>How many KV heads.</summary>
    public int Heads { get; set; }

    /// <summary>Tokens of a split, but for the last of a span.</summary>
    public int SplitTokens { get; set; } = RowKernels.SplitTokens;

    /// <summary>Adds keys that lie in one piece, and perhaps their end that lies in another.</summary>
    public void Add(int first, int count, KeyRows keys, KeyRows? end = null)
    {
        Spans.Add(new KeySpan(Sources.Count, end is null ? 1 : 2, first, count));
        Sources.Add(keys);
        if (end is { } more)
        {
            Sources.Add(more);
        }
    }

    public void Clear()
    {
        Spans.Clear();
        Sources.Clear();
    }
}

/// <summary>What kernels for few rows need to know of a model.</summary>
/// <param name="Type">of weights, and of keys and values unless <see cref="KvType"/> says otherwise</param>
/// <param name="Heads">query heads</param>
/// <param name="KvHeads">KV heads</param>
/// <param name="HeadDim">dimensions of a head</param>
/// <param name="Scale">factor of the scores</param>
/// <param name="SoftCap">cap of the scores by tanh, or null</param>
internal readonly record struct RowTraits(ScalarType Type, int Heads, int KvHeads, int HeadDim, double Scale, double? SoftCap)
{
    /// <summary>Type of keys and values.</summary>
    public ScalarType KvType { get; init; } = Type;

    /// <summary>Heads of other layers, where not all are alike.</summary>
    public IReadOnlyList<HeadShape>? Others { get; init; }

    /// <summary>Heads of a layer.</summary>
    public HeadShape Shape => new(Heads, KvHeads, HeadDim);

    /// <summary>Heads of all kinds.</summary>
    public IEnumerable<HeadShape> Shapes => [Shape, .. Others ?? []];
}

/// <summary>Operators on the rows of a few tokens, for decoding. They take no memory, and all of a row is float32.</summary>
/// <remarks>
/// A row's result is the same, to the bit, whatever the other rows are and however many: so answers that are computed
/// together have the tokens of each alone. Belongs to the engine's thread.
/// </remarks>
internal abstract class RowKernels(HeadShape heads) : IDisposable
{
    /// <summary>Rows at once.</summary>
    public const int MostRows = 16;

    /// <summary>Tokens of a split of the keys at most; it begins at a multiple of that.</summary>
    public const int SplitTokens = 256;

    /// <summary>Heads of the layer that is computed. Set before its first head is rotated, where not all layers' are alike.</summary>
    public HeadShape Heads { get; set; } = heads;

    /// <summary>Looks up rows of an embedding.</summary>
    public abstract void Lookup(ReadOnlySpan<int> tokens, WeightMatrix embedding, double scale, RowBuffer to);

    /// <summary><c>to = norm(x) * weight^T + bias</c>, or <c>to +=</c> that.</summary>
    /// <param name="rows">how many</param>
    /// <param name="x">[rows, columns of the weight]</param>
    /// <param name="norm">null for x as it is</param>
    /// <param name="weight">the matrix</param>
    /// <param name="to">[rows, rows of the weight]; another one than <paramref name="x"/></param>
    /// <param name="add">whether what is there stays, as a summand</param>
    public abstract void Multiply(int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, RowBuffer to, bool add);

    /// <summary><c>to = activation(gate) * up</c>, gate and up the halves of <c>norm(x) * weight^T + bias</c>.</summary>
    /// <param name="rows">how many</param>
    /// <param name="x">[rows, columns of the weight]</param>
    /// <param name="norm">of x; null for x as it is</param>
    /// <param name="weight">gate above up</param>
    /// <param name="activation">as the configuration names it</param>
    /// <param name="to">[rows, half of the weight's rows]; the buffer may be wider</param>
    public abstract void Gate(int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, string activation, RowBuffer to);

    /// <summary>Whether <see cref="Mix"/> takes experts that lie as these do.</summary>
    public abstract bool Mixes(Mixture mixture);

    /// <summary><c>to = sum of share * down(activation(gate(norm(x))) * up(norm(x)))</c> over a row's chosen experts, or <c>to +=</c> that.</summary>
    /// <param name="rows">how many</param>
    /// <param name="x">[rows, hidden]</param>
    /// <param name="norm">of x</param>
    /// <param name="mixture">the experts</param>
    /// <param name="between">its logits are the router's; the others are written</param>
    /// <param name="to">[rows, hidden]; may be x where it is added to</param>
    /// <param name="add">whether what is there stays, as a summand</param>
    public abstract void Mix(int rows, RowBuffer x, RowNorm? norm, Mixture mixture, MixtureRows between, RowBuffer to, bool add);

    /// <summary><c>to = norm(x)</c>, or <c>to +=</c> that.</summary>
    public abstract void Norm(int rows, RowBuffer x, RowNorm norm, RowBuffer to, bool add);

    /// <summary>The norm of some columns of each row, in place.</summary>
    /// <param name="rows">how many</param>
    /// <param name="x">[rows, width], changed</param>
    /// <param name="first">first of the columns</param>
    /// <param name="count">how many columns</param>
    /// <param name="norm">of them</param>
    public abstract void NormPart(int rows, RowBuffer x, int first, int count, RowNorm norm);

    /// <summary>Copies rows to where wider ones have a part.</summary>
    /// <param name="rows">how many</param>
    /// <param name="from">[rows, width]</param>
    /// <param name="to">[rows, wider], changed</param>
    /// <param name="first">first of the columns there</param>
    public abstract void Place(int rows, RowBuffer from, RowBuffer to, int first);

    /// <summary><c>sum += factor * x</c>.</summary>
    public abstract void AddScaled(int rows, RowBuffer x, double factor, RowBuffer sum);

    /// <summary>Multiplies the first columns of each row by a factor of its own.</summary>
    public abstract void ScaleRows(RowBuffer x, int columns, ReadOnlySpan<float> factors);

    /// <summary><c>x *= sigmoid(gates)</c>: a gate a column, or one of as many neighbouring columns as fit.</summary>
    /// <param name="rows">how many</param>
    /// <param name="gates">[rows, a divisor of <paramref name="width"/>]</param>
    /// <param name="x">[rows, width], changed; the buffer may be wider</param>
    /// <param name="width">columns</param>
    public abstract void GateRows(int rows, RowBuffer gates, RowBuffer x, int width);

    /// <summary>Rows of a layer with a state, from its projections to what its output projection takes; see <see cref="RecurrentShape"/>.</summary>
    /// <param name="states">whose state the rows are of, in their order; a state takes in the tokens before them, and remembers them as they came</param>
    /// <param name="rows">inputs and gates are the projections; the others are written</param>
    /// <param name="shape">of the layer</param>
    /// <param name="numbers">of the layer</param>
    /// <param name="epsilon">of the norm of the outputs</param>
    public abstract void Recur(IReadOnlyList<StateRows> states, RecurrentRows rows, RecurrentShape shape, RecurrentNumbers numbers, double epsilon);

    /// <summary><c>x = activation(x) * by</c>.</summary>
    /// <param name="rows">how many</param>
    /// <param name="x">[rows, width], changed</param>
    /// <param name="activation">as the configuration names it</param>
    /// <param name="by">[rows, any width]</param>
    /// <param name="first">which column of it the first of x is multiplied by</param>
    public abstract void ActivateBy(int rows, RowBuffer x, string activation, RowBuffer by, int first);

    /// <summary>Says where the rows stand, for layers that rotate alike.</summary>
    /// <param name="set">which of several rotations</param>
    /// <param name="cosines">[rows, rotary / 2]</param>
    /// <param name="sines">like <paramref name="cosines"/></param>
    /// <param name="rotary">dimensions that are rotated</param>
    public abstract void SetAngles(int set, ReadOnlySpan<float> cosines, ReadOnlySpan<float> sines, int rotary);

    /// <summary>Norms and rotates queries and keys, queries in place, and writes keys and values to where they are kept.</summary>
    /// <param name="rows">how many</param>
    /// <param name="heads">[rows, (heads + 2 kv_heads) * dim], or [rows, heads * dim] where keys are not its own; afterwards only the queries are of use</param>
    /// <param name="set">which rotation</param>
    /// <param name="queryNorm">of each query head, or null</param>
    /// <param name="keyNorm">of each key head, or null</param>
    /// <param name="targets">where keys and values go</param>
    /// <param name="valueNorm">of each value head, or null</param>
    public abstract void Rotate(int rows, RowBuffer heads, int set, RowNorm? queryNorm, RowNorm? keyNorm, IReadOnlyList<RowTarget> targets, RowNorm? valueNorm = null);

    /// <summary>Begins the attention of a layer: nothing has been attended.</summary>
    /// <param name="rows">how many there are</param>
    /// <param name="output">[rows, heads * dim], for what is attended</param>
    /// <param name="sinks">[heads], float32: scores of what each head attends beside its keys, which is nothing; or zero</param>
    public abstract void BeginAttention(int rows, RowBuffer output, nint sinks);

    /// <summary>Attends some keys.</summary>
    /// <param name="rows">how many there are</param>
    /// <param name="queries">[rows, (heads + 2 kv_heads) * dim]</param>
    /// <param name="work">what; read before the call returns</param>
    public abstract void Attend(int rows, RowBuffer queries, AttentionWork work);

    /// <summary>Gives the queries to the host, which attends some of the keys, and says so.</summary>
    /// <param name="rows">how many there are</param>
    /// <param name="queries">[rows, (heads + 2 kv_heads) * dim]</param>
    /// <param name="parts">attends</param>
    /// <param name="number">of the job that was submitted</param>
    public abstract void AskHost(int rows, RowBuffer queries, HostParts parts, uint number);

    /// <summary>Adds what the host has attended. Waits for it, on the device.</summary>
    /// <param name="rows">how many there are</param>
    /// <param name="parts">has attended</param>
    /// <param name="number">of the job</param>
    /// <param name="firstHead">first of the KV heads</param>
    /// <param name="heads">how many KV heads</param>
    public abstract void JoinHost(int rows, HostParts parts, uint number, int firstHead, int heads);

    /// <summary>Ends it: the output is written.</summary>
    public abstract void EndAttention(int rows);

    /// <summary>Copies a row to the caller, capped by tanh where there is a cap. Waits until it is there.</summary>
    /// <param name="from">[rows, width]</param>
    /// <param name="row">which</param>
    /// <param name="cap">the cap, or null</param>
    /// <param name="to">[width]</param>
    public abstract void Read(RowBuffer from, int row, double? cap, Span<float> to);

    /// <summary>Whether <see cref="FindBest"/> is there, and faster than to <see cref="Read"/> a row.</summary>
    public virtual bool FindsBest => false;

    /// <summary>Finds the largest number of each row; of equals the first, and before all what is no number. Waits until it is known.</summary>
    /// <param name="rows">how many</param>
    /// <param name="from">[rows, width]</param>
    /// <param name="best">[rows]: its column, and the number</param>
    public virtual void FindBest(int rows, RowBuffer from, Span<(int Column, float Value)> best) => throw new NotSupportedException();

    public abstract void Dispose();
}
