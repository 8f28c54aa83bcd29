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
    /// <param name="buffers">hidden among them</param>
    /// <param name="before">norm of what goes in</param>
    /// <param name="after">norm of what comes out; null if it has none</param>
    public abstract void AddTo(RowKernels kernels, int rows, RowBuffers buffers, RowNorm? before, RowNorm? after);

    /// <summary>Whether kernels for few rows read what comes to the device by turns where it lies at rest.</summary>
    public virtual bool IsReadAtRest(RowKernels kernels) => false;

    public static FeedForward Read(ModelConfig config, IWeightSource source, Device? device, int layer)
    {
        if (config.BareLayers.Contains(layer))
        {
            return new NoFeedForward();
        }

        if (!config.ExpertLayers.Contains(layer))
        {
            return Dense(config, source, device, layer);
        }

        var beside = config.Family.ExpertsBeside;
        Tensor Norm(string name) => source.Vector(TensorNames.Layer(layer, name), config.HiddenSize, config.NormOffset);
        var dense = beside ? Dense(config, source, device, layer) : null;

        var router = source.Linear([TensorNames.Layer(layer, TensorNames.Router)], [config.Experts], config.HiddenSize, config.Family.RouterBias);
        var routing = beside ? config.Routing with { ExpertFactors = source.Numbers(TensorNames.Layer(layer, TensorNames.RouterShares), config.Experts) }
            : config.Family.Router is RouterRule.Sigmoid or RouterRule.Corrected ? config.Routing with { Correction = source.Numbers(TensorNames.Layer(layer, TensorNames.RouterCorrection), config.Experts) } : config.Routing;
        var shared = config.SharedExpertSize == 0 ? null : GatedMlp.Read(config, source, device, config.SharedExpertSize, n => TensorNames.Layer(layer, TensorNames.SharedExpert(n)));
        var sharedGate = shared is not null && config.Family.SharedExpertGate ? source.Linear([TensorNames.Layer(layer, TensorNames.SharedExpertGate)], [1], config.HiddenSize) : null;
        source.Begin(layer);
        GatedMlp[] experts = [.. Enumerable.Range(0, config.Experts).Select(e => GatedMlp.Read(config, source, device, config.ExpertIntermediateSize, n => TensorNames.Layer(layer, TensorNames.Expert(e, n)), config.Family.ExpertBias))];
        source.Begin(null);
        var mixture = new MixtureOfExperts(config, source.Type, router, routing, experts, shared, sharedGate);
        return dense is null ? mixture : new DenseBesideExperts(
            config,
            device,
            dense,
            mixture,
            Norm(config.Family.Norms.BeforeMlp!),
            Norm(TensorNames.DenseOutputNorm),
            Norm(TensorNames.RouterInputNorm).mul_(Math.Pow(config.HiddenSize, -0.5)),
            Norm(TensorNames.ExpertsNorm),
            Norm(TensorNames.ExpertsOutputNorm));
    }

    private static GatedMlp Dense(ModelConfig config, IWeightSource source, Device? device, int layer) =>
        GatedMlp.Read(config, source, device, config.IntermediateOf(layer), n => TensorNames.Layer(layer, TensorNames.Mlp(n)), alone: config.Activation == Compute.Device.Xielu ? Xielu(config, source, layer) : null);

    private static LoneActivation Xielu(ModelConfig config, IWeightSource source, int layer)
    {
        double Number(string name) => source.Numbers(TensorNames.Layer(layer, TensorNames.Mlp(name)), 1)[0];
        return new LoneActivation(config.Activation, config.Xielus.Count > 0 ? config.Xielus[layer]
            : XieluNumbers.Of(Number(TensorNames.XieluAbove), Number(TensorNames.XieluBelow), Number(TensorNames.XieluSlope), Number(TensorNames.XieluMost)));
    }
}

/// <summary>Of a layer that has none: adds nothing.</summary>
internal sealed class NoFeedForward : FeedForward
{
    public override Tensor Forward(Tensor x) => zeros_like(x);

    public override void AddTo(Tensor sum, Tensor x)
    {
    }

    public override void AddTo(RowKernels kernels, int rows, RowBuffers buffers, RowNorm? before, RowNorm? after)
    {
    }
}

