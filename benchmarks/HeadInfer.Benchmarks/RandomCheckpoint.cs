using System.Runtime.InteropServices;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>Random weights of a shape, as a checkpoint of a type would have them: they are laid out, and stream, as those of a file do.</summary>
/// <remarks>Blocks are random, those among them whose numbers are as large as weights are. Rows without whole blocks are bfloat16.</remarks>
internal sealed class RandomCheckpoint : Checkpoint
{
    private const int PatternBytes = 8 << 20, Kept = 64;
    private const float Largest = 0.25f, Deviation = 0.02f;

    private static readonly DensePacking Half = new(ScalarType.BFloat16);

    private readonly Dictionary<string, StoredTensor> _tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<Packing, byte[]> _patterns = []; // bytes that repeat, in whole blocks

    /// <param name="shape">the model's name</param>
    /// <param name="config">the model</param>
    /// <param name="packing">of its matrices</param>
    public RandomCheckpoint(string shape, ModelConfig config, Packing packing)
        : base(shape)
    {
        using var asked = new Asked((name, dimensions) =>
            _tensors.Add(name, new StoredTensor(name, dimensions.Length > 1 && dimensions[^1] % packing.BlockColumns == 0 ? packing : Half, dimensions)));
        DecoderWeights.Read(config, asked, device: null);
    }

    public override IReadOnlyDictionary<string, StoredTensor> Tensors => _tensors;

    /// <summary>The packing of a name that --weights takes.</summary>
    public static Packing PackingOf(string name) => name.ToUpperInvariant() switch
    {
        "BF16" => Half,
        "F16" => new DensePacking(ScalarType.Float16),
        "F32" => new DensePacking(ScalarType.Float32),
        var upper => Enumerable.Range(0, 64).Select(i => GgmlPackings.Of((uint)i)).OfType<BlockPacking>().FirstOrDefault(p => p.Name == upper)
            ?? throw new FormatException($"'{name}' is no type of weights: they are {string.Join(", ", GgmlPackings.Names)}."),
    };

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

    private byte[] PatternOf(Packing packing) => _patterns.TryGetValue(packing, out var pattern) ? pattern : _patterns[packing] = Make(packing);

    private static byte[] Make(Packing packing)
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

    /// <summary>Tells what a decoder asks for.</summary>
    private sealed class Asked(Action<string, long[]> tell) : IWeightSource
    {
        private readonly Tensor _nothing = empty(0).DetachFromDisposeScope();

        public ScalarType Type => ScalarType.BFloat16;

        public Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false)
        {
            for (var i = 0; i < names.Count; i++)
            {
                tell(names[i], [rows[i], columns]);
                if (bias)
                {
                    tell(TensorNames.BiasOf(names[i]), [rows[i]]);
                }
            }

            return new UnreadLinear();
        }

        public Tensor Vector(string name, long size, double offset = 0)
        {
            tell(name, [size]);
            return _nothing;
        }

        public Tensor Floats(string name, params long[] shape)
        {
            tell(name, shape);
            return _nothing;
        }

        public Tensor Ones(long size) => _nothing;

        public float[] Numbers(string name, long size)
        {
            tell(name, [size]);
            return new float[size];
        }

        public void Dispose() => _nothing.Dispose();
    }
}
