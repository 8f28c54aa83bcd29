using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>The part of a layer that looks at each token alone.</summary>
internal abstract class FeedForward
{
    /// <param name="x">[tokens, hidden]</param>
    /// <param name="kernels">kernels that do several steps in one, or null</param>
    /// <returns>[tokens, hidden]</returns>
    public abstract Tensor Forward(Tensor x, FusedKernels? kernels);

    /// <summary><c>sum += Forward(x)</c>.</summary>
    public virtual void AddTo(Tensor sum, Tensor x, FusedKernels? kernels)
    {
        using var output = Forward(x, kernels);
        sum.add_(output);
    }

    public static FeedForward Read(ModelConfig config, IWeightSource source, int layer) =>
        config.ExpertLayers.Contains(layer)
            ? new MixtureOfExperts(
                config,
                source.Matrix([TensorNames.Layer(layer, TensorNames.Router)], [config.Experts], config.HiddenSize),
                [.. Enumerable.Range(0, config.Experts).Select(e => GatedMlp.Read(config, source, config.ExpertIntermediateSize, n => TensorNames.Layer(layer, TensorNames.Expert(e, n))))])
            : GatedMlp.Read(config, source, config.IntermediateSize, n => TensorNames.Layer(layer, TensorNames.Mlp(n)));
}

/// <summary><c>down(activation(gate(x)) * up(x))</c>.</summary>
internal sealed class GatedMlp : FeedForward
{
    private readonly Tensor _gateUp;     // [2 * intermediate, hidden]
    private readonly Tensor? _gateUpBias;
    private readonly Tensor _down;       // [hidden, intermediate]
    private readonly Tensor? _downBias;
    private readonly string _activation;
    private readonly int _width;

    private GatedMlp(Tensor gateUp, Tensor? gateUpBias, Tensor down, Tensor? downBias, string activation, int width) =>
        (_gateUp, _gateUpBias, _down, _downBias, _activation, _width) = (gateUp, gateUpBias, down, downBias, activation, width);

    public static GatedMlp Read(ModelConfig config, IWeightSource source, int width, Func<string, string> name)
    {
        string[] parts = config.Family.FusedProjections ? [TensorNames.GateUpFused] : [TensorNames.Gate, TensorNames.Up];
        long[] rows = config.Family.FusedProjections ? [2L * width] : [width, width];
        return new GatedMlp(
            source.Matrix([.. parts.Select(p => name(p + ".weight"))], rows, config.HiddenSize),
            config.MlpBias ? source.Vector([.. parts.Select(p => name(p + ".bias"))], rows) : null,
            source.Matrix([name(TensorNames.Down + ".weight")], [config.HiddenSize], width),
            config.MlpBias ? source.Vector([name(TensorNames.Down + ".bias")], [config.HiddenSize]) : null,
            config.Activation,
            width);
    }

    public override Tensor Forward(Tensor x, FusedKernels? kernels)
    {
        using var active = Activate(x, kernels);
        return Aten.Linear(active, _down, _downBias);
    }

    public override void AddTo(Tensor sum, Tensor x, FusedKernels? kernels)
    {
        if (_downBias is not null)
        {
            base.AddTo(sum, x, kernels);
            return;
        }

        using var active = Activate(x, kernels);
        Aten.AddLinear(sum, active, _down);
    }

    // [tokens, intermediate]
    private Tensor Activate(Tensor x, FusedKernels? kernels)
    {
        using var both = Aten.Linear(x, _gateUp, _gateUpBias); // [tokens, 2 * intermediate]
        if (kernels?.Gate(both, _width, _activation) is { } fused)
        {
            return fused;
        }

        if (HostMath.TakesRows(both))
        {
            return _activation == "silu" ? HostMath.GateBySilu(both, _width) : Apart(both);
        }

        return Activate(both);
    }

    // Row by row: libtorch's vectors would round by a value's place among all rows.
    private Tensor Apart(Tensor both)
    {
        using var scope = NewDisposeScope();
        return cat([.. Enumerable.Range(0, (int)both.shape[0]).Select(row => Activate(both.narrow(0, row, 1)))]).MoveToOuterDisposeScope();
    }

    private Tensor Activate(Tensor both)
    {
        using var gate = both.narrow(1, 0, _width);
        using var up = both.narrow(1, _width, _width);
        var active = _activation switch
        {
            "silu" => gate.silu_().alias(),
            "gelu" => gate.gelu(),
            _ => gate.gelu(TorchSharp.Modules.GELU.Approximate.tanh),
        };
        return active.mul_(up);
    }
}

/// <summary>A router sends each token to a few experts and weighs their outputs.</summary>
internal sealed class MixtureOfExperts(ModelConfig config, Tensor router, IReadOnlyList<GatedMlp> experts) : FeedForward
{
    public override Tensor Forward(Tensor x, FusedKernels? kernels)
    {
        using var logits = Aten.Linear(x, router); // [tokens, experts]
        using var shares = logits.softmax(-1, ScalarType.Float32);
        var (weights, chosen) = shares.topk(config.ExpertsPerToken); // [tokens, per token]
        using var scale = config.NormalizeExpertWeights ? weights / weights.sum(-1, keepdim: true) : weights.alias();
        using var choice = chosen.cpu();
        var output = zeros_like(x);
        foreach (var (expert, places) in PlacesByExpert(choice.data<long>().ToArray()))
        {
            using var scope = NewDisposeScope();
            var slots = TensorMemory.Indices(places.ToArray()).to(x.device);
            var rows = slots.div(config.ExpertsPerToken, RoundingMode.floor);
            var weight = scale.flatten().index_select(0, slots).unsqueeze(1).to(x.dtype);
            output.index_add_(0, rows, experts[expert].Forward(x.index_select(0, rows), kernels).mul_(weight), 1);
        }

        return output;
    }

    // Expert -> flat places in [tokens, per token] that chose it, experts in order so that sums always form alike.
    private static SortedDictionary<int, List<int>> PlacesByExpert(long[] chosen)
    {
        var places = new SortedDictionary<int, List<int>>();
        for (var i = 0; i < chosen.Length; i++)
        {
            if (!places.TryGetValue((int)chosen[i], out var list))
            {
                places[(int)chosen[i]] = list = [];
            }

            list.Add(i);
        }

        return places;
    }
}
