using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>What a GGUF file says of its model, by keys, which every error names.</summary>
/// <param name="header">has the values</param>
/// <param name="values">where they lie</param>
internal sealed class GgufMetadata(string path, GgufHeader header, IReadOnlyDictionary<string, GgufValue> values)
{
    private const int LongestList = 1 << 22;

    private readonly HashSet<string> _asked = new(StringComparer.Ordinal);

    public string Path => path;

    public IEnumerable<string> Keys => values.Keys;

    /// <summary>Keys whose values nobody has asked for.</summary>
    public IEnumerable<string> Unasked => values.Keys.Where(k => !_asked.Contains(k));

    public bool Has(string key) => values.ContainsKey(key);

    /// <summary>Whether a key's value is an array.</summary>
    public bool IsArray(string key) => values.TryGetValue(key, out var value) && value.Type == GgufType.Array;

    /// <summary>A text; null if the key is not there.</summary>
    public string? Text(string key)
    {
        if (!Find(key, out var value))
        {
            return null;
        }

        return value.Type == GgufType.Text
            ? Encoding.UTF8.GetString(header[value.At + sizeof(ulong), (int)BinaryPrimitives.ReadUInt64LittleEndian(header[value.At, sizeof(ulong)])])
            : throw Invalid(key, Shown(value), "a text");
    }

    public bool? Bool(string key) => !Find(key, out var value) ? null
        : value.Type == GgufType.Bool && header[value.At, 1][0] is <= 1 and var flag ? flag == 1
        : throw Invalid(key, Shown(value), "true or false");

    /// <summary>A whole number; null if the key is not there. What may differ between layers is an array, and must not.</summary>
    /// <exception cref="CheckpointException">It is none, or out of range.</exception>
    /// <exception cref="UnsupportedModelException">It differs between layers.</exception>
    public int? Int(string key, int least = 0, int most = 1 << 30)
    {
        if (!Find(key, out var value))
        {
            return null;
        }

        var all = value.Type == GgufType.Array ? value : value with { Item = value.Type };
        if (all.Count == 0 || !IsWhole(all.Item))
        {
            throw Invalid(key, Shown(value), "a whole number");
        }

        var number = Whole(all, 0);
        for (var i = 1; i < all.Count; i++)
        {
            if (Whole(all, i) != number)
            {
                throw new UnsupportedModelException($"'{path}': '{key}' differs between layers ({number} and {Whole(all, i)}), which is not supported.");
            }
        }

        return number >= least && number <= most ? (int)number : throw Invalid(key, $"{number}", $"a whole number from {least} to {most}");
    }

    /// <summary>As <see cref="Int"/>, of a key that must be there.</summary>
    public int RequiredInt(string key, int least = 1, int most = 1 << 30) => Int(key, least, most) ?? throw Lacks(key);

    /// <summary>A number; null if the key is not there.</summary>
    /// <remarks>Converters write a configuration's decimals as float32. The shortest decimal that becomes that float32 is the configuration's.</remarks>
    public double? Number(string key)
    {
        if (!Find(key, out var value))
        {
            return null;
        }

        var number = value.Type switch
        {
            GgufType.Float32 => double.Parse(BinaryPrimitives.ReadSingleLittleEndian(header[value.At, 4]).ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture),
            GgufType.Float64 => BinaryPrimitives.ReadDoubleLittleEndian(header[value.At, 8]),
            var type when IsWhole(type) => (double)Whole(value with { Item = type }, 0),
            _ => double.NaN,
        };
        return double.IsFinite(number) ? number : throw Invalid(key, Shown(value), "a number");
    }

    /// <summary>A list of texts; none if the key is not there.</summary>
    public string[] Texts(string key) => !Find(key, out var value) ? []
        : value is { Type: GgufType.Array, Count: <= LongestList, Item: GgufType.Text } ? header.Texts(value)
        : throw Invalid(key, Shown(value), "a list of texts");

    /// <summary>A list of whole numbers; none if the key is not there.</summary>
    public int[] Ints(string key) => !Find(key, out var value) ? []
        : value is { Type: GgufType.Array, Count: <= LongestList } && IsWhole(value.Item) ? [.. Enumerable.Range(0, value.Count).Select(i => (int)Int128.Clamp(Whole(value, i), int.MinValue, int.MaxValue))]
        : throw Invalid(key, Shown(value), "a list of whole numbers");

    /// <summary>A list of truth values; none if the key is not there.</summary>
    public bool[] Bools(string key) => !Find(key, out var value) ? []
        : value is { Type: GgufType.Array, Count: <= LongestList, Item: GgufType.Bool } && header[value.At, value.Count].IndexOfAnyExcept((byte)0, (byte)1) < 0 ? [.. header[value.At, value.Count].ToArray().Select(b => b == 1)]
        : throw Invalid(key, Shown(value), "a list of truth values");

    /// <summary>A list of float32; none if the key is not there.</summary>
    public float[] Floats(string key) => !Find(key, out var value) ? []
        : value is { Type: GgufType.Array, Count: <= LongestList, Item: GgufType.Float32 } ? [.. Enumerable.Range(0, value.Count).Select(i => BinaryPrimitives.ReadSingleLittleEndian(header[value.At + (i * 4), 4]))]
        : throw Invalid(key, Shown(value), "a list of numbers");

    public CheckpointException Lacks(string key) => new($"'{path}' lacks '{key}'.");

    public CheckpointException Invalid(string key, string shown, string expected) => new($"'{path}': '{key}' is {shown}; expected {expected}.");

    private bool Find(string key, out GgufValue value)
    {
        _asked.Add(key);
        return values.TryGetValue(key, out value);
    }

    private static string Shown(GgufValue value) => value.Type == GgufType.Array ? $"an array of {value.Count} {value.Item}" : $"a {value.Type}";

    private static bool IsWhole(GgufType type) => type is GgufType.UInt8 or GgufType.Int8 or GgufType.UInt16 or GgufType.Int16 or GgufType.UInt32 or GgufType.Int32 or GgufType.UInt64 or GgufType.Int64;

    private Int128 Whole(GgufValue value, int item)
    {
        var size = GgufHeader.SizeOf(value.Item);
        var bytes = header[value.At + (item * size), size];
        return value.Item switch
        {
            GgufType.UInt8 => bytes[0],
            GgufType.Int8 => (sbyte)bytes[0],
            GgufType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(bytes),
            GgufType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(bytes),
            GgufType.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(bytes),
            GgufType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(bytes),
            GgufType.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(bytes),
            _ => BinaryPrimitives.ReadInt64LittleEndian(bytes),
        };
    }
}
