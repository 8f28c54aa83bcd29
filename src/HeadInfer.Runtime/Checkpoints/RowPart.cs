using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace HeadInfer.Runtime.Checkpoints;

internal sealed record FileTensor(SafetensorsFile File, SafetensorsEntry Entry)
{
    public const int MostColumns = 1 << 27; // so that their bits can be counted

    public string Name => Entry.Name;

    public TorchSharp.torch.ScalarType Type => Entry.Type;

    public long[] Shape => Entry.Shape;

    /// <summary>Its two dimensions, neither of them 0.</summary>
    /// <exception cref="CheckpointException">It has others.</exception>
    public (long Rows, long Columns) Matrix => Shape is [> 0 and <= MostColumns and var rows, > 0 and <= MostColumns and var columns]
        ? (rows, columns)
        : throw Fault($"has shape [{string.Join(", ", Shape)}]; it must have two dimensions");

    public void Read(long at, Span<byte> to) => File.Read(Entry, at, to);

    /// <summary>Says what is wrong with it.</summary>
    public CheckpointException Fault(string what) => new($"'{File.Path}': tensor '{Name}' {what}. The files contradict each other: download them again, or take another checkpoint of the model.");

    /// <summary>All of a small tensor.</summary>
    public T[] Values<T>()
        where T : unmanaged
    {
        var values = new T[Shape.Aggregate(1L, (product, n) => product * n)];
        Read(0, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }
}

/// <summary>A matrix in a packing, whose rows are put together from several tensors of a file.</summary>
/// <param name="tensor">what it is to the checkpoint</param>
/// <param name="codes">the tensor that has most of it</param>
internal abstract class PackedMatrix(StoredTensor tensor, FileTensor codes)
{
    public StoredTensor Tensor => tensor;

    public string File => codes.File.Path;

    protected int Columns { get; } = (int)tensor.Columns;

    protected int Stride { get; } = checked((int)tensor.Packing.RowBytes(tensor.Columns));

    /// <summary>Reads whole rows.</summary>
    /// <param name="first">number of the first</param>
    /// <param name="to">filled to its end</param>
    public void Read(long first, Span<byte> to)
    {
        to.Clear(); // what fills rows up is the same each time
        Fill(first, to.Length / Stride, to);
    }

    protected abstract void Fill(long first, int count, Span<byte> to);
}

/// <summary>A matrix whose rows have parts that lie row by row in tensors of their own.</summary>
internal sealed class ComposedMatrix(StoredTensor tensor, FileTensor codes, params IReadOnlyList<RowPart> parts) : PackedMatrix(tensor, codes)
{
    protected override void Fill(long first, int count, Span<byte> to)
    {
        var at = 0;
        foreach (var part in parts)
        {
            part.Fill(first, count, to[at..], Stride);
            at += part.Bytes;
        }
    }
}

/// <summary>Bytes that every row has at the same place.</summary>
internal abstract class RowPart(int bytes)
{
    public int Bytes => bytes;

    /// <param name="first">number of the first row</param>
    /// <param name="count">rows</param>
    /// <param name="to">from the part's first byte in the first row</param>
    /// <param name="stride">bytes from a row to the next</param>
    public abstract void Fill(long first, int count, Span<byte> to, int stride);
}

/// <summary>The same number for every row.</summary>
internal sealed class ConstantPart(float value) : RowPart(sizeof(float))
{
    public override void Fill(long first, int count, Span<byte> to, int stride)
    {
        for (var row = 0; row < count; row++)
        {
            BitConverter.TryWriteBytes(to[(row * stride)..], value);
        }
    }
}

/// <summary>The beginning of each row of a tensor.</summary>
/// <param name="tensor">has the rows</param>
/// <param name="bytes">that are taken of a row</param>
/// <param name="rowBytes">that a row has in the tensor</param>
internal sealed class StoredPart(FileTensor tensor, int bytes, int rowBytes) : RowPart(bytes)
{
    /// <summary>Rows of the matrix that share a row of the tensor.</summary>
    public long Every { get; init; } = 1;

    /// <summary>What every byte gains, so that signed ones become unsigned.</summary>
    public byte Add { get; init; }

    /// <summary>The code of 4 or 8 bits that comes to each place, or null if they stay.</summary>
    public (int Bits, int[] Columns)? Order { get; init; }

