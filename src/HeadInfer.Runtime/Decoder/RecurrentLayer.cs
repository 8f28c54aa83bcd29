using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>A layer with a state, from its normed input to what its output projection takes. See <see cref="RecurrentShape"/>.</summary>
/// <param name="device">computes; null if nobody does</param>
/// <param name="shape">its sizes</param>
/// <param name="inputs">hidden -> channels, then gates of the outputs, and perhaps what channels are multiplied by</param>
/// <param name="gates">hidden -> gates of each value head; null where there are none</param>
/// <param name="numbers">what else it has</param>
/// <param name="epsilon">of the norm of its outputs</param>
internal sealed class RecurrentLayer(Device? device, RecurrentShape shape, Linear inputs, Linear? gates, RecurrentNumbers numbers, double epsilon)
{
    public static RecurrentLayer Read(ModelConfig config, IWeightSource source, Device? device, RecurrentShape shape, Func<string, string> name)
    {
        if (shape.IsConvolution)
        {
            var its = source.Linear([name(TensorNames.SpaceJoint)], [shape.Projected], config.HiddenSize, shape.ProjectionBias);
            return new RecurrentLayer(device, shape, its, null, new RecurrentNumbers(Taps(), null, null, null) { Bias = Added() }, config.NormEpsilon);
        }

        var decay = source.Floats(name(TensorNames.StateDecayRate), shape.ValueHeads);
        decay.exp_().neg_();
        var (space, bias, convolution) = (shape.Space, shape.ProjectionBias, Taps());
        if (space?.Factors is { } factors && convolution.NumberOfElements > 0) // nothing is read of a shape
        {
            using var scope = NewDisposeScope();
            convolution.narrow(0, shape.ValueAt, shape.Values).mul_(factors.Values);
            convolution.narrow(0, shape.KeyAt, shape.Keys).mul_(factors.Keys);
            convolution.narrow(0, shape.QueryAt, shape.Keys).mul_(factors.Queries);
        }

        string[] gates = space is null ? [TensorNames.StateWriteGate, TensorNames.StateDecay] : [TensorNames.StateDecay];
        return new RecurrentLayer(
            device,
            shape,
            source.Linear([name(TensorNames.StateHeads), name(TensorNames.StateOutputGate)], [shape.Channels, shape.Values], config.HiddenSize, bias),
            source.Linear([.. gates.Select(name)], [.. gates.Select(_ => (long)shape.ValueHeads)], config.HiddenSize, bias),
            new RecurrentNumbers(
                convolution,
                decay,
                source.Floats(name(TensorNames.StateDecayBias), shape.ValueHeads),
                space is null ? source.Floats(name(TensorNames.StateNorm), shape.ValueDim) : space.NormGroups > 0 ? source.Floats(name(TensorNames.StateNorm), shape.Values) : null)
            {
                Bias = Added(),
                Skip = space is null ? null : source.Floats(name(TensorNames.StateSkip), shape.ValueHeads),
            },
            config.NormEpsilon);

        Tensor Taps() => source.Floats(name(TensorNames.StateConvolution), shape.Channels, shape.Taps);
        Tensor? Added() => shape.ConvolutionBias ? source.Floats(name(TensorNames.StateConvolutionBias), shape.Channels) : null;
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
        using var gated = gates?.Apply(normed);
        Scale(projected, gated);
        var output = empty([normed.shape[0], shape.Values], normed.dtype, normed.device);
        for (long at = 0, some; at < normed.shape[0]; at += some)
        {
            using var scope = NewDisposeScope();
            some = Math.Min(Math.Min(normed.shape[0] - at, RecurrentScan.Room(scan.Length)), blockTokens - (scan.Length % blockTokens));
            var (own, outputGates) = (projected.narrow(0, at, some), projected.narrow(0, at, some).narrow(1, shape.Channels, shape.Values));
            var channels = own.narrow(1, 0, shape.Channels);
            var raw = gated is null ? channels.to(ScalarType.Float32) * own.narrow(1, shape.Channels + shape.Values, shape.Channels) : cat([channels, gated.narrow(0, at, some)], 1).to(ScalarType.Float32);
            scan.Take(raw, outputGates, epsilon, output.narrow(0, at, some));
            if (scan.Length % blockTokens == 0)
            {
                atEnd(scan.Length, scan);
            }
        }

        return shape.Space?.Factors is { } factors ? output.mul_(factors.Outputs) : output;
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
        gates?.Multiply(kernels, rows, buffers.Hidden, norm, own.Gates);
        using var scope = NewDisposeScope();
        if (shape.Space?.Factors is { } factors)
        {
            Scale(own.Inputs.Memory.narrow(0, 0, rows), own.Gates.Memory.narrow(0, 0, rows));
            kernels.Recur(states, own, shape, numbers, epsilon);
            own.Outputs.Memory.narrow(0, 0, rows).mul_(factors.Outputs);
            return;
        }

        kernels.Recur(states, own, shape, numbers, epsilon);
    }

    // The convolution has the factors of what goes through it.
    private void Scale(Tensor projected, Tensor? gated)
    {
        if (shape.Space?.Factors is { } factors)
        {
            using var outputGates = projected.narrow(1, shape.Channels, shape.Values).mul_(factors.Gates);
            gated!.mul_(factors.Steps);
        }
    }
}
