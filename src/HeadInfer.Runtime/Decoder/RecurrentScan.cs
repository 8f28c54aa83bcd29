using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>A layer's state on its way through the tokens of a segment, many at a time.</summary>
internal sealed class RecurrentScan : IDisposable
{
    private const int Piece = RecurrentShape.Piece, MostTokens = RecurrentShape.MostTokens;

    private readonly RecurrentShape _shape;
    private readonly RecurrentNumbers _numbers;
    private readonly Tensor _next;
    private readonly StatePieces _pieces;
    private readonly Tensor _state; // [value heads, key dim, value dim]
    private Tensor _tail;  // [taps - 1, width]: the last tokens, as they came

    /// <param name="pieces">computes</param>
    /// <param name="shape">of the layer</param>
    /// <param name="numbers">of the layer; not owned</param>
    /// <param name="before">[remembered]: what is known of the tokens before</param>
    /// <param name="taken">how many of these the state has taken in</param>
    /// <param name="length">how many these are</param>
    /// <param name="next">[remembered]; written by <see cref="End"/></param>
    public RecurrentScan(StatePieces pieces, RecurrentShape shape, RecurrentNumbers numbers, Tensor before, int taken, int length, Tensor next)
    {
        using var scope = NewDisposeScope();
        (_pieces, _shape, _numbers, _next, Length) = (pieces, shape, numbers, next.DetachFromDisposeScope(), taken);
        _state = before.narrow(0, 0, shape.StateSize).view(shape.ValueHeads, shape.KeyDim, shape.ValueDim).clone().DetachFromDisposeScope();
        var recent = before.narrow(0, shape.StateSize, shape.Recent * shape.Width).view(shape.Recent, shape.Width);
        Tensor Remembered(int first, int count) => recent.index_select(0, TensorMemory.Indices(Enumerable.Range(first, count).Select(Place).ToArray()).to(before.device));
        _tail = Remembered(taken - shape.Taps + 1, shape.Taps - 1).DetachFromDisposeScope();
        if (taken < length)
        {
            var nothing = empty([length - taken, shape.Values], ScalarType.Float32, before.device); // what was put out is known already
            Take(Remembered(taken, length - taken), nothing, 1, empty_like(nothing));
        }
    }

    /// <summary>Tokens that it has taken.</summary>
    public int Length { get; private set; }

    /// <summary>Tokens to take at once at most after so many: pieces lie at the same positions wherever a segment begins.</summary>
    public static int Room(int length) => length % Piece != 0 ? Piece - (length % Piece) : MostTokens - (length % MostTokens);

    /// <summary>Takes tokens.</summary>
    /// <param name="raw">[tokens, width], float32: what the layer projects them to</param>
    /// <param name="gates">[tokens, values]: of the outputs</param>
    /// <param name="epsilon">of the norm of the outputs</param>
    /// <param name="output">[tokens, values], written</param>
    public void Take(Tensor raw, Tensor gates, double epsilon, Tensor output)
    {
        var count = raw.shape[0];
        using var seen = cat([_tail, raw], 0); // [taps - 1 + tokens, width]
        _pieces.Take(_shape, _numbers, seen, _state, gates, epsilon, output);
        _tail.Dispose();
        using var tail = seen.narrow(0, count, _shape.Taps - 1);
        _tail = tail.clone().DetachFromDisposeScope();
        Length += (int)count;
    }

    /// <summary>Writes what is remembered to where a sequence keeps it.</summary>
    /// <param name="to">[remembered]</param>
    public void Write(Tensor to)
    {
        using var scope = NewDisposeScope();
        to.narrow(0, 0, _shape.StateSize).copy_(_state.view(-1));
        var recent = to.narrow(0, _shape.StateSize, _shape.Recent * _shape.Width).view(_shape.Recent, _shape.Width);
        for (var i = 0; i < _shape.Taps - 1; i++)
        {
            recent.select(0, Place(Length - _shape.Taps + 1 + i)).copy_(_tail.select(0, i));
        }
    }

    /// <summary>The segment is through.</summary>
    public void End() => Write(_next);

    public void Dispose()
    {
        _state.Dispose();
        _tail.Dispose();
        _next.Dispose();
    }

    private int Place(int position) => ((position % _shape.Recent) + _shape.Recent) % _shape.Recent;
}
