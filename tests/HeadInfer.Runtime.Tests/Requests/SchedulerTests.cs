using HeadInfer.Runtime.Requests;

namespace HeadInfer.Runtime.Tests.Requests;

public sealed class SchedulerTests
{
    private static readonly DateTimeOffset Noon = new(2026, 11, 25, 12, 0, 0, TimeSpan.Zero);

    // prompts (tokens left, seconds served), answers, seconds owed to them, tokens that fit a gap: whose turn it is
    public static TheoryData<(int Left, double Served)[], int, double, int?, string> Turns => new()
    {
        { [], 0, 0, null, "Nothing" },
        { [], 3, 0, null, "Decode" },
        { [(100, 0)], 0, 0, null, "Prefill 0" },
        { [(100, 0)], 3, 0, null, "Prefill 0" },
        { [(100, 0)], 3, 0.1, null, "Decode" },
        { [(9000, 5), (9000, 2), (9000, 3)], 0, 0, null, "Prefill 1" }, // who had least
        { [(9000, 2), (9000, 2)], 0, 0, null, "Prefill 0" },            // who came first
        { [], 3, 0, 256, "Nothing" },                                  // a gap is for what is owed
        { [], 3, 0.1, 256, "Decode" },
        { [(9000, 0)], 0, 0, 256, "Nothing" },
        { [(9000, 0), (200, 1)], 3, 0.1, 256, "Prefill 1" },           // a short prompt is read at once
        { [(9000, 0)], 3, 0.1, 256, "Decode" },
    };

    [Theory]
    [MemberData(nameof(Turns))]
    public void Turns_go_round((int Left, double Served)[] prompts, int answers, double owed, int? gap, string expected)
    {
        var turn = Scheduler.Next([.. prompts.Select((p, i) => new Candidate(0, null, p.Served, i, p.Left))], answers, TimeSpan.FromSeconds(owed), gap);
        Assert.Equal(expected, turn.Kind == TurnKind.Prefill ? $"Prefill {turn.Reader}" : turn.Kind.ToString());
    }

    [Fact]
    public void Priority_comes_before_deadlines_and_these_before_what_was_had()
    {
        Candidate[] sorted =
        [
            new(1, null, 9, 5, 1),
            new(0, Noon, 9, 4, 1),
            new(0, Noon.AddSeconds(1), 0, 3, 1),
            new(0, null, 1, 2, 1),
            new(0, null, 2, 1, 1),
        ];
        Candidate[] shuffled = [sorted[3], sorted[0], sorted[4], sorted[2], sorted[1]];
        Array.Sort(shuffled, Scheduler.Compare);
        Assert.Equal(sorted, shuffled);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(0.5, 1)]
    [InlineData(0.75, 3)]
    public void Answers_are_owed_their_share(double share, double seconds) =>
        Assert.Equal(TimeSpan.FromSeconds(seconds), Scheduler.Owed(TimeSpan.FromSeconds(1), share));
}
