using System.Diagnostics;
using System.Diagnostics.Metrics;
using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel;

/// <summary>What general telemetry of chat clients cannot know: how an answer's time and tokens divide.</summary>
public static class HeadInferTelemetry
{
    /// <summary>Name of the meter and of the activity source, for <c>AddMeter</c> and <c>AddSource</c>.</summary>
    public const string Name = "HeadInfer";

    // A prefill of millions of tokens takes hours.
    private static readonly double[] Seconds = [0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10_800, 36_000];

    private static readonly ActivitySource Source = new(Name);
    private static readonly Meter Meter = new(Name);

    private static readonly Counter<long> PrefillTokens = Meter.CreateCounter<long>("headinfer.prefill.tokens", "{token}", "Tokens of prompts that were read");
    private static readonly Counter<long> CachedTokens = Meter.CreateCounter<long>("headinfer.prefill.cached_tokens", "{token}", "Tokens of prompts that were known from before");
    private static readonly Histogram<double> PrefillSeconds = Meter.CreateHistogram(
        "headinfer.prefill.duration", "s", "Time from the request to its first token", advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = Seconds });

    private static readonly Histogram<double> DecodeRate = Meter.CreateHistogram<double>("headinfer.decode.rate", "{token}/s", "Tokens a second after the first");

    private static readonly Dictionary<object, (HeadInferModel Model, string Id)> Watched = [];

    static HeadInferTelemetry()
    {
        Meter.CreateObservableGauge("headinfer.memory", ObserveMemory, "By", "Memory by tier: weights, KV cache in host memory, KV cache on the device");
        Meter.CreateObservableCounter("headinfer.kv.moved", ObserveTraffic, "By", "Bytes of the KV cache that were moved between host and device");
    }

    /// <summary>Tells of a model's memory and traffic until the result is disposed.</summary>
    internal static IDisposable Watch(HeadInferModel model, string modelId)
    {
        var watch = new Unwatch();
        lock (Watched)
        {
            Watched.Add(watch, (model, modelId));
        }

        return watch;
    }

    internal static Activity? Start(string modelId, int promptTokens)
    {
        var activity = Source.StartActivity("headinfer.answer", ActivityKind.Internal);
        activity?.SetTag("headinfer.model", modelId).SetTag("headinfer.prompt_tokens", promptTokens);
        return activity;
    }

    internal static void Record(Activity? activity, string modelId, int promptTokens, int cached, int generated, TimeSpan prefill, TimeSpan decode)
    {
        var model = new KeyValuePair<string, object?>("headinfer.model", modelId);
        PrefillTokens.Add(promptTokens - cached, model);
        CachedTokens.Add(cached, model);
        PrefillSeconds.Record(prefill.TotalSeconds, model);
        if (generated > 1 && decode > TimeSpan.Zero)
        {
            DecodeRate.Record((generated - 1) / decode.TotalSeconds, model);
        }

        activity?.SetTag("headinfer.cached_tokens", cached).SetTag("headinfer.generated_tokens", generated)
            .SetTag("headinfer.prefill_seconds", prefill.TotalSeconds).SetTag("headinfer.decode_seconds", decode.TotalSeconds);
    }

    private static IEnumerable<Measurement<long>> ObserveMemory() => Models().SelectMany(m => (Measurement<long>[])
    [
        Measure(m.Id, m.Model.Memory.Weights, "tier", "weights"),
        Measure(m.Id, m.Model.Memory.HostCache, "tier", "host"),
        Measure(m.Id, m.Model.Memory.DeviceCache, "tier", "device"),
    ]);

    private static IEnumerable<Measurement<long>> ObserveTraffic() => Models().SelectMany(m => (Measurement<long>[])
    [
        Measure(m.Id, m.Model.Memory.Uploaded, "direction", "to_device"),
        Measure(m.Id, m.Model.Memory.Downloaded, "direction", "to_host"),
    ]);

    private static Measurement<long> Measure(string modelId, ByteSize size, string tag, string value) =>
        new(size.Bytes, new KeyValuePair<string, object?>("headinfer.model", modelId), new KeyValuePair<string, object?>(tag, value));

    // A model that several clients share is told of once.
    private static List<(HeadInferModel Model, string Id)> Models()
    {
        lock (Watched)
        {
            return [.. Watched.Values.DistinctBy(m => m.Model)];
        }
    }

    private sealed class Unwatch : IDisposable
    {
        public void Dispose()
        {
            lock (Watched)
            {
                Watched.Remove(this);
            }
        }
    }
}
