using System.Diagnostics;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Few rows on the CPU, in float32, keys and values in the type that pages have. Products and attention are shared among a team; the rest is too short for that.</summary>
internal sealed unsafe class HostRowKernels : RowKernels
{
    private const int PieceBytes = 1 << 17; // of a matrix
    private const int Apart = 16;           // counters of members, so that no two share a cache line
    private const int AtOnce = 4;           // rows that kernels take

    private readonly RowTraits _traits;
    private readonly CpuDevice _device;
    private readonly HostAttention _attention;
    private readonly HostRecurrence _recurrence;
    private readonly Action<int> _multiply; // made once, so that a step takes no memory
    private readonly List<(RowBuffer Cosines, RowBuffer Sines, int Rotary)> _angles = [];
    private RowBuffer? _normed, _product, _output, _planes;
    private readonly int[] _taken; // of each member's share
    private int _piece;
    private (nint X, nint Product, nint Sum, WeightMatrix? Weight, int Rows) _task;
    private PlaneRows _inPlanes;

    public HostRowKernels(RowTraits traits, CpuDevice device)
        : base(traits.Shape) =>
        (_traits, _device, _attention, _recurrence, _multiply, _taken) = (traits, device, new HostAttention(traits, device.Team), new HostRecurrence(device.Team), MultiplyPieces, new int[device.Team.Size * Apart]);

    public override void Lookup(ReadOnlySpan<int> tokens, WeightMatrix embedding, double scale, RowBuffer to)
    {
        for (var row = 0; row < tokens.Length; row++)
        {
            var target = Row(to, row);
            HostProducts.Unpack(embedding, tokens[row], tokens[row] + 1, target);
            for (var i = 0; scale != 1 && i < embedding.Columns; i++)
            {
                target[i] *= (float)scale;
            }
        }
    }

    public override void Multiply(int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, RowBuffer to, bool add)
    {
        var input = x;
        if (norm is { } before)
        {
            input = Scratch(ref _normed, x.Width);
            Norm(rows, x, before, input, add: false);
        }

        Run(rows, (float*)input.Address, weight, (float*)(add ? Scratch(ref _product, weight.Rows) : to).Address, add ? to.Address : 0);
    }

    private void Run(float* x, WeightMatrix weight, float* to) => Run(1, x, weight, to, 0);

    private void Run(int rows, float* x, WeightMatrix weight, float* to, nint sum)
    {
        _task = ((nint)x, (nint)to, sum, weight, rows);
        _piece = (int)Math.Max(AtOnce, PieceBytes / weight.RowBytes / AtOnce * AtOnce);
        Array.Clear(_taken);
        _inPlanes = weight.TakesPlanes ? PlaneRows.Of(x, rows, weight.Columns, (float*)Scratch(ref _planes, PlaneRows.Width(weight.Columns)).Address) : default;
        _device.Team.Run(_multiply);
    }

    public override void Gate(int rows, RowBuffer x, RowNorm? norm, WeightMatrix weight, string activation, RowBuffer to)
    {
        var (both, width) = (Scratch(ref _product, weight.Rows), weight.Rows / 2);
        Multiply(rows, x, norm, weight, both, add: false);
        for (var row = 0; row < rows; row++)
        {
            Activate(both, (long)row * weight.Rows, activation, (float*)to.Address + ((long)row * width), width);
        }
    }

    // One row: libtorch's vectors would round by a value's place among all of them.
    private void Activate(RowBuffer both, long at, string activation, float* to, int width)
    {
        if (activation == Compute.Device.SquaredRelu)
        {
            for (var i = 0; i < width; i++)
            {
                var x = Math.Max(((float*)both.Address)[at + i], 0);
                to[i] = x * x;
            }

            return;
        }

        if (activation == "silu")
        {
            HostActivations.GateBySilu((float*)both.Address + at, to, width);
            return;
        }

        using var scope = TorchSharp.torch.NewDisposeScope();
        var gated = _device.Gate(both.Memory.view(-1).narrow(0, at, 2L * width).view(1, 2L * width), width, activation);
        TensorMemory.Span(gated.contiguous()).CopyTo(new Span<float>(to, width));
    }

