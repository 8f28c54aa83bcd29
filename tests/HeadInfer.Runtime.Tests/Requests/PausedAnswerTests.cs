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
        await other.PrefillAsync(Text(2, 100)); // there is room for it only when the answer has none
        return seen;
    }
}
