using System.Text.Json;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The weights of a model folder: one safetensors file, or shards with an index.</summary>
internal sealed class SafetensorsCheckpoint : Checkpoint
{
    public const string SingleFile = "model.safetensors";
    public const string IndexFile = "model.safetensors.index.json";

    private readonly List<SafetensorsFile> _files = [];
    private readonly Dictionary<string, FileTensor> _stored = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PackedMatrix> _packed = new(StringComparer.Ordinal);
    private readonly Dictionary<string, StoredTensor> _tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<ScalarType, DensePacking> _packings = [];

    private SafetensorsCheckpoint(string folder)
        : base(folder)
    {
    }

    public override IReadOnlyDictionary<string, StoredTensor> Tensors => _tensors;

    /// <inheritdoc cref="Checkpoint.Open(string, QuantizationConfig)"/>
    public static new SafetensorsCheckpoint Open(string folder, QuantizationConfig? quantization)
    {
        var checkpoint = new SafetensorsCheckpoint(folder);
        try
        {
            var single = System.IO.Path.Combine(folder, SingleFile);
            var index = System.IO.Path.Combine(folder, IndexFile);
            if (File.Exists(single))
            {
                checkpoint.Add(SafetensorsFile.Open(single));
            }
            else if (File.Exists(index))
            {
                checkpoint.AddShards(index);
            }
            else
            {
                throw FolderContents.NoWeights(folder);
            }

            if (quantization is not null)
            {
                checkpoint.Unite(quantization);
            }

            return checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to)
    {
        if (_packed.TryGetValue(tensor.Name, out var matrix))
        {
            matrix.Read(at / tensor.Packing.RowBytes(tensor.Columns), to);
            return;
        }

        _stored[tensor.Name].Read(at, to);
    }

    public override void Dispose()
    {
        base.Dispose();
        _files.ForEach(f => f.Dispose());
        _files.Clear();
        _stored.Clear();
        _packed.Clear();
        _tensors.Clear();
    }

    protected internal override string FileOf(string name) => _packed.TryGetValue(name, out var matrix) ? matrix.File : _stored.TryGetValue(name, out var stored) ? stored.File.Path : Path;

    protected internal override HeadInferException Lacks(string name) => Names.FirstOrDefault(Quantization.IsPart) is { } part
        ? Quantization.RefuseUntold(Path, $"it has the tensor '{part}' and lacks '{name}'")
        : base.Lacks(name);

    protected internal override HeadInferException IsNoWeight(string name, ScalarType type) => type is ScalarType.Int8 or ScalarType.Byte or DataTypes.Float8
        ? Quantization.RefuseUntold(FileOf(name), $"tensor '{name}' has the type {DataTypes.Name(type)}")
        : base.IsNoWeight(name, type);

    private void Add(SafetensorsFile file)
    {
        _files.Add(file);
        foreach (var entry in file.Entries.Values)
        {
            var name = TensorNames.Canonical(entry.Name);
            if (!_stored.TryAdd(name, new FileTensor(file, entry)))
            {
                throw new CheckpointException($"'{Path}': tensor '{entry.Name}' is in two shards.");
            }

            _packings.TryAdd(entry.Type, new DensePacking(entry.Type));
            var shape = TensorNames.ShapeOf(name, entry.Shape);
            _tensors.Add(name, new StoredTensor(name, _packings[entry.Type], shape));
        }
    }

    // Weights take the place of the tensors that they are stored in.
    private void Unite(QuantizationConfig quantization)
    {
        var taken = new HashSet<string>(StringComparer.Ordinal);
        foreach (var matrix in QuantizedWeights.Find(_stored, quantization, taken))
        {
            if (!_packed.TryAdd(matrix.Tensor.Name, matrix))
            {
                throw new CheckpointException($"'{matrix.File}' has '{matrix.Tensor.Name}' in two layouts. Take another checkpoint of the model.");
            }
        }

        foreach (var name in _stored.Keys.Where(n => taken.Contains(n) || Quantization.IsUnneeded(n)))
        {
            _tensors.Remove(name);
        }

        foreach (var (name, matrix) in _packed)
        {
            if (!_tensors.TryAdd(name, matrix.Tensor))
            {
                throw new CheckpointException($"'{matrix.File}': '{name}' is there by itself and quantized. Take another checkpoint of the model.");
            }
        }

        if (Names.FirstOrDefault(Quantization.IsPart) is { } part)
        {
            throw new CheckpointException($"'{FileOf(part)}': tensor '{part}' belongs to no weight that {quantization.Method} would have beside it, by '{quantization.Path}'. Take another checkpoint of the model.");
        }
    }

    private void AddShards(string index)
    {
        Dictionary<string, string> map;
        try
        {
            using var json = JsonDocument.Parse(ModelFile.Read(index));
            map = json.RootElement.GetProperty("weight_map").EnumerateObject().ToDictionary(p => p.Name, p => p.Value.GetString() ?? "", StringComparer.Ordinal);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or IOException or ArgumentException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"'{index}' is not an index of shards: {e.Message}", e);
        }

        foreach (var shard in map.Values.Distinct(StringComparer.Ordinal))
        {
            var path = System.IO.Path.Combine(Path, shard);
            if (shard.Length == 0 || System.IO.Path.GetFileName(shard) != shard || !File.Exists(path))
            {
                throw new CheckpointException($"'{index}' names the shard '{shard}', which is not in the folder.");
            }

            Add(SafetensorsFile.Open(path));
        }

        if (map.Keys.FirstOrDefault(name => !_tensors.ContainsKey(TensorNames.Canonical(name))) is { } missing)
        {
            throw new CheckpointException($"'{index}' names the tensor '{missing}', which no shard has.");
        }
    }
}
