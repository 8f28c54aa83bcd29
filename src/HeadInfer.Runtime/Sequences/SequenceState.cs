using static TorchSharp.torch;

namespace HeadInfer.Runtime.Sequences;

/// <summary>What layers remember of a sequence in place of keys and values: of each as many numbers.</summary>
/// <param name="Layers">layers that do</param>
/// <param name="Numbers">float32 numbers of one</param>
internal readonly record struct StateShape(int Layers, int Numbers)
{
    public ByteSize Size => new((long)Layers * Numbers * sizeof(float));
}

/// <summary>What the layers have come to remember of a sequence's tokens.</summary>
/// <remarks>A layer's state has taken in a number of tokens, and the layer has those that follow as they came. So it serves every length from the one to the other.</remarks>
internal sealed class SequenceState : IDisposable
{
    private SequenceState(Tensor memory, int[] taken, int length) => (Memory, Taken, Length) = (memory, taken, length);

    /// <summary>Of no tokens.</summary>
    public SequenceState(StateShape shape, TorchSharp.torch.Device device)
        : this(zeros([shape.Layers, shape.Numbers], ScalarType.Float32, device).DetachFromDisposeScope(), new int[shape.Layers], 0)
    {
    }

    /// <summary>[layers, numbers], float32; owned.</summary>
    public Tensor Memory { get; }

    /// <summary>[layers] tokens that the state has taken in.</summary>
    public int[] Taken { get; }

    /// <summary>Tokens that the layers know of.</summary>
    public int Length { get; set; }

    /// <summary>The least number of tokens that it serves.</summary>
    public int Least => Taken.Max();

    /// <summary>Whether it serves a sequence of so many tokens.</summary>
    public bool Serves(int length) => Least <= length && length <= Length;

    /// <summary>The same elsewhere.</summary>
    public SequenceState CopyTo(TorchSharp.torch.Device device)
    {
        using var scope = NewDisposeScope();
        var copy = empty_like(Memory, device: device);
        copy.copy_(Memory);
        return new SequenceState(copy.DetachFromDisposeScope(), [.. Taken], Length);
    }

    public void Dispose() => Memory.Dispose();
}