/// <summary><c>down(activation(gate(x)) * up(x))</c>; or without a gate <c>down(activation(up(x)))</c>.</summary>
/// <param name="device">computes; null if nobody does</param>
/// <param name="gateUp">hidden -> 2 * width; up alone without a gate</param>
/// <param name="down">width -> hidden</param>
/// <param name="activation">as the configuration names it</param>
/// <param name="width">of the intermediate</param>
internal sealed class GatedMlp(Device? device, Linear gateUp, Linear down, string activation, int width) : FeedForward
{
    public static GatedMlp Read(ModelConfig config, IWeightSource source, Device? device, int width, Func<string, string> name, bool bias = false, LoneActivation? alone = null)
    {
        string[] parts = config.Family.FusedGates ? [TensorNames.GateUpFused] : config.Family.Ungated ? [TensorNames.Up] : [TensorNames.Gate, TensorNames.Up];
        long[] rows = config.Family.FusedGates ? [2L * width] : config.Family.Ungated ? [width] : [width, width];
        return new GatedMlp(
            device,
            source.Linear([.. parts.Select(name)], rows, config.HiddenSize, bias || config.MlpBias),
            source.Linear([name(TensorNames.Down)], [config.HiddenSize], width, bias || config.MlpBias),
            config.Activation,
            width)
        { Scales = config.MlpScales, Alone = alone ?? (config.Family.Ungated ? new LoneActivation(config.Activation) : null) };
    }

    /// <summary>Factors of the gate, and of what is added; null for ones.</summary>
    public (double Gate, double Down)? Scales { get; init; }

    /// <summary>The activation without a gate; null where there is one.</summary>
    public LoneActivation? Alone { get; init; }

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
    public void Activate(RowKernels kernels, int rows, RowBuffers buffers, RowNorm? before)
    {
        if (Scales is { } scales)
        {
            gateUp.Multiply(kernels, rows, buffers.Hidden, before, buffers.Both!);
            using var scope = NewDisposeScope();
            var (scaled, both) = (buffers.Active.Memory.narrow(0, 0, rows), buffers.Both!.Memory.narrow(0, 0, rows));
            scaled.copy_(both.narrow(1, 0, width)).mul_(scales.Gate);
            kernels.ActivateBy(rows, buffers.Active, activation, buffers.Both!, width);
            scaled.mul_(scales.Down);
            return;
        }

        if (Alone is null)
        {
            gateUp.Gate(kernels, rows, buffers.Hidden, before, activation, buffers.Active);
            return;
        }

        gateUp.Multiply(kernels, rows, buffers.Hidden, before, buffers.Active);
        using var ofViews = NewDisposeScope();
        device!.Activate(buffers.Active.Memory.view(-1).narrow(0, 0, (long)rows * width).view(rows, width), Alone); // the buffer may be wider
    }

    /// <summary>The second half, or added to what is there.</summary>
    public void GiveActive(RowKernels kernels, int rows, RowBuffers buffers, RowBuffer to, bool add) => down.Multiply(kernels, rows, buffers.Active, null, to, add);

    // [tokens, width]
    private Tensor Activate(Tensor x)
    {
        var both = gateUp.Apply(x); // [tokens, 2 * width]
        if (Alone is not null)
        {
            device!.Activate(both, Alone);
            return both;
        }

        using (both)
        {
            if (Scales is not { } scales)
            {
                return device!.Gate(both, width, activation);
            }

            using var gate = both.narrow(1, 0, width).mul_(scales.Gate);
            return device!.Gate(both, width, activation).mul_(scales.Down);
        }
    }
}

