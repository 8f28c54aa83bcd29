using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>A state space over many tokens of a sequence, by libtorch's operators.</summary>
/// <remarks>
/// Tokens are taken in pieces. Within a piece a token reads the ones before it as attention without softmax would, each by what its time has left of it,
/// and of those before the piece the state. (Dao and Gu, "Transformers are SSMs", arXiv 2405.21060.)
/// </remarks>
internal static class SpacePieces
{
    /// <summary>Takes tokens.</summary>
    /// <param name="shape">of the layer</param>
    /// <param name="numbers">of the layer</param>
    /// <param name="q">[tokens, key heads, key dim]</param>
    /// <param name="k">[tokens, key heads, key dim]</param>
    /// <param name="v">[tokens, value heads, value dim]</param>
    /// <param name="times">[tokens, value heads]: what time steps are made of</param>
    /// <param name="state">[value heads, key dim, value dim], changed</param>
    /// <returns>[tokens, values], neither gated nor normed</returns>
    public static Tensor Take(RecurrentShape shape, RecurrentNumbers numbers, Tensor q, Tensor k, Tensor v, Tensor times, Tensor state)
    {
        var (count, groups, space) = (v.shape[0], shape.KeyHeads, shape.Space!);
        var (size, pieces) = StatePieces.Cut(count);
        var steps = TorchSharp.torch.nn.functional.softplus(times + numbers.DecayBias!).clamp(space.LeastStep, space.MostStep);
        var skipped = v * numbers.Skip!.unsqueeze(-1);
        var written = Grouped(StatePieces.Cut(v * steps.unsqueeze(-1)));
        (q, k) = (StatePieces.Cut(q), StatePieces.Cut(k)); // [groups, pieces, tokens, key dim]

        // The logarithm of what is left of a state from the piece's beginning. Sums of a piece may be large where their difference is small,
        // so they are formed in double precision and kept as two numbers, the second of what the first leaves.
        var sums = StatePieces.Cut((steps * numbers.Decay!).unsqueeze(-1)).to(ScalarType.Float64).cumsum(2); // [heads, pieces, tokens, 1]
        var since = sums.to(ScalarType.Float32);
        var rest = (sums - since).to(ScalarType.Float32);
        var between = (since - since.transpose(2, 3)).add_(rest - rest.transpose(2, 3)).tril_().exp_().tril_(); // [heads, pieces, tokens, tokens]
        var seen = Grouped(between).mul_(matmul(q, k.transpose(2, 3)).unsqueeze(1)); // [groups, sharers, pieces, tokens, tokens]
        var output = matmul(seen, written);

        var last = sums.narrow(2, size - 1, 1);
        var (entered, left) = (Grouped(since.exp()), Grouped(last.exp().to(ScalarType.Float32)));
        written.mul_(Grouped((last - sums).exp_().to(ScalarType.Float32)));
        var own = state.view(groups, -1, shape.KeyDim, shape.ValueDim);
        for (var i = 0L; i < pieces; i++)
        {
            using var scope = NewDisposeScope();
            var (queries, keys) = (q.select(1, i).unsqueeze(1), k.select(1, i).unsqueeze(1)); // of all sharers
            output.select(2, i).add_(matmul(queries, own).mul_(entered.select(2, i)));
            own.mul_(left.select(2, i)).add_(matmul(keys.transpose(2, 3), written.select(2, i)));
        }

        return StatePieces.Join(output.view(shape.ValueHeads, pieces, size, shape.ValueDim), count).add_(skipped).reshape(count, shape.Values);

        Tensor Grouped(Tensor x) => x.view([groups, -1, .. x.shape[1..]]);
    }
}
