using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Text.Json;
using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Where a tensor lies in a safetensors file, and what it is.</summary>
/// <param name="Name">The checkpoint's name of the tensor.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Dimensions, outermost first.</param>
/// <param name="Offset">First byte, from the start of the file.</param>
/// <param name="Length">Bytes.</param>
internal sealed record SafetensorsEntry(string Name, ScalarType Type, long[] Shape, long Offset, long Length);

/// <summary>A memory-mapped safetensors file whose header has been checked against the file.</summary>
/// <remarks>Format: eight bytes of header length, a JSON header, then the data (huggingface/safetensors).</remarks>
internal sealed unsafe class SafetensorsFile : IDisposable
{
    private const long LargestHeader = 100_000_000;

    private readonly MemoryMappedFile _map;
    private readonly MemoryMappedViewAccessor _view;
    private readonly byte* _start;

    private SafetensorsFile(string path, MemoryMappedFile map, MemoryMappedViewAccessor view, IReadOnlyDictionary<string, SafetensorsEntry> entries)
    {
        (Path, _map, _view, Entries) = (path, map, view, entries);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
    }

    public string Path { get; }

    public IReadOnlyDictionary<string, SafetensorsEntry> Entries { get; }

    /// <summary>The bytes of a tensor of this file; valid until the file is disposed.</summary>
    public byte* Address(SafetensorsEntry entry) => _start + _view.PointerOffset + entry.Offset;

    /// <summary>Maps the file and checks its header: sizes, types, ranges, overlaps.</summary>
    /// <exception cref="CheckpointException">The file is not a whole, consistent safetensors file.</exception>
    public static SafetensorsFile Open(string path)
    {
        FileStream? stream = null;
        MemoryMappedFile? map = null;
        try
        {
            stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            var entries = ReadHeader(path, stream);
            map = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
            return new SafetensorsFile(path, map, map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read), entries);
        }
        catch (Exception e)
        {
            map?.Dispose();
            stream?.Dispose();
            throw e is HeadInferException ? e : new CheckpointException($"'{path}' cannot be read as safetensors: {e.Message}", e);
        }
    }

    public void Dispose()
    {
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _map.Dispose();
    }

    private static Dictionary<string, SafetensorsEntry> ReadHeader(string path, FileStream stream)
    {
        var prefix = new byte[8];
        if (stream.ReadAtLeast(prefix, 8, throwOnEndOfStream: false) < 8)
        {
            throw new CheckpointException($"'{path}' is not a safetensors file: it has {stream.Length} bytes.");
        }

        var length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > LargestHeader || (long)length > stream.Length - 8)
        {
            throw new CheckpointException($"'{path}' is truncated or not safetensors: its header claims {length} bytes and the file has {stream.Length}.");
        }

        var header = new byte[length];
        stream.ReadExactly(header);
        using var json = JsonDocument.Parse(header);
        var entries = new Dictionary<string, SafetensorsEntry>(StringComparer.Ordinal);
        foreach (var property in json.RootElement.EnumerateObject())
        {
            if (property.Name != "__metadata__" && !entries.TryAdd(property.Name, ReadEntry(path, property, 8 + (long)length, stream.Length)))
            {
                throw new CheckpointException($"'{path}' names tensor '{property.Name}' twice.");
            }
        }

        SafetensorsEntry? previous = null;
        foreach (var entry in entries.Values.OrderBy(e => e.Offset).ThenBy(e => e.Length))
        {
            if (previous is not null && entry.Offset < previous.Offset + previous.Length)
            {
                throw new CheckpointException($"'{path}': tensors '{previous.Name}' and '{entry.Name}' overlap.");
            }

            previous = entry;
        }

        return entries;
    }

    private static SafetensorsEntry ReadEntry(string path, JsonProperty property, long dataStart, long fileLength)
    {
        var name = property.Name;
        var type = DataTypes.FromSafetensors(property.Value.GetProperty("dtype").GetString() ?? "")
            ?? throw new CheckpointException($"'{path}': tensor '{name}' has the unknown type '{property.Value.GetProperty("dtype")}'.");
        var shape = property.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt64()).ToArray();
        var offsets = property.Value.GetProperty("data_offsets").EnumerateArray().Select(d => d.GetInt64()).ToArray();
        if (offsets.Length != 2 || offsets[0] < 0 || offsets[1] < offsets[0] || shape.Any(d => d < 0))
        {
            throw new CheckpointException($"'{path}': tensor '{name}' has an impossible shape or data range in the header.");
        }

        if (offsets[1] > fileLength - dataStart)
        {
            throw new CheckpointException($"'{path}' is truncated: tensor '{name}' ends at byte {(Int128)dataStart + offsets[1]} and the file has {fileLength}.");
        }

        var bytes = shape.Aggregate((Int128)DataTypes.Size(type), (product, d) => product > long.MaxValue ? product : product * d);
        if (bytes != offsets[1] - offsets[0])
        {
            throw new CheckpointException($"'{path}': tensor '{name}' of shape [{string.Join(", ", shape)}] needs {bytes} bytes and the header gives it {offsets[1] - offsets[0]}.");
        }

        return new SafetensorsEntry(name, type, shape, dataStart + offsets[0], offsets[1] - offsets[0]);
    }
}
