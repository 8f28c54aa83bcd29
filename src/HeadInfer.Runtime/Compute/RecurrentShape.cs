namespace HeadInfer.Runtime.Compute;

/// <summary>A layer that keeps, in place of keys and values, a matrix a head that each token changes: by the gated delta rule, or as a state space (<see cref="SpaceShape"/>). Or one that remembers the last tokens alone (<see cref="OfConvolution"/>).</summary>
/// <remarks>
/// Queries, keys and values go through a short causal convolution of each channel and SiLU. By the delta rule queries and keys are normed to length one.
/// Of each head, with a state S of [key dim, value dim], a decay and a write gate of the token:
/// <c>S *= decay; S += key ⊗ (write * (value - key S)); output = query S / sqrt(key dim)</c>. (Yang et al., "Gated Delta Networks", arXiv 2412.06464.)
/// </remarks>
/// <param name="KeyHeads">heads of queries and keys</param>
/// <param name="ValueHeads">heads of values, a multiple: several share a query and a key</param>
/// <param name="KeyDim">dimensions of a query and of a key</param>
/// <param name="ValueDim">dimensions of a value</param>
/// <param name="Taps">tokens that the convolution sees, the present one among them</param>
internal sealed record RecurrentShape(int KeyHeads, int ValueHeads, int KeyDim, int ValueDim, int Taps)
{
    /// <summary>Added to the squares of queries and keys before they are normed.</summary>
    public const float NormEpsilon = 1e-6f;

    /// <summary>Tokens of a sequence that a step may have. What the convolution has seen is kept of as many before and behind.</summary>
    public const int MostRows = 8;

    /// <summary>Tokens of a prompt that correct a state together: a power of two.</summary>
    public const int Piece = 64;

    /// <summary>Tokens of a prompt that are worked on at once.</summary>
    public const int MostTokens = 16 * Piece;

    /// <summary>What sets a state space apart; null for the delta rule.</summary>
    public SpaceShape? Space { get; init; }

    /// <summary>The layer is a convolution alone, and has no state but what that sees.</summary>
    public bool IsConvolution => KeyDim == 0;

    /// <summary>Whether such a layer's convolution and projections have biases.</summary>
    public bool Bias { get; init; }

    /// <summary>Whether the convolution adds one.</summary>
    public bool ConvolutionBias => Space?.ConvolutionBias ?? Bias;

    /// <summary>Whether what goes in and what comes out has one.</summary>
    public bool ProjectionBias => Space?.ProjectionBias ?? Bias;

    /// <summary>Those that share a query and a key lie <see cref="KeyHeads"/> apart; else side by side.</summary>
    public bool SharersApart { get; init; }

    /// <summary>Outputs of all heads.</summary>
    public int Values => ValueHeads * ValueDim;

    /// <summary>Of the keys of all heads.</summary>
    public int Keys => KeyHeads * KeyDim;

    /// <summary>What goes through the convolution: queries, keys, values; of a state space values, keys, queries.</summary>
    public int Channels => (2 * Keys) + Values;

    /// <summary>The first channel of the queries.</summary>
    public int QueryAt => Space is null ? 0 : Values + Keys;

    /// <summary>The first channel of the keys.</summary>
    public int KeyAt => Space is null ? Keys : Values;

    /// <summary>The first channel of the values.</summary>
    public int ValueAt => Space is null ? 2 * Keys : 0;

    /// <summary>Numbers of a token beside the channels: write gate and decay of each value head; of a state space its time step, which is both.</summary>
    public int Gates => (IsConvolution ? 0 : Space is null ? 2 : 1) * ValueHeads;

    /// <summary>The first of them that is of the decays.</summary>
    public int DecayAt => Gates - ValueHeads;

    /// <summary>Outputs that are normed together.</summary>
    public int NormDim => Space is { } space ? Values / Math.Max(space.NormGroups, 1) : ValueDim;

    /// <summary>What is remembered of a token as it came: the channels, then its gates. Of a convolution alone, the products that it sees.</summary>
    public int Width => Channels + Gates;

    /// <summary>What a layer projects a token to beside its gates and decays: the channels, then the gates of the outputs; of a convolution alone then what the channels are multiplied by.</summary>
    public int Projected => Channels + Values + (IsConvolution ? Channels : 0);

    /// <summary>Tokens that are remembered as they came: those that the convolution sees beside the oldest, those that a state has yet to take in, and those of a step.</summary>
    public int Recent => Taps - 1 + ((IsConvolution ? 1 : 2) * MostRows);

    /// <summary>Numbers of a state: a matrix of each value head.</summary>
    public int StateSize => ValueHeads * KeyDim * ValueDim;

    /// <summary>Numbers that a layer remembers of a sequence: the state, then the recent tokens, each at its position modulo <see cref="Recent"/>.</summary>
    public int Remembered => StateSize + (Recent * Width);

    /// <summary>A gated convolution: <c>output = gate * convolution(first * last)</c> of each channel, where a token is projected to first, gate and last. (Liquid AI, LFM2.)</summary>
    public static RecurrentShape OfConvolution(int channels, int taps, bool bias) => new(1, 1, 0, channels, taps) { Bias = bias };

