using HeadInfer.Runtime.Generation;

namespace HeadInfer.Runtime.Tests.Generation;

public sealed class PromptLookupTests
{
    [Fact]
    public void What_followed_before_is_proposed()
    {
        Assert.Equal([5, 6, 7, 8], Propose([1, 2, 3, 4, 5, 6, 7, 8, 9, 2, 3], 4, 4));
        Assert.Equal([], Propose([1, 2, 3, 4, 5, 6, 7, 8, 9, 3], 4, 4)); // two tokens agree, which is too few
        Assert.Equal([], Propose([], 1, 4));
    }

    [Fact]
    public void The_place_that_agrees_furthest_is_taken_and_of_equals_the_latest()
    {
        Assert.Equal([70], Propose([0, 1, 2, 3, 70, 9, 1, 2, 3, 71, 0, 1, 2], 3, 1));
        Assert.Equal([71], Propose([8, 1, 2, 3, 70, 9, 1, 2, 3, 71, 0, 1, 2], 3, 1));
    }

    [Fact]
    public void A_text_that_repeats_itself_goes_on_doing_so() => Assert.Equal([2, 3, 1, 2, 3, 1, 2], Propose([1, 2, 3, 1, 2, 3], 1, 7));

    [Fact]
    public void A_place_is_found_among_many_that_agree_less()
    {
        // The quoted place is long ago, and its last three tokens stand at a thousand places since.
        var random = new Random(2);
        int[] passage = [.. Enumerable.Range(0, 40).Select(_ => random.Next(1000, 2000))];
        List<int> text = [.. passage];
        for (var i = 0; i < 1000; i++)
        {
            text.AddRange([.. passage[20..23], random.Next(100)]);
        }

        text.AddRange(passage[..22]);
        Assert.Equal(passage[23..33], Propose(text, passage[22], 10));
    }

    [Fact]
    public void A_long_text_is_taken_in_by_and_by_and_then_known_whole()
    {
        var random = new Random(5);
        List<int> text = [.. Enumerable.Range(0, 200_000).Select(_ => random.Next(1 << 17))];
        int[] passage = [.. text[100..140]];
        text.AddRange(passage[..22]);
        var (lookup, calls) = (new PromptLookup(), 1);
        while (lookup.Propose(text, passage[22], 10) is var draft && !draft.Tokens.Span.SequenceEqual(passage.AsSpan(23, 10)))
        {
            Assert.True(draft.Tokens.IsEmpty);
            Assert.True(++calls <= 4, "200,000 tokens take four calls");
        }

        Assert.Equal(4, calls);

        // As it grows beyond what there was room for, it is the same.
        for (var i = 0; i < 100_000; i++)
        {
            text.Add(random.Next(1 << 17));
        }

        text.AddRange(passage[..22]);
        for (calls = 0; lookup.Propose(text, passage[22], 10).Tokens.IsEmpty; calls++)
        {
        }

        Assert.InRange(calls, 1, 5);
        Assert.Equal(passage[23..33], lookup.Propose(text, passage[22], 10).Tokens.ToArray());
    }

    [Fact]
    public void A_random_text_agrees_with_a_plain_search()
    {
        var random = new Random(3);
        for (var run = 0; run < 40; run++)
        {
            var (lookup, text) = (new PromptLookup(), new List<int>());
            for (var step = 0; step < 120; step++)
            {
                text.AddRange(Enumerable.Range(0, random.Next(3)).Select(_ => random.Next(3)));
                var next = random.Next(3);
                int[] proposed = [.. lookup.Propose(text, next, 4).Tokens.Span];
                text.Add(next);
                var longest = Enumerable.Range(0, text.Count - 1).Select(place => Agreeing(text, place)).DefaultIfEmpty().Max();
                Assert.Equal(longest >= 3, proposed.Length > 0);

                // All places are looked at as long as few have the same ending: what is proposed then followed one that agrees furthest.
                if (proposed.Length > 0 && text.Count < 30)
                {
                    Assert.Contains(Enumerable.Range(0, text.Count - 1).Where(p => Agreeing(text, p) == longest), p => text[p + 1] == proposed[0]);
                }
            }
        }
    }

    [Fact]
    public void Drafts_that_come_become_likely_and_others_do_not()
    {
        var (lookup, text) = (new PromptLookup(), Enumerable.Range(0, 400).ToList());
        var first = 0.0;
        for (var i = 0; i < 40; i++)
        {
            var draft = lookup.Propose(text, 100 + i, 4);
            text.Add(100 + i);
            first = i == 3 ? draft.Likelihood : first;
            Assert.True(i < 3 || draft.Likelihood >= first);
        }

        (lookup, text) = (new PromptLookup(), []);
        for (var i = 0; i < 60; i++)
        {
            text.AddRange([7, 8, 9, 1000 + i]);
        }

        var likelihood = 1.0;
        for (var i = 0; i < 40; i++)
        {
            text.AddRange([7, 8]);
            likelihood = lookup.Propose(text, 9, 4).Likelihood;
            text.AddRange([9, 2000 + i]);
        }

        Assert.True(likelihood < 0.05, $"{likelihood}");
    }

    private static int[] Propose(IReadOnlyList<int> context, int next, int most) => [.. new PromptLookup().Propose(context, next, most).Tokens.Span];

    private static int Agreeing(List<int> text, int place)
    {
        var count = 0;
        for (; count <= place && count < 32 && text[place - count] == text[^(count + 1)]; count++)
        {
        }

        return count;
    }
}
