using HeadInfer.Runtime.Compute;
using System.Globalization;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The weights of a GGUF file, or of all its shards, under the names and in the order of rows that model folders have.</summary>
internal sealed class GgufCheckpoint : Checkpoint
{
    private readonly List<GgufFile> _files = [];
    private readonly Dictionary<string, StoredTensor> _tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Source> _sources = new(StringComparer.Ordinal);
    private byte[] _head = []; // rows of a head as the file has them

    private GgufCheckpoint(string path)
        : base(path)
    {
    }

    public override IReadOnlyDictionary<string, StoredTensor> Tensors => _tensors;

    /// <summary>What the first file says of the model.</summary>
    public GgufMetadata Metadata => _files[0].Metadata;

    /// <summary>What is read of the architecture.</summary>
    public GgufArchitecture Architecture { get; private set; } = null!;

    /// <summary>Divisors of the rotary frequencies, where the file has its own; else empty.</summary>
    public float[] RopeFactors { get; private set; } = [];

    /// <summary>Such divisors for short contexts and for long ones, where the file has both; else null.</summary>
    public (float[]? Short, float[]? Long) LongRopeFactors { get; private set; }

    /// <inheritdoc cref="Checkpoint.Open(string, QuantizationConfig)"/>
    /// <exception cref="UnsupportedModelException">It is no model, or has something that is not supported.</exception>
    public static GgufCheckpoint Open(string path)
    {
        var checkpoint = new GgufCheckpoint(path);
        try
        {
            checkpoint._files.Add(GgufFile.Open(path));
            checkpoint.Architecture = GgufArchitecture.Of(checkpoint.Metadata);
            checkpoint.AddShards();
            checkpoint._files.ForEach(checkpoint.Add);
            checkpoint.Architecture = checkpoint.Architecture.With(checkpoint);
            return checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to)
    {
        var source = _sources[tensor.Name];
        if (source.IsDecayRate)
        {
            var rates = ReadFloats(source.File, tensor with { Name = source.Name }, source.Offset, sign: -1);
            System.Runtime.InteropServices.MemoryMarshal.AsBytes(Array.ConvertAll(rates, rate => MathF.Log(-rate)).AsSpan()).Slice((int)at, to.Length).CopyTo(to);
            return;
        }

        if (source.HeadRows == 0)
        {
            source.File.Read(source.Name, source.Offset + at, to);
            return;
        }

        var head = source.HeadRows * source.RowBytes;
        while (!to.IsEmpty)
        {
            var start = at / head * head;
            if (_head.Length < head)
            {
                _head = new byte[head];
            }

            source.File.Read(source.Name, source.Offset + start, _head.AsSpan(0, (int)head));
            for (; !to.IsEmpty && at < start + head; at += Copy(source, at - start, ref to))
            {
            }
        }
    }

    public override void Dispose()
    {
        base.Dispose();
        _files.ForEach(f => f.Dispose());
        _files.Clear();
        _sources.Clear();
        _tensors.Clear();
    }

    protected internal override string FileOf(string name) => _sources.TryGetValue(name, out var source) ? source.File.Path : Path;

    // The rest of a row, from the place where the file has it. Rotary pairs are neighbours in the file, and half a head apart elsewhere.
    private int Copy(Source source, long at, ref Span<byte> to)
    {
        var (row, within) = Math.DivRem(at, source.RowBytes);
        var (half, pair) = Math.DivRem(row, source.HeadRows / 2);
        var rest = _head.AsSpan((int)((((2 * pair) + half) * source.RowBytes) + within), (int)Math.Min(source.RowBytes - within, to.Length));
        rest.CopyTo(to);
        to = to[rest.Length..];
        return rest.Length;
    }

    // NAME-00001-of-00003.gguf and so on: each says which it is, and the first one has the metadata.
    private void AddShards()
    {
        var (count, number) = (Metadata.Int("split.count") ?? 1, Metadata.Int("split.no") ?? 0);
        var end = string.Create(CultureInfo.InvariantCulture, $"-{number + 1:00000}-of-{count:00000}");
        var stem = System.IO.Path.GetFileNameWithoutExtension(Path);
        if (count > 1 && (number != 0 || !stem.EndsWith(end, StringComparison.Ordinal)))
        {
            throw new CheckpointException($"'{Path}' is shard {number + 1} of {count}. Name the first one, whose name ends in -00001-of-{count:00000}{GgufFile.Extension}, with the others beside it under the names that they were published with.");
        }

        for (var i = 2; i <= count; i++)
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"{stem[..^end.Length]}-{i:00000}-of-{count:00000}{System.IO.Path.GetExtension(Path)}");
            var shard = GgufFile.Open(System.IO.Path.Combine(System.IO.Path.GetDirectoryName(Path) ?? "", name));
            _files.Add(shard);
            if (shard.Metadata.Int("split.no") != i - 1 || shard.Metadata.Int("split.count") != count)
            {
                throw new CheckpointException($"'{shard.Path}' does not say that it is shard {i} of {count}. Download it again.");
            }
        }

