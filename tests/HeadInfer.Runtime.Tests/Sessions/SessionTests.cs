using HeadInfer.Runtime.Tests.Support;
using HeadInfer.Text;

namespace HeadInfer.Runtime.Tests.Sessions;

public abstract class SessionTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : SessionTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : SessionTests(ComputeDevice.Cuda);

    private static readonly int[] Prompt = [.. Enumerable.Range(0, 60).Select(i => (i * 37) % 320)];

    private static readonly HeadInferOptions Odd = new() { PageTokens = 7, TileTokens = 11, SegmentTokens = 16, ChunkTokens = 5, HeadGroupSize = 1 };

    [Fact]
    public async Task Whole_and_in_pieces_give_the_same_tokens()
    {
        await using var model = await Load(Fixtures.Model("qwen3"), Odd);
        using var session = model.CreateSession();
        var whole = await Generate(session, Prompt);
        session.Truncate(0);
        await session.PrefillAsync(Prompt[..13]);
        await session.PrefillAsync([]);
        await session.PrefillAsync(Prompt[13..40]);
        Assert.Equal(40, session.Length);
        Assert.Equal(whole, await Generate(session, Prompt[40..]));
        Assert.Equal(Prompt, session.Tokens.Take(60));
        Assert.Equal(whole[..^1], session.Tokens.Skip(60)); // the last token was not read
    }

    [Fact]
    public async Task A_cancelled_prefill_changes_nothing_and_what_it_computed_is_not_lost()
    {
        await using var model = await Load(Fixtures.DemoModel, new HeadInferOptions { SegmentTokens = 512 });
        int[] text = [.. Enumerable.Range(0, 8000).Select(i => (i * 37) % 8000)];
        using var session = model.CreateSession();
        await session.PrefillAsync(text[..10]);
        using var cancel = new CancellationTokenSource();
        var progress = new Direct<PrefillProgress>(p =>
        {
            if (p.Fraction > 0.2)
            {
                cancel.Cancel();
            }
        });
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => session.PrefillAsync(text[10..], progress, cancel.Token));
        Assert.Equal(10, session.Length);
        Assert.Equal(10, session.Tokens.Count);

        var reported = 0;
        await session.PrefillAsync(text[10..], new Direct<PrefillProgress>(p => reported++));
        Assert.True(reported > 0);
        Assert.True(session.Reused >= 512, $"{session.Reused} tokens were kept");
        var continued = await Generate(session, [5]);
        using var fresh = model.CreateSession("fresh");
        Assert.Equal(continued, await Generate(fresh, [.. text, 5]));
    }

    // The engine does not wait for who is told of its progress.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_prefill_that_is_given_up_changes_nothing_though_all_is_read_by_then(bool disposes)
    {
        await using var model = await Load(Fixtures.Model("qwen3"), Odd);
        using var session = model.CreateSession();
        using var cancel = new CancellationTokenSource();
        using var read = new ManualResetEventSlim();
        var progress = new Direct<PrefillProgress>(_ =>
        {
            model.Thread.RunAsync(read.Set); // after the step, which reads the few tokens at once
            read.Wait();
            (disposes ? session.Dispose : (Action)cancel.Cancel)();
        });
        var error = await Assert.ThrowsAnyAsync<Exception>(() => session.PrefillAsync(Prompt[..5], progress, cancel.Token));
        Assert.IsType(disposes ? typeof(ObjectDisposedException) : typeof(OperationCanceledException), error, exactMatch: false);
        Assert.Equal(0, session.Length);
    }

    [Fact]
    public async Task A_prefill_cancelled_before_it_begins_does_nothing()
    {
        await using var model = await Load(Fixtures.Model("qwen3"), Odd);
        using var session = model.CreateSession();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => session.PrefillAsync(Prompt, cancellationToken: new CancellationToken(canceled: true)));
        Assert.Equal(0, session.Length);
        Assert.NotEmpty(await Generate(session, Prompt));
    }

    [Fact]
    public async Task What_was_read_before_is_found_to_the_token_and_gives_the_same_answer()
    {
        await using var model = await Load(Fixtures.Model("llama3"), Odd);
        using (var session = model.CreateSession())
        {
            await Generate(session, [.. Prompt, 1, 2, 3]);
            Assert.Equal(0, session.Reused);
        }

        int[] other = [.. Prompt, 4, 5];
        using var apart = model.CreateSession("another key");
        var alone = await Generate(apart, other);
        Assert.Equal((0, false), (apart.Reused, apart.Diverged));
        using var fresh = model.CreateSession();
        Assert.Equal(alone, await Generate(fresh, other));
        Assert.Equal((60, true), (fresh.Reused, fresh.Diverged)); // others went on with 1, 2, 3
        fresh.Truncate(0);
        Assert.Equal(alone, await Generate(fresh, other));
        Assert.Equal((other.Length - 1, false), (fresh.Reused, fresh.Diverged)); // one token is always left to read
        fresh.Truncate(30);
        Assert.Equal(alone, await Generate(fresh, other[30..]));
        Assert.Equal(other.Length - 31, fresh.Reused);
        apart.Dispose();
        fresh.Dispose();
        model.ClearCache();
        using var last = model.CreateSession();
        Assert.Equal(alone, await Generate(last, other));
        Assert.Equal((0, false), (last.Reused, last.Diverged));
    }

    [Fact]
    public async Task A_fork_goes_its_own_way()
    {
        await using var model = await Load(Fixtures.Model("qwen3"), Odd);
        using var session = model.CreateSession();
        await session.PrefillAsync(Prompt);
        using var fork = session.Fork();
        Assert.Equal(Prompt, fork.Tokens);
        Assert.Equal(ByteSize.Zero, fork.CacheSize.Host);
        Assert.Equal(session.CacheSize.Shared, fork.CacheSize.Shared);
        var (one, other) = (await Generate(session, [1]), await Generate(fork, [2]));
        using var fresh = model.CreateSession("apart");
        Assert.Equal(one, await Generate(fresh, [.. Prompt, 1]));
        fresh.Truncate(0);
        Assert.Equal(other, await Generate(fresh, [.. Prompt, 2]));
    }

    [Fact]
    public async Task Sessions_do_not_see_each_other()
    {
        await using var model = await Load(Fixtures.Model("mistral-window"), Odd);
        int[][] prompts = [.. Enumerable.Range(1, 4).Select(n => Prompt.Select(t => (t * n) % 320).ToArray())];
        var alone = new List<int[]>();
        foreach (var prompt in prompts)
        {
            using var session = model.CreateSession();
            alone.Add(await Generate(session, prompt));
        }

        var sessions = prompts.Select(_ => model.CreateSession()).ToArray();
        var together = await Task.WhenAll(prompts.Select((p, i) => Generate(sessions[i], p)));
        Assert.Equal(alone, together);
        Array.ForEach(sessions, s => s.Dispose());
    }

    [Fact]
    public async Task Too_long_is_refused_before_any_work_with_numbers_and_the_knob()
    {
        await using var model = await Load(Fixtures.Model("llama3"));
        using var session = model.CreateSession();
        var error = await Assert.ThrowsAsync<ContextLengthException>(() => session.PrefillAsync(new int[257]));
        Assert.Contains("257", error.Message, StringComparison.Ordinal);
        Assert.Contains("256", error.Message, StringComparison.Ordinal);
        Assert.Contains("MaxContextTokens", error.Message, StringComparison.Ordinal);
        Assert.Throws<ContextLengthException>(() => session.GenerateAsync(new int[256]));
        Assert.Equal(0, session.Length);

        var plan = model.Plan;
        var tight = new HeadInferOptions { PageTokens = 8, HostMemory = plan.HostBudget - plan.KvBudget + (plan.KvPerToken * 100) };
        await using var small = await Load(Fixtures.Model("llama3"), tight);
        Assert.InRange(small.Plan.LongestContext, 8, 256);
        using var limited = small.CreateSession();
        var memory = await Assert.ThrowsAsync<MemoryBudgetException>(() => limited.PrefillAsync(new int[small.Plan.LongestContext + 1]));
        Assert.Contains("HostMemory", memory.Message, StringComparison.Ordinal);
        await limited.PrefillAsync(new int[small.Plan.LongestContext]);
        using var second = small.CreateSession();
        await Assert.ThrowsAsync<MemoryBudgetException>(() => second.PrefillAsync(new int[small.Plan.LongestContext]));
        Assert.Equal(0, second.Length);
        limited.Dispose();
        await second.PrefillAsync(new int[small.Plan.LongestContext]);
    }

    [Fact]
    public async Task Generation_ends_at_the_end_of_the_context()
    {
        await using var model = await Load(Fixtures.Model("llama3"), new HeadInferOptions { MaxContextTokens = 64 });
        using var session = model.CreateSession();
        var steps = new List<GenerationStep>();
        await foreach (var step in session.GenerateAsync(Prompt, new GenerationOptions { MaxTokens = 50, StopTokens = [] }))
        {
            steps.Add(step);
        }

        Assert.Equal(4, steps.Count);
        Assert.Equal(FinishReason.Length, steps[^1].FinishReason);
    }

    [Fact]
    public async Task Unknown_tokens_empty_prompts_and_wrong_options_are_refused()
    {
        await using var model = await Load(Fixtures.Model("llama3"));
        using var session = model.CreateSession();
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => session.PrefillAsync([1, 320]));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => session.PrefillAsync([-1]));
        Assert.Throws<ArgumentException>(() => session.GenerateAsync([]));
        Assert.Throws<ArgumentOutOfRangeException>(() => session.GenerateAsync([1], new GenerationOptions { MaxTokens = 0 }));
        Assert.Throws<ArgumentException>(() => session.GenerateAsync([1], new GenerationOptions { StopSequences = [""] }));
        Assert.Throws<ArgumentOutOfRangeException>(() => session.Truncate(1));
        Assert.Throws<TokenizerException>(() => model.Tokenizer);
    }

    [Fact]
    public async Task A_session_does_one_thing_at_a_time_and_survives_a_caller_that_stops_listening()
    {
        await using var model = await Load(Fixtures.Model("llama3"));
        using var session = model.CreateSession();
        await foreach (var step in session.GenerateAsync(Prompt, new GenerationOptions { StopTokens = [] }))
        {
            await Assert.ThrowsAsync<InvalidOperationException>(() => session.PrefillAsync([1]));
            break;
        }

        Assert.Equal(60, session.Length); // the token of the last step that was given is not part of it
        await session.PrefillAsync([1]);
        Assert.Equal(61, session.Length);
    }

    [Fact]
    public async Task Disposing_in_any_order_is_fine()
    {
        var model = await Load(Fixtures.Model("llama3"));
        var (first, second) = (model.CreateSession(), model.CreateSession());
        await second.PrefillAsync(Prompt);
        first.Dispose();
        first.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => first.PrefillAsync(Prompt));
        model.Dispose();
        await model.DisposeAsync();
        second.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => second.PrefillAsync(Prompt));
        Assert.Throws<ObjectDisposedException>(() => model.CreateSession());
    }

    [Fact]
    public async Task A_session_disposed_while_it_generates_says_so_and_gives_its_memory_back()
    {
        await using var model = await Load(Fixtures.Model("llama3"), Odd with { Placement = _ => HeadPlacement.Resident });
        var session = model.CreateSession();
        var steps = 0;
        await Assert.ThrowsAsync<ObjectDisposedException>(async () =>
        {
            await foreach (var step in session.GenerateAsync(Prompt, new GenerationOptions { StopTokens = [] }))
            {
                if (++steps == 3)
                {
                    session.Dispose();
                }
            }
        });
        Assert.Equal(3, steps);
        await session.DisposeAsync();
        Assert.Equal(default, session.CacheSize);
    }

    [Fact]
    public async Task The_context_is_checked_again_when_a_generation_begins()
    {
        await using var model = await Load(Fixtures.Model("llama3"), new HeadInferOptions { MaxContextTokens = 100 });
        using var session = model.CreateSession();
        var twice = session.GenerateAsync(Prompt, new GenerationOptions { MaxTokens = 1, StopTokens = [] });
        await foreach (var step in twice)
        {
            Assert.Equal(FinishReason.Length, step.FinishReason);
        }

        await Assert.ThrowsAsync<ContextLengthException>(async () =>
        {
            await foreach (var step in twice)
            {
            }
        });
        Assert.Equal(60, session.Length);
    }

    [Fact]
    public async Task A_stop_sequence_that_is_a_special_token_stops()
    {
        await using var model = await Load(Fixtures.DemoModel);
        using var session = model.CreateSession();
        var prompt = model.ChatTemplate!.Encode([new ChatTurn("user", "Hello")], model.Tokenizer);
        var steps = new List<GenerationStep>();
        await foreach (var step in session.GenerateAsync(prompt, new GenerationOptions { StopTokens = [], StopSequences = ["<|im_end|>"], MaxTokens = 60 }))
        {
            steps.Add(step);
        }

        Assert.Equal(FinishReason.Stop, steps[^1].FinishReason);
        Assert.Equal(model.Tokenizer.AddedToken("<|im_end|>"), steps[^1].TokenId);
        Assert.Equal("Hello! Give me a document and ask me to find or quote something in it.", string.Concat(steps.Select(s => s.Text)));
        await using var wordless = await Load(Fixtures.Model("llama3"));
        using var other = wordless.CreateSession();
        Assert.Throws<ArgumentException>(() => other.GenerateAsync(Prompt, new GenerationOptions { StopSequences = ["x"] }));
    }

    [Fact]
    public async Task Threads_can_be_set_again()
    {
        Assert.SkipWhen(Device == ComputeDevice.Cuda, "threads of the CPU");
        var tokens = new List<int[]>();
        foreach (var threads in (int[])[1, 2, 3, Environment.ProcessorCount])
        {
            await using var model = await Load(Fixtures.Model("qwen3"), new HeadInferOptions { Threads = threads });
            using var session = model.CreateSession();
            tokens.Add(await Generate(session, Prompt));
            Assert.Equal(threads, model.Hardware.Team.Size);
        }

        Assert.All(tokens, t => Assert.Equal(tokens[0], t));
    }

    [Fact]
    public async Task The_plan_prints_itself_with_every_part()
    {
        await using var model = await Load(Fixtures.DemoModel, new HeadInferOptions { HostMemory = ByteSize.FromGiB(Device == ComputeDevice.Cpu ? 2 : 4) });
        var text = model.Plan.ToString();
        string[] parts = Device == ComputeDevice.Cpu
            ? ["2 GiB", "weights", "38.5 MiB", "workspace", "KV cache", "16 KiB a token", "16 host", "longest context", "32,768"]
            : ["GPU memory", "weights", "77 MiB", "libraries", "KV buffers", "KV cache", "16 KiB a token", "16 streamed", "tokens", "longest context", "32,768"];
        foreach (var part in parts)
        {
            Assert.Contains(part, text, StringComparison.Ordinal);
        }
    }

    private static async Task<int[]> Generate(HeadInferSession session, int[] prompt)
    {
        var tokens = new List<int>();
        await foreach (var step in session.GenerateAsync(prompt, new GenerationOptions { MaxTokens = 12, StopTokens = [] }))
        {
            tokens.Add(step.TokenId);
        }

        return [.. tokens];
    }
}