    public override bool Mixes(Mixture mixture) => true;

    public override void Mix(int rows, RowBuffer x, RowNorm? norm, Mixture mixture, MixtureRows between, RowBuffer to, bool add)
    {
        Span<int> chosen = stackalloc int[mixture.Routing.PerToken];
        Span<float> shares = stackalloc float[mixture.Routing.PerToken];
        Debug.Assert(norm is not null || x != to, "The first expert would change what the next one sees.");
        var normed = norm is null ? x : Scratch(ref _normed, mixture.HiddenSize);
        if (norm is { } before)
        {
            Norm(rows, x, before, normed, add: false);
        }

        var both = Scratch(ref _product, 2 * mixture.Width); // without gates half of it
        for (var row = 0; row < rows; row++)
        {
            Router.Choose(new ReadOnlySpan<float>(Row(between.Logits, row), mixture.Experts.Count), mixture.Routing, chosen, shares);
            for (var i = 0; i < chosen.Length; i++)
            {
                var (gateUp, down) = mixture.Experts[chosen[i]];
                float* active = (float*)between.Active.Address, seen = (float*)normed.Address + ((long)row * mixture.HiddenSize);
                if (mixture.Routing.OfInputs)
                {
                    HostMath.AddScaled(seen, shares[i], (float*)between.Parts.Address, mixture.HiddenSize, begins: true);
                    seen = (float*)between.Parts.Address;
                    shares[i] = 1;
                }

                Run(seen, gateUp, (float*)both.Address);
                Activate(both, 0, mixture.Activation, active, mixture.Width);
                Run(active, down, (float*)between.Parts.Address);
                HostMath.AddScaled((float*)between.Parts.Address, shares[i], Row(to, row), mixture.HiddenSize, begins: i == 0 && !add);
            }
        }
    }

    public override void Norm(int rows, RowBuffer x, RowNorm norm, RowBuffer to, bool add)
    {
        var target = add ? Scratch(ref _product, x.Width) : to;
        HostMath.Norm((float*)x.Address, (float*)target.Address, norm, x.Width, rows);
        if (add)
        {
            HostMath.Add((float*)target.Address, (float*)to.Address, (long)rows * x.Width);
        }
    }

    public override void NormPart(int rows, RowBuffer x, int first, int count, RowNorm norm)
    {
        for (var row = 0; row < rows; row++)
        {
            var at = Row(x, row) + first;
            HostMath.Norm(at, at, norm, count, 1);
        }
    }

    public override void Place(int rows, RowBuffer from, RowBuffer to, int first)
    {
        for (var row = 0; row < rows; row++)
        {
            new ReadOnlySpan<float>(Row(from, row), from.Width).CopyTo(new Span<float>(Row(to, row) + first, from.Width));
        }
    }

    public override void AddScaled(int rows, RowBuffer x, double factor, RowBuffer sum) => HostMath.AddScaled((float*)x.Address, (float)factor, (float*)sum.Address, rows * x.Width, begins: false);

    public override void ScaleRows(RowBuffer x, int columns, ReadOnlySpan<float> factors)
    {
        for (var row = 0; row < factors.Length; row++)
        {
            HostMath.AddScaled(Row(x, row), factors[row], Row(x, row), columns, begins: true);
        }
    }

    public override void GateRows(int rows, RowBuffer gates, RowBuffer x, int width)
    {
        var each = width / gates.Width;
        for (var row = 0; row < rows; row++)
        {
            for (var gate = 0; gate < gates.Width; gate++)
            {
                var at = (float*)x.Address + ((long)row * width) + (gate * each);
                HostMath.AddScaled(at, 1 / (1 + MathF.Exp(-Row(gates, row)[gate])), at, each, begins: true);
            }
        }
    }