    /// <summary>The query and key of a value head.</summary>
    public int KeyHead(int valueHead) => SharersApart ? valueHead % KeyHeads : valueHead / (ValueHeads / KeyHeads);

    /// <summary>Bytes that working on a prompt takes, in chunks of so many tokens.</summary>
    public long WorkBytes(int chunk)
    {
        var (perToken, inAll) = Space is null
            ? ((3L * Width) + (ValueHeads * ((11L * KeyDim) + (8L * ValueDim) + (6L * Piece))), ((MostTokens / Piece) + 2L) * StateSize)
            : ((3L * Width) + (2L * Keys) + (ValueHeads * ((7L * ValueDim) + (5L * Piece))), (2L * Piece * ValueHeads * KeyDim) + (4L * StateSize));
        return sizeof(float) * ((Math.Min(chunk + Piece, MostTokens) * perToken) + inAll);
    }
}

/// <summary>A layer with a state as a state space: Mamba-2.</summary>
/// <remarks>
/// Queries, keys and values are what its authors call C, B and x. Of each head, with a time step of the token, softplus of what it is projected to and within limits:
/// <c>S *= exp(rate * step); S += key ⊗ (step * value); output = query S + skip * value</c>. The outputs are gated first, and then normed, so many heads together.
/// (Dao and Gu, "Transformers are SSMs", arXiv 2405.21060.)
/// </remarks>
/// <param name="LeastStep">of a time step</param>
/// <param name="MostStep">of a time step</param>
/// <param name="NormGroups">groups of heads whose outputs are normed together; 0 for no norm</param>
/// <param name="ConvolutionBias">whether the convolution adds one</param>
/// <param name="ProjectionBias">whether what goes in and what comes out has one</param>
internal sealed record SpaceShape(float LeastStep, float MostStep, int NormGroups, bool ConvolutionBias, bool ProjectionBias)
{
    /// <summary>Factors of what a token is projected to, and of what the layer gives; null for ones.</summary>
    public SpaceFactors? Factors { get; init; }
}

/// <summary>Factors within a state space.</summary>
/// <param name="Gates">of the gates of outputs</param>
/// <param name="Values">of values before the convolution</param>
/// <param name="Keys">of keys before it</param>
/// <param name="Queries">of queries before it</param>
/// <param name="Steps">of what time steps are made of</param>
/// <param name="Outputs">of what the output projection takes</param>
internal sealed record SpaceFactors(double Gates, double Values, double Keys, double Queries, double Steps, double Outputs);

/// <summary>What a layer with a state has besides its projections, all float32.</summary>
/// <param name="Convolution">[channels, taps], the present token's last</param>
/// <param name="Decay">[value heads], negative: how fast a head forgets; null without heads</param>
/// <param name="DecayBias">[value heads]: added to what a token says of it; null without heads</param>
/// <param name="Norm">[value dim]: of a head's outputs; of a state space [values], or null</param>
internal sealed record RecurrentNumbers(TorchSharp.torch.Tensor Convolution, TorchSharp.torch.Tensor? Decay, TorchSharp.torch.Tensor? DecayBias, TorchSharp.torch.Tensor? Norm)
{
    /// <summary>[channels]: what the convolution adds; null for nothing.</summary>
    public TorchSharp.torch.Tensor? Bias { get; init; }

    /// <summary>[value heads]: factor of the values beside the state; of a state space alone.</summary>
    public TorchSharp.torch.Tensor? Skip { get; init; }
}

/// <summary>Rows of a step, neighbours, of one sequence.</summary>
/// <param name="First">the first</param>
/// <param name="Count">how many, <see cref="RecurrentShape.MostRows"/> at most</param>
/// <param name="Memory">address of what the layer remembers of the sequence</param>
/// <param name="Taken">tokens that its state has taken in; no more than <see cref="RecurrentShape.MostRows"/> less than <paramref name="Length"/></param>
/// <param name="Length">tokens of the sequence before these rows; the state takes them in</param>
internal readonly record struct StateRows(int First, int Count, nint Memory, int Taken, int Length);

/// <summary>What a step writes in a layer with a state.</summary>
internal sealed class RecurrentRows(RecurrentShape shape, TorchSharp.torch.Device device) : IDisposable
{
    /// <summary>[rows, channels + values]: what tokens are projected to, and the gates of the outputs.</summary>
    public RowBuffer Inputs { get; } = new(shape.Projected, device);

    /// <summary>[rows, gates]: write gates, then decays; or time steps.</summary>
    public RowBuffer Gates { get; } = new(shape.Gates, device);

    /// <summary>[rows, values].</summary>
    public RowBuffer Outputs { get; } = new(shape.Values, device);

    /// <summary>[rows, channels]: of the rows, and of those before that states take in, what the convolution gives. Of a convolution alone nothing.</summary>
    public RowBuffer Mixed { get; } = new(shape.IsConvolution ? 0 : (RecurrentShape.MostRows + 1) * shape.Channels, device);

    public void Dispose() => Array.ForEach((RowBuffer[])[Inputs, Gates, Outputs, Mixed], b => b.Dispose());
}
