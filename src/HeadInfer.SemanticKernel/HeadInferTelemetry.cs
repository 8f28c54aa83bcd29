using System.Diagnostics;
using System.Diagnostics.Metrics;

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
        "headinfer.prefill.duration", "s", "Time in which a prompt was read", advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = Seconds });

    private static readonly Histogram<double> QueueSeconds = Meter.CreateHistogram(
        "headinfer.queue.duration", "s", "Time from a request until its reading began", advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = Seconds });

    private static readonly Histogram<double> DecodeRate = Meter.CreateHistogram<double>("headinfer.decode.rate", "{token}/s", "Tokens a second after the first");

    private static readonly Counter<long> Requests = Meter.CreateCounter<long>("headinfer.requests", "{request}", "Requests by their outcome: completed, cancelled or failed");

    private static readonly Dictionary<object, (WeakReference<HeadInferModel> Model, string Id)> Watched = [];

    static HeadInferTelemetry()
    {
        Meter.CreateObservableGauge("headinfer.memory", ObserveMemory, "By", "Memory by tier: weights, KV cache in host memory, KV cache on the device");
        Meter.CreateObservableCounter("headinfer.kv.moved", ObserveTraffic, "By", "Bytes of the KV cache that were moved between host and device");
    }

    /// <summary>Tells of a model's memory and traffic until the result or the model is disposed, or nobody has the model any more.</summary>
    internal static IDisposable Watch(HeadInferModel model, string modelId)
    {
        var watch = new Unwatch();
        lock (Watched)
        {
            Watched.Add(watch, (new WeakReference<HeadInferModel>(model), modelId));
        }

        return watch;
    }

    internal static Activity? Start(string modelId, int promptTokens)
    {
        var tags = new TagList { { "headinfer.model", modelId }, { "headinfer.prompt_tokens", promptTokens } };
        return Source.StartActivity("headinfer.answer", ActivityKind.Internal, default(ActivityContext), tags);
    }

    /// <summary>Tells of an answer whose prompt was read, whether or not it was completed.</summary>
    internal static void Record(Activity? activity, string modelId, int promptTokens, AnswerWatch answer)
    {
        var model = new KeyValuePair<string, object?>("headinfer.model", modelId);
        PrefillTokens.Add(promptTokens - answer.Cached, model);
        CachedTokens.Add(answer.Cached, model);
        QueueSeconds.Record(answer.Queue.TotalSeconds, model);
        PrefillSeconds.Record(answer.Prefill.TotalSeconds, model);
        var decode = answer.Decode.TotalSeconds;
        if (answer.Generated > 1 && decode > 0)
        {
            DecodeRate.Record((answer.Generated - 1) / decode, model);
        }

        activity?.SetTag("headinfer.cached_tokens", answer.Cached).SetTag("headinfer.generated_tokens", answer.Generated)
            .SetTag("headinfer.queue_seconds", answer.Queue.TotalSeconds).SetTag("headinfer.prefill_seconds", answer.Prefill.TotalSeconds).SetTag("headinfer.decode_seconds", decode);
    }

    /// <summary>Tells how a request ended. One that is neither complete nor failed was given up by its caller.</summary>
    internal static void End(Activity? activity, string modelId, bool complete, Exception? failure)
    {
        var outcome = complete ? "completed" : failure is null or OperationCanceledException ? "cancelled" : "failed";
        var tags = new TagList { { "headinfer.model", modelId }, { "headinfer.outcome", outcome } };
        activity?.SetTag("headinfer.outcome", outcome);
        if (failure is not null)
        {
            tags.Add("error.type", failure.GetType().FullName);
            activity?.SetTag("error.type", failure.GetType().FullName).AddException(failure);
        }

        if (!complete)
        {
            activity?.SetStatus(ActivityStatusCode.Error, failure?.Message ?? "The caller gave the request up.");
        }

        Requests.Add(1, tags);
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
            List<(HeadInferModel, string)> models = [];
            foreach (var (watch, (reference, id)) in Watched)
            {
                if (!reference.TryGetTarget(out var model) || model.IsDisposed)
                {
                    Watched.Remove(watch);
                }
                else if (!models.Exists(m => m.Item1 == model))
                {
                    models.Add((model, id));
                }
            }

            return models;
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
