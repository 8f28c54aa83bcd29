using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Sessions;

/// <summary>Sequences that may become longer than the training rotate otherwise, from their first token on.</summary>
public abstract class RotationTests(ComputeDevice device) : NativeTest(device)
{
    private const int Original = 64; // of the fixture

    private static readonly int[] Tokens = [.. Enumerable.Range(0, 100).Select(i => ((i * 53) + 7) % 320)];

    public sealed class OnCpu() : RotationTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : RotationTests(ComputeDevice.Cuda);

    [Fact]
    public async Task A_session_that_grows_beyond_is_read_again_and_one_that_does_not_is_not()
    {
        await using var model = await Load(Fixtures.Model("phi3-longrope"), new HeadInferOptions());
        using var whole = model.CreateSession("whole");
        var expected = await whole.LogitsAsync(Tokens);
        using var grown = model.CreateSession("grown");
        await grown.PrefillAsync(Tokens[..40]);
        await grown.PrefillAsync(Tokens[40..Original]);
        Assert.Equal(0, grown.Sequence.Rotation);
        var last = await grown.LogitsAsync(Tokens[Original..]);
        Assert.Equal(1, grown.Sequence.Rotation);
        Assert.True(Farthest(expected[Original..], last) < 1e-4);

        using (var fork = grown.Fork())
        {
            fork.Truncate(90);
            Assert.True(Farthest(expected[90..], await fork.LogitsAsync(Tokens[90..])) < 1e-4);
            Assert.Equal(10, fork.Length - 90);
        }

        // What remains when it is cut is still what was read; from the beginning on it may be short again.
        grown.Truncate(20);
        await grown.PrefillAsync(Tokens[20..30]);
        Assert.Equal(1, grown.Sequence.Rotation);
        grown.Truncate(0);
        var shorter = await grown.LogitsAsync(Tokens[..40]);
        Assert.Equal(0, grown.Sequence.Rotation);
        Assert.True(Farthest(expected[..40], shorter) > 1e-3, "both rotations are the same: the case shows nothing");
    }

    [Fact]
    public async Task What_an_answer_may_become_decides_and_rotations_share_no_blocks()
    {
        await using var model = await Load(Fixtures.Model("phi3-longrope"), new HeadInferOptions { PageTokens = 8 });
        async Task<(int Rotation, int Reused)> Answer(int? most)
        {
            using var session = model.CreateSession();
            await foreach (var _ in session.GenerateAsync(Tokens[..40], new GenerationOptions { MaxTokens = most, StopTokens = [] }))
            {
                if (most is null)
                {
                    break;
                }
            }

            return (session.Sequence.Rotation, session.Reused);
        }

        Assert.Equal((0, 0), await Answer(Original - 40));
        Assert.Equal((1, 0), await Answer(Original - 39));
        Assert.Equal((1, 39), await Answer(null));
        Assert.Equal((0, 39), await Answer(10));
    }

    [Fact]
    public void A_scaling_that_is_set_cannot_be_of_this_kind() =>
        Assert.Contains("Long", Assert.ThrowsAny<ArgumentException>(() => new HeadInferOptions { RopeScaling = new RopeScaling { Kind = RopeKind.Long, Factor = 2 } }.Validate()).Message, StringComparison.Ordinal);

    private static float Farthest(IEnumerable<float[]> expected, IEnumerable<float[]> got) => expected.Zip(got, (a, b) => a.Zip(b, (x, y) => Math.Abs(x - y)).Max()).Max();
}
