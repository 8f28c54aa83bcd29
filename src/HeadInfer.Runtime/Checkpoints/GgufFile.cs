namespace HeadInfer.Runtime.Checkpoints;

/// <param name="Stored">Its name, type and shape.</param>
/// <param name="Offset">Its first byte, from the start of the file.</param>
internal sealed record GgufTensor(StoredTensor Stored, long Offset);

/// <summary>An open GGUF file whose header has been checked against the file.</summary>
/// <remarks>Format: magic, version, counts, metadata, list of tensors, then the data, aligned (docs/gguf.md of ggml). All is little-endian.</remarks>
internal sealed class GgufFile : IDisposable
{
    public const string Extension = ".gguf";

    private const uint Magic = 0x46554747; // "GGUF"
    private const int LongestKey = ushort.MaxValue, LongestName = 256, MostDimensions = 4, LargestAlignment = 1 << 20;
    private const uint MostEntries = 1 << 16; // keys, and tensors: a hundred layers have two thousand
    private const long MostElements = 1L << 48;

    private readonly StableFile _file;
    private readonly Dictionary<string, GgufTensor> _tensors = new(StringComparer.Ordinal);

    private GgufFile(StableFile file)
    {
        _file = file;
        Metadata = ReadHeader(new GgufHeader(file));
    }

    public string Path => _file.Path;

    public GgufMetadata Metadata { get; }

    public IReadOnlyDictionary<string, GgufTensor> Tensors => _tensors;

    /// <summary>Whether a path names such a file, and no folder.</summary>
    public static bool IsNamed(string path) => path.EndsWith(Extension, StringComparison.OrdinalIgnoreCase) && !Directory.Exists(path);

    /// <summary>Opens the file and checks its header: counts, types, shapes, ranges, overlaps.</summary>
    /// <exception cref="CheckpointException">The file is not a whole, consistent GGUF file.</exception>
    /// <exception cref="UnsupportedModelException">A tensor has a type that is not read.</exception>
    public static GgufFile Open(string path)
    {
        StableFile? file = null;
        try
        {
            file = StableFile.Open(path);
            return new GgufFile(file);
        }
        catch (Exception e)
        {
            file?.Dispose();
            throw e is IOException or UnauthorizedAccessException ? new CheckpointException($"'{path}' cannot be read as GGUF: {e.Message}", e) : e;
        }
    }

    /// <inheritdoc cref="StableFile.Read"/>
    public void Read(string tensor, long offset, Span<byte> destination) => _file.Read(tensor, offset, destination);

    public void Dispose() => _file.Dispose();

    private GgufMetadata ReadHeader(GgufHeader header)
    {
        var start = new byte[Math.Min(_file.Length, 64)];
        _file.ReadAt(0, start);
        ModelFile.RefusePointer(start);
        var (magic, version) = start.Length < 24 ? (0, 0) : (header.ReadUInt32(), header.ReadUInt32());
        if (magic != Magic)
        {
            throw new CheckpointException($"'{Path}' is not a GGUF file.");
        }

        if (version is not (2 or 3))
        {
            throw new UnsupportedModelException($"'{Path}' is GGUF of version {version}{((version & 0xffff) == 0 ? ", that is big-endian" : "")}; little-endian GGUF of versions 2 and 3 is read. Convert the model again.");
        }

        var (tensors, keys) = (header.ReadUInt64(), header.ReadUInt64());
        if (Math.Max(tensors, keys) > MostEntries)
        {
            throw new CheckpointException($"'{Path}' claims {tensors} tensors and {keys} keys, and may have at most {MostEntries} of each. The file is damaged.");
        }

        var values = new Dictionary<string, GgufValue>(StringComparer.Ordinal);
        for (var i = 0UL; i < keys; i++)
        {
            var key = header.ReadText(LongestKey, "a key");
            if (!values.TryAdd(key, header.ReadValue(key)))
            {
                throw new CheckpointException($"'{Path}' has the key '{key}' twice.");
            }
        }

        var metadata = new GgufMetadata(Path, header, values);
        var alignment = metadata.Int("general.alignment", 1, LargestAlignment) ?? 32;
        if (!int.IsPow2(alignment))
        {
            throw metadata.Invalid("general.alignment", $"{alignment}", "a power of two");
        }

        var listed = new List<(StoredTensor Stored, ulong Offset)>();
        for (var i = 0UL; i < tensors; i++)
        {
            listed.Add(ReadTensor(header));
        }

        Place(listed, ((long)header.At + alignment - 1) / alignment * alignment, (uint)alignment);
        return metadata;
    }

    private (StoredTensor Stored, ulong Offset) ReadTensor(GgufHeader header)
    {
        var name = header.ReadText(LongestName, "a tensor's name");
        var dimensions = header.ReadUInt32();
        if (dimensions > MostDimensions)
        {
            throw new CheckpointException($"'{Path}': tensor '{name}' has {dimensions} dimensions, and may have at most {MostDimensions}.");
        }

        var shape = new long[dimensions]; // the file has them innermost first
        for (var i = shape.Length - 1; i >= 0; i--)
        {
            shape[i] = (long)Math.Min(header.ReadUInt64(), long.MaxValue);
        }

        var type = header.ReadUInt32();
        var packing = GgmlPackings.Of(type)
            ?? throw new UnsupportedModelException($"'{Path}': tensor '{name}' has the type {GgmlPackings.NameOfOther(type)}, which is not read. Take a file of the same model in another quantization, such as Q4_K_M or Q8_0; these types are read: {string.Join(", ", GgmlPackings.Names)}.");
        return (new StoredTensor(name, packing, shape), header.ReadUInt64());
    }

    // Each where the file has its bytes, and none where another is.
    private void Place(List<(StoredTensor Stored, ulong Offset)> listed, long start, uint alignment)
    {
        foreach (var (stored, offset) in listed)
        {
            var elements = stored.Shape.Aggregate((Int128)1, (product, n) => product > long.MaxValue ? product : product * n);
            if (elements < 1 || elements > MostElements || stored.Columns % stored.Packing.BlockColumns != 0 || offset % alignment != 0)
            {
                throw new CheckpointException($"'{Path}': tensor '{stored.Name}' of shape [{string.Join(", ", stored.Shape)}] and type {stored.Packing.Name} at {offset} is impossible: a row has whole blocks of {stored.Packing.BlockColumns}, and the place is a multiple of {alignment}.");
            }

            var bytes = elements / stored.Columns * stored.Packing.RowBytes(stored.Columns);
            if (start + (Int128)offset + bytes > _file.Length)
            {
                throw new CheckpointException($"'{Path}' is truncated: tensor '{stored.Name}' ends at byte {start + (Int128)offset + bytes} and the file has {_file.Length}. Download it again.");
            }

            if (!_tensors.TryAdd(stored.Name, new GgufTensor(stored, start + (long)offset)))
            {
                throw new CheckpointException($"'{Path}' names tensor '{stored.Name}' twice.");
            }
        }

        GgufTensor? previous = null;
        foreach (var tensor in _tensors.Values.OrderBy(t => t.Offset))
        {
            if (previous is not null && tensor.Offset < previous.Offset + previous.Stored.Length)
            {
                throw new CheckpointException($"'{Path}': tensors '{previous.Stored.Name}' and '{tensor.Stored.Name}' overlap.");
            }

            previous = tensor;
        }
    }
}
