using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>The tensors that a configuration asks for, as a checkpoint of a type would have them. It has no numbers: enough for a plan.</summary>
/// <remarks>Rows without whole blocks of the type are bfloat16.</remarks>
internal class ShapeCheckpoint : Checkpoint
{
    private const int FolderGroup = 128; // columns that have a scale, as most folders have them

    private static readonly DensePacking Half = new(ScalarType.BFloat16);

    // Of folders with quantized weights.
    private static readonly Dictionary<string, GroupedPacking> OfFolders = new()
    {
        ["AWQ"] = new IntegerPacking(4, FolderGroup, ScalarType.Float16, zeros: true),
        ["GPTQ"] = new IntegerPacking(4, FolderGroup, ScalarType.Float16, zeros: false),
        ["FP8"] = new Float8Packing(FolderGroup, ScalarType.Float32),
        ["NVFP4"] = Float4Packing.Nv,
    };

    private readonly Dictionary<string, StoredTensor> _tensors = new(StringComparer.Ordinal);

    /// <param name="shape">the model's name</param>
    /// <param name="packing">of its matrices</param>
    public ShapeCheckpoint(string shape, ModelConfig config, Packing packing)
        : base(shape)
    {
        using var asked = new Asked((name, dimensions) =>
            _tensors.Add(name, new StoredTensor(name, IsPacked(name, dimensions) ? packing : Half, dimensions)));
        DecoderWeights.Read(config, asked, device: null);

        // Folders leave the embedding and the output matrix as they are.
        bool IsPacked(string name, long[] dimensions) => dimensions.Length > 1 && config.Latent?.IsFilled(TensorNames.WithinLayer(name)) != true
            && (packing is GroupedPacking ? dimensions[^1] % FolderGroup == 0 && name is not (TensorNames.Embedding or TensorNames.Output) : dimensions[^1] % packing.BlockColumns == 0);
    }

    public override IReadOnlyDictionary<string, StoredTensor> Tensors => _tensors;

    /// <summary>The packing of a name, such as BF16, Q4_K or AWQ.</summary>
    /// <exception cref="FormatException">There is none of that name.</exception>
    public static Packing PackingOf(string name) => name.ToUpperInvariant() switch
    {
        "BF16" => Half,
        "F16" => new DensePacking(ScalarType.Float16),
        "F32" => new DensePacking(ScalarType.Float32),
        var upper when OfFolders.TryGetValue(upper, out var packing) => packing,
        var upper => Enumerable.Range(0, 64).Select(i => GgmlPackings.Of((uint)i)).OfType<BlockPacking>().FirstOrDefault(p => p.Name == upper)
            ?? throw new FormatException($"'{name}' is no type of weights: they are {string.Join(", ", [.. GgmlPackings.Names, .. OfFolders.Keys])}."),
    };

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to) => throw new NotSupportedException("A shape has no weights to read.");

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

        public RowTable Table(string name, long rows, long columns)
        {
            tell(name, [rows, columns]);
            return null!;
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
