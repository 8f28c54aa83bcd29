using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>What each layer is told of a token beside the residual stream: of the token itself, and of its embedding (Gemma 4).</summary>
/// <param name="device">computes; null if nobody does</param>
/// <param name="table">[vocabulary, layers * size]; half of a small model, so it lies in host memory</param>
/// <param name="projection">hidden -> layers * size</param>
/// <param name="norm">[size], of what is projected for a layer</param>
internal sealed class PerLayerInputs(ModelConfig config, Device? device, RowTable table, Linear projection, Tensor norm)
{
    private static readonly double Half = Math.Sqrt(0.5); // of two parts of one size

    private readonly double _tableScale = Math.Sqrt(config.PerLayerSize);

    /// <summary>Null for a model without them.</summary>
    public static PerLayerInputs? Read(ModelConfig config, IWeightSource source, Device? device) => config.PerLayerSize == 0 ? null : new(
        config,
        device,
        source.Table(TensorNames.PerLayerEmbedding, config.PerLayerVocabulary, (long)config.Layers * config.PerLayerSize),
        source.Linear([TensorNames.PerLayerProjection], [(long)config.Layers * config.PerLayerSize], config.HiddenSize),
        source.Vector(TensorNames.PerLayerNorm, config.PerLayerSize));

    /// <summary>For all layers.</summary>
    /// <param name="tokens">[tokens], int64, on the CPU</param>
    /// <param name="embedded">[tokens, hidden]</param>
    /// <returns>[tokens, layers * size]</returns>
    public Tensor Of(Tensor tokens, Tensor embedded)
    {
        using var scope = NewDisposeScope();
        var projected = projection.Apply(embedded).mul_(Math.Pow(config.HiddenSize, -0.5));
        var normed = device!.RmsNorm(projected.view(-1, config.PerLayerSize), norm, config.NormEpsilon).view(projected.shape);
        return normed.add_(table.Lookup(tokens).mul_(_tableScale)).mul_(Half).MoveToOuterDisposeScope();
    }

    /// <summary>The same for a few rows, of what is hidden before the first layer.</summary>
    public void Of(RowKernels kernels, ReadOnlySpan<int> tokens, RowBuffers buffers)
    {
        var (told, other) = (buffers.Told!, buffers.ToldOther!);
        Span<float> half = stackalloc float[RowKernels.MostRows];
        half.Fill((float)Half);
        projection.Multiply(kernels, tokens.Length, buffers.Hidden, null, told);
        var ofLayers = told.Narrow(config.PerLayerSize);
        kernels.Norm(tokens.Length * config.Layers, ofLayers, new RowNorm(TensorMemory.Pointer(norm), config.NormEpsilon * config.HiddenSize), ofLayers, add: false); // not divided by hidden^0.5
        table.Lookup(tokens, _tableScale, other);
        kernels.AddScaled(tokens.Length, other, 1, told);
        kernels.ScaleRows(told, told.Width, half[..tokens.Length]);
    }
}

/// <summary>What a layer does with it: <c>hidden += norm(output(activation(gate(hidden)) * told))</c>.</summary>
/// <param name="device">computes; null if nobody does</param>
/// <param name="gate">hidden -> size</param>
/// <param name="output">size -> hidden</param>
/// <param name="norm">[hidden]</param>
internal sealed class PerLayerInput(ModelConfig config, Device? device, int layer, Linear gate, Linear output, Tensor norm)
{
    private readonly int _first = layer * config.PerLayerSize;

    /// <summary>Null for a model without them.</summary>
    public static PerLayerInput? Read(ModelConfig config, IWeightSource source, Device? device, int layer, Func<string, string> name) => config.PerLayerSize == 0 ? null : new(
        config,
        device,
        layer,
        source.Linear([name(TensorNames.PerLayerGate)], [config.PerLayerSize], config.HiddenSize),
        source.Linear([name(TensorNames.PerLayerOutput)], [config.HiddenSize], config.PerLayerSize),
        source.Vector(name(TensorNames.PerLayerOutputNorm), config.HiddenSize, config.NormOffset));

    /// <param name="hidden">[tokens, hidden], changed</param>
    /// <param name="told">[tokens, layers * size]</param>
    public void AddTo(Tensor hidden, Tensor told)
    {
        using var scope = NewDisposeScope();
        var both = cat([gate.Apply(hidden), told.narrow(1, _first, config.PerLayerSize)], 1);
        hidden.add_(device!.RmsNorm(output.Apply(device.Gate(both, config.PerLayerSize, config.Activation)), norm, config.NormEpsilon));
    }

    /// <summary>The same of a few rows.</summary>
    public void AddTo(RowKernels kernels, int rows, RowBuffers buffers)
    {
        gate.Multiply(kernels, rows, buffers.Hidden, null, buffers.ToldGate!);
        kernels.ActivateBy(rows, buffers.ToldGate!, config.Activation, buffers.Told!, _first);
        buffers.Add(kernels, rows, output, buffers.ToldGate!, new RowNorm(TensorMemory.Pointer(norm), config.NormEpsilon));
    }
}
