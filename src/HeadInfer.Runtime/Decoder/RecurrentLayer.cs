using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>A layer with a state, from its normed input to what its output projection takes. See <see cref="RecurrentShape"/>.</summary>
/// <param name="device">computes; null if nobody does</param>
/// <param name="shape">its sizes</param>
/// <param name="inputs">hidden -> channels, then gates of the outputs</param>
/// <param name="gates">hidden -> gates of each value head</param>
/// <param name="numbers">what else it has</param>
/// <param name="epsilon">of the norm of its outputs</param>
internal sealed class RecurrentLayer(Device? device, RecurrentShape shape, Linear inputs, Linear gates, RecurrentNumbers numbers, double epsilon)
{
    public static RecurrentLayer Read(ModelConfig config, IWeightSource source, Device? device, RecurrentShape shape, Func<string, string> name)
    {
        var decay = source.Floats(name(TensorNames.StateDecayRate), shape.ValueHeads);
        decay.exp_().neg_();
        var (space, bias) = (shape.Space, shape.Space?.ProjectionBias ?? false);
        string[] gates = space is null ? [TensorNames.StateWriteGate, TensorNames.StateDecay] : [TensorNames.StateDecay];
        return new RecurrentLayer(
            device,
            shape,
            source.Linear([name(TensorNames.StateHeads), name(TensorNames.StateOutputGate)], [shape.Channels, shape.Values], config.HiddenSize, bias),
            source.Linear([.. gates.Select(name)], [.. gates.Select(_ => (long)shape.ValueHeads)], config.HiddenSize, bias),
            new RecurrentNumbers(
                source.Floats(name(TensorNames.StateConvolution), shape.Channels, shape.Taps),
                decay,
                source.Floats(name(TensorNames.StateDecayBias), shape.ValueHeads),
                source.Floats(name(TensorNames.StateNorm), space is null ? shape.ValueDim : shape.Values))
            {
                Bias = space?.ConvolutionBias == true ? source.Floats(name(TensorNames.StateConvolutionBias), shape.Channels) : null,
                Skip = space is null ? null : source.Floats(name(TensorNames.StateSkip), shape.ValueHeads),
            },
            config.NormEpsilon);
    }

    /// <summary>Begins a segment of a sequence.</summary>
    /// <param name="before">what is remembered of the tokens before</param>
    /// <param name="next">gets what is remembered after the segment</param>
    /// <param name="layer">which of the layers with states it is</param>
    public RecurrentScan Begin(SequenceState before, SequenceState next, int layer) => new(device!.StatePieces, shape, numbers, before.Memory.select(0, layer), before.Taken[layer], before.Length, next.Memory.select(0, layer));

    /// <summary>The next tokens of a segment.</summary>
    /// <param name="scan">its state</param>
    /// <param name="normed">[tokens, hidden]</param>
    /// <param name="atEnd">called with what is remembered at the end of each block of tokens</param>
    /// <param name="blockTokens">tokens of a block</param>
    /// <returns>[tokens, values]</returns>
    public Tensor Forward(RecurrentScan scan, Tensor normed, int blockTokens, Action<int, RecurrentScan> atEnd)
    {
        using var projected = inputs.Apply(normed);
        using var gated = gates.Apply(normed);
        var output = empty([normed.shape[0], shape.Values], normed.dtype, normed.device);
        for (long at = 0, some; at < normed.shape[0]; at += some)
        {
            using var scope = NewDisposeScope();
            some = Math.Min(Math.Min(normed.shape[0] - at, RecurrentScan.Room(scan.Length)), blockTokens - (scan.Length % blockTokens));
            var (own, outputGates) = (projected.narrow(0, at, some), projected.narrow(0, at, some).narrow(1, shape.Channels, shape.Values));
            var raw = cat([own.narrow(1, 0, shape.Channels), gated.narrow(0, at, some)], 1).to(ScalarType.Float32);
            scan.Take(raw, outputGates, epsilon, output.narrow(0, at, some));
            if (scan.Length % blockTokens == 0)
            {
                atEnd(scan.Length, scan);
            }
        }

        return output;
    }

    /// <summary>The same for the rows of a step.</summary>
    /// <param name="kernels">compute</param>
    /// <param name="rows">how many</param>
    /// <param name="buffers">hidden among them; the outputs are written</param>
    /// <param name="norm">of what is hidden</param>
    /// <param name="states">whose state rows are of</param>
    public void Forward(RowKernels kernels, int rows, RowBuffers buffers, RowNorm? norm, IReadOnlyList<StateRows> states)
    {
        var own = buffers.Recurrent!;
        inputs.Multiply(kernels, rows, buffers.Hidden, norm, own.Inputs);
        gates.Multiply(kernels, rows, buffers.Hidden, norm, own.Gates);
        kernels.Recur(states, own, shape, numbers, epsilon);
    }
}
