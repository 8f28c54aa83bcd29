using System.Runtime.InteropServices;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>A checkpoint of a model with latent attention, read with heads as <see cref="LatentShape"/> has them.</summary>
/// <remarks>
/// Rotated dimensions come first in a head, those of a pair half of them apart. One matrix makes keys and values of all that is
/// kept of a token: its rows for rotated dimensions copy them, and rows of what a value lacks are zero. So are the columns of
/// attention's output for those.
/// </remarks>
internal sealed class LatentHeads : Checkpoint
{
    private static readonly DensePacking Wide = new(ScalarType.Float32);

    private readonly Checkpoint _inner;
    private readonly LatentShape _shape;
    private readonly int _heads;
    private readonly Dictionary<string, StoredTensor> _tensors;
    private readonly Dictionary<string, Action<StoredTensor, long, Span<byte>>> _rows = new(StringComparer.Ordinal); // write a row of what a tensor is here
    private byte[] _row = [], _stored = [];

    /// <param name="inner">has the tensors; owned</param>
    /// <param name="config">the model</param>
    /// <exception cref="CheckpointException">A tensor has another shape than it would have.</exception>
    public LatentHeads(Checkpoint inner, ModelConfig config)
        : base(inner.Path)
    {
        (_inner, _shape, _heads, _tensors) = (inner, config.Latent!, config.Heads, new(inner.Tensors, StringComparer.Ordinal));
        for (var layer = 0; layer < config.Layers; layer++)
        {
            var (dim, made) = (_shape.Dim, _shape.Still + _shape.Values);
            Take(layer, _shape.QueryRank > 0 ? TensorNames.QueryUp : TensorNames.Query, _heads * _shape.Scored, _heads * dim, null, isFilled: dim > _shape.Scored, Query);
            Take(layer, TensorNames.LatentDown, _shape.Kept, _shape.Kept, null, isFilled: false, (t, row, to) => Copy(t, row < _shape.Rank ? row : _shape.Rank + Stored(row - _shape.Rank), to));
            Take(layer, TensorNames.LatentUp, _heads * made, 2 * _heads * dim, _shape.Kept, isFilled: true, KeysAndValues);
            Take(layer, TensorNames.AttentionOutput, null, null, _heads * dim, isFilled: true, Output);
        }
    }

