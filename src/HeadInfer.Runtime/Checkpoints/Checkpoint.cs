using HeadInfer.Runtime.Compute;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The weights of a model, wherever they lie.</summary>
internal abstract class Checkpoint(string path) : IDisposable
{
    private const long Piece = 16 << 20; // bytes read at a time, a multiple of every element's size

    private readonly Dictionary<ScalarType, Tensor> _staging = []; // a piece of each type
    private byte[] _packed = []; // a piece of packed rows

    /// <summary>The folder or file.</summary>
    public string Path => path;

    /// <summary>All tensors by their names.</summary>
    public abstract IReadOnlyDictionary<string, StoredTensor> Tensors { get; }

    public IEnumerable<string> Names => Tensors.Keys;

    /// <summary>The type that most of the weights have; packed ones are taken to come from bfloat16.</summary>
    public ScalarType Type => Tensors.Values.GroupBy(TypeOf).MaxBy(g => g.Sum(t => t.Length))?.Key ?? ScalarType.Float32;

    /// <summary>Opens what a model's folder has, or a GGUF file, and checks its headers; reads no weight.</summary>
    /// <param name="path">the folder or file</param>
    /// <param name="quantization">what a folder's configuration says of quantized weights, or null</param>
    /// <exception cref="CheckpointException">There are no weights, or the files are damaged or contradict each other.</exception>
    public static Checkpoint Open(string path, QuantizationConfig? quantization = null) => GgufFile.IsNamed(path) ? GgufCheckpoint.Open(path) : SafetensorsCheckpoint.Open(path, quantization);

