using System.Diagnostics;
using System.Diagnostics.Metrics;
using HeadInfer.Runtime;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>What an answer is said to have cost, and how it is said to have ended.</summary>
public sealed class TelemetryTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private static readonly TimeSpan Held = TimeSpan.FromMilliseconds(700);

    private static readonly HeadInferPromptExecutionSettings Short = new() { MaxTokens = 4 };

    private const string Story = "The access code for the old harbor is amber-4821.\n\nWhat is the access code for the old harbor?";

    [Fact]
    public void A_model_that_nobody_has_any_more_is_not_told_of()
    {
        var model = Watched();
        Assert.True(SpinWait.SpinUntil(() => IsGone(model), TimeSpan.FromMinutes(1)), "somebody has it"); // a thread that told of its disposal may just be returning
        var told = new List<string>();
        using var listener = new MeterListener { InstrumentPublished = (instrument, l) => l.EnableMeasurementEvents(instrument) };
        listener.SetMeasurementEventCallback<long>((_, _, tags, _) => told.AddRange(tags.ToArray().Select(t => $"{t.Value}")));
        listener.Start();
        listener.RecordObservableInstruments();
        Assert.DoesNotContain("left", told);

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
        static bool IsGone(WeakReference<HeadInferModel> model)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            GC.Collect();
            return !model.TryGetTarget(out _);
        }

        // A client that is not disposed, of a model that is.
        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
        static WeakReference<HeadInferModel> Watched()
        {
            var model = HeadInferModel.LoadAsync(DemoModel.Path).GetAwaiter().GetResult();
            _ = new HeadInferChatClient(model, "left");
            model.DisposeAsync().AsTask().GetAwaiter().GetResult();
            return new WeakReference<HeadInferModel>(model);
        }
    }

    [Fact]
    public async Task The_memory_of_a_disposed_model_is_not_told_of()
    {
        var model = await HeadInferModel.LoadAsync(DemoModel.Path);
        using var client = new HeadInferChatClient(model, "disposed");
        List<string> Told()
        {
            var told = new List<string>();
            using var listener = new MeterListener { InstrumentPublished = (instrument, l) => l.EnableMeasurementEvents(instrument) };
            listener.SetMeasurementEventCallback<long>((_, _, tags, _) => told.AddRange(tags.ToArray().Select(t => $"{t.Value}")));
            listener.Start();
            listener.RecordObservableInstruments();
            return told;
        }

        Assert.Contains("disposed", Told());
        await model.DisposeAsync();
        Assert.True(model.IsDisposed);
        Assert.DoesNotContain("disposed", Told());
    }

    [Fact]
    public async Task Time_in_the_queue_is_no_time_of_reading()
    {
        using var client = new HeadInferChatClient(demo.Model, "waits");
        using var seen = new Seen("waits");

        using var gate = new ManualResetEventSlim();
        var busy = demo.Model.Hold(gate);
        var second = Task.Run(() => client.GetResponseAsync("Hello"));
        await seen.Started.WaitAsync();
        await Task.Delay(Held);
        Assert.False(second.IsCompleted);
        var clock = Stopwatch.StartNew();
        gate.Set();
        await busy;
        var properties = (await second).Messages[0].AdditionalProperties!;
        var (queue, prefill) = ((double)properties["queue_seconds"]!, (double)properties["prefill_seconds"]!);
        Assert.True(queue >= Held.TotalSeconds * 0.9);
        Assert.InRange(prefill, 1e-9, clock.Elapsed.TotalSeconds); // it began after the wait, however slow this machine is
        Assert.Equal(queue, seen.Values["headinfer.queue.duration"][^1], 1e-9);
        Assert.Equal(prefill, seen.Values["headinfer.prefill.duration"][^1], 1e-9);
        Assert.Equal(prefill, (double)seen.Activities[^1].GetTagItem("headinfer.prefill_seconds")!, 1e-9);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Time_behind_another_session_of_the_model_is_no_time_of_reading(bool text)
    {
        using var client = new HeadInferChatClient(demo.Model, "behind");
        var service = new HeadInferTextGenerationService(demo.Model, "behind");
        using var seen = new Seen("behind");
        using var gate = new ManualResetEventSlim();
        var busy = demo.Model.Hold(gate);
        var answer = Task.Run(() => text ? (Task)service.GetTextContentsAsync("Hello", Short) : client.GetResponseAsync("Hello"));
        await seen.Started.WaitAsync();
        await Task.Delay(Held);
        var clock = Stopwatch.StartNew();
        gate.Set();
        await busy;
        await answer;
        Assert.True(seen.Values["headinfer.queue.duration"][^1] >= Held.TotalSeconds * 0.9);
        Assert.InRange(seen.Values["headinfer.prefill.duration"][^1], 1e-9, clock.Elapsed.TotalSeconds);
    }

    [Theory]
    [InlineData("refused", "failed", typeof(NotSupportedException))]
    [InlineData("too long", "failed", typeof(ContextLengthException))]
    [InlineData("breaks", "failed", typeof(InvalidOperationException))]
    [InlineData("cancelled before", "cancelled", typeof(OperationCanceledException))]
    [InlineData("cancelled while it streams", "cancelled", typeof(OperationCanceledException))]
    [InlineData("left", "cancelled", null)]
    [InlineData("answered", "completed", null)]
    public async Task However_a_request_ends_is_told(string how, string outcome, Type? error)
    {
        var log = new LogRecords();
        using var factory = LoggerFactory.Create(b => b.AddProvider(log).SetMinimumLevel(LogLevel.Debug));
        var options = new HeadInferChatClientOptions { ModelId = how };
        using var client = new HeadInferChatClient(demo.Model, options, factory);
        using var seen = new Seen(how);
        using var cancel = new CancellationTokenSource();
        using var caller = new Activity("caller").Start();
        if (how == "cancelled before")
        {
            await cancel.CancelAsync();
        }

        var ask = how switch { "refused" => new ChatOptions { ModelId = "another" }, "breaks" => new ChatOptions().WithPrefillProgress(new Broken()), _ => null };
        var question = how == "too long" ? string.Concat(Enumerable.Repeat("word ", 40_000)) : Story;
        var failure = await Record.ExceptionAsync(async () =>
        {
            await foreach (var update in client.GetStreamingResponseAsync(question, ask, cancel.Token))
            {
                if (how == "left")
                {
                    break;
                }

                if (how == "cancelled while it streams")
                {
                    await cancel.CancelAsync();
                }
            }
        });
        if (error is null)
        {
            Assert.Null(failure);
        }
        else
        {
            Assert.IsType(error, failure, exactMatch: false);
        }

        var activity = Assert.Single(seen.Activities);
        Assert.Equal(caller.SpanId, activity.ParentSpanId);
        Assert.Equal(outcome, activity.GetTagItem("headinfer.outcome"));
        Assert.Equal(outcome == "completed" ? ActivityStatusCode.Unset : ActivityStatusCode.Error, activity.Status);
        Assert.Equal(failure?.GetType().FullName, activity.GetTagItem("error.type"));
        var request = Assert.Single(seen.Requests);
        Assert.Equal(outcome, request["headinfer.outcome"]);
        Assert.Equal(failure?.GetType().FullName, request.GetValueOrDefault("error.type"));
        Assert.Equal(how switch { "answered" => 13, "breaks" => 14, "refused" or "too long" => 17, _ => 15 }, log.All[^1].Id);
        Assert.Equal(how == "breaks" ? failure : null, log.All[^1].Exception);

        // What was read counts, also if the answer was not wanted to its end.
        Assert.Equal(how is "left" or "answered" or "cancelled while it streams", seen.Values.ContainsKey("headinfer.prefill.tokens"));
    }

    [Fact]
    public async Task Text_generation_tells_it_too()
    {
        var service = new HeadInferTextGenerationService(demo.Model, "text");
        using var seen = new Seen("text");
        await service.GetTextContentsAsync("Hello", Short);
        await foreach (var part in service.GetStreamingTextContentsAsync(Story + " The access code"))
        {
            break;
        }

        await Assert.ThrowsAsync<ArgumentException>(() => service.GetTextContentsAsync(""));
        Assert.Equal(["completed", "cancelled", "failed"], seen.Requests.Select(r => r["headinfer.outcome"]));
    }

    [Fact]
    public async Task No_bytes_go_to_a_device_where_there_is_none()
    {
        using var client = new HeadInferChatClient(demo.Model, "cpu");
        await client.GetResponseAsync(Story);
        if (demo.Model.Device == "CPU")
        {
            Assert.Equal((ByteSize.Zero, ByteSize.Zero), (demo.Model.Memory.Uploaded, demo.Model.Memory.Downloaded));
        }

        Assert.True(demo.Model.Memory.KeptCache > ByteSize.Zero);
    }

    private sealed class Broken : IProgress<PrefillProgress>
    {
        public void Report(PrefillProgress value) => throw new InvalidOperationException("It cannot be shown.");
    }

    /// <summary>Measurements and activities of one model's name.</summary>
    private sealed class Seen : IDisposable
    {
        private readonly MeterListener _meters = new();
        private readonly ActivityListener _activities;

        public Seen(string modelId)
        {
            _meters.InstrumentPublished = (instrument, listener) =>
            {
                if (instrument.Meter.Name == HeadInferTelemetry.Name)
                {
                    listener.EnableMeasurementEvents(instrument);
                }
            };
            _meters.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Add(instrument, value, tags, modelId));
            _meters.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Add(instrument, value, tags, modelId));
            _meters.Start();
            _activities = new ActivityListener
            {
                ShouldListenTo = s => s.Name == HeadInferTelemetry.Name,
                Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
                ActivityStarted = a =>
                {
                    if (modelId.Equals(a.GetTagItem("headinfer.model")))
                    {
                        Started.Release();
                    }
                },
                ActivityStopped = a =>
                {
                    if (modelId.Equals(a.GetTagItem("headinfer.model")))
                    {
                        Activities.Add(a);
                    }
                },
            };
            ActivitySource.AddActivityListener(_activities);
        }

        public SemaphoreSlim Started { get; } = new(0);

        public List<Activity> Activities { get; } = [];

        public List<Dictionary<string, object?>> Requests { get; } = [];

        public Dictionary<string, List<double>> Values { get; } = [];

        public void Dispose()
        {
            _meters.Dispose();
            _activities.Dispose();
        }

        private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags, string modelId)
        {
            var all = new Dictionary<string, object?>(tags.ToArray());
            if (!modelId.Equals(all["headinfer.model"]))
            {
                return;
            }

            if (instrument.Name == "headinfer.requests")
            {
                Requests.Add(all);
                return;
            }

            if (!Values.TryGetValue(instrument.Name, out var values))
            {
                Values[instrument.Name] = values = [];
            }

            values.Add(value);
        }
    }
}
