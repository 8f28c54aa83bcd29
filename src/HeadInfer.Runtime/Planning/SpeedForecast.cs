using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Planning;

/// <summary>How fast a model that is not loaded would be on a machine that need not be there, by the machine's rates. Pure.</summary>
/// <param name="plan">where it lies on that machine</param>
/// <param name="machine">computes</param>
/// <param name="hostShare">of the heads that the CPU attends of what has no copy; null for as many as its rates say</param>
internal sealed class SpeedForecast(ModelConfig config, MemoryPlan plan, Machine machine, double? hostShare = null)
{
    private readonly bool _onGpu = machine.GpuMemory is not null;

    /// <summary>What a token of an answer takes.</summary>
    public DecodeForecast Decode { get; } = new(
        Step(config, plan, machine),
        machine.GpuMemory is null ? double.PositiveInfinity : machine.Memory * Reach.GpuAttending,
        machine.HostRates,
        machine.GpuMemory is null ? 1 : hostShare ?? machine.HostRates.ShareFor(1));

    /// <summary>Of the model.</summary>
    public int Layers => config.Layers;

    /// <summary>Seconds of a token after so many.</summary>
    public double Token(int tokens) => Decode.Seconds(config, plan, tokens);

    /// <summary>Seconds until a prompt of so many tokens has been read.</summary>
    public double FirstToken(int tokens)
    {
        var seconds = 0.0;
        for (var start = 0; start < tokens; start += plan.SegmentTokens)
        {
            var end = Math.Min(start + plan.SegmentTokens, tokens);
            seconds += Math.Max(Computing(start, end), Coming(start));
        }

        return seconds;
    }

    // A step reads the weights, those of layers that come by turns over the link.
    private static double Step(ModelConfig config, MemoryPlan plan, Machine machine)
    {
        double read = plan.ReadPerToken.Bytes;
        if (machine.GpuMemory is null)
        {
            var operations = Cost.Linear(config, 1) + (2.0 * config.HiddenSize * config.VocabularySize);
            return Math.Max(read / (machine.Host * Reach.CpuReading), plan.ArePacked ? operations / (machine.Product * Reach.CpuPacked) : 0);
        }

        return (config.Layers * (plan.ArePacked ? Reach.PackedLayerStart : Reach.LayerStart))
            + ((read - plan.ComingPerToken.Bytes) / (machine.Memory * Reach.GpuReading))
            + (plan.ComingPerToken.Bytes / machine.HostRates.Link);
    }

    // A segment's arithmetic, in chunks that each read the weights, of a mixture all.
    private double Computing(int start, int end)
    {
        var chunks = (end - start + plan.ChunkTokens - 1) / plan.ChunkTokens;
        var reading = chunks * (double)(config.ExpertLayers.Count == 0 ? plan.ReadPerToken : plan.Weights).Bytes;
        var linear = Cost.Linear(config, end - start);
        if (!_onGpu)
        {
            return Math.Max((linear + Cost.Attention(config, start, end)) / (machine.Product * Reach.CpuProduct), reading / (machine.Host * Reach.CpuReading));
        }

        var elements = Enumerable.Range(0, config.Layers).Sum(layer => Cost.Elements(config, layer));
        var experts = Math.Min(config.Experts, (double)plan.ChunkTokens * config.ExpertsPerToken);
        return Math.Max(linear / (machine.Product * Reach.GpuProduct), reading / (machine.Memory * Reach.GpuReading))
            + config.AttendingLayers.Sum(layer => Cost.Attention(config, layer, start, end) / (machine.Product * (CudaDevice.IsOrdinary(config.HeadsOf(layer).Dim, config.AttentionSoftCap) ? Reach.GpuProduct : Reach.OwnAttention)))
            + (chunks * config.ExpertLayers.Count * experts * Reach.ExpertStart)
            + (plan.ArePacked ? chunks * elements * sizeof(ushort) / (machine.Memory * Reach.Unpacking) : 0);
    }

    // Over the link, beside it: layers that come by turns, and what earlier segments left in host memory alone.
    private double Coming(int start) =>
        _onGpu ? (plan.HostWeights.Bytes + DecodeForecast.Cache(config, plan, start).Outside) / machine.HostRates.Link : 0;
}
