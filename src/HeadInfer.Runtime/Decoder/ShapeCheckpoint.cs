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

    private readonly ModelConfig _config;
    private readonly Packing _packing;

    /// <param name="shape">the model's name</param>
    /// <param name="packing">of its matrices</param>
    public ShapeCheckpoint(string shape, ModelConfig config, Packing packing)
        : base(shape)
    {
        (_config, _packing) = (config, packing);
        using var check = new WeightCheck(this);
        DecoderWeights.Read(config, check, device: null);
    }

    public override IReadOnlyDictionary<string, StoredTensor> Tensors => _tensors;

    /// <summary>Has what is asked for.</summary>
    public override void Require(string name, ReadOnlySpan<long> shape) => _tensors.TryAdd(name, new StoredTensor(name, IsPacked(name, shape) ? _packing : Half, shape.ToArray()));

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

    // Folders leave the embedding and the output matrix as they are.
    private bool IsPacked(string name, ReadOnlySpan<long> shape) => shape.Length > 1 && _config.Latent?.IsFilled(TensorNames.WithinLayer(name)) != true
        && (_packing is GroupedPacking ? shape[^1] % FolderGroup == 0 && name is not (TensorNames.Embedding or TensorNames.Output) : shape[^1] % _packing.BlockColumns == 0);
}
