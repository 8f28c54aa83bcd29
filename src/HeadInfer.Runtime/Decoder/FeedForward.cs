using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Decoder;

/// <summary>The part of a layer that looks at each token alone.</summary>
internal abstract class FeedForward
{
    /// <param name="x">[tokens, hidden]</param>
    /// <returns>[tokens, hidden]</returns>
    public abstract Tensor Forward(Tensor x);

    /// <summary><c>sum += Forward(x)</c>.</summary>
    public virtual void AddTo(Tensor sum, Tensor x)
    {
        using var output = Forward(x);
        sum.add_(output);
    }

    /// <summary><c>hidden += norm(Forward(norm(hidden)))</c> of a few rows.</summary>
    /// <param name="kernels">compute</param>
    /// <param name="rows">how many</param>
    /// <param name="buffers">hidden among them</param>
    /// <param name="before">norm of what goes in</param>
    /// <param name="after">norm of what comes out; null if it has none</param>
    public abstract void AddTo(RowKernels kernels, int rows, RowBuffers buffers, RowNorm before, RowNorm? after);

    /// <summary>Whether kernels for few rows read what comes to the device by turns where it lies at rest.</summary>
    public virtual bool IsReadAtRest(RowKernels kernels) => false;

    public static FeedForward Read(ModelConfig config, IWeightSource source, Device? device, int layer)
    {
        if (!config.ExpertLayers.Contains(layer))
        {
            return GatedMlp.Read(config, source, device, config.IntermediateSize, n => TensorNames.Layer(layer, TensorNames.Mlp(n)));
        }

        var router = source.Linear([TensorNames.Layer(layer, TensorNames.Router)], [config.Experts], config.HiddenSize);
        source.Begin(layer);
        GatedMlp[] experts = [.. Enumerable.Range(0, config.Experts).Select(e => GatedMlp.Read(config, source, device, config.ExpertIntermediateSize, n => TensorNames.Layer(layer, TensorNames.Expert(e, n))))];
        source.Begin(null);
        return new MixtureOfExperts(config, source.Type, router, experts);
    }
}

/// <summary><c>down(activation(gate(x)) * up(x))</c>.</summary>
/// <param name="device">computes; null if nobody does</param>
/// <param name="gateUp">hidden -> 2 * width</param>
/// <param name="down">width -> hidden</param>
/// <param name="activation">as the configuration names it</param>
/// <param name="width">of the intermediate</param>
internal sealed class GatedMlp(Device? device, Linear gateUp, Linear down, string activation, int width) : FeedForward
{
    public static GatedMlp Read(ModelConfig config, IWeightSource source, Device? device, int width, Func<string, string> name)
    {
        string[] parts = config.Family.FusedProjections ? [TensorNames.GateUpFused] : [TensorNames.Gate, TensorNames.Up];
        long[] rows = config.Family.FusedProjections ? [2L * width] : [width, width];
        return new GatedMlp(
            device,
            source.Linear([.. parts.Select(name)], rows, config.HiddenSize, config.MlpBias),
            source.Linear([name(TensorNames.Down)], [config.HiddenSize], width, config.MlpBias),
            config.Activation,
            width);
    }

    /// <summary>Whether its matrices come to the device by turns, which sees them where they lie.</summary>
    public bool RestsInSight => gateUp.RestsInSight && down.RestsInSight;

    /// <summary>Its matrices, as kernels for few rows take them.</summary>
    public (WeightMatrix GateUp, WeightMatrix Down) AtRest => (gateUp.AtRest, down.AtRest);

    public override Tensor Forward(Tensor x)
    {
        using var active = Activate(x);
        return down.Apply(active);
    }

    public override void AddTo(Tensor sum, Tensor x)
    {
        using var active = Activate(x);
        down.AddTo(sum, active);
    }

    public override void AddTo(RowKernels kernels, int rows, RowBuffers buffers, RowNorm before, RowNorm? after)
    {
        gateUp.Gate(kernels, rows, buffers.Hidden, before, activation, buffers.Active);
        buffers.Add(kernels, rows, down, buffers.Active, after);
    }

    // [tokens, width]
    private Tensor Activate(Tensor x)
    {
        using var both = gateUp.Apply(x); // [tokens, 2 * width]
        return device!.Gate(both, width, activation);
    }
}

/// <summary>A router sends each token to a few experts and weighs their outputs.</summary>
internal sealed class MixtureOfExperts(ModelConfig config, ScalarType type, Linear router, IReadOnlyList<GatedMlp> experts) : FeedForward
{
    private readonly bool _rests = experts.All(e => e.RestsInSight);
    private Mixture? _mixture;
    private bool? _mixes;

    public override bool IsReadAtRest(RowKernels kernels) => _rests && Mixes(kernels);

    public override Tensor Forward(Tensor x)
    {
        using var logits = router.Apply(x); // [tokens, experts]
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
            output.index_add_(0, rows, experts[expert].Forward(x.index_select(0, rows)).mul_(weight), 1);
        }

        return output;
    }

    public override void AddTo(RowKernels kernels, int rows, RowBuffers buffers, RowNorm before, RowNorm? after)
    {
        if (Mixes(kernels))
        {
            router.Multiply(kernels, rows, buffers.Hidden, before, buffers.Mixture!.Logits);
            kernels.Mix(rows, buffers.Hidden, before, _mixture!, buffers.Mixture, after is null ? buffers.Hidden : buffers.Output, add: after is null);
            if (after is { } its)
            {
                kernels.Norm(rows, buffers.Output, its, buffers.Hidden, add: true);
            }

            return;
        }

        using var scope = NewDisposeScope();
        var (hidden, output) = (buffers.Hidden.Memory.narrow(0, 0, rows), buffers.Output.Memory.narrow(0, 0, rows));
        kernels.Norm(rows, buffers.Hidden, before, buffers.Output, add: false);
        output.copy_(Forward(output.to(type)));
        if (after is { } norm)
        {
            kernels.Norm(rows, buffers.Output, norm, buffers.Hidden, add: true);
        }
        else
        {
            hidden.add_(output);
        }
    }

    private bool Mixes(RowKernels kernels) =>
        _mixes ??= kernels.Mixes(_mixture = new Mixture([.. experts.Select(e => e.AtRest)], config.ExpertsPerToken, config.NormalizeExpertWeights, config.Activation));

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
