using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>A layer's state on its way through the tokens of a segment, many at a time.</summary>
/// <remarks>
/// Tokens are taken in pieces. What a piece reads of the state and writes to it are products of matrices, as the corrections of its tokens
/// are a triangular system: with decays G, keys K and write gates B of the piece, (I + tril(B K K^T G)) X = B V, solved by halves.
/// (Yang et al., "Parallelizing Linear Transformers with the Delta Rule", arXiv 2406.06484.)
/// </remarks>
internal sealed class DeltaScan : IDisposable
{
    private const int Piece = DeltaShape.Piece, MostTokens = DeltaShape.MostTokens;

    private readonly DeltaShape _shape;
    private readonly DeltaNumbers _numbers;
    private readonly Tensor _next;
    private Tensor _state; // [value heads, key dim, value dim]
    private Tensor _tail;  // [taps - 1, width]: the last tokens, as they came

    /// <param name="shape">of the layer</param>
    /// <param name="numbers">of the layer; not owned</param>
    /// <param name="before">[remembered]: what is known of the tokens before</param>
    /// <param name="taken">how many of these the state has taken in</param>
    /// <param name="length">how many these are</param>
    /// <param name="next">[remembered]; written by <see cref="End"/></param>
    public DeltaScan(DeltaShape shape, DeltaNumbers numbers, Tensor before, int taken, int length, Tensor next)
    {
        using var scope = NewDisposeScope();
        (_shape, _numbers, _next, Length) = (shape, numbers, next.DetachFromDisposeScope(), taken);
        _state = before.narrow(0, 0, shape.StateSize).view(shape.ValueHeads, shape.KeyDim, shape.ValueDim).clone().DetachFromDisposeScope();
        var recent = before.narrow(0, shape.StateSize, shape.Recent * shape.Width).view(shape.Recent, shape.Width);
        Tensor Remembered(int first, int count) => recent.index_select(0, TensorMemory.Indices(Enumerable.Range(first, count).Select(Place).ToArray()).to(before.device));
        _tail = Remembered(taken - shape.Taps + 1, shape.Taps - 1).DetachFromDisposeScope();
        if (taken < length)
        {
            Take(Remembered(taken, length - taken));
        }
    }

    /// <summary>Tokens that it has taken.</summary>
    public int Length { get; private set; }

    /// <summary>Tokens to take at once at most after so many: pieces lie at the same positions wherever a segment begins.</summary>
    public static int Room(int length) => length % Piece != 0 ? Piece - (length % Piece) : MostTokens - (length % MostTokens);

