using System.Buffers.Binary;
using System.Text;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The types of values in a GGUF file's metadata, by their numbers.</summary>
internal enum GgufType : uint
{
    UInt8,
    Int8,
    UInt16,
    Int16,
    UInt32,
    Int32,
    Float32,
    Bool,
    Text,
    Array,
    UInt64,
    Int64,
    Float64,
}

/// <summary>Where a value of the metadata lies.</summary>
/// <param name="At">Its first byte in the header; of an array that of its first item.</param>
/// <param name="Item">The type of an array's items.</param>
/// <param name="Count">An array's items.</param>
internal readonly record struct GgufValue(GgufType Type, int At, GgufType Item, int Count);

/// <summary>Reads the beginning of a GGUF file, as far as it is asked for, and keeps it.</summary>
/// <remarks>Whatever the file says of its counts and lengths, no more is held than it has, and no more than <see cref="Largest"/>.</remarks>
/// <param name="file">the file; only used while the header is read</param>
internal sealed class GgufHeader(StableFile file)
{
    private const int Largest = 256 << 20; // the largest published vocabularies take 15 MiB
    private const int DeepestArray = 4;

    private readonly int _end = (int)Math.Min(file.Length, Largest);
    private byte[] _bytes = [];

    /// <summary>The place up to which it has been read.</summary>
    public int At { get; private set; }

    /// <summary>Bytes that were read before.</summary>
    public ReadOnlySpan<byte> this[int at, int count] => _bytes.AsSpan(at, count);

    public uint ReadUInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(sizeof(uint)));

    public ulong ReadUInt64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(sizeof(ulong)));

    /// <summary>A text, after its length.</summary>
    /// <param name="most">bytes it may have</param>
    /// <param name="what">what it is, for messages</param>
    public string ReadText(int most, string what) => ReadUInt64() is var length && length <= (ulong)most
        ? Encoding.UTF8.GetString(Take((long)length))
        : throw new CheckpointException($"'{file.Path}': {what} has {length} bytes, and may have at most {most}.");

    /// <summary>Passes over a value, and tells where it is.</summary>
    /// <param name="key">its key, for messages</param>
    public GgufValue ReadValue(string key)
    {
        var type = ReadType(key);
        if (type == GgufType.Array)
        {
            return SkipArray(key, 1);
        }

        var value = new GgufValue(type, At, type, 1);
        Skip(type, 1);
        return value;
    }

    public string[] Texts(GgufValue array)
    {
        var (texts, at) = (new string[array.Count], array.At);
        for (var i = 0; i < texts.Length; i++)
        {
            var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(_bytes.AsSpan(at));
            texts[i] = Encoding.UTF8.GetString(_bytes, at + sizeof(ulong), length);
            at += sizeof(ulong) + length;
        }

        return texts;
    }

    /// <summary>Bytes of a value that all values of its type have; 0 for texts and arrays.</summary>
    public static int SizeOf(GgufType type) => type switch
    {
        GgufType.UInt8 or GgufType.Int8 or GgufType.Bool => 1,
        GgufType.UInt16 or GgufType.Int16 => 2,
        GgufType.UInt32 or GgufType.Int32 or GgufType.Float32 => 4,
        GgufType.UInt64 or GgufType.Int64 or GgufType.Float64 => 8,
        _ => 0,
    };

    private GgufType ReadType(string key) => (GgufType)ReadUInt32() is var type && Enum.IsDefined(type)
        ? type
        : throw new CheckpointException($"'{file.Path}': '{key}' has a value of the unknown type {(uint)type}. The file is damaged, or of a newer form of GGUF.");

    private GgufValue SkipArray(string key, int depth)
    {
        var (item, count) = (ReadType(key), ReadUInt64());
        if (count > (ulong)(_end - At) || depth > DeepestArray) // an item has at least a byte
        {
            throw new CheckpointException($"'{file.Path}': '{key}' is an array of {count} items, {depth} deep: more than the file has, or deeper than {DeepestArray}.");
        }

        var value = new GgufValue(GgufType.Array, At, item, (int)count);
        for (var i = 0; item == GgufType.Array && i < value.Count; i++)
        {
            SkipArray(key, depth + 1);
        }

        Skip(item, value.Count);
        return value;
    }

    private void Skip(GgufType type, int count)
    {
        Take((long)count * SizeOf(type));
        for (var i = 0; type == GgufType.Text && i < count; i++)
        {
            Take((long)Math.Min(ReadUInt64(), long.MaxValue));
        }
    }

    private ReadOnlySpan<byte> Take(long count)
    {
        if (count > _end - At)
        {
            throw new CheckpointException(file.Length > Largest
                ? $"'{file.Path}': the metadata and the list of tensors have more than the {Largest} bytes that are read. The file is damaged."
                : $"'{file.Path}' is truncated: it ends within its metadata or its list of tensors. Download it again.");
        }

        var to = At + (int)count;
        if (to > _bytes.Length)
        {
            var had = _bytes.Length;
            Array.Resize(ref _bytes, (int)Math.Clamp(2L * had, Math.Max(to, Math.Min(1 << 16, _end)), _end));
            file.ReadAt(had, _bytes.AsSpan(had));
        }

        At = to;
        return _bytes.AsSpan(to - (int)count, (int)count);
    }
}
