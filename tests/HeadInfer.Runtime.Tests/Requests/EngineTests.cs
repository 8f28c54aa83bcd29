using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Requests;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Requests;

/// <summary>Many requests at once, each answered as if it were alone.</summary>
public abstract partial class EngineTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : EngineTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : EngineTests(ComputeDevice.Cuda);

    /// <summary>What a GPU runs beside the computation, on the CPU: copies come late, so a fence that is missing shows.</summary>
    public sealed class WithLateCopies() : EngineTests(ComputeDevice.Cpu)
    {
        private int _seed;

        // Resident copies take host memory here, so there are none where a test counts it.
        protected override Task<HeadInferModel> Load(string folder, HeadInferOptions? options = null)
        {
            var mixed = options?.HostMemory is null;
            return HeadInferModel.LoadAsync(
                folder,
                (options ?? new HeadInferOptions()) with { Device = ComputeDevice.Cpu, Placement = options?.Placement ?? (head => mixed ? (HeadPlacement)((head.Layer + head.Head + 1) % 3) : HeadPlacement.Streamed) },
                _ => new LateDevice(_seed++, TimeSpan.FromMilliseconds(1)));
        }
    }

    /// <summary>Layers that come by turns, beside passes that leave off in the midst of one.</summary>
    public sealed class WithStreamedLayers() : EngineTests(ComputeDevice.Cpu)
    {
        private int _seed;

        protected override Task<HeadInferModel> Load(string folder, HeadInferOptions? options = null) => StreamedModel.LoadAsync(
            folder, (options ?? new HeadInferOptions()) with { Device = ComputeDevice.Cpu, Placement = options?.Placement ?? (_ => HeadPlacement.Streamed) }, streamed: 3, () => new LateDevice(_seed++, TimeSpan.FromMilliseconds(1)));
    }

    private static readonly HeadInferOptions Odd = new() { PageTokens = 8, TileTokens = 11, SegmentTokens = 32, ChunkTokens = 16, HeadGroupSize = 1 };

    private static readonly GenerationOptions TwelveTokens = new() { MaxTokens = 12, StopTokens = [] };

    [Theory]
    [InlineData("llama3")]
    [InlineData("mistral-window")]
    [InlineData("qwen3-moe")]
    [InlineData("gemma2")]
    [InlineData("qwen3.5")]
    [InlineData("granite-hybrid-rope")]
    [InlineData("nemotron-h")]
    [InlineData("falcon-h1")]
    [InlineData("lfm2")]
    [InlineData("apertus")] // no gates
    [InlineData("starcoder2")]
    public async Task Logits_do_not_depend_on_the_company_to_the_bit(string name)
    {
        SkipWhereExpertsAreLibTorchs(name);
        // On a GPU sums of a prompt go by how its copies lie.
        foreach (var placement in (HeadPlacement?[])(Device == ComputeDevice.Cuda ? [HeadPlacement.Streamed] : [null, HeadPlacement.Streamed]))
        {
            var options = Odd with { Placement = placement is { } place ? _ => place : null };
            await using var model = await Load(Fixtures.Model(name), options);
            var document = Text(1, 60);
            int[][] prompts = [[.. document, 1], [.. document, 2, 3], Text(2, 45), [.. document[..40], 9], Text(3, 7)];
            var alone = new List<List<float[]>>();
            for (var i = 0; i < prompts.Length; i++)
            {
                await Read(model, document, "alone" + i); // so that as much is known to each
                alone.Add(await LogitsOfAnswer(model, prompts[i], "alone" + i));
            }

            await Read(model, document, "together");
            var together = await Task.WhenAll(prompts.Select(p => LogitsOfAnswer(model, p, "together")));
            for (var i = 0; i < prompts.Length; i++)
            {
                Assert.Equal(alone[i].Count, together[i].Count);
                for (var step = 0; step < alone[i].Count; step++)
                {
                    Assert.True(alone[i][step].AsSpan().SequenceEqual(together[i][step]), $"{name}, prompt {i}, step {step}, placement {placement}");
                }
            }
        }
    }

    [Fact]
    public async Task Requests_that_share_a_document_read_it_once()
    {
        await using var model = await Load(Fixtures.Model("qwen3"), Odd);
        var document = Text(1, 90);
        var prompts = Enumerable.Range(0, 12).Select(i => (int[])[.. document, i, i + 1, i + 2]).ToList();
        var alone = new List<int[]>();
        foreach (var prompt in prompts)
        {
            using var session = model.CreateSession("alone");
            alone.Add(await Generate(session, prompt));
        }

        var sessions = prompts.Select(_ => model.CreateSession()).ToList();
        var together = await Task.WhenAll(prompts.Select((p, i) => Generate(sessions[i], p)));
        Assert.Equal(alone, together);
        Assert.Equal(90 * 11, sessions.Sum(s => s.Reused));
        sessions.ForEach(s => s.Dispose());
    }

    [Fact]
    public async Task Requests_that_share_less_than_a_block_read_it_once()
    {
        await using var model = await Load(Fixtures.Model("qwen3"), Odd);
        var header = Text(1, 5);
        var prompts = Enumerable.Range(0, 4).Select(i => (int[])[.. header, i, .. Text(10 + i, 60)]).ToList();
        var alone = new List<int[]>();
        for (var i = 0; i < prompts.Count; i++)
        {
            using var session = model.CreateSession("alone" + i);
            alone.Add(await Generate(session, prompts[i]));
        }

        var sessions = prompts.Select(_ => model.CreateSession()).ToList();
        var together = await Task.WhenAll(prompts.Select((p, i) => Generate(sessions[i], p)));
        Assert.Equal(alone, together);
        Assert.Equal(header.Length * 3, sessions.Sum(s => s.Reused));
        sessions.ForEach(s => s.Dispose());
    }

    [Fact]
    public async Task A_short_prompt_is_answered_while_a_long_one_is_read()
    {
        await using var model = await Load(Fixtures.DemoModel, new HeadInferOptions { Device = Device });
        using var longer = model.CreateSession();
        using var shorter = model.CreateSession();
        var last = 0.0;
        var begun = new TaskCompletionSource();
        var reading = longer.PrefillAsync(Text(1, 12_000, 8000), new Direct<PrefillProgress>(p =>
        {
            last = p.Fraction;
            if (p.Fraction > 0)
            {
                begun.TrySetResult();
            }
        }));
        await begun.Task;
        var answer = await Generate(shorter, Text(2, 60, 8000));
        Assert.Equal(12, answer.Length);
        Assert.False(reading.IsCompleted, "the long prompt came first");
        await reading;
        Assert.Equal(1, last);
        using var alone = model.CreateSession("alone");
        Assert.Equal(await Generate(alone, Text(2, 60, 8000)), answer);
        var continued = await Generate(longer, [5]);
        using var fresh = model.CreateSession("fresh");
        Assert.Equal(await Generate(fresh, [.. Text(1, 12_000, 8000), 5]), continued);
    }

    [Fact]
    public async Task A_full_queue_refuses_and_a_passed_deadline_ends()
    {
        await using var model = await Load(Fixtures.Model("llama3"), await Tight(blocks: 16) with { MaxQueuedRequests = 2 });
        var holder = model.CreateSession();
        var steps = holder.GenerateAsync(Text(1, 20), new GenerationOptions { MaxTokens = 100, StopTokens = [] }).GetAsyncEnumerator();
        Assert.True(await steps.MoveNextAsync());
        using var gate = new ManualResetEventSlim();
        using var stands = new ManualResetEventSlim();
        var held = model.Thread.RunAsync(() => { stands.Set(); gate.Wait(); }); // the engine, so that nobody is admitted meanwhile
        stands.Wait();
        var waiting = Enumerable.Range(0, 2).Select(i => (Session: model.CreateSession(), Cancel: new CancellationTokenSource())).ToList();
        var tasks = waiting.Select((w, i) => w.Session.PrefillAsync(Text(20 + i, 110), cancellationToken: w.Cancel.Token)).ToList();
        using var third = model.CreateSession();
        var full = await Assert.ThrowsAsync<QueueFullException>(() => third.PrefillAsync(Text(30, 5)));
        Assert.Contains("MaxQueuedRequests", full.Message, StringComparison.Ordinal);
        waiting.ForEach(w => w.Cancel.Cancel());
        gate.Set();
        await held;
        foreach (var task in tasks)
        {
            await task.ContinueWith(_ => { }, TaskScheduler.Default);
        }

        await Assert.ThrowsAsync<TimeoutException>(async () =>
        {
            await foreach (var step in third.GenerateAsync(Text(30, 5), new GenerationOptions { Deadline = DateTimeOffset.UtcNow.AddSeconds(-1) }))
            {
            }
        });
        await steps.DisposeAsync();
        holder.Dispose();
        waiting.ForEach(w => w.Session.Dispose());
        waiting.ForEach(w => w.Cancel.Dispose());
    }

    [Fact]
    public async Task Sessions_may_be_made_and_disposed_from_callbacks_and_abandoned_enumerators_hold_nobody_up()
    {
        var model = await Load(Fixtures.Model("qwen3"), Odd);
        HeadInferSession? made = null;
        using var session = model.CreateSession();
        await session.PrefillAsync(Text(1, 80), new Direct<PrefillProgress>(_ => made ??= model.CreateSession()));
        Assert.NotNull(made);
        await Assert.ThrowsAnyAsync<ObjectDisposedException>(() => made.PrefillAsync(Text(2, 80), new Direct<PrefillProgress>(_ => made.Dispose())));
        await Assert.ThrowsAsync<FormatException>(() => session.PrefillAsync(Text(3, 80), new Direct<PrefillProgress>(_ => throw new FormatException())));
        Assert.Equal(80, session.Length);

        var abandoned = model.CreateSession();
        Assert.True(await abandoned.GenerateAsync(Text(4, 10), TwelveTokens with { MaxTokens = 1000 }).GetAsyncEnumerator().MoveNextAsync());
        Assert.Throws<InvalidOperationException>(() => abandoned.Truncate(0));
        Assert.Throws<InvalidOperationException>(() => abandoned.Fork());
        Assert.Equal(12, (await Generate(session, Text(5, 20))).Length);
        await abandoned.DisposeAsync();
        Assert.Equal(default, abandoned.CacheSize);

        var left = model.CreateSession();
        Assert.True(await left.GenerateAsync(Text(4, 10), TwelveTokens with { MaxTokens = 1000 }).GetAsyncEnumerator().MoveNextAsync());
        await model.DisposeAsync(); // from under an enumerator that nobody disposes
    }

    private static int[] Text(int seed, int count, int vocabulary = 320)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(vocabulary))];
    }

    private static async Task Read(HeadInferModel model, int[] tokens, string key)
    {
        using var session = model.CreateSession(key);
        await session.PrefillAsync(tokens);
    }

    private static async Task<int[]> Generate(HeadInferSession session, int[] prompt)
    {
        var tokens = new List<int>();
        await foreach (var step in session.GenerateAsync(prompt, TwelveTokens))
        {
            tokens.Add(step.TokenId);
        }

        return [.. tokens];
    }

    [Theory]
    [InlineData("llama3", 32)]
    [InlineData("mistral-window", 32)]
    [InlineData("qwen3-moe", 32)]
    [InlineData("gemma2", 32)]
    [InlineData("qwen3.5", 32)]
    [InlineData("granite-hybrid-rope", 32)]
    [InlineData("nemotron-h", 32)]
    [InlineData("lfm2", 32)]
    [InlineData("apertus", 32)]
    [InlineData("falcon-h1-norm", 32)]
    [InlineData("qwen3", 1)] // less than a step has
    public async Task Drafts_change_no_bit_of_an_answer(string name, int segment)
    {
        SkipWhereExpertsAreLibTorchs(name);
        await using var model = await Load(Fixtures.Model(name), Odd with { SegmentTokens = segment, Placement = Device == ComputeDevice.Cuda ? _ => HeadPlacement.Streamed : null });
        var random = new Random(4);
        var prompts = Enumerable.Range(0, 5).Select(i => Text(i, 20 + (9 * i))).ToArray();
        var alone = new List<List<float[]>>();
        foreach (var prompt in prompts)
        {
            alone.Add(await LogitsOfAnswer(model, prompt, Guid.NewGuid().ToString()));
        }

        for (var round = 0; round < 6; round++)
        {
            // Right as far as a draft goes, wrong from some token on, or from the first.
            var answers = alone.Select(logits => logits.Select(l => Array.IndexOf(l, l.Max())).ToArray()).ToArray();
            Draft Guess(int answer, int done, int most)
            {
                var (right, count) = (random.Next(most + 1), Math.Min(most, 12 - done));
                var tokens = Enumerable.Range(0, Math.Max(0, count)).Select(i => i < right ? answers[answer][done + i] : random.Next(model.Config.VocabularySize)).ToArray();
                return new Draft(tokens, 0.99);
            }

            var drafted = await Task.WhenAll(prompts.Select((p, i) => LogitsOfAnswer(model, p, Guid.NewGuid().ToString(), (done, most) => Guess(i, done, most))));
            for (var i = 0; i < prompts.Length; i++)
            {
                for (var step = 0; step < 12; step++)
                {
                    Assert.True(alone[i][step].AsSpan().SequenceEqual(drafted[i][step]), $"prompt {i}, step {step} of round {round}");
                }
            }
        }
    }

    private void SkipWhereExpertsAreLibTorchs(string name) =>
        Assert.SkipWhen(Device == ComputeDevice.Cuda && name == "qwen3-moe", "libtorch's products of a few rows depend on their number");

    // The logits after the prompt and after each of twelve tokens.
    private static async Task<List<float[]>> LogitsOfAnswer(HeadInferModel model, int[] prompt, string key, Func<int, int, Draft>? guess = null)
    {
        var recorder = new Recorder(guess);
        using var sequence = new Sequence(model.Attention.Pool, key);
        var request = new Request(sequence, prompt, recorder, 12);
        model.Submit(request);
        await foreach (var told in request.Events.ReadAllAsync())
        {
            request.Read(told);
        }

        return recorder.Logits;
    }

    private sealed class Recorder(Func<int, int, Draft>? guess) : IGenerator
    {
        public List<float[]> Logits { get; } = [];

        public GenerationStep Next(Span<float> logits, IReadOnlyList<int> context)
        {
            Logits.Add(logits.ToArray());
            var best = Array.IndexOf(Logits[^1], Logits[^1].Max());
            return new GenerationStep(best, "", Logits.Count == 12 ? FinishReason.Length : null);
        }

        public Draft Propose(IReadOnlyList<int> context, int next, int most) => guess?.Invoke(Logits.Count, most) ?? default;
    }
}
