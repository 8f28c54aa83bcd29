using System.Buffers;
using System.Runtime.InteropServices;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>A matrix of AWQ or GPTQ, which store inputs by outputs. It is read whole when its first rows are asked for, and given up after its last.</summary>
/// <remarks>GPTQ has words of several inputs of an output, AWQ of eight outputs of an input. Both have zeros in words of several outputs of a group.</remarks>
internal sealed class TransposedMatrix : PackedMatrix
{
    private const int Strip = 8; // rows at a time: those of an AWQ word

    private readonly FileTensor _codes, _zeros, _scales;
    private readonly int _bits, _rows, _groups;
    private readonly bool _awq, _zerosAreLess;
    private readonly byte[]?[] _held = new byte[]?[3];

    private TransposedMatrix(StoredTensor tensor, QuantizedModule module, FileTensor codes, FileTensor zeros, FileTensor scales, int bits)
        : base(tensor, codes)
    {
        (_codes, _zeros, _scales, _bits) = (codes, zeros, scales, bits);
        (_awq, _zerosAreLess) = (module.Config.Method == QuantizationConfig.Awq, module.Config.ZerosAreLess);
        (_rows, _groups) = ((int)tensor.Rows, (int)scales.Shape[0]);
    }

    private IntegerPacking Packing => (IntegerPacking)Tensor.Packing;

    /// <exception cref="CheckpointException">Its tensors contradict each other or the configuration.</exception>
    public static TransposedMatrix Of(QuantizedModule module)
    {
        var (codes, zeros, scales) = (module.Take(".qweight", ScalarType.Int32), module.Take(".qzeros", ScalarType.Int32), module.TakeScales(".scales"));
        var (groups, rows) = scales.Matrix;
        // Zeros are as wide as codes, and there is one for each scale.
        var width = zeros.Matrix.Columns * 32 / rows;
        if (width is not (2 or 3 or 4 or 8) || (module.Config.Bits.Count > 0 && !module.Config.Bits.Contains((int)width)))
        {
            throw zeros.Fault($"has {width} bits for each of {rows} outputs, and '{module.Config.Path}' says {string.Join(", ", module.Config.Bits)}");
        }

        var bits = (int)width;
        module.Expect(zeros, groups, rows * bits / 32);
        var awq = module.Config.Method == QuantizationConfig.Awq;
        var columns = awq ? codes.Matrix.Rows : codes.Matrix.Rows * 32 / bits;
        module.Expect(codes, awq ? [columns, rows * bits / 32] : [columns * bits / 32, rows]);
        if (rows * bits % 32 != 0 || columns * bits % 32 != 0 || columns > FileTensor.MostColumns || Math.Max(codes.Entry.Length, scales.Entry.Length) > Array.MaxLength)
        {
            throw codes.Fault($"makes a matrix of {rows} by {columns}, which words of {bits} bits each cannot fill");
        }

        var group = module.Group(scales, columns, groups);
        var order = module.Has(".g_idx") ? module.Order(module.Take(".g_idx", ScalarType.Int32), columns, groups, group) : null;
        var packing = new IntegerPacking(bits == 8 ? 8 : 4, group, scales.Type, zeros: true) { Order = order };
        return new TransposedMatrix(new StoredTensor(module.Weight, packing, [rows, columns]), module, codes, zeros, scales, bits);
    }

    protected override void Fill(long first, int count, Span<byte> to)
    {
        ReadOnlySpan<uint> codes = MemoryMarshal.Cast<byte, uint>(Hold(0, _codes)), zeros = MemoryMarshal.Cast<byte, uint>(Hold(1, _zeros));
        ReadOnlySpan<byte> scales = Hold(2, _scales);
        var strip = ArrayPool<byte>.Shared.Rent(Strip * Columns);
        var (tail, size) = ((int)Packing.CodeBytes(Columns), DataTypes.Size(_scales.Type));
        for (var start = (int)first / Strip * Strip; start < first + count; start += Strip)
        {
            ReadStrip(codes, start, Math.Min(Strip, _rows - start), strip);
            for (var row = Math.Max(start, (int)first); row < Math.Min(start + Strip, first + count); row++)
            {
                var target = to.Slice((row - (int)first) * Stride, Stride);
                Nibbles.Pack(strip.AsSpan((row - start) * Columns, Columns), Packing.Bits, Packing.Order, target);
                for (var group = 0; group < _groups; group++)
                {
                    scales.Slice(((group * _rows) + row) * size, size).CopyTo(target[(tail + (group * size))..]);
                    target[tail + (_groups * size) + group] = Zero(zeros[(group * (_rows * _bits / 32))..], row);
                }
            }
        }

        ArrayPool<byte>.Shared.Return(strip);
        if (first + count == _rows)
        {
            Release();
        }
    }

    // Codes of some rows, a byte each.
    private void ReadStrip(ReadOnlySpan<uint> words, int start, int rows, Span<byte> to)
    {
        if (!_awq && _bits == 4)
        {
            for (var i = 0; i < Columns; i += 8)
            {
                for (var k = 0; k < rows; k++)
                {
                    Nibbles.Spread(words[(i / 8 * _rows) + start + k], to[((k * Columns) + i)..]);
                }
            }

            return;
        }

        for (var i = 0; i < Columns; i++)
        {
            if (_awq)
            {
                var word = words[(i * (_rows / Strip)) + (start / Strip)];
                for (var k = 0; k < rows; k++)
                {
                    to[(k * Columns) + i] = Awq(word, k);
                }

                continue;
            }

            var (at, shift) = (i * _bits / 32 * _rows, i * _bits % 32);
            for (var k = 0; k < rows; k++)
            {
                var low = words[at + start + k] >> shift;
                var high = shift + _bits > 32 ? words[at + _rows + start + k] << (32 - shift) : 0; // of 3 bits some lie in two words
                to[(k * Columns) + i] = (byte)((low | high) & ((1u << _bits) - 1));
            }
        }
    }

    private byte Zero(ReadOnlySpan<uint> words, int row)
    {
        if (_awq)
        {
            return Awq(words[row / Strip], row % Strip);
        }

        var (at, shift) = (row * _bits / 32, row * _bits % 32);
        var stored = (words[at] >> shift) | (shift + _bits > 32 ? words[at + 1] << (32 - shift) : 0);
        // One less is stored, in as many bits: a zero of 0 is stored as the largest number.
        return (byte)((stored + (_zerosAreLess ? 1u : 0)) & ((1u << _bits) - 1));
    }

    // AWQ's order in a word: outputs 0, 2, 4, 6, 1, 3, 5, 7.
    private static byte Awq(uint word, int output) => (byte)((word >> (4 * ((output / 2) + (output % 2 * 4)))) & 15);

    private Span<byte> Hold(int slot, FileTensor tensor)
    {
        if (_held[slot] is null)
        {
            var bytes = ArrayPool<byte>.Shared.Rent((int)tensor.Entry.Length);
            tensor.Read(0, bytes.AsSpan(0, (int)tensor.Entry.Length));
            _held[slot] = bytes;
        }

        return _held[slot].AsSpan(0, (int)tensor.Entry.Length);
    }

    private void Release()
    {
        for (var slot = 0; slot < _held.Length; slot++)
        {
            if (_held[slot] is { } bytes)
            {
                ArrayPool<byte>.Shared.Return(bytes);
                _held[slot] = null;
            }
        }
    }
}
