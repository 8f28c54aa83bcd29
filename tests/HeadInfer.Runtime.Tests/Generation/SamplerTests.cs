using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Tests.Support;
using HeadInfer.Text;

namespace HeadInfer.Runtime.Tests.Generation;

public sealed class SamplerTests
{
    private static readonly float[] Logits = [0f, 1f, 2f, 3f, -1f];

    [Fact]
    public void The_largest_is_the_first_of_equals_wherever_it_stands()
    {
        var random = new Random(5);
        float[] odd = [float.NegativeInfinity, 0f, -0f, 3f];
        for (var run = 0; run < 2000; run++)
        {
            var logits = Enumerable.Range(0, random.Next(1, 70)).Select(_ => random.Next(3) == 0 ? odd[random.Next(odd.Length)] : (float)random.Next(-4, 4)).ToArray();
            var best = 0;
            for (var i = 1; i < logits.Length; i++)
            {
                best = logits[i] > logits[best] ? i : best;
            }

            Assert.Equal(best, LogitVectors.Largest(logits));
        }
    }

    [Fact]
    public void Greedy_takes_the_largest_and_the_first_of_equals()
    {
        Assert.Equal(3, Next(new SamplingOptions()));
        Assert.Equal(1, new Sampler(new SamplingOptions()).Next([0f, 5f, 5f], []));
    }

    [Fact]
    public void Draws_follow_the_softmax()
    {
        var counts = Draw(new SamplingOptions { Temperature = 2, Seed = 1 }, 20_000);
        var weights = Logits.Select(l => Math.Exp(l / 2)).ToArray();
        for (var token = 0; token < Logits.Length; token++)
        {
            Assert.Equal(weights[token] / weights.Sum(), counts[token] / 20_000.0, 0.015);
        }
    }

    [Fact]
    public void A_seed_repeats_the_choices()
    {
        var options = new SamplingOptions { Temperature = 1, Seed = 42 };
        Assert.Equal(Sequence(options), Sequence(options));
        Assert.NotEqual(Sequence(options), Sequence(options with { Seed = 43 }));
    }

    [Fact]
    public void Top_k_top_p_and_min_p_leave_the_rest_out()
    {
        Assert.Equal([2, 3], Chosen(new SamplingOptions { Temperature = 5, TopK = 2, Seed = 1 }));
        Assert.Equal([3], Chosen(new SamplingOptions { Temperature = 1, TopP = 0.6, Seed = 1 })); // the largest alone has 0.64
        Assert.Equal([2, 3], Chosen(new SamplingOptions { Temperature = 1, TopP = 0.7, Seed = 1 }));
        Assert.Equal([2, 3], Chosen(new SamplingOptions { Temperature = 1, MinP = 0.3, Seed = 1 })); // e^-1 is 0.37, e^-2 is 0.14
        Assert.Equal([0, 1, 2], new Sampler(new SamplingOptions { Temperature = 1, TopK = 3, Seed = 1 }) is var s
            ? Enumerable.Range(0, 200).Select(_ => s.Next([1f, 1f, 1f, 1f, 1f], [])).Distinct().Order() : []);
    }

    [Fact]
    public void Penalties_count_what_was_said()
    {
        Assert.Equal(2, new Sampler(new SamplingOptions { RepetitionPenalty = 2 }).Next([.. Logits], [3, 3]));
        var negative = new Sampler(new SamplingOptions { RepetitionPenalty = 2 });
        Assert.Equal(1, negative.Next([-1f, -1.5f], [0]));

        var frequency = new Sampler(new SamplingOptions { FrequencyPenalty = 0.6 });
        Assert.Equal([3, 3, 2, 3], Enumerable.Range(0, 4).Select(_ => frequency.Next([.. Logits], [])));
        var presence = new Sampler(new SamplingOptions { PresencePenalty = 1.5 });
        Assert.Equal([3, 2, 3], Enumerable.Range(0, 3).Select(_ => presence.Next([.. Logits], [])));
    }

    [Theory]
    [InlineData(0.0, 1.0, null, 1.0)]
    [InlineData(1.0, 1.0, null, 1.0)]
    [InlineData(1.0, 0.9, null, 1.0)]
    [InlineData(1.0, 1.0, 3, 1.0)]
    [InlineData(1.0, 0.9, 3, 1.2)]
    public void A_logit_that_is_no_number_is_an_error_wherever_it_stands(double temperature, double topP, int? topK, double repetition)
    {
        var sampler = new Sampler(new SamplingOptions { Temperature = temperature, TopP = topP, TopK = topK, RepetitionPenalty = repetition, Seed = 1 });
        foreach (var odd in (float[])[float.NaN, -float.NaN, float.PositiveInfinity])
        {
            foreach (var place in (int[])[0, 1, 17, 1024, 2040, 2049])
            {
                var logits = Enumerable.Range(0, 2050).Select(id => (float)(id % 7)).ToArray();
                logits[place] = odd;
                Assert.Throws<HeadInferException>(() => sampler.Next(logits, [1, 4]));
            }
        }

        Assert.Throws<HeadInferException>(() => sampler.Next([float.NegativeInfinity, float.NegativeInfinity], [1]));
    }

    [Fact]
    public void A_context_that_begins_anew_is_read_anew()
    {
        var sampler = new Sampler(new SamplingOptions { RepetitionPenalty = 2 });
        Assert.Equal(1, sampler.Next([3f, 2f, 1f], [0]));
        Assert.Equal(2, sampler.Next([3f, 2.5f, 2f], [0, 1]));
        Assert.Equal(0, sampler.Next([3f, 2f, 1.9f], [1]));
        Assert.Equal(1, sampler.Next([2f, 3f, 2f], []));
    }

    [Fact]
    public void A_padding_token_beyond_the_tokenizer_is_no_text()
    {
        var tokenizer = Tokenizer.Load(Fixtures.DemoModel);
        var generator = new Generator(new GenerationOptions(), tokenizer, [], 10);
        var logits = new float[tokenizer.VocabularySize + 8];
        logits[^1] = 5;
        Assert.Equal(new GenerationStep(logits.Length - 1, ""), generator.Next(logits, []));
    }

    [Fact]
    public void Options_out_of_range_are_named()
    {
        foreach (var options in (SamplingOptions[])[new() { Temperature = -1 }, new() { Temperature = double.NaN }, new() { TopP = 0 }, new() { TopP = 1.1 }, new() { TopK = 0 }, new() { MinP = 2 }, new() { RepetitionPenalty = 0 }])
        {
            Assert.Throws<ArgumentOutOfRangeException>(options.Validate);
        }
    }

    private static int Next(SamplingOptions options) => new Sampler(options).Next([.. Logits], []);

    private static int[] Draw(SamplingOptions options, int times)
    {
        var (sampler, counts) = (new Sampler(options), new int[Logits.Length]);
        for (var i = 0; i < times; i++)
        {
            counts[sampler.Next([.. Logits], [])]++;
        }

        return counts;
    }

    private static IEnumerable<int> Chosen(SamplingOptions options) =>
        Draw(options, 500).Index().Where(c => c.Item > 0).Select(c => c.Index);

    private static List<int> Sequence(SamplingOptions options)
    {
        var sampler = new Sampler(options);
        return [.. Enumerable.Range(0, 30).Select(_ => sampler.Next([.. Logits], []))];
    }
}
