using System.Buffers.Binary;
using System.Text;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Writes a GGUF file.</summary>
internal sealed class GgufWriter
{
    private readonly List<(string Key, object Value)> _values = [];
    private readonly List<(string Name, long[] Shape, uint Type, byte[] Data)> _tensors = [];

    public uint Version { get; set; } = 3;

    /// <summary>A text, a truth value, an int, a float, a list of texts, truth values, ints or floats, or bytes as they are: a type and what follows it.</summary>
    public GgufWriter With(string key, object value)
    {
        _values.Add((key, value));
        return this;
    }

    public GgufWriter Without(string key)
    {
        _values.RemoveAll(v => v.Key == key);
        return this;
    }

    public GgufWriter Tensor(string name, long[] shape, ReadOnlySpan<float> data) => Tensor(name, shape, 0, System.Runtime.InteropServices.MemoryMarshal.AsBytes(data).ToArray());

    /// <param name="name">its name</param>
    /// <param name="shape">dimensions, outermost first</param>
    /// <param name="type">the number of its type</param>
    /// <param name="data">its bytes</param>
    public GgufWriter Tensor(string name, long[] shape, uint type, byte[] data)
    {
        _tensors.Add((name, shape, type, data));
        return this;
    }

    /// <summary>Writes the file; tensors lie one after the other, aligned.</summary>
    /// <param name="path">its path</param>
    /// <param name="moved">changes where a tensor is said to lie, by its number</param>
    public void Write(string path, Func<int, ulong, ulong>? moved = null)
    {
        using var file = new MemoryStream();
        file.Write("GGUF"u8);
        file.Write(Bytes(Version));
        file.Write(Bytes((ulong)_tensors.Count));
        file.Write(Bytes((ulong)_values.Count));
        foreach (var (key, value) in _values)
        {
            file.Write(Text(key));
            file.Write(Value(value));
        }

        var offset = 0UL;
        foreach (var (i, (name, shape, type, data)) in _tensors.Index())
        {
            file.Write(Text(name));
            file.Write(Bytes((uint)shape.Length));
            foreach (var n in shape.Reverse())
            {
                file.Write(Bytes((ulong)n));
            }

            file.Write(Bytes(type));
            file.Write(Bytes(moved?.Invoke(i, offset) ?? offset));
            offset += ((ulong)data.Length + 31) / 32 * 32;
        }

        foreach (var (_, _, _, data) in _tensors)
        {
            Align(file);
            file.Write(data);
        }

        Align(file);
        File.WriteAllBytes(path, file.ToArray());
    }

    public static byte[] Bytes(uint value) => [.. BitConverter.GetBytes(value)];

    public static byte[] Bytes(ulong value) => [.. BitConverter.GetBytes(value)];

    private static void Align(MemoryStream file) => file.Write(new byte[(32 - (file.Length % 32)) % 32]);

    private static byte[] Text(string text) => [.. Bytes((ulong)Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text)];

    private static byte[] Value(object value) => value switch
    {
        byte[] raw => raw,
        string text => [.. Bytes(8u), .. Text(text)],
        bool flag => [.. Bytes(7u), flag ? (byte)1 : (byte)0],
        int number => [.. Bytes(4u), .. BitConverter.GetBytes(number)],
        float number => [.. Bytes(6u), .. BitConverter.GetBytes(number)],
        IReadOnlyList<string> texts => [.. Bytes(9u), .. Bytes(8u), .. Bytes((ulong)texts.Count), .. texts.SelectMany(Text)],
        IReadOnlyList<bool> flags => [.. Bytes(9u), .. Bytes(7u), .. Bytes((ulong)flags.Count), .. flags.Select(f => f ? (byte)1 : (byte)0)],
        IReadOnlyList<int> numbers => [.. Bytes(9u), .. Bytes(5u), .. Bytes((ulong)numbers.Count), .. numbers.SelectMany(BitConverter.GetBytes)],
        IReadOnlyList<float> numbers => [.. Bytes(9u), .. Bytes(6u), .. Bytes((ulong)numbers.Count), .. numbers.SelectMany(BitConverter.GetBytes)],
        _ => throw new ArgumentException($"{value.GetType()} is not written", nameof(value)),
    };
}
