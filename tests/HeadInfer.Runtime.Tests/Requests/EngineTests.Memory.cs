using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Requests;

// Room that many want.
public abstract partial class EngineTests
{
    [Fact]
    public async Task A_reader_that_stops_stops_nobody_else_and_gives_way_for_memory()
    {
        await using var model = await Load(Fixtures.Model("llama3"), await Tight(blocks: 16));
        var (slow, fast) = (model.CreateSession(), model.CreateSession());
        var steps = slow.GenerateAsync(Text(1, 20), new GenerationOptions { MaxTokens = 60, StopTokens = [] }).GetAsyncEnumerator();
        Assert.True(await steps.MoveNextAsync());
        List<int> seen = [steps.Current.TokenId];
        for (var i = 0; i < 3; i++)
        {
            fast.Truncate(0);
            Assert.Equal(12, (await Generate(fast, Text(10 + i, 60))).Length); // together they need more than there is
        }

        fast.Dispose();
        while (await steps.MoveNextAsync())
        {
            seen.Add(steps.Current.TokenId);
        }

        await steps.DisposeAsync();
        slow.Dispose();
        using var alone = model.CreateSession("alone");
        var expected = new List<int>();
        await foreach (var step in alone.GenerateAsync(Text(1, 20), new GenerationOptions { MaxTokens = 60, StopTokens = [] }))
        {
            expected.Add(step.TokenId);
        }

        Assert.Equal(expected, seen);
    }

    [Fact]
    public async Task Answers_that_outgrow_memory_pause_and_are_completed()
    {
        await using var model = await Load(Fixtures.Model("llama3"), await Tight(blocks: 24));
        var growing = new GenerationOptions { MaxTokens = null, StopTokens = [], StopSequences = [] };
        async Task<List<int>> Take(HeadInferSession session, int[] prompt)
        {
            var tokens = new List<int>();
            await foreach (var step in session.GenerateAsync(prompt, growing))
            {
                tokens.Add(step.TokenId);
                if (tokens.Count == 90)
                {
                    break;
                }
            }

            session.Dispose();
            return tokens;
        }

        var alone = new List<List<int>>();
        for (var i = 0; i < 4; i++)
        {
            alone.Add(await Take(model.CreateSession("alone"), Text(i, 10)));
            model.ClearCache();
        }

        var together = await Task.WhenAll(Enumerable.Range(0, 4).Select(i => Take(model.CreateSession(), Text(i, 10))));
        Assert.Equal(alone, together);
    }

    [Fact]
    public async Task A_session_ends_while_the_engine_works_for_others()
    {
        await using var model = await Load(Fixtures.Model("llama3"), await Tight(blocks: 16));
        var session = model.CreateSession();
        await session.PrefillAsync(Text(1, 40));
        using var gate = new ManualResetEventSlim();
        var held = model.Thread.RunAsync(gate.Wait);
        await session.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromMinutes(5), TestContext.Current.CancellationToken); // else for ever
        Assert.Equal(0, model.Attention.Pool.Count.InUse);
        gate.Set();
        await held;
    }

    [Fact]
    public async Task What_could_never_fit_is_refused_with_the_numbers()
    {
        await using var model = await Load(Fixtures.Model("llama3"), await Tight(blocks: 16));
        using var idle = model.CreateSession();
        await idle.PrefillAsync(Text(1, 100));
        using var session = model.CreateSession();
        var error = await Assert.ThrowsAsync<MemoryBudgetException>(() => session.PrefillAsync(Text(2, 100)));
        Assert.Contains("Dispose sessions", error.Message, StringComparison.Ordinal);
        idle.Dispose();
        await session.PrefillAsync(Text(2, 100));
    }

    [Fact]
    public async Task An_answer_that_finds_no_room_for_its_copies_ends_alone()
    {
        Assert.SkipWhen(Device == ComputeDevice.Cuda, "the copies of a GPU have a budget of their own");
        var resident = Odd with { Placement = _ => HeadPlacement.Resident };
        var options = resident with { HostMemory = (await Tight(blocks: 140, resident)).HostMemory }; // half of them for copies, of which two take 32 each: as many as a context has
        await using var model = await Load(Fixtures.Model("llama3"), options);
        var growing = new GenerationOptions { MaxTokens = 60, StopTokens = [] }; // beyond the six that are left for the third
        async Task<(List<int> Tokens, Exception? Error)> Answer(HeadInferSession session, int[] prompt)
        {
            var tokens = new List<int>();
            try
            {
                await foreach (var step in session.GenerateAsync(prompt, growing))
                {
                    tokens.Add(step.TokenId);
                }

                return (tokens, null);
            }
            catch (MemoryBudgetException e)
            {
                return (tokens, e);
            }
        }

        var sessions = Enumerable.Range(0, 3).Select(_ => model.CreateSession()).ToList();
        var together = await Task.WhenAll(sessions.Select((s, i) => Answer(s, Text(i, 40))));
        sessions.ForEach(s => s.Dispose());
        var ended = Assert.Single(together, a => a.Error is not null);
        Assert.Contains("HeadInferOptions.Placement", ended.Error!.Message, StringComparison.Ordinal);
        for (var i = 0; i < 3; i++)
        {
            model.ClearCache();
            using var session = model.CreateSession("alone" + i);
            var (expected, error) = await Answer(session, Text(i, 40));
            Assert.Null(error);
            Assert.Equal(expected.Take(together[i].Tokens.Count), together[i].Tokens);
            Assert.Equal(together[i].Error is null ? 60 : 9, together[i].Tokens.Count); // 48 are kept, and one more was told
        }
    }

    // Room for so many blocks of 8 tokens.
    private async Task<HeadInferOptions> Tight(int blocks, HeadInferOptions? options = null)
    {
        await using var model = await Load(Fixtures.Model("llama3"), options ?? Odd);
        var plan = model.Plan;
        return Odd with { HostMemory = plan.HostBudget - plan.KvBudget + (plan.KvPerToken * 8 * blocks) };
    }
}
