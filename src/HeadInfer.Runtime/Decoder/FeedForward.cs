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
    public abstract void AddTo(RowKernels kernels, int rows, RowBuffers buffers, RowNorm? before, RowNorm? after);

    /// <summary>Whether kernels for few rows read what comes to the device by turns where it lies at rest.</summary>
    public virtual bool IsReadAtRest(RowKernels kernels) => false;

    public static FeedForward Read(ModelConfig config, IWeightSource source, Device? device, int layer)
    {
        if (!config.ExpertLayers.Contains(layer))
        {
            return GatedMlp.Read(config, source, device, config.IntermediateSize, n => TensorNames.Layer(layer, TensorNames.Mlp(n)));
        }

        var router = source.Linear([TensorNames.Layer(layer, TensorNames.Router)], [config.Experts], config.HiddenSize, config.Family.RouterBias);
        var routing = config.Routing.Sigmoid ? config.Routing with { Correction = source.Numbers(TensorNames.Layer(layer, TensorNames.RouterCorrection), config.Experts) } : config.Routing;
        var shared = config.SharedExpertSize == 0 ? null : GatedMlp.Read(config, source, device, config.SharedExpertSize, n => TensorNames.Layer(layer, TensorNames.SharedExpert(n)));
        var sharedGate = shared is not null && config.Family.SharedExpertGate ? source.Linear([TensorNames.Layer(layer, TensorNames.SharedExpertGate)], [1], config.HiddenSize) : null;
        source.Begin(layer);
        GatedMlp[] experts = [.. Enumerable.Range(0, config.Experts).Select(e => GatedMlp.Read(config, source, device, config.ExpertIntermediateSize, n => TensorNames.Layer(layer, TensorNames.Expert(e, n)), config.Family.ExpertBias))];
        source.Begin(null);
        return new MixtureOfExperts(config, source.Type, router, routing, experts, shared, sharedGate);
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
    public static GatedMlp Read(ModelConfig config, IWeightSource source, Device? device, int width, Func<string, string> name, bool bias = false)
    {
        string[] parts = config.Family.FusedGates ? [TensorNames.GateUpFused] : [TensorNames.Gate, TensorNames.Up];
        long[] rows = config.Family.FusedGates ? [2L * width] : [width, width];
        return new GatedMlp(
            device,
            source.Linear([.. parts.Select(name)], rows, config.HiddenSize, bias || config.MlpBias),
            source.Linear([name(TensorNames.Down)], [config.HiddenSize], width, bias || config.MlpBias),
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

    public override void AddTo(RowKernels kernels, int rows, RowBuffers buffers, RowNorm? before, RowNorm? after)
    {
        Activate(kernels, rows, buffers, before);
        buffers.Add(kernels, rows, down, buffers.Active, after);
    }

    /// <summary>The first half of a few rows' work: reads what is hidden, and does not change it.</summary>
    public void Activate(RowKernels kernels, int rows, RowBuffers buffers, RowNorm? before) => gateUp.Gate(kernels, rows, buffers.Hidden, before, activation, buffers.Active);

    /// <summary>The second half, added to.</summary>
    public void AddActive(RowKernels kernels, int rows, RowBuffers buffers, RowBuffer to) => down.Multiply(kernels, rows, buffers.Active, null, to, add: true);

    // [tokens, width]
    private Tensor Activate(Tensor x)
    {
        using var both = gateUp.Apply(x); // [tokens, 2 * width]
        return device!.Gate(both, width, activation);
    }
}

/// <summary>A router sends each token to a few experts and weighs their outputs.</summary>
/// <param name="config">the model</param>
/// <param name="type">that is computed in</param>
/// <param name="router">hidden -> experts</param>
/// <param name="routing">how it chooses</param>
/// <param name="experts">all of them</param>
/// <param name="shared">one that sees every token, or null</param>
/// <param name="sharedGate">hidden -> 1: of what that one gives; null for none</param>
internal sealed class MixtureOfExperts(ModelConfig config, ScalarType type, Linear router, Routing routing, IReadOnlyList<GatedMlp> experts, GatedMlp? shared, Linear? sharedGate) : FeedForward
{
    private readonly bool _rests = experts.All(e => e.RestsInSight);
    private Mixture? _mixture;
    private bool? _mixes;

    public override bool IsReadAtRest(RowKernels kernels) => _rests && Mixes(kernels);

    public override Tensor Forward(Tensor x)
    {
        var (chosen, shares) = Choose(x);
        using var scale = tensor(shares, device: x.device);
        var output = shared?.Forward(x) ?? zeros_like(x);
        if (sharedGate is not null)
        {
            using var gate = sharedGate.Apply(x).sigmoid_();
            output.mul_(gate);
        }

        foreach (var (expert, places) in PlacesByExpert(chosen))
        {
            using var scope = NewDisposeScope();
            var slots = TensorMemory.Indices(places.ToArray()).to(x.device);
            var rows = slots.div(routing.PerToken, RoundingMode.floor);
            var weight = scale.index_select(0, slots).unsqueeze(1).to(x.dtype);
            output.index_add_(0, rows, experts[expert].Forward(x.index_select(0, rows)).mul_(weight), 1);
        }

        return output;
    }

    public override void AddTo(RowKernels kernels, int rows, RowBuffers buffers, RowNorm? before, RowNorm? after)
    {
        if (Mixes(kernels))
        {
            var add = after is null && buffers.ResidualScale == 1;
            shared?.Activate(kernels, rows, buffers, before);
            if (sharedGate is not null)
            {
                sharedGate.Multiply(kernels, rows, buffers.Hidden, before, buffers.SharedGate!);
                kernels.GateRows(rows, buffers.SharedGate!, buffers.Active, config.SharedExpertSize); // before the product: it is linear
            }

            router.Multiply(kernels, rows, buffers.Hidden, before, buffers.Mixture!.Logits);
            kernels.Mix(rows, buffers.Hidden, before, _mixture!, buffers.Mixture, add ? buffers.Hidden : buffers.Output, add);
            shared?.AddActive(kernels, rows, buffers, add ? buffers.Hidden : buffers.Output);
            if (!add)
            {
                buffers.AddOutput(kernels, rows, after);
            }

            return;
        }

        using var scope = NewDisposeScope();
        var (hidden, output) = (buffers.Hidden.Memory.narrow(0, 0, rows), buffers.Output.Memory.narrow(0, 0, rows));
        if (before is { } norm)
        {
            kernels.Norm(rows, buffers.Hidden, norm, buffers.Output, add: false);
        }
        else
        {
            output.copy_(hidden);
        }

        output.copy_(Forward(output.to(type)));
        buffers.AddOutput(kernels, rows, after);
    }

    private bool Mixes(RowKernels kernels) =>
        _mixes ??= kernels.Mixes(_mixture = new Mixture([.. experts.Select(e => e.AtRest)], routing, config.Activation));

    // [tokens, per token] experts and their shares.
    private (int[] Chosen, float[] Shares) Choose(Tensor x)
    {
        using var scope = NewDisposeScope();
        var logits = router.Apply(x).to(ScalarType.Float32).cpu().contiguous(); // [tokens, experts]
        var (tokens, all) = ((int)logits.shape[0], routing.PerToken);
        var (chosen, shares) = (new int[tokens * all], new float[tokens * all]);
        Parallel.For(0, tokens, token => Router.Choose(TensorMemory.Span(logits).Slice(token * config.Experts, config.Experts), routing, chosen.AsSpan(token * all, all), shares.AsSpan(token * all, all)));
        return (chosen, shares);
    }

    // Expert -> flat places in [tokens, per token] that chose it, experts in order so that sums always form alike.
    private static SortedDictionary<int, List<int>> PlacesByExpert(int[] chosen)
    {
        var places = new SortedDictionary<int, List<int>>();
        for (var i = 0; i < chosen.Length; i++)
        {
            if (!places.TryGetValue(chosen[i], out var list))
            {
                places[chosen[i]] = list = [];
            }

            list.Add(i);
        }

        return places;
    }
}
