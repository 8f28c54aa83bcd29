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
internal sealed class LatentHeads : CheckpointView
{
    private static readonly DensePacking Wide = new(ScalarType.Float32);

    private readonly LatentShape _shape;
    private readonly int _heads;
    private readonly Dictionary<string, Action<long, Span<byte>>> _rows = new(StringComparer.Ordinal); // write a row of what a tensor is here
    private byte[] _row = [], _stored = [];
    private (StoredTensor? Tensor, long Head, float[] Numbers) _keys = (null, 0, []); // of a head, where they lie apart from values

    /// <param name="inner">has the tensors; owned</param>
    /// <param name="config">the model</param>
    /// <exception cref="CheckpointException">A tensor has another shape than it would have.</exception>
    public LatentHeads(Checkpoint inner, ModelConfig config)
        : base(inner)
    {
        (_shape, _heads) = (config.Latent!, config.Heads);
        for (var layer = 0; layer < config.Layers; layer++)
        {
            var (dim, made) = (_shape.Dim, _shape.Still + _shape.Values);
            Take(layer, _shape.QueryRank > 0 ? TensorNames.QueryUp : TensorNames.Query, _heads * _shape.Scored, _heads * dim, null, t => (row, to) => Query(t, row, to));
            Take(layer, TensorNames.LatentDown, _shape.Kept, _shape.Kept, null, t => (row, to) => Copy(t, row < _shape.Rank ? row : _shape.Rank + Stored(row - _shape.Rank), to));
            Take(layer, TensorNames.LatentUp, _heads * made, 2 * _heads * dim, _shape.Kept, t => (row, to) => KeysAndValues(t, row, to));
            Join(layer);
            Take(layer, TensorNames.AttentionOutput, null, null, _heads * dim, t => dim == _shape.Values ? (row, to) => Copy(t, row, to) : (row, to) => Output(t, row, to));
        }
    }

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to)
    {
        if (!_rows.TryGetValue(tensor.Name, out var write))
        {
            Inner.ReadBytes(tensor, at, to);
            return;
        }

        var bytes = checked((int)tensor.Packing.RowBytes(tensor.Columns));
        while (!to.IsEmpty)
        {
            var (row, within) = Math.DivRem(at, bytes);
            var some = (int)Math.Min(bytes - within, to.Length);
            if (some == bytes)
            {
                write(row, to[..bytes]);
            }
            else
            {
                Grow(ref _row, bytes);
                write(row, _row.AsSpan(0, bytes));
                _row.AsSpan((int)within, some).CopyTo(to);
            }

            at += some;
            to = to[some..];
        }
    }

    // What has rows or columns that are not stored is dense: packed rows could not have them.
    private void Take(int layer, string name, int? storedRows, int? rows, int? columns, Func<StoredTensor, Action<long, Span<byte>>> write)
    {
        var full = TensorNames.Layer(layer, name);
        if (!Shown.TryGetValue(full, out var tensor) || (tensor.Packing is DensePacking { Type: var type } && !DataTypes.IsWeightType(type)))
        {
            return; // whoever asks for it says so
        }

        var expected = name == TensorNames.LatentUp ? _shape.Rank : name == TensorNames.AttentionOutput ? _heads * _shape.Values : tensor.Columns;
        Expect(tensor, storedRows ?? tensor.Rows, expected);
        Shown[full] = new StoredTensor(full, _shape.IsFilled(name) && tensor.Packing is not DensePacking ? Wide : tensor.Packing, [rows ?? tensor.Rows, columns ?? tensor.Columns]);
        _rows[full] = write(tensor);
    }

    // GGUF files have a matrix of keys and one of values, for each head; that of keys lies the other way round.
    private void Join(int layer)
    {
        var full = TensorNames.Layer(layer, TensorNames.LatentUp);
        if (Shown.ContainsKey(full) || !Shown.Remove(TensorNames.Layer(layer, TensorNames.LatentKeys), out var keys) || !Shown.Remove(TensorNames.Layer(layer, TensorNames.LatentValues), out var values))
        {
            return;
        }

        Expect(keys, _heads, _shape.Rank, _shape.Still);
        Expect(values, _heads, _shape.Values, _shape.Rank);
        Shown[full] = new StoredTensor(full, Wide, [2 * _heads * _shape.Dim, _shape.Kept]);
        _rows[full] = (row, to) => Joined(keys, values, row, MemoryMarshal.Cast<byte, float>(to));
    }

    private void Expect(StoredTensor tensor, params ReadOnlySpan<long> shape)
    {
        if (!shape.SequenceEqual(tensor.Shape))
        {
            throw new CheckpointException($"'{Inner.Path}': tensor '{tensor.Name}' has shape [{string.Join(", ", tensor.Shape)}]; the configuration makes it [{string.Join(", ", shape.ToArray())}].");
        }
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
        else if (Shown[tensor.Name].Packing == tensor.Packing)
        {
            Copy(tensor, first + QueryPlace(dimension), to);
        }
        else
        {
            Dense(tensor, first + QueryPlace(dimension)).CopyTo(to);
        }
    }

    private long QueryPlace(long dimension) => dimension < _shape.Rotated ? _shape.Still + Stored(dimension) : dimension - _shape.Rotated;

    // Whether a row of the matrix that makes keys and values is of a value, and of which head and dimension.
    private (bool IsValue, long Head, int Dimension) Place(long row)
    {
        var (half, within) = Math.DivRem(row, (long)_heads * _shape.Dim);
        return (half == 1, within / _shape.Dim, (int)(within % _shape.Dim));
    }

    private void KeysAndValues(StoredTensor tensor, long row, Span<byte> to)
    {
        var (isValue, head, dimension) = Place(row);
        var first = head * (_shape.Still + _shape.Values);
        to.Clear();
        if (!isValue && dimension < _shape.Rotated)
        {
            One(tensor).CopyTo(to[((_shape.Rank + dimension) * ElementBytes(tensor))..]);
        }
        else if (isValue ? dimension < _shape.Values : dimension < _shape.Scored)
        {
            Dense(tensor, first + (isValue ? _shape.Still + dimension : dimension - _shape.Rotated)).CopyTo(to);
        }
    }

    private void Joined(StoredTensor keys, StoredTensor values, long row, Span<float> to)
    {
        var (isValue, head, dimension) = Place(row);
        to.Clear();
        if (isValue)
        {
            if (dimension < _shape.Values)
            {
                Unpack(values, (head * _shape.Values) + dimension, to[.._shape.Rank]);
            }
        }
        else if (dimension < _shape.Rotated)
        {
            to[_shape.Rank + dimension] = 1;
        }
        else if (dimension < _shape.Scored)
        {
            var of = KeysOf(keys, head);
            for (var i = 0; i < _shape.Rank; i++)
            {
                to[i] = of[(i * _shape.Still) + dimension - _shape.Rotated];
            }
        }
    }

    // [rank, still]
    private float[] KeysOf(StoredTensor tensor, long head)
    {
        if (_keys.Tensor != tensor || _keys.Head != head)
        {
            _keys = (tensor, head, _keys.Numbers.Length > 0 ? _keys.Numbers : new float[_shape.Rank * _shape.Still]);
            for (var i = 0; i < _shape.Rank; i++)
            {
                Unpack(tensor, (head * _shape.Rank) + i, _keys.Numbers.AsSpan(i * _shape.Still, _shape.Still));
            }
        }

        return _keys.Numbers;
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

    private void Copy(StoredTensor tensor, long row, Span<byte> to) => Inner.ReadBytes(tensor, row * to.Length, to);

    // A stored row, in float32 if it is packed. Good until the next one is read.
    private Span<byte> Dense(StoredTensor tensor, long row)
    {
        if (tensor.Packing is DensePacking)
        {
            return Bytes(tensor, row);
        }

        var numbers = new float[tensor.Columns];
        Unpack(tensor, row, numbers);
        return MemoryMarshal.AsBytes(numbers.AsSpan());
    }

    private void Unpack(StoredTensor tensor, long row, Span<float> to) => tensor.Packing.Unpack(Bytes(tensor, row), to.Length, to);

    private Span<byte> Bytes(StoredTensor tensor, long row)
    {
        var bytes = checked((int)tensor.Packing.RowBytes(tensor.Columns));
        Grow(ref _stored, bytes);
        Copy(tensor, row, _stored.AsSpan(0, bytes));
        return _stored.AsSpan(0, bytes);
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