        if (Metadata.Int("split.tensors.count") is { } all && all != _files.Sum(f => f.Tensors.Count))
        {
            throw new CheckpointException($"'{Path}' and its shards have {_files.Sum(f => f.Tensors.Count)} tensors, and should have {all}. Download them again.");
        }
    }

    private void Add(GgufFile file)
    {
        foreach (var (name, (stored, offset)) in file.Tensors)
        {
            if (name == GgufNames.RopeFactors)
            {
                RopeFactors = ReadFloats(file, stored, offset);
            }
            else if (name == GgufNames.LongRopeFactors)
            {
                LongRopeFactors = LongRopeFactors with { Long = ReadFloats(file, stored, offset) };
            }
            else if (name == GgufNames.ShortRopeFactors)
            {
                LongRopeFactors = LongRopeFactors with { Short = ReadFloats(file, stored, offset) };
            }
            else if (GgufNames.OfExperts(name) is { } expertNames && stored.Shape.Length == (TensorNames.IsBias(name) ? 2 : 3) && stored.Shape[0] <= GgufArchitecture.MostExperts)
            {
                AddExperts(file, stored, offset, expertNames);
            }
            else
            {
                var ours = GgufNames.Of(name, Architecture.Family);
                var shape = GgufNames.IsSharedGate(name) && stored.Shape is [var columns] ? [1, columns] : TensorNames.ShapeOf(ours, stored.Shape);
                Add(stored with { Name = ours, Shape = shape }, SourceOf(file, stored, offset));
            }
        }
    }

    // [experts, rows, columns], or [experts, rows] of a bias
    private void AddExperts(GgufFile file, StoredTensor stored, long offset, Func<int, string[]> names)
    {
        var parts = names(0).Length;
        if (stored.Shape[1] % parts != 0)
        {
            throw new CheckpointException($"'{file.Path}': tensor '{stored.Name}' has {stored.Shape[1]} rows, which are not {parts} parts of one size.");
        }

        long[] shape = [stored.Shape[1] / parts, .. stored.Shape[2..]];
        for (var at = 0; at < stored.Shape[0] * parts; at++)
        {
            var (expert, part) = Math.DivRem(at, parts);
            Add(stored with { Name = names(expert)[part], Shape = shape }, new Source(file, stored.Name, offset + (at * (stored.Length / stored.Shape[0] / parts)), 0, 0));
        }
    }

    private void Add(StoredTensor tensor, Source source)
    {
        if (!_tensors.TryAdd(tensor.Name, tensor))
        {
            throw new CheckpointException($"'{source.File.Path}': tensor '{source.Name}' is there twice, in shards or under several names.");
        }

        _sources.Add(tensor.Name, source);
    }

    private Source SourceOf(GgufFile file, StoredTensor stored, long offset)
    {
        var heads = !Architecture.PairsAreNeighbours ? 0 : GgufNames.IsQuery(stored.Name) ? Architecture.Heads : GgufNames.IsKey(stored.Name) ? Architecture.KvHeads : 0;
        var rows = stored.Shape.Length > 0 ? stored.Shape[0] : 1; // a bias has its numbers
        if (heads == 0)
        {
            return new Source(file, stored.Name, offset, 0, 0) { IsDecayRate = (Architecture.Family.DeltaLayers || Architecture.Family.SpaceLayers) && GgufNames.IsDecayRate(stored.Name) };
        }

        return rows % (2 * heads) == 0 && stored.Length / heads <= int.MaxValue
            ? new Source(file, stored.Name, offset, rows / heads, stored.Length / rows)
            : throw new CheckpointException($"'{file.Path}': tensor '{stored.Name}' has {rows} rows, which are not {heads} heads of an even number.");
    }

    private static float[] ReadFloats(GgufFile file, StoredTensor stored, long offset, int sign = 1)
    {
        if (stored is not { Packing: DensePacking { Type: TorchSharp.torch.ScalarType.Float32 }, Shape: [> 0 and <= GgufArchitecture.LargestHead] })
        {
            throw new CheckpointException($"'{file.Path}': tensor '{stored.Name}' is no vector of float32.");
        }

        var values = new float[stored.Shape[0]];
        file.Read(stored.Name, offset, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()));
        return Array.TrueForAll(values, v => v * sign > 0 && float.IsFinite(v))
            ? values
            : throw new CheckpointException($"'{file.Path}': tensor '{stored.Name}' has numbers that are not {(sign > 0 ? "positive" : "negative")}.");
    }

    /// <summary>Where the bytes of a tensor are.</summary>
    /// <param name="Name">Its name there.</param>
    /// <param name="Offset">Its first byte.</param>
    /// <param name="HeadRows">Rows of a head, if they lie there in another order; else 0.</param>
    /// <param name="RowBytes">Bytes of such a row.</param>
    private sealed record Source(GgufFile File, string Name, long Offset, long HeadRows, long RowBytes)
    {
        /// <summary>Numbers are read as the logarithms of what they are without their sign.</summary>
        public bool IsDecayRate { get; init; }
    }
}