    public override IReadOnlyDictionary<string, StoredTensor> Tensors => _tensors;

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to)
    {
        if (!_rows.TryGetValue(tensor.Name, out var write))
        {
            _inner.ReadBytes(tensor, at, to);
            return;
        }

        var bytes = checked((int)tensor.Packing.RowBytes(tensor.Columns));
        while (!to.IsEmpty)
        {
            var (row, within) = Math.DivRem(at, bytes);
            var some = (int)Math.Min(bytes - within, to.Length);
            if (some == bytes)
            {
                write(_inner.Tensors[tensor.Name], row, to[..bytes]);
            }
            else
            {
                Grow(ref _row, bytes);
                write(_inner.Tensors[tensor.Name], row, _row.AsSpan(0, bytes));
                _row.AsSpan((int)within, some).CopyTo(to);
            }

            at += some;
            to = to[some..];
        }
    }

    public override void Dispose()
    {
        base.Dispose();
        _inner.Dispose();
    }

    // What has rows or columns that are not stored is dense: packed rows could not have them.
    private void Take(int layer, string name, int? storedRows, int? rows, int? columns, bool isFilled, Action<StoredTensor, long, Span<byte>> write)
    {
        var full = TensorNames.Layer(layer, name);
        if (!_tensors.TryGetValue(full, out var tensor) || (tensor.Packing is DensePacking { Type: var type } && !DataTypes.IsWeightType(type)))
        {
            return; // whoever asks for it says so
        }

        var expected = name == TensorNames.LatentUp ? _shape.Rank : name == TensorNames.AttentionOutput ? _heads * _shape.Values : tensor.Columns;
        if (tensor.Shape.Length != 2 || tensor.Rows != (storedRows ?? tensor.Rows) || tensor.Columns != expected)
        {
            throw new CheckpointException($"'{_inner.Path}': tensor '{full}' has shape [{string.Join(", ", tensor.Shape)}]; the configuration makes it [{storedRows ?? tensor.Rows}, {expected}].");
        }

        _tensors[full] = new StoredTensor(full, isFilled && tensor.Packing is not DensePacking ? Wide : tensor.Packing, [rows ?? tensor.Rows, columns ?? tensor.Columns]);
        _rows[full] = write;
    }

    // Where a rotated dimension is stored.
    private long Stored(long dimension) => !_shape.Paired ? dimension : dimension < _shape.Rotated / 2 ? 2 * dimension : (2 * (dimension - (_shape.Rotated / 2))) + 1;

    private void Query(StoredTensor tensor, long row, Span<byte> to)
    {
        var (head, dimension) = Math.DivRem(row, _shape.Dim);
        var first = head * _shape.Scored;
        if (dimension >= _shape.Scored)
        {
            to.Clear();
        }
        else if (_tensors[tensor.Name].Packing == tensor.Packing)
        {
            Copy(tensor, first + QueryPlace(dimension), to);
        }
        else
        {
            Dense(tensor, first + QueryPlace(dimension)).CopyTo(to);
        }
    }

    private long QueryPlace(long dimension) => dimension < _shape.Rotated ? _shape.Still + Stored(dimension) : dimension - _shape.Rotated;

    private void KeysAndValues(StoredTensor tensor, long row, Span<byte> to)
    {
        var (half, within) = Math.DivRem(row, (long)_heads * _shape.Dim);
        var (head, dimension) = Math.DivRem(within, _shape.Dim);
        var (isValue, first) = (half == 1, head * (_shape.Still + _shape.Values));
        to.Clear();
        if (!isValue && dimension < _shape.Rotated)
        {
            One(tensor).CopyTo(to[((_shape.Rank + (int)dimension) * ElementBytes(tensor))..]);
        }
        else if (isValue ? dimension < _shape.Values : dimension < _shape.Scored)
        {
            Dense(tensor, first + (isValue ? _shape.Still + dimension : dimension - _shape.Rotated)).CopyTo(to);
        }
    }

    private void Output(StoredTensor tensor, long row, Span<byte> to)
    {
        var stored = Dense(tensor, row);
        var element = ElementBytes(tensor);
        var (values, dim) = (_shape.Values * element, _shape.Dim * element);
        to.Clear();
        for (var head = 0; head < _heads; head++)
        {
            stored.Slice(head * values, values).CopyTo(to[(head * dim)..]);
        }
    }

    private void Copy(StoredTensor tensor, long row, Span<byte> to) => _inner.ReadBytes(tensor, row * to.Length, to);

    // A stored row, in float32 if it is packed. Good until the next one is read.
    private Span<byte> Dense(StoredTensor tensor, long row)
    {
        var bytes = checked((int)tensor.Packing.RowBytes(tensor.Columns));
        Grow(ref _stored, bytes);
        Copy(tensor, row, _stored.AsSpan(0, bytes));
        if (tensor.Packing is DensePacking)
        {
            return _stored.AsSpan(0, bytes);
        }

        var numbers = new float[tensor.Columns];
        tensor.Packing.Unpack(_stored.AsSpan(0, bytes), (int)tensor.Columns, numbers);
        return MemoryMarshal.AsBytes(numbers.AsSpan());
    }

    private static int ElementBytes(StoredTensor tensor) => DataTypes.Size(TypeOf(tensor));

    private static ScalarType TypeOf(StoredTensor tensor) => tensor.Packing is DensePacking dense ? dense.Type : ScalarType.Float32;

    private static byte[] One(StoredTensor tensor) => TypeOf(tensor) switch
    {
        ScalarType.BFloat16 => BitConverter.GetBytes((ushort)0x3f80),
        ScalarType.Float16 => BitConverter.GetBytes((Half)1),
        _ => BitConverter.GetBytes(1f),
    };

    private static void Grow(ref byte[] buffer, int bytes) => buffer = buffer.Length >= bytes ? buffer : new byte[bytes];
}
