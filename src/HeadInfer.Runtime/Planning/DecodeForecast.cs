using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Planning;

/// <summary>How long a token of one answer takes on a GPU, by what was measured when the model was loaded. Pure.</summary>
/// <param name="Step">seconds of a step without history: weights are read, and kernels started</param>
/// <param name="Rates">of host memory; null if all that fits the plan has copies</param>
/// <param name="HostShare">of the heads that the CPU attends, of tokens without copies</param>
internal sealed record DecodeForecast(double Step, HostRates? Rates, double HostShare)
{
    /// <summary>Seconds of a token after so many.</summary>
    public double Seconds(ModelConfig config, MemoryPlan plan, int tokens)
    {
        var perLayerToken = (double)plan.KvPerToken.Bytes / config.Layers;
        var (copied, outside) = (0.0, 0.0);
        foreach (var window in config.Windows)
        {
            var history = Math.Min(tokens, window - 1 ?? int.MaxValue);
            var resident = window is null ? Math.Min(history, plan.ResidentTokens) : 0;
            copied += perLayerToken * resident;
            outside += perLayerToken * (history - resident);
        }

        // Keys with copies are read at the rate at which the step reads weights; beside layers that come by turns that is nothing.
        var onGpu = plan.StreamedLayers > 0 ? Step : Step * (1 + (copied / plan.Weights.Bytes));
        return Rates is not { } rates || outside == 0 ? onGpu : onGpu + Math.Max((1 - HostShare) * outside / rates.Link, HostShare > 0 ? HostShare * outside / rates.Host : 0);
    }
}