    public override void ActivateBy(int rows, RowBuffer x, string activation, RowBuffer by, int first)
    {
        var both = Scratch(ref _product, 2 * x.Width);
        for (var row = 0; row < rows; row++)
        {
            new ReadOnlySpan<float>(Row(x, row), x.Width).CopyTo(new Span<float>((float*)both.Address, x.Width));
            new ReadOnlySpan<float>(Row(by, row) + first, x.Width).CopyTo(new Span<float>((float*)both.Address + x.Width, x.Width));
            Activate(both, 0, activation, Row(x, row), x.Width);
        }
    }

    public override void Recur(IReadOnlyList<StateRows> states, RecurrentRows rows, RecurrentShape shape, RecurrentNumbers numbers, double epsilon) => _recurrence.Run(states, rows, shape, numbers, epsilon);

    public override void SetAngles(int set, ReadOnlySpan<float> cosines, ReadOnlySpan<float> sines, int rotary)
    {
        if (set == _angles.Count)
        {
            _angles.Add((new RowBuffer(rotary, CPU), new RowBuffer(rotary, CPU), rotary));
        }

        var (half, rows) = (rotary / 2, cosines.Length / (rotary / 2));
        float* c = (float*)_angles[set].Cosines.Address, s = (float*)_angles[set].Sines.Address;
        for (var row = 0; row < rows; row++)
        {
            for (var i = 0; i < half; i++)
            {
                var (from, to) = ((row * half) + i, (row * rotary) + i);
                (c[to], c[to + half]) = (cosines[from], cosines[from]);
                (s[to], s[to + half]) = (-sines[from], sines[from]);
            }
        }

    }

    public override void Rotate(int rows, RowBuffer heads, int set, RowNorm? queryNorm, RowNorm? keyNorm, IReadOnlyList<RowTarget> targets, RowNorm? valueNorm)
    {
        var (dim, queries, kv, all) = (Heads.Dim, Heads.Count, Heads.KvHeads, heads.Width / Heads.Dim);
        for (var row = 0; row < rows; row++)
        {
            var (cosines, sines, rotary) = _angles[set];
            float* c = (float*)cosines.Address + (row * rotary), s = (float*)sines.Address + (row * rotary);
            for (var head = 0; head < all; head++)
            {
                var at = Row(heads, row) + (head * dim);
                if ((head < queries ? queryNorm : head < queries + kv ? keyNorm : valueNorm) is { } norm)
                {
                    HostMath.RmsNorm(at, at, (float*)norm.Weight, dim, 1, norm.Epsilon);
                }

                if (head < queries + kv)
                {
                    HostMath.Rotate(at, c, s, rotary / 2);
                }
            }
        }

        switch (_traits.KvType)
        {
            case ScalarType.BFloat16:
                Keep<BFloat16>(heads, targets);
                break;
            case ScalarType.Float16:
                Keep<Float16>(heads, targets);
                break;
            default:
                Keep<Float32>(heads, targets);
                break;
        }
    }

    public override bool FindsBest => true;

    public override void FindBest(int rows, RowBuffer from, Span<(int Column, float Value)> best)
    {
        for (var row = 0; row < rows; row++)
        {
            var column = LogitVectors.Largest(new ReadOnlySpan<float>(Row(from, row), from.Width));
            best[row] = (column, Row(from, row)[column]);
        }
    }

    public override void BeginAttention(int rows, RowBuffer output, nint sinks)
    {
        (_output, _attention.Heads) = (output, Heads);
        _attention.Begin(rows, (float*)sinks);
    }

    public override void Attend(int rows, RowBuffer queries, AttentionWork work) => _attention.Attend(rows, (float*)queries.Address, queries.Width, work);

