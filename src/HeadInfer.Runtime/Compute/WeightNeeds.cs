namespace HeadInfer.Runtime.Compute;

/// <summary>What a model's weights take where they are computed with.</summary>
/// <param name="Always">what has to lie there: all that is of no layer, vectors, and memory in which packed matrices are unpacked</param>
/// <param name="Layers">the matrices of each layer, which may come by turns; of a mixture the experts'</param>
internal sealed record WeightNeeds(ByteSize Always, IReadOnlyList<ByteSize> Layers)
{
    /// <summary>Layers that the device has room for, where they come by turns.</summary>
    public const int Slots = 2;

    /// <summary>What of <see cref="Always"/> no step reads as a whole: an embedding whose rows are looked up, and memory in which matrices are unpacked.</summary>
    public ByteSize Unread { get; init; }

    /// <summary>Embeddings that lie in host memory beside a device with memory of its own, and of which rows are read: not among <see cref="Always"/>.</summary>
    public ByteSize Tables { get; init; }

    /// <summary>Whether some matrices lie packed.</summary>
    public bool ArePacked { get; init; }

    /// <summary>All of it.</summary>
    public ByteSize Total => Always + new ByteSize(Layers.Sum(l => l.Bytes));

    /// <summary>Of weights that nobody asks for by layers.</summary>
    public static WeightNeeds Of(ByteSize size) => new(size, []);

    /// <summary>What lies on the device if the last layers come by turns.</summary>
    /// <param name="streamed">how many of them</param>
    public ByteSize OnDevice(int streamed) =>
        Always + new ByteSize(Layers.Take(Layers.Count - streamed).Sum(l => l.Bytes)) + (Slot(streamed) * Math.Min(streamed, Slots));

    /// <summary>What then lies on the host.</summary>
    public ByteSize OnHost(int streamed) => new(Layers.Skip(Layers.Count - streamed).Sum(l => l.Bytes));

    /// <summary>Memory of a layer that comes by turns.</summary>
    public ByteSize Slot(int streamed) => new(Layers.Skip(Layers.Count - streamed).Select(l => l.Bytes).DefaultIfEmpty().Max());
}