/// <summary>A router sends each token to a few experts and weighs their outputs.</summary>
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

    public override Tensor Forward(Tensor x) => Forward(x, x);

    /// <param name="x">[tokens, hidden], what experts look at</param>
    /// <param name="routed">[tokens, hidden], what the router looks at</param>
    public Tensor Forward(Tensor x, Tensor routed)
    {
        var (chosen, shares) = Choose(routed);
        var (places, counts) = ByExpert(chosen);
        using var slots = TensorMemory.Indices(places).to(x.device); // all at once: a copy for each expert would be as many more calls
        using var rows = slots.div(routing.PerToken, RoundingMode.floor);
        using var scale = tensor(shares, device: x.device).index_select(0, slots).unsqueeze(1).to(x.dtype);
        var output = shared?.Forward(x) ?? zeros_like(x);
        if (sharedGate is not null)
        {
            using var gate = sharedGate.Apply(x).sigmoid_();
            output.mul_(gate);
        }

        for (int expert = 0, at = 0; expert < counts.Length; at += counts[expert++])
        {
            if (counts[expert] > 0)
            {
                using var scope = NewDisposeScope();
                var own = rows.narrow(0, at, counts[expert]);
                var (seen, factors) = (x.index_select(0, own), scale.narrow(0, at, counts[expert]));
                output.index_add_(0, own, routing.OfInputs ? experts[expert].Forward(seen.mul_(factors)) : experts[expert].Forward(seen).mul_(factors), 1);
            }
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
            shared?.GiveActive(kernels, rows, buffers, add ? buffers.Hidden : buffers.Output, add: true);
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

    /// <summary>The experts' part alone of a few rows.</summary>
    /// <param name="buffers">hidden among them</param>
    /// <param name="routed">norm of what the router looks at</param>
    /// <param name="before">norm of what the experts look at</param>
    /// <param name="to">[rows, hidden], written</param>
    public void Mix(RowKernels kernels, int rows, RowBuffers buffers, RowNorm routed, RowNorm before, RowBuffer to)
    {
        if (Mixes(kernels))
        {
            router.Multiply(kernels, rows, buffers.Hidden, routed, buffers.Mixture!.Logits);
            kernels.Mix(rows, buffers.Hidden, before, _mixture!, buffers.Mixture, to, add: false);
            return;
        }

        using var scope = NewDisposeScope();
        var output = to.Memory.narrow(0, 0, rows);
        kernels.Norm(rows, buffers.Hidden, routed, to, add: false);
        var seen = output.to(type, copy: true);
        kernels.Norm(rows, buffers.Hidden, before, to, add: false);
        output.copy_(Forward(output.to(type), seen));
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

    // Flat places in [tokens, per token], those that chose the first expert first, and how many chose each. Sums always form in this order.
    private (int[] Places, int[] Counts) ByExpert(int[] chosen)
    {
        var (places, counts, next) = (new int[chosen.Length], new int[config.Experts], new int[config.Experts]);
        foreach (var expert in chosen)
        {
            counts[expert]++;
        }

        for (var expert = 1; expert < counts.Length; expert++)
        {
            next[expert] = next[expert - 1] + counts[expert - 1];
        }

        for (var i = 0; i < chosen.Length; i++)
        {
            places[next[chosen[i]]++] = i;
        }

        return (places, counts);
    }
}

/// <summary>A dense MLP and a mixture of experts that look at the same, each with norms of its own (Gemma 4).</summary>
/// <param name="device">computes; null if nobody does</param>
/// <param name="beforeDense">[hidden], norm of what the MLP looks at</param>
/// <param name="afterDense">[hidden], norm of what it gives</param>
/// <param name="beforeRouter">[hidden], norm of what the router looks at</param>
/// <param name="beforeExperts">[hidden], norm of what experts look at</param>
/// <param name="afterExperts">[hidden], norm of what they give</param>
internal sealed class DenseBesideExperts(ModelConfig config, Device? device, GatedMlp dense, MixtureOfExperts mixture, Tensor beforeDense, Tensor afterDense, Tensor beforeRouter, Tensor beforeExperts, Tensor afterExperts) : FeedForward
{
    public override bool IsReadAtRest(RowKernels kernels) => mixture.IsReadAtRest(kernels);

    public override Tensor Forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var ofDense = Norm(dense.Forward(Norm(x, beforeDense)), afterDense);
        return ofDense.add_(Norm(mixture.Forward(Norm(x, beforeExperts), Norm(x, beforeRouter)), afterExperts)).MoveToOuterDisposeScope();
    }

    public override void AddTo(RowKernels kernels, int rows, RowBuffers buffers, RowNorm? before, RowNorm? after)
    {
        dense.Activate(kernels, rows, buffers, Of(beforeDense));
        dense.GiveActive(kernels, rows, buffers, buffers.Output, add: false);
        kernels.Norm(rows, buffers.Output, Of(afterDense), buffers.Output, add: false);
        mixture.Mix(kernels, rows, buffers, Of(beforeRouter), Of(beforeExperts), buffers.Beside!);
        kernels.Norm(rows, buffers.Beside!, Of(afterExperts), buffers.Output, add: true);
        buffers.AddOutput(kernels, rows, after);
    }

    private Tensor Norm(Tensor x, Tensor weight) => device!.RmsNorm(x, weight, config.NormEpsilon);

    private RowNorm Of(Tensor weight) => new(TensorMemory.Pointer(weight), config.NormEpsilon);
}