    /// <summary>The same, as the decoder of a model takes it.</summary>
    public static Checkpoint Open(string path, ModelConfig config)
    {
        var checkpoint = Open(path, config.Quantization);
        try
        {
            var family = config.Family;
            checkpoint = config.Latent is not null ? new LatentHeads(checkpoint, config) : checkpoint;
            checkpoint = family.NeighbourPairs ? new PairedHeads(checkpoint, config.HeadDim, config.Rope.RotaryDim) : checkpoint;
            checkpoint = family.Stacks != ExpertStacks.None ? new StackedExperts(checkpoint, config.HiddenSize, family.Stacks == ExpertStacks.Turns, family.StacksAsMatrices) : checkpoint;
            checkpoint = family.HeadsByLayer ? new SharedKeys(checkpoint, config) : checkpoint;
            return family is { GatedAttention: true, GateApart: false } || family.GroupedQkv || family.SharedMlp || config.Recurrent is not null ? new SplitRows(checkpoint, config) : checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Checks that a tensor is there with the shape and a type that weights may have.</summary>
    /// <exception cref="CheckpointException">It is not.</exception>
    public virtual void Require(string name, ReadOnlySpan<long> shape)
    {
        if (!Tensors.TryGetValue(name, out var tensor))
        {
            throw Lacks(name);
        }

        if (!shape.SequenceEqual(tensor.Shape))
        {
            throw new CheckpointException($"'{FileOf(name)}': tensor '{name}' has shape [{string.Join(", ", tensor.Shape)}]; the configuration makes it [{string.Join(", ", shape.ToArray())}].");
        }

        if (tensor.Packing is DensePacking dense && !DataTypes.IsWeightType(dense.Type))
        {
            throw IsNoWeight(name, dense.Type);
        }
    }

    public bool Has(string name) => Tensors.ContainsKey(name);

    /// <summary>Copies a tensor into <paramref name="destination"/> (contiguous, of any type, on any device), converting as it goes.</summary>
    /// <remarks>A piece at a time, so that besides the destination no more memory is taken than a piece has.</remarks>
    /// <exception cref="CheckpointException">It is not there in this shape, or its file has been changed since it was opened.</exception>
    public void Read(string name, Tensor destination)
    {
        Require(name, destination.shape);
        var tensor = Tensors[name];
        using var flat = destination.view(-1);
        if (tensor.Packing is DensePacking dense)
        {
            ReadDense(tensor, dense.Type, flat);
        }
        else
        {
            ReadPacked(tensor, flat);
        }
    }

    /// <summary>Copies a tensor's bytes, in its own packing.</summary>
    /// <param name="name">the tensor</param>
    /// <param name="shape">that it has</param>
    /// <param name="destination">[bytes], uint8, on the CPU; written</param>
    /// <exception cref="CheckpointException">It is not there in this shape, or its file has been changed since it was opened.</exception>
    public unsafe void ReadStored(string name, ReadOnlySpan<long> shape, Tensor destination)
    {
        Require(name, shape);
        var tensor = Tensors[name];
        var to = tensor.Length == 0 ? null : (byte*)TensorMemory.Address(destination);
        var piece = PieceOf(tensor);
        for (var at = 0L; at < tensor.Length; at += piece)
        {
            ReadBytes(tensor, at, new Span<byte>(to + at, (int)Math.Min(piece, tensor.Length - at)));
        }
    }

    /// <summary>Whether two tensors have the same packing, shape and bytes.</summary>
    public bool AreSame(string name, string other)
    {
        var (tensor, second) = (Tensors[name], Tensors[other]);
        if (tensor.Packing != second.Packing || !tensor.Shape.SequenceEqual(second.Shape))
        {
            return false;
        }

        var (piece, otherPiece) = (new byte[Math.Min(tensor.Length, PieceOf(tensor))], new byte[Math.Min(tensor.Length, PieceOf(tensor))]);
        for (var at = 0L; at < tensor.Length; at += piece.Length)
        {
            var bytes = (int)Math.Min(piece.Length, tensor.Length - at);
            ReadBytes(tensor, at, piece.AsSpan(0, bytes));
            ReadBytes(second, at, otherPiece.AsSpan(0, bytes));
            if (!piece.AsSpan(0, bytes).SequenceEqual(otherPiece.AsSpan(0, bytes)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Whether a tensor has no bit that is set. AutoGPTQ wrote such biases beside weights that have none.</summary>
    public bool IsZero(string name)
    {
        var tensor = Tensors[name];
        var piece = new byte[Math.Min(tensor.Length, PieceOf(tensor))];
        for (var at = 0L; at < tensor.Length; at += piece.Length)
        {
            var bytes = piece.AsSpan(0, (int)Math.Min(piece.Length, tensor.Length - at));
            ReadBytes(tensor, at, bytes);
            if (bytes.ContainsAnyExcept((byte)0))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Reads bytes of a tensor in its packing: of packed ones whole rows.</summary>
    /// <param name="tensor">a tensor of this checkpoint</param>
    /// <param name="at">the first byte, from the start of the tensor</param>
    /// <param name="to">filled to its end</param>
    /// <exception cref="CheckpointException">The file has been changed since it was opened, or cannot be read.</exception>
    public abstract void ReadBytes(StoredTensor tensor, long at, Span<byte> to);

    public virtual void Dispose()
    {
        foreach (var piece in _staging.Values)
        {
            piece.Dispose();
        }

        _staging.Clear();
    }

    /// <summary>The file that has a tensor, for messages; the path where no file has one of this name.</summary>
    protected internal virtual string FileOf(string name) => path;

    /// <summary>Says that a tensor is not there.</summary>
    protected internal virtual HeadInferException Lacks(string name) => new CheckpointException($"'{path}' lacks the tensor '{name}'.");

    /// <summary>Says that a tensor has a type that weights do not have.</summary>
    protected internal virtual HeadInferException IsNoWeight(string name, ScalarType type) =>
        new CheckpointException($"'{FileOf(name)}': tensor '{name}' has the type {DataTypes.Name(type)}; weights are float32, float16 or bfloat16.");

    private static ScalarType TypeOf(StoredTensor tensor) => tensor.Packing is DensePacking dense ? dense.Type : ScalarType.BFloat16;

    private static long PieceOf(StoredTensor tensor) =>
        tensor.Packing is DensePacking ? Piece : Math.Max(1, Piece / (tensor.Columns * sizeof(float))) * tensor.Packing.RowBytes(tensor.Columns);

    private unsafe void ReadDense(StoredTensor tensor, ScalarType type, Tensor flat)
    {
        var size = DataTypes.Size(type);
        var direct = flat.device_type == DeviceType.CPU && flat.dtype == type;
        var staging = direct ? flat : Staging(type, Piece / size);
        var target = tensor.Length == 0 ? null : TensorMemory.Address(staging);
        for (var at = 0L; at < tensor.Length; at += Piece)
        {
            var bytes = (int)Math.Min(Piece, tensor.Length - at);
            ReadBytes(tensor, at, new Span<byte>(direct ? target + at : target, bytes));
            if (!direct)
            {
                Convert(staging, flat, at / size, bytes / size);
            }
        }
    }

    private void ReadPacked(StoredTensor tensor, Tensor flat)
    {
        var (row, columns, piece) = (tensor.Packing.RowBytes(tensor.Columns), tensor.Columns, PieceOf(tensor));
        if (_packed.Length < Math.Min(piece, tensor.Length))
        {
            _packed = new byte[Math.Min(piece, tensor.Length)];
        }

        var staging = Staging(ScalarType.Float32, piece / row * columns);
        for (var at = 0L; at < tensor.Length; at += piece)
        {
            var bytes = _packed.AsSpan(0, (int)Math.Min(piece, tensor.Length - at));
            ReadBytes(tensor, at, bytes);
            var count = bytes.Length / row * columns;
            tensor.Packing.Unpack(bytes, (int)columns, TensorMemory.Span(staging)[..(int)count]);
            Convert(staging, flat, at / row * columns, count);
        }
    }

    private static void Convert(Tensor staging, Tensor flat, long start, long count)
    {
        using var from = staging.narrow(0, 0, count);
        using var to = flat.narrow(0, start, count);
        to.copy_(from);
    }

    // One for all tensors: new ones, between weights that stay, would tear holes into the heap.
    private Tensor Staging(ScalarType type, long elements)
    {
        if (!_staging.TryGetValue(type, out var piece) || piece.NumberOfElements < elements)
        {
            piece?.Dispose();
            _staging[type] = piece = empty(Math.Max(elements, Piece / DataTypes.Size(type)), type).DetachFromDisposeScope();
        }

        return piece;
    }
}
