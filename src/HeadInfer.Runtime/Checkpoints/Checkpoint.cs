using System.Text.Json;
using HeadInfer.Runtime.Compute;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The weights of a model folder: one safetensors file, or shards with an index.</summary>
internal sealed class Checkpoint : IDisposable
{
    public const string SingleFile = "model.safetensors";
    public const string IndexFile = "model.safetensors.index.json";
    private const long Piece = 16 << 20; // bytes read at a time, a multiple of every element's size

    private readonly List<SafetensorsFile> _files = [];
    private readonly Dictionary<string, (SafetensorsFile File, SafetensorsEntry Entry)> _tensors = new(StringComparer.Ordinal);

    private readonly Dictionary<ScalarType, Tensor> _staging = []; // a piece of each type

    private Checkpoint(string folder) => Folder = folder;

    public string Folder { get; }

    public IReadOnlyCollection<string> Names => _tensors.Keys;

    /// <summary>Bytes of all tensors as stored.</summary>
    public ByteSize StoredSize => new(_tensors.Values.Sum(t => t.Entry.Length));

    /// <summary>The type that most of the weights have.</summary>
    public ScalarType Type => _tensors.Values.GroupBy(t => t.Entry.Type).MaxBy(g => g.Sum(t => t.Entry.Length))?.Key ?? ScalarType.Float32;

    /// <summary>Opens the files of a folder and checks their headers; reads no weight.</summary>
    /// <exception cref="CheckpointException">There are no weights, or the files are damaged or contradict the index.</exception>
    public static Checkpoint Open(string folder)
    {
        var checkpoint = new Checkpoint(folder);
        try
        {
            var single = Path.Combine(folder, SingleFile);
            var index = Path.Combine(folder, IndexFile);
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

            return checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Checks that a tensor is there with the shape and a type that weights may have.</summary>
    /// <exception cref="CheckpointException">It is not.</exception>
    public void Require(string name, ReadOnlySpan<long> shape)
    {
        if (!_tensors.TryGetValue(name, out var tensor))
        {
            throw Names.FirstOrDefault(Quantization.IsPart) is { } part
                ? Quantization.Refuse(Folder, $"it has the tensor '{part}' and lacks '{name}'")
                : new CheckpointException($"'{Folder}' lacks the tensor '{name}'.");
        }

        if (!shape.SequenceEqual(tensor.Entry.Shape))
        {
            throw new CheckpointException($"'{tensor.File.Path}': tensor '{name}' has shape [{string.Join(", ", tensor.Entry.Shape)}]; the configuration makes it [{string.Join(", ", shape.ToArray())}].");
        }

        if (!DataTypes.IsWeightType(tensor.Entry.Type))
        {
            throw tensor.Entry.Type is ScalarType.Int8 or ScalarType.Byte
                ? Quantization.Refuse(tensor.File.Path, $"tensor '{name}' has the type {tensor.Entry.Type}")
                : new CheckpointException($"'{tensor.File.Path}': tensor '{name}' has the type {tensor.Entry.Type}; weights are float32, float16 or bfloat16.");
        }
    }

    public bool Has(string name) => _tensors.ContainsKey(name);

    /// <summary>Copies a tensor into <paramref name="destination"/> (contiguous, of any type, on any device), converting as it goes.</summary>
    /// <remarks>A piece at a time, so that besides the destination no more memory is taken than a piece has.</remarks>
    /// <exception cref="CheckpointException">It is not there in this shape, or its file has been changed since it was opened.</exception>
    public unsafe void Read(string name, Tensor destination)
    {
        Require(name, destination.shape);
        var (file, entry) = _tensors[name];
        var size = DataTypes.Size(entry.Type);
        using var flat = destination.view(-1);
        var direct = destination.device_type == DeviceType.CPU && destination.dtype == entry.Type;
        var staging = direct ? flat : Staging(entry.Type);
        var target = entry.Length == 0 ? null : TensorMemory.Address(staging);
        for (var at = 0L; at < entry.Length; at += Piece)
        {
            var bytes = (int)Math.Min(Piece, entry.Length - at);
            file.Read(entry, at, new Span<byte>(direct ? target + at : target, bytes));
            if (!direct)
            {
                using var from = staging.narrow(0, 0, bytes / size);
                using var to = flat.narrow(0, at / size, bytes / size);
                to.copy_(from);
            }
        }
    }

    /// <summary>Whether two tensors have the same type, shape and bytes.</summary>
    public bool AreSame(string name, string other)
    {
        var ((file, entry), (otherFile, otherEntry)) = (_tensors[name], _tensors[other]);
        if (entry.Type != otherEntry.Type || !entry.Shape.SequenceEqual(otherEntry.Shape))
        {
            return false;
        }

        var (first, second) = (new byte[Math.Min(entry.Length, Piece)], new byte[Math.Min(entry.Length, Piece)]);
        for (var at = 0L; at < entry.Length; at += Piece)
        {
            var bytes = (int)Math.Min(Piece, entry.Length - at);
            file.Read(entry, at, first.AsSpan(0, bytes));
            otherFile.Read(otherEntry, at, second.AsSpan(0, bytes));
            if (!first.AsSpan(0, bytes).SequenceEqual(second.AsSpan(0, bytes)))
            {
                return false;
            }
        }

        return true;
    }

    public void Dispose()
    {
        foreach (var piece in _staging.Values)
        {
            piece.Dispose();
        }

        _staging.Clear();
        _files.ForEach(f => f.Dispose());
        _files.Clear();
        _tensors.Clear();
    }

    // One for all tensors: new ones, between weights that stay, would tear holes into the heap.
    private Tensor Staging(ScalarType type)
    {
        if (!_staging.TryGetValue(type, out var piece))
        {
            _staging[type] = piece = empty(Piece / DataTypes.Size(type), type).DetachFromDisposeScope();
        }

        return piece;
    }

    private void Add(SafetensorsFile file)
    {
        _files.Add(file);
        foreach (var entry in file.Entries.Values)
        {
            if (!_tensors.TryAdd(entry.Name, (file, entry)))
            {
                throw new CheckpointException($"'{Folder}': tensor '{entry.Name}' is in two shards.");
            }
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
            var path = Path.Combine(Folder, shard);
            if (shard.Length == 0 || Path.GetFileName(shard) != shard || !File.Exists(path))
            {
                throw new CheckpointException($"'{index}' names the shard '{shard}', which is not in the folder.");
            }

            Add(SafetensorsFile.Open(path));
        }

        if (map.Keys.FirstOrDefault(name => !_tensors.ContainsKey(name)) is { } missing)
        {
            throw new CheckpointException($"'{index}' names the tensor '{missing}', which no shard has.");
        }
    }
}