    public override void Fill(long first, int count, Span<byte> to, int stride)
    {
        var (start, end) = (first / Every, ((first + count - 1) / Every) + 1);
        var rented = ArrayPool<byte>.Shared.Rent(checked((int)((end - start) * rowBytes)));
        var stored = rented.AsSpan(0, (int)((end - start) * rowBytes));
        tensor.Read(start * rowBytes, stored);
        foreach (ref var value in Add == 0 ? [] : stored)
        {
            value += Add;
        }

        for (var row = 0; row < count; row++)
        {
            var from = stored.Slice((int)(((first + row) / Every) - start) * rowBytes, Bytes);
            var target = to.Slice(row * stride, Bytes);
            if (Order is { } order)
            {
                Nibbles.Gather(from, order.Bits, order.Columns, target);
            }
            else
            {
                from.CopyTo(target);
            }
        }

        ArrayPool<byte>.Shared.Return(rented);
    }
}

/// <summary>Zeros of groups as compressed-tensors packs them: words with several rows' zeros of one group.</summary>
/// <param name="tensor">[rows * bits / 32, groups]</param>
/// <param name="bits">of a zero</param>
internal sealed class PackedZerosPart(FileTensor tensor, int bits) : RowPart((int)tensor.Shape[1])
{
    public override void Fill(long first, int count, Span<byte> to, int stride)
    {
        var each = 32 / bits;
        var (start, end) = (first / each, ((first + count - 1) / each) + 1);
        var words = new uint[(end - start) * Bytes];
        tensor.Read(start * Bytes * sizeof(uint), MemoryMarshal.AsBytes(words.AsSpan()));
        for (var row = 0; row < count; row++)
        {
            var (line, place) = ((int)(((first + row) / each) - start), (int)((first + row) % each));
            for (var group = 0; group < Bytes; group++)
            {
                to[(row * stride) + group] = (byte)((words[(line * Bytes) + group] >> (place * bits)) & ((1u << bits) - 1));
            }
        }
    }
}

/// <summary>Codes of 4 bits, two a byte, the low half first; or of 8.</summary>
internal static class Nibbles
{
    /// <summary>Packs codes that have a byte each.</summary>
    public static void Pack(ReadOnlySpan<byte> codes, int bits, int[]? order, Span<byte> to)
    {
        var i = 0;
        for (; order is null && bits == 4 && i <= codes.Length - 8; i += 8)
        {
            // Neighbours are drawn together: bytes to pairs, pairs to fours, fours to eights.
            var eight = BinaryPrimitives.ReadUInt64LittleEndian(codes[i..]);
            eight = (eight | (eight >> 4)) & 0x00ff_00ff_00ff_00ff;
            eight = (eight | (eight >> 8)) & 0x0000_ffff_0000_ffff;
            BinaryPrimitives.WriteUInt32LittleEndian(to[(i / 2)..], (uint)(eight | (eight >> 16)));
        }

        for (; i < codes.Length; i++)
        {
            Put(to, bits, i, codes[order?[i] ?? i]);
        }
    }

    /// <summary>Gives the eight codes of a word a byte each.</summary>
    public static void Spread(uint word, Span<byte> to)
    {
        ulong eight = word;
        eight = (eight | (eight << 16)) & 0x0000_ffff_0000_ffff;
        eight = (eight | (eight << 8)) & 0x00ff_00ff_00ff_00ff;
        BinaryPrimitives.WriteUInt64LittleEndian(to, (eight | (eight << 4)) & 0x0f0f_0f0f_0f0f_0f0f);
    }

    /// <summary>Brings packed codes into another order.</summary>
    public static void Gather(ReadOnlySpan<byte> from, int bits, int[] order, Span<byte> to)
    {
        for (var i = 0; i < order.Length; i++)
        {
            var at = order[i];
            Put(to, bits, i, bits == 8 ? from[at] : (byte)((from[at / 2] >> (at % 2 * 4)) & 15));
        }
    }

    // The target is clear.
    private static void Put(Span<byte> to, int bits, int i, byte code)
    {
        if (bits == 8)
        {
            to[i] = code;
        }
        else
        {
            to[i / 2] |= (byte)(code << (i % 2 * 4));
        }
    }
}
