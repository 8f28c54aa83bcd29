using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Sessions;

/// <summary>Models whose layers keep states in place of keys and values: going back, going on, sharing and making room give what reading everything anew gives.</summary>
public abstract class StateTests(ComputeDevice device) : NativeTest(device)
{
    private const int Page = 8;
    private const double Tolerance = 1e-3; // of logits: as many tokens at once round otherwise than one by one

    private static readonly HeadInferOptions Odd = new() { PageTokens = Page, TileTokens = 11, SegmentTokens = 32, ChunkTokens = 16, HeadGroupSize = 1 };

    private static readonly GenerationOptions FiveTokens = new() { MaxTokens = 5, StopTokens = [] };

    public sealed class OnCpu() : StateTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : StateTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData("qwen3-next")]
    [InlineData("qwen3.5")]
    [InlineData("qwen3.5-moe")]
    [InlineData("granite-hybrid-moe")]
    [InlineData("nemotron-h")]
    [InlineData("falcon-h1")]
    [InlineData("lfm2-moe")]
    public async Task Whatever_a_session_went_through_it_knows_its_tokens(string name)
    {
        await using var model = await Load(Fixtures.Model(name), Odd);
        var random = new Random(5);
        var sessions = new List<(HeadInferSession Session, List<int> Tokens)> { (model.CreateSession(), []) };
        for (var turn = 0; turn < 120; turn++)
        {
            var (session, tokens) = sessions[random.Next(sessions.Count)];
            switch (random.Next(6))
            {
                case 0 or 1 when tokens.Count < 120:
                    var read = Text(turn, random.Next(1, 40));
                    await session.PrefillAsync(read);
                    tokens.AddRange(read);
                    break;
                case 2 when tokens.Count < 120:
                    tokens.Add(turn);
                    var said = new List<int>();
                    await foreach (var step in session.GenerateAsync([turn], FiveTokens))
                    {
                        said.Add(step.TokenId);
                    }

                    tokens.AddRange(said.SkipLast(1)); // the last is told, and no part of the session
                    break;
                case 3:
                    var length = random.Next(tokens.Count + 1);
                    session.Truncate(length);
                    tokens.RemoveRange(length, tokens.Count - length);
                    break;
                case 4 when sessions.Count < 5:
                    sessions.Add((session.Fork(), [.. tokens]));
                    break;
                case 5 when sessions.Count > 1:
                    session.Dispose();
                    sessions.RemoveAll(s => s.Session == session);
                    break;
            }

            if (turn % 4 == 0)
            {
                (session, tokens) = sessions[random.Next(sessions.Count)];
                await AssertKnows(model, session, tokens, $"turn {turn}");
            }
        }

        sessions.ForEach(s => s.Session.Dispose());
    }

    [Theory]
    [InlineData("qwen3.5")]
    [InlineData("nemotron-h")]
    [InlineData("lfm2")]
    public async Task A_beginning_is_found_up_to_a_block_and_what_an_answer_ended_with_to_the_token(string name)
    {
        await using var model = await Load(Fixtures.Model(name), Odd);
        using var first = model.CreateSession();
        var text = Text(1, 61);
        await first.PrefillAsync(text);
        using var other = model.CreateSession();
        await other.PrefillAsync([.. text[..59], 7, 8]);
        Assert.Equal(56, other.Reused); // the last block's end before they part
        using var next = model.CreateSession();
        await next.PrefillAsync([.. text, 3, 4, 5]);
        Assert.Equal(61, next.Reused);
        await AssertKnows(model, next, [.. text, 3, 4, 5], "behind what the first has read");
    }

    [Fact]
    public async Task A_cancelled_prompt_and_a_full_memory_lose_nothing_that_was_said()
    {
        // Room for some blocks and the states in them, so that what nobody has is forgotten all the time.
        await using var wide = await Load(Fixtures.Model("qwen3.5"), Odd);
        var room = wide.Plan.HostBudget - wide.Plan.KvBudget + (wide.Attention.Pool.BlockSize * 24);
        await using var model = await Load(Fixtures.Model("qwen3.5"), Odd with { HostMemory = room });
        using var session = model.CreateSession();
        await session.PrefillAsync(Text(1, 50));
        using var cancel = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => session.PrefillAsync(Text(2, 100), new Progress(_ => cancel.Cancel()), cancel.Token));
        Assert.Equal(50, session.Length);
        for (var other = 0; other < 6; other++)
        {
            using var passing = model.CreateSession();
            await passing.PrefillAsync(Text(10 + other, 90));
        }

        await AssertKnows(model, session, [.. Text(1, 50)], "after others");
        using (var more = model.CreateSession())
        {
            await Task.WhenAll(session.PrefillAsync(Text(3, 20)), more.PrefillAsync(Text(4, 60)));
        }

        await AssertKnows(model, session, [.. Text(1, 50), .. Text(3, 20)], "beside others");
    }

    [Theory]
    [InlineData("qwen3.5", 2)]
    [InlineData("qwen3.5", 40)]
    [InlineData("granite-hybrid-rope", 2)]
    [InlineData("granite-hybrid-rope", 40)]
    [InlineData("lfm2-bias", 2)]
    [InlineData("lfm2-bias", 40)]
    public async Task Forks_within_a_block_go_their_own_ways_at_once(string name, int more)
    {
        await using var model = await Load(Fixtures.Model(name), Odd);
        using var first = model.CreateSession();
        await first.PrefillAsync(Text(1, 61));
        var sessions = Enumerable.Range(0, 24).Select(_ => first.Fork()).ToList(); // more than may be read at once
        var texts = sessions.Select((_, i) => Text(10 + i, more + i)).ToList();
        await Task.WhenAll(sessions.Select((s, i) => s.PrefillAsync(texts[i])));
        for (var i = 0; i < sessions.Count; i += 5)
        {
            await AssertKnows(model, sessions[i], [.. Text(1, 61), .. texts[i]], $"fork {i}");
        }

        sessions.ForEach(s => s.Dispose());
    }

    [Theory]
    [InlineData("qwen3.5")]
    [InlineData("nemotron-h")]
    public async Task A_plan_counts_states_where_they_lie(string name)
    {
        await using var model = await Load(Fixtures.Model(name), Odd);
        var (plan, shape) = (model.Plan, model.Config.Recurrent!);
        Assert.Equal(new ByteSize(3L * shape.Remembered * sizeof(float)), plan.StateSize);
        Assert.Equal(((plan.KvPerToken * Page) + plan.StateSize) * 2, plan.KvFor(Page + 1));
        Assert.Equal((plan.KvPerToken * Page) + plan.StateSize, model.Attention.Pool.BlockSize);
        Assert.InRange(plan.MostStates, 1, 16);
    }

    // What comes next is what comes next in a session that reads all of it at once.
    private static async Task AssertKnows(HeadInferModel model, HeadInferSession session, List<int> tokens, string when)
    {
        Assert.Equal(tokens.Count, session.Length);
        using var copy = session.Fork();
        using var fresh = model.CreateSession(Guid.NewGuid().ToString());
        var (known, all) = ((await copy.LogitsAsync([9]))[^1], (await fresh.LogitsAsync([.. tokens, 9]))[^1]);
        var largest = all.Max(Math.Abs);
        Assert.All(known.Zip(all), pair => Assert.True(Math.Abs(pair.First - pair.Second) <= Tolerance * largest, $"{when}: {pair.First} for {pair.Second} after {tokens.Count} tokens"));
    }

    private static int[] Text(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(3, 300))];
    }

    private sealed class Progress(Action<PrefillProgress> told) : IProgress<PrefillProgress>
    {
        public void Report(PrefillProgress value) => told(value);
    }
}
