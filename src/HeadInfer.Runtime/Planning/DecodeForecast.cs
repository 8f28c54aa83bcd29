using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Planning;

/// <summary>How long a token of one answer takes, by what was measured when the model was loaded, or by a machine's rates. Pure.</summary>
/// <param name="Step">seconds of a step without history: weights are read, or come by turns, and kernels started</param>
/// <param name="KvRate">bytes a second of keys and values that have copies</param>
/// <param name="Rates">of host memory; null if all that fits the plan has copies</param>
/// <param name="HostShare">of the heads that the CPU attends, of tokens without copies</param>
internal sealed record DecodeForecast(double Step, double KvRate, HostRates? Rates, double HostShare)
{
    /// <summary>From a step that was timed. Copies are read at the rate at which it read weights, without the time in which layers came by turns; packed weights and a mixture's are read slower, so at the memory's rate if that says more.</summary>
    /// <param name="step">seconds of a step without history</param>
    /// <param name="plan">where the model lies</param>
    /// <param name="rates">of host memory; null if they were not measured</param>
    /// <param name="hostShare">of the heads that the CPU attends</param>
    /// <param name="memoryRate">bytes a second that the GPU's memory gives by its clock; 0 if that is not known</param>
    public static DecodeForecast OfStep(double step, MemoryPlan plan, HostRates? rates, double hostShare, double memoryRate = 0)
    {
        // Where the link's rate is not known, copies cost nothing beside layers that it brings.
        var coming = plan.StreamedLayers == 0 ? 0 : rates is { } known ? plan.ComingPerToken.Bytes / known.Link : step;
        return new DecodeForecast(step, Math.Max(plan.ReadPerToken.Bytes / Math.Max(0, step - coming), memoryRate * Reach.GpuAttending), rates, hostShare);
    }

    /// <summary>Seconds of a token after so many.</summary>
    public double Seconds(ModelConfig config, MemoryPlan plan, int tokens)
    {
        var (copied, outside) = Cache(config, plan, tokens);
        var step = Step + (copied / KvRate);
        return Rates is not { } rates || outside == 0 ? step : step + Math.Max((1 - HostShare) * outside / rates.Link, HostShare > 0 ? HostShare * outside / rates.Host : 0);
    }

    /// <summary>Bytes of keys and values after so many tokens that a step reads: those with copies on the GPU, and those that lie in host memory alone.</summary>
    public static (double Copied, double Outside) Cache(ModelConfig config, MemoryPlan plan, int tokens)
    {
        var (element, copied, outside) = ((double)plan.KvPerToken.Bytes / config.KvElementsPerToken, 0.0, 0.0);
        foreach (var layer in config.AttendingLayers)
        {
            var (window, perToken) = (config.Windows[layer], config.AttendedElements(layer) * element);
            var history = Math.Min(tokens, window - 1 ?? int.MaxValue);
            var resident = window is null ? Math.Min(history, plan.ResidentTokens) : WindowCopies.TokensFor(window.Value, history, plan.PageTokens) <= plan.WindowTokens ? history : 0;
            copied += perToken * resident;
            outside += perToken * (history - resident);
        }

        return (copied, outside);
    }
}
