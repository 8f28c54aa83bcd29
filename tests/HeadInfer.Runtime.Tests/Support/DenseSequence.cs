using HeadInfer.Runtime.Attention;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>A sequence that keeps all keys and values as they are and attends to them all at once, in float64.</summary>
internal sealed class DenseSequence(double scale, IReadOnlyList<int?> windows, double? softCap) : ISequenceAttention
{
    private readonly Tensor?[] _keys = new Tensor?[windows.Count];   // each [tokens, kv_heads, dim]
    private readonly Tensor?[] _values = new Tensor?[windows.Count];

    public int Length { get; private set; }

    public void Reserve(int tokens)
    {
    }

    public bool Stages => false;

    public void Begin(int tokens, int outputs)
    {
    }

    public Tensor Stage() => throw new InvalidOperationException();

    public void Attend(int layer, Tensor queries, Tensor rows, Tensor output, WorkMeter work)
    {
        using var scope = NewDisposeScope();
        _keys[layer] = Grown(_keys[layer], rows.select(1, 0).transpose(0, 1));
        _values[layer] = Grown(_values[layer], rows.select(1, 1).transpose(0, 1));
        output.copy_(DenseAttention.Attend(queries, _keys[layer]!, _values[layer]!, scale, windows[layer], softCap));
    }

    public void Advance(int tokens) => Length += tokens;

    public void Truncate(int length) => Length = length;

    public void Dispose()
    {
        foreach (var tensor in _keys.Concat(_values))
        {
            tensor?.Dispose();
        }
    }

    private Tensor Grown(Tensor? before, Tensor added)
    {
        var grown = (before is null ? added.clone() : cat([before.narrow(0, 0, Length), added])).DetachFromDisposeScope();
        before?.Dispose();
        return grown;
    }
}
