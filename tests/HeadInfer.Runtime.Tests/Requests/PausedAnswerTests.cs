using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Requests;

/// <summary>Answers whose readers lag, and which gave their blocks to others.</summary>
public abstract class PausedAnswerTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : PausedAnswerTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : PausedAnswerTests(ComputeDevice.Cuda);

    private const int Seen = 3;

    private static readonly HeadInferOptions Odd = new() { PageTokens = 8, TileTokens = 11, SegmentTokens = 32, ChunkTokens = 16, HeadGroupSize = 1 };

    private static readonly GenerationOptions Open = new() { MaxTokens = null, StopTokens = [] };

    private static readonly int[] Prompt = Text(1, 20);

    [Fact]
    public async Task What_the_caller_has_seen_can_be_read_while_the_blocks_are_gone()
    {
        await using var model = await Tight();
        using var session = model.CreateSession();
        await using var steps = session.GenerateAsync(Prompt, Open).GetAsyncEnumerator();
        var seen = await Pause(model, steps);
        Assert.Equal([.. Prompt, .. seen[..^1]], session.Tokens);
        Assert.Equal(default, session.CacheSize);
    }

    [Fact]
    public async Task What_the_caller_has_seen_is_not_lost_with_the_blocks()
    {
        await using var model = await Tight();
        using var session = model.CreateSession();
        await session.PrefillAsync(Prompt[..6]);
        var steps = session.GenerateAsync(Prompt[6..], Open).GetAsyncEnumerator();
        var seen = await Pause(model, steps);
        await steps.DisposeAsync();
        int[] expected = [.. Prompt, .. seen[..^1]];
        Assert.Equal(expected, session.Tokens);

        model.ClearCache(); // so that it must be read again
        using var fork = session.Fork();
        using var fresh = model.CreateSession("fresh");
        var answer = await Generate(fresh, [.. expected, 5]);
        foreach (var next in (HeadInferSession[])[session, fork])
        {
            await next.PrefillAsync([]);
            Assert.Equal(expected, next.Tokens);
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => next.PrefillAsync([5], new Direct<PrefillProgress>(_ => throw new OperationCanceledException())));
            Assert.Equal(expected, next.Tokens);
            Assert.Equal(answer, await Generate(next, [5]));
            Assert.Equal(0, next.Reused); // of the one token that was asked for
            Assert.Equal([.. expected, 5, .. answer[..^1]], next.Tokens);
        }
    }

    [Fact]
    public async Task What_was_lost_may_be_cut_off_or_read_for_its_logits()
    {
        await using var model = await Tight();
        using var session = model.CreateSession();
        var steps = session.GenerateAsync(Prompt, Open).GetAsyncEnumerator();
        await Pause(model, steps);
        await steps.DisposeAsync();
        session.Truncate(15);
        model.ClearCache();
        using var fresh = model.CreateSession("fresh");
        Assert.Equal((await fresh.LogitsAsync([.. Prompt[..15], 7, 8]))[15..], await session.LogitsAsync([7, 8]));
        Assert.Equal([.. Prompt[..15], 7, 8], session.Tokens);
    }

    [Fact]
    public async Task An_answer_that_is_read_again_tells_what_was_known_of_its_prompt()
    {
        await using var model = await Tight();
        using var session = model.CreateSession();
        await using var steps = session.GenerateAsync(Prompt, Open).GetAsyncEnumerator();
        await Pause(model, steps);
        for (var i = 0; i < 20; i++)
        {
            Assert.True(await steps.MoveNextAsync());
        }

        Assert.Equal(0, session.Reused);
    }

    private static async Task<int[]> Generate(HeadInferSession session, int[] prompt)
    {
        var tokens = new List<int>();
        await foreach (var step in session.GenerateAsync(prompt, Open with { MaxTokens = 12 }))
        {
            tokens.Add(step.TokenId);
        }

        return [.. tokens];
    }

    private static int[] Text(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.Next(320))];
    }

    // Room for 16 blocks of 8 tokens.
    private async Task<HeadInferModel> Tight(HeadInferOptions? options = null)
    {
        await using var model = await Load(Fixtures.Model("llama3"), Odd);
        var plan = model.Plan;
        return await Load(Fixtures.Model("llama3"), (options ?? Odd) with { HostMemory = plan.HostBudget - plan.KvBudget + (plan.KvPerToken * 8 * 16) });
    }

    // The first steps of an answer, which then makes room for a prompt.
    private static async Task<int[]> Pause(HeadInferModel model, IAsyncEnumerator<GenerationStep> steps)
    {
        var seen = new int[Seen];
        for (var i = 0; i < Seen; i++)
        {
            Assert.True(await steps.MoveNextAsync());
            seen[i] = steps.Current.TokenId;
        }

        using var other = model.CreateSession("another");
        await other.PrefillAsync(Text(2, 110)); // there is no room for it beside the prompt of 20 tokens: the answer must have stalled, and given way
        return seen;
    }
}
