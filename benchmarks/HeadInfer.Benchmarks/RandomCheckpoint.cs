using System.Runtime.InteropServices;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>Random weights of a shape, as a checkpoint of a type would have them: they are laid out, and stream, as those of a file do.</summary>
/// <remarks>Blocks are random, those among them whose numbers are as large as weights are.</remarks>
/// <param name="shape">the model's name</param>
/// <param name="config">the model</param>
/// <param name="packing">of its matrices</param>
internal sealed class RandomCheckpoint(string shape, ModelConfig config, Packing packing) : ShapeCheckpoint(shape, config, packing)
{
    private const int PatternBytes = 8 << 20, Kept = 64;
    private const float Largest = 0.25f, Deviation = 0.02f;

    private readonly Dictionary<(Packing, long), byte[]> _patterns = []; // bytes that repeat, in whole blocks, or of so many columns in whole rows

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to)
    {
        if (tensor.Shape.Length == 1)
        {
            // Norms are ones, biases zeros.
            MemoryMarshal.Cast<byte, ushort>(to).Fill(tensor.Name.EndsWith(".bias", StringComparison.Ordinal) ? (ushort)0 : (ushort)0x3F80);
            return;
        }

        var pattern = PatternOf(tensor.Packing, tensor.Columns);
        for (var from = (int)(at % pattern.Length); !to.IsEmpty; from = 0)
        {
            var some = pattern.AsSpan(from, Math.Min(to.Length, pattern.Length - from));
            some.CopyTo(to);
            to = to[some.Length..];
        }
    }

    private byte[] PatternOf(Packing packing, long columns)
    {
        var key = (packing, packing is GroupedPacking ? columns : 0);
        return _patterns.TryGetValue(key, out var pattern) ? pattern : _patterns[key] = Pattern(packing, (int)columns);
    }

    /// <summary>Bytes of random numbers that are as large as weights are, in whole blocks or rows.</summary>
    public static byte[] Pattern(Packing packing, int ofRow)
    {
        var random = new Random(1);
        if (packing is GroupedPacking grouped)
        {
            return Rows(grouped, ofRow, random);
        }

        if (packing is DensePacking dense)
        {
            using var numbers = randn([PatternBytes / DataTypes.Size(dense.Type)], ScalarType.Float32) * Deviation;
            using var typed = numbers.to(dense.Type);
            return typed.bytes.ToArray();
        }

        var (columns, size) = (packing.BlockColumns, (int)packing.RowBytes(packing.BlockColumns));
        var (blocks, block, values) = (new List<byte[]>(), new byte[size], new float[columns]);
        while (blocks.Count < Kept)
        {
            random.NextBytes(block);
            packing.Unpack(block, columns, values);
            if (values.All(v => Math.Abs(v) < Largest) && values.Any(v => Math.Abs(v) > Deviation / 20))
            {
                blocks.Add([.. block]);
            }
        }

        var pattern = new byte[PatternBytes / size * size];
        for (var at = 0; at < pattern.Length; at += size)
        {
            blocks[random.Next(Kept)].CopyTo(pattern, at);
        }

        return pattern;
    }

    // Random codes, with scales that are all alike.
    private static byte[] Rows(GroupedPacking packing, int columns, Random random)
    {
        var (row, codes, groups) = ((int)packing.RowBytes(columns), (int)packing.CodeBytes(columns), (int)packing.Groups(columns));
        var bytes = new byte[Math.Max(PatternBytes / row, 1) * row];
        random.NextBytes(bytes);
        for (var at = 0; at < bytes.Length; at += row)
        {
            Span<byte> own = bytes.AsSpan(at, codes), tail = bytes.AsSpan(at + codes, row - codes);
            switch (packing)
            {
                case IntegerPacking:
                    MemoryMarshal.Cast<byte, Half>(tail)[..groups].Fill((Half)(Deviation / 4));
                    tail[(groups * 2)..].Fill(8); // zeros
                    break;
                case Float8Packing:
                    own.Replace<byte>(0x7f, 0); // no numbers
                    own.Replace<byte>(0xff, 0);
                    MemoryMarshal.Cast<byte, float>(tail)[..groups].Fill(Largest / 512);
                    break;
                default:
                    tail[..groups].Fill(0x38); // one
                    MemoryMarshal.Write(tail[groups..], Deviation / 2);
                    break;
            }
        }

        return bytes;
    }
}
