using System.Numerics;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>A layer with a state over many tokens of a sequence, by libtorch's operators.</summary>
/// <remarks>
/// Tokens are taken in pieces. What a piece reads of the state and writes to it are products of matrices, as the corrections of its tokens
/// are a triangular system: with decays G, keys K and write gates B of the piece, (I + tril(B K K^T G)) X = B V.
/// (Yang et al., "Parallelizing Linear Transformers with the Delta Rule", arXiv 2406.06484.)
/// </remarks>
internal class StatePieces
{
    protected const int Piece = RecurrentShape.Piece;

    /// <summary>Takes tokens, to the rows that the output projection takes.</summary>
    /// <param name="shape">of the layer</param>
    /// <param name="numbers">of the layer</param>
    /// <param name="seen">[taps - 1 + tokens, width], float32: what the tokens, and those just before them, are projected to</param>
    /// <param name="state">[value heads, key dim, value dim], float32, contiguous, changed</param>
    /// <param name="gates">[tokens, values]: of the outputs; rows may lie apart</param>
    /// <param name="epsilon">of the norm of the outputs</param>
    /// <param name="output">[tokens, values], contiguous, written</param>
    public virtual void Take(RecurrentShape shape, RecurrentNumbers numbers, Tensor seen, Tensor state, Tensor gates, double epsilon, Tensor output)
    {
        using var scope = NewDisposeScope();
        var (count, taps, heads) = (seen.shape[0] - shape.Taps + 1, shape.Taps, shape.ValueHeads);
        var channels = seen.narrow(1, 0, shape.Channels);
        var mixed = channels.narrow(0, taps - 1, count) * numbers.Convolution.select(1, taps - 1);
        for (var tap = 0; tap < taps - 1; tap++)
        {
            mixed.addcmul_(channels.narrow(0, tap, count), numbers.Convolution.select(1, tap), 1);
        }

        mixed = numbers.Bias is null ? mixed : mixed.add_(numbers.Bias);
        if (shape.IsConvolution)
        {
            output.copy_(mixed.mul_(gates));
            return;
        }

        mixed = TorchSharp.torch.nn.functional.silu(mixed);
        var (raw, outputGates) = (seen.narrow(0, taps - 1, count), gates.to(ScalarType.Float32));
        if (shape.Space is not null)
        {
            Tensor Heads(int first, int those, int dim) => mixed.narrow(1, first, those * dim).view(count, those, dim);
            var given = SpacePieces.Take(shape, numbers, Heads(shape.QueryAt, shape.KeyHeads, shape.KeyDim), Heads(shape.KeyAt, shape.KeyHeads, shape.KeyDim), Heads(shape.ValueAt, heads, shape.ValueDim), raw.narrow(1, shape.Channels, heads), state);
            given = given.mul_(TorchSharp.torch.nn.functional.silu(outputGates)).view(count, -1, shape.NormDim);
            output.copy_(numbers.Norm is null ? given.view(count, shape.Values) : (given * rsqrt(given.square().mean([-1L], keepdim: true) + epsilon)).view(count, shape.Values).mul_(numbers.Norm));
            return;
        }

        Tensor Normal(int first) // -> [tokens, value heads, dim], each of length one
        {
            var own = mixed.narrow(1, first, shape.Keys).view(count, shape.KeyHeads, shape.KeyDim);
            var normal = own * rsqrt(own.square().sum(-1, keepdim: true) + RecurrentShape.NormEpsilon);
            return shape.SharersApart ? normal.repeat(1, heads / shape.KeyHeads, 1) : normal.repeat_interleave(heads / shape.KeyHeads, 1);
        }

        var values = Correct(
            Normal(shape.QueryAt).mul_(1 / Math.Sqrt(shape.KeyDim)),
            Normal(shape.KeyAt),
            mixed.narrow(1, shape.ValueAt, shape.Values).view(count, heads, shape.ValueDim),
            raw.narrow(1, shape.Channels, heads).sigmoid(),
            TorchSharp.torch.nn.functional.softplus(raw.narrow(1, shape.Channels + heads, heads) + numbers.DecayBias!) * numbers.Decay!,
            state);
        var normal = values * rsqrt(values.square().mean([-1L], keepdim: true) + epsilon) * numbers.Norm!;
        output.copy_(normal.reshape(count, shape.Values).mul_(TorchSharp.torch.nn.functional.silu(outputGates)));
    }

    /// <summary>How large pieces of so many tokens are, and how many.</summary>
    internal static (long Size, long Count) Cut(long tokens)
    {
        var size = tokens < Piece ? (long)BitOperations.RoundUpToPowerOf2((uint)tokens) : Piece;
        return (size, (tokens + size - 1) / size);
    }

    /// <summary>Pieces of each head.</summary>
    /// <param name="x">[tokens, heads, dim]</param>
    /// <returns>[heads, pieces, tokens of a piece, dim]; zeros fill the last up</returns>
    internal static Tensor Cut(Tensor x)
    {
        var (size, pieces) = Cut(x.shape[0]);
        var missing = (pieces * size) - x.shape[0];
        var whole = missing == 0 ? x : cat([x, zeros([missing, .. x.shape[1..]], x.dtype, x.device)], 0);
        return whole.view([pieces, size, .. x.shape[1..]]).transpose(1, 2).transpose(0, 1).contiguous();
    }

    /// <summary>The other way round.</summary>
    internal static Tensor Join(Tensor pieces, long tokens) => pieces.transpose(0, 1).transpose(1, 2).reshape(pieces.shape[1] * pieces.shape[2], pieces.shape[0], pieces.shape[3]).narrow(0, 0, tokens);

    // [tokens, value heads, ...] of queries, keys, values, write gates and logarithms of decays -> outputs, [tokens, value heads, value dim]
    private static Tensor Correct(Tensor q, Tensor k, Tensor v, Tensor write, Tensor decay, Tensor state)
    {
        var count = q.shape[0];
        var (size, pieces) = Cut(count);
        (q, k, v, write) = (Cut(q), Cut(k), Cut(v), Cut(write.unsqueeze(-1)));
        var since = Cut(decay.unsqueeze(-1)).cumsum(2); // [heads, pieces, tokens, 1]: logarithm of what is left of a state from the piece's beginning
        var between = (since - since.transpose(2, 3)).tril_().exp_().tril_(); // [heads, pieces, tokens, tokens]
        var (written, transposed) = (k * write, k.transpose(2, 3));
        var solve = InverseOf((matmul(written, transposed) * between).tril_(-1));
        var (corrected, reading) = (matmul(solve, v * write), matmul(solve, written * since.exp()));
        var seen = matmul(q, transposed).mul_(between);
        var (asked, last) = (q * since.exp(), since.narrow(2, size - 1, 1));
        var (left, kept) = (last.exp(), (k * (last - since).exp()).transpose(2, 3));
        var output = empty_like(v);
        for (var i = 0L; i < pieces; i++)
        {
            using var scope = NewDisposeScope();
            var added = corrected.select(1, i) - matmul(reading.select(1, i), state);
            output.select(1, i).copy_(matmul(asked.select(1, i), state).add_(matmul(seen.select(1, i), added)));
            state.mul_(left.select(1, i)).add_(matmul(kept.select(1, i), added));
        }

        return Join(output, count);
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
