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

    private readonly Dictionary<Packing, byte[]> _patterns = []; // bytes that repeat, in whole blocks

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to)
    {
        if (tensor.Shape.Length == 1)
        {
            // Norms are ones, biases zeros.
            MemoryMarshal.Cast<byte, ushort>(to).Fill(tensor.Name.EndsWith(".bias", StringComparison.Ordinal) ? (ushort)0 : (ushort)0x3F80);
            return;
        }

        var pattern = PatternOf(tensor.Packing);
        for (var from = (int)(at % pattern.Length); !to.IsEmpty; from = 0)
        {
            var some = pattern.AsSpan(from, Math.Min(to.Length, pattern.Length - from));
            some.CopyTo(to);
            to = to[some.Length..];
        }
    }

    private byte[] PatternOf(Packing packing) => _patterns.TryGetValue(packing, out var pattern) ? pattern : _patterns[packing] = Pattern(packing);

    /// <summary>Bytes of random numbers that are as large as weights are, in whole blocks.</summary>
    public static byte[] Pattern(Packing packing)
    {
        var random = new Random(1);
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
}