    /// <summary>Takes tokens.</summary>
    /// <param name="raw">[tokens, width], float32: what the layer projects them to</param>
    /// <returns>[tokens, value heads, value dim]; the caller's scope's</returns>
    public Tensor Take(Tensor raw)
    {
        using var scope = NewDisposeScope();
        var (count, taps, heads) = (raw.shape[0], _shape.Taps, _shape.ValueHeads);
        var seen = cat([_tail, raw], 0); // [taps - 1 + tokens, width]
        var channels = seen.narrow(1, 0, _shape.Channels);
        var mixed = channels.narrow(0, taps - 1, count) * _numbers.Convolution.select(1, taps - 1);
        for (var tap = 0; tap < taps - 1; tap++)
        {
            mixed.addcmul_(channels.narrow(0, tap, count), _numbers.Convolution.select(1, tap), 1);
        }

        mixed = nn.functional.silu(mixed);
        var keys = _shape.KeyHeads * _shape.KeyDim;
        var (q, k) = (Spread(Normal(mixed.narrow(1, 0, keys))).mul_(1 / Math.Sqrt(_shape.KeyDim)), Spread(Normal(mixed.narrow(1, keys, keys))));
        var v = mixed.narrow(1, 2 * keys, _shape.Values).view(count, heads, _shape.ValueDim);
        var write = raw.narrow(1, _shape.Channels, heads).sigmoid();
        var decay = nn.functional.softplus(raw.narrow(1, _shape.Channels + heads, heads) + _numbers.DecayBias) * _numbers.Decay; // logarithms
        var output = Correct(q, k, v, write, decay);
        _tail.Dispose();
        _tail = seen.narrow(0, count, taps - 1).clone().DetachFromDisposeScope();
        Length += (int)count;
        return output.MoveToOuterDisposeScope();
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

    // [tokens, key heads * dim] -> [tokens, key heads, dim], each of length one
    private Tensor Normal(Tensor x)
    {
        var heads = x.view(x.shape[0], _shape.KeyHeads, _shape.KeyDim);
        return heads * rsqrt(heads.square().sum(-1, keepdim: true) + DeltaShape.NormEpsilon);
    }

    // [tokens, key heads, dim] -> [tokens, value heads, dim]
    private Tensor Spread(Tensor x) => x.repeat_interleave(_shape.ValueHeads / _shape.KeyHeads, 1);

    // [tokens, value heads, ...] of queries, keys, values, write gates and decays -> outputs, [tokens, value heads, value dim]
    private Tensor Correct(Tensor q, Tensor k, Tensor v, Tensor write, Tensor decay)
    {
        var (count, heads) = (q.shape[0], q.shape[1]);
        var pieces = (count + Piece - 1) / Piece;
        var missing = (pieces * Piece) - count;
        Tensor Cut(Tensor x) // -> [value heads, pieces, tokens of a piece, dim]; what is filled up changes nothing
        {
            var whole = missing == 0 ? x : cat([x, zeros([missing, .. x.shape[1..]], x.dtype, x.device)], 0);
            return whole.view([pieces, Piece, .. x.shape[1..]]).transpose(1, 2).transpose(0, 1).contiguous();
        }

        (q, k, v, write) = (Cut(q), Cut(k), Cut(v), Cut(write.unsqueeze(-1)));
        var since = Cut(decay.unsqueeze(-1)).cumsum(2); // [heads, pieces, tokens, 1]: logarithm of what is left of a state from the piece's beginning
        var between = (since - since.transpose(2, 3)).tril_().exp_().tril_(); // [heads, pieces, tokens, tokens]
        var (written, transposed) = (k * write, k.transpose(2, 3));
        var solve = InverseOf((matmul(written, transposed) * between).tril_(-1));
        var (corrected, reading) = (matmul(solve, v * write), matmul(solve, written * since.exp()));
        var seen = matmul(q, transposed).mul_(between);
        var (asked, last) = (q * since.exp(), since.narrow(2, Piece - 1, 1));
        var (left, kept) = (last.exp(), (k * (last - since).exp()).transpose(2, 3));
        var output = empty_like(v);
        var state = _state;
        for (var i = 0L; i < pieces; i++)
        {
            var added = corrected.select(1, i) - matmul(reading.select(1, i), state);
            output.select(1, i).copy_(matmul(asked.select(1, i), state).add_(matmul(seen.select(1, i), added)));
            state = (state * left.select(1, i)).add_(matmul(kept.select(1, i), added));
        }

        _state.Dispose();
        _state = state.DetachFromDisposeScope();
        return output.transpose(0, 1).transpose(1, 2).reshape(pieces * Piece, heads, _shape.ValueDim).narrow(0, 0, count);
    }

    // (I + L)^-1 of strictly lower triangular L, in blocks of twice the size each time: [[A, 0], [B, C]]^-1 = [[A', 0], [-C' B A', C']].
    private static Tensor InverseOf(Tensor lower)
    {
        var size = lower.shape[^1];
        var (all, inverse) = (lower.view(-1, size, size), eye(size, dtype: lower.dtype, device: lower.device).expand(lower.shape).contiguous());
        var result = inverse.view(-1, size, size);
        for (var half = 1L; half < size; half *= 2)
        {
            var (blocks, two) = (size / (2 * half), 2 * half);
            Tensor Diagonal(Tensor x) => x.view(-1, blocks, two, blocks, two).diagonal(0, 1, 3).permute(0, 3, 1, 2); // [all, blocks, two, two], a view
            var (b, own) = (Diagonal(all).narrow(2, half, half).narrow(3, 0, half), Diagonal(result));
            var (a, c) = (own.narrow(2, 0, half).narrow(3, 0, half), own.narrow(2, half, half).narrow(3, half, half));
            own.narrow(2, half, half).narrow(3, 0, half).copy_(matmul(matmul(c, b), a).neg_());
        }

        return inverse;
    }
}
