using System.Buffers.Binary;
using System.Text.Json;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Where a tensor lies in a safetensors file, and what it is.</summary>
/// <param name="Name">The checkpoint's name of the tensor.</param>
/// <param name="Shape">Dimensions, outermost first.</param>
/// <param name="Offset">First byte, from the start of the file.</param>
/// <param name="Length">Bytes.</param>
internal sealed record SafetensorsEntry(string Name, ScalarType Type, long[] Shape, long Offset, long Length);

/// <summary>An open safetensors file whose header has been checked against the file.</summary>
/// <remarks>Format: eight bytes of header length, a JSON header, then the data (huggingface/safetensors).</remarks>
internal sealed class SafetensorsFile : IDisposable
{
    private const long LargestHeader = 100_000_000;

    private readonly StableFile _file;

    private SafetensorsFile(StableFile file)
    {
        _file = file;
        Entries = ReadHeader();
    }

    public string Path => _file.Path;

    public IReadOnlyDictionary<string, SafetensorsEntry> Entries { get; }

    /// <summary>Opens the file and checks its header: sizes, types, ranges, overlaps.</summary>
    /// <exception cref="CheckpointException">The file is not a whole, consistent safetensors file.</exception>
    public static SafetensorsFile Open(string path)
    {
        StableFile? file = null;
        try
        {
            file = StableFile.Open(path);
            return new SafetensorsFile(file);
        }
        catch (Exception e)
        {
            file?.Dispose();
            throw e is HeadInferException ? e : new CheckpointException($"'{path}' cannot be read as safetensors: {e.Message}", e);
        }
    }

    /// <summary>Reads a part of a tensor.</summary>
    /// <param name="entry">a tensor of this file</param>
    /// <param name="at">the part's first byte, from the start of the tensor</param>
    /// <param name="destination">filled to its end</param>
    /// <exception cref="CheckpointException">The file has been changed since it was opened, or cannot be read.</exception>
    public void Read(SafetensorsEntry entry, long at, Span<byte> destination) => _file.Read(entry.Name, entry.Offset + at, destination);

    public void Dispose() => _file.Dispose();

    private Dictionary<string, SafetensorsEntry> ReadHeader()
    {
        if (_file.Length < 8)
        {
            throw new CheckpointException($"'{Path}' is not a safetensors file: it has {_file.Length} bytes.");
        }

        var start = new byte[Math.Min(_file.Length, 64)];
        _file.ReadAt(0, start);
        ModelFile.RefusePointer(start);
        var length = BinaryPrimitives.ReadUInt64LittleEndian(start);
        if (length > LargestHeader || (long)length > _file.Length - 8)
        {
            throw new CheckpointException($"'{Path}' is truncated or not safetensors: its header claims {length} bytes and the file has {_file.Length}.");
        }

        var header = new byte[length];
        _file.ReadAt(8, header);
        using var json = JsonDocument.Parse(header);
        var entries = new Dictionary<string, SafetensorsEntry>(StringComparer.Ordinal);
        foreach (var property in json.RootElement.EnumerateObject())
        {
            if (property.Name != "__metadata__" && !entries.TryAdd(property.Name, ReadEntry(property, 8 + (long)length)))
            {
                throw new CheckpointException($"'{Path}' names tensor '{property.Name}' twice.");
            }
        }

        SafetensorsEntry? previous = null;
        foreach (var entry in entries.Values.OrderBy(e => e.Offset).ThenBy(e => e.Length))
        {
            if (previous is not null && entry.Offset < previous.Offset + previous.Length)
            {
                throw new CheckpointException($"'{Path}': tensors '{previous.Name}' and '{entry.Name}' overlap.");
            }

            previous = entry;
        }

        return entries;
    }

    private SafetensorsEntry ReadEntry(JsonProperty property, long dataStart)
    {
        var name = property.Name;
        var type = DataTypes.FromSafetensors(property.Value.GetProperty("dtype").GetString() ?? "")
            ?? throw Quantization.UnknownType(Path, name, property.Value.GetProperty("dtype").ToString());
        var shape = property.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64()).ToArray();
        var offsets = property.Value.GetProperty("data_offsets").EnumerateArray().Select(d => d.GetInt64()).ToArray();
        if (offsets.Length != 2 || offsets[0] < 0 || offsets[1] < offsets[0] || shape.Any(d => d < 0))
        {
            throw new CheckpointException($"'{Path}': tensor '{name}' has an impossible shape or data range in the header.");
        }

        if (offsets[1] > _file.Length - dataStart)
        {
            throw new CheckpointException($"'{Path}' is truncated: tensor '{name}' ends at byte {(Int128)dataStart + offsets[1]} and the file has {_file.Length}.");
        }

        var bytes = shape.Aggregate((Int128)DataTypes.Size(type), (product, d) => product > long.MaxValue ? product : product * d);
        if (bytes != offsets[1] - offsets[0])
        {
            throw new CheckpointException($"'{Path}': tensor '{name}' of shape [{string.Join(", ", shape)}] needs {bytes} bytes and the header gives it {offsets[1] - offsets[0]}.");
        }

        return new SafetensorsEntry(name, type, shape, dataStart + offsets[0], offsets[1] - offsets[0]);
    }
}