    public override void AskHost(int rows, RowBuffer queries, HostParts parts, uint number)
    {
        var width = Heads.Queries;
        for (var row = 0; row < rows; row++)
        {
            new ReadOnlySpan<float>(Row(queries, row), width).CopyTo(new Span<float>((float*)parts.Queries + ((long)row * width), width));
        }

        HostParts.Raise(parts.Asked, number);
    }

    public override void JoinHost(int rows, HostParts parts, uint number, int firstHead, int heads)
    {
        parts.Await(number);
        var (first, count) = (firstHead * Heads.Shared, heads * Heads.Shared);
        for (var row = 0; row < rows; row++)
        {
            var at = (row * Heads.Count) + first;
            _attention.AddPart(row, first, new ReadOnlySpan<ScoreSum>((ScoreSum*)parts.Sums + at, count), new ReadOnlySpan<float>((float*)parts.Outputs + ((long)at * Heads.Dim), count * Heads.Dim));
        }
    }

    public override void EndAttention(int rows) => _attention.Write(rows, (float*)_output!.Address, _output.Width);

    public override void Read(RowBuffer from, int row, double? cap, Span<float> to)
    {
        new ReadOnlySpan<float>(Row(from, row), from.Width).CopyTo(to);
        if (cap is { } most)
        {
            HostActivations.Cap(to, (float)most);
        }
    }

    public override void Dispose()
    {
        _normed?.Dispose();
        _product?.Dispose();
        _planes?.Dispose();
        _angles.ForEach(a =>
        {
            a.Cosines.Dispose();
            a.Sines.Dispose();
        });
    }

    private void Keep<TElement>(RowBuffer heads, IReadOnlyList<RowTarget> targets)
        where TElement : unmanaged, IElement<TElement>
    {
        var (dim, kv) = (Heads.Dim, Heads.KvHeads);
        foreach (var target in targets)
        {
            var keys = Row(heads, target.Row) + ((Heads.Count + target.FirstHead) * dim);
            for (var head = 0; head < target.Heads; head++)
            {
                Narrow(keys + (head * dim), (TElement*)((byte*)target.Key + (2 * head * target.Part)), dim);
                Narrow(keys + ((kv + head) * dim), (TElement*)((byte*)target.Key + (((2 * head) + 1) * target.Part)), dim);
            }
        }
    }

    private static void Narrow<TElement>(float* from, TElement* to, int count)
        where TElement : unmanaged, IElement<TElement>
    {
        for (var i = 0; i < count; i++)
        {
            to[i] = TElement.Narrow(from[i]);
        }
    }

    private static float* Row(RowBuffer buffer, int row) => (float*)buffer.Address + ((long)row * buffer.Width);

    private static RowBuffer Scratch(ref RowBuffer? buffer, int width)
    {
        if (buffer is null || buffer.Width < width)
        {
            buffer?.Dispose();
            buffer = new RowBuffer(width, CPU);
        }

        return buffer;
    }

    // Each member takes pieces of its own share, one behind the other, since memory is read fastest so; then of what others have
    // left: one that has to give way for a moment holds nobody up for longer than a piece.
    private void MultiplyPieces(int member)
    {
        var (x, product, sum, weight, rows) = _task;
        for (var i = 0; i < _device.Team.Size; i++)
        {
            var whose = (member + i) % _device.Team.Size;
            var (first, behind) = _device.Team.Share(whose, (weight!.Rows + AtOnce - 1) / AtOnce);
            var last = Math.Min(behind * AtOnce, weight.Rows);
            for (int start; (start = (first * AtOnce) + Interlocked.Add(ref _taken[whose * Apart], _piece) - _piece) < last;)
            {
                var end = Math.Min(start + _piece, last);
                HostProducts.Multiply(weight, (float*)x, _inPlanes, rows, (float*)product, start, end);
                for (var row = 0; sum != 0 && row < rows; row++)
                {
                    var at = ((long)row * weight.Rows) + start;
                    HostMath.Add((float*)product + at, (float*)sum + at, end - start);
                }
            }
        }
    }
}
