using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Generation;

/// <summary>The sampler beside the plain one, and weights beside <see cref="Math.Exp"/>.</summary>
public sealed class SamplerOracleTests
{
    private static readonly int[] Sizes = [1, 2, 3, 5, 8, 17, 63, 200, 1023, 1024, 1025, 2500];

    /// <summary>Weights have 24 bits here and 53 there, so a draw at a border may fall to a neighbour.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Tokens_are_those_of_the_plain_sampler(int seed)
    {
        var random = new Random(seed);
        var (steps, others) = (0, 0);
        for (var run = 0; run < 1500; run++)
        {
            var options = Options(random);
            var (sampler, reference) = (new Sampler(options), new ReferenceSampler(options));
            var vocabulary = Pick(random, Sizes);
            List<int> context = [.. Enumerable.Range(0, random.Next(40)).Select(_ => random.Next(vocabulary))];
            for (var step = 0; step < 6; step++)
            {
                var logits = Logits(random, vocabulary);
                var distribution = reference.Distribution(logits, context);
                var token = sampler.Next([.. logits], context);
                var drawn = reference.Draw(distribution, token, out var distance);
                Assert.True(distance < 1e-5, $"{token} of {vocabulary} instead of {drawn}, {distance} away, with {options}");
                others += token == drawn ? 0 : 1;
                steps++;
                reference.Accept(token);
                context.Add(token);
            }
        }

        Assert.InRange(others, 0, steps / 1000);
    }

    [Theory]
    [InlineData(1.0, 0.0, null)]
    [InlineData(0.9, 0.0, null)]
    [InlineData(1.0, 0.02, null)]
    [InlineData(0.95, 0.01, 30)]
    public void Draws_have_the_distribution(double topP, double minP, int? topK)
    {
        const int Draws = 40_000;
        var options = new SamplingOptions { Temperature = 0.9, TopP = topP, MinP = minP, TopK = topK, Seed = 11 };
        var random = new Random(4);
        var logits = Enumerable.Range(0, 60).Select(_ => (float)Normal(random)).ToArray();
        var expected = new ReferenceSampler(options).Distribution(logits, []).ToDictionary(t => t.Id, t => t.Share * Draws);
        var sampler = new Sampler(options);
        var counts = new int[logits.Length];
        for (var i = 0; i < Draws; i++)
        {
            counts[sampler.Next([.. logits], [])]++;
        }

        Assert.Equal(Draws, expected.Keys.Sum(id => counts[id]));
        var chiSquare = expected.Sum(e => Math.Pow(counts[e.Key] - e.Value, 2) / e.Value);
        var freedom = expected.Count - 1;
        Assert.InRange(chiSquare, 0, freedom + (4 * Math.Sqrt(2 * freedom)));
    }

    /// <summary>Fifteen hundred tokens for each of a hundred groups: the draw must find every block.</summary>
    [Theory]
    [InlineData(1.0)]
    [InlineData(0.999)]
    public void Draws_reach_all_of_a_large_vocabulary(double topP)
    {
        const int Draws = 3000, Groups = 100, Group = 1500;
        var sampler = new Sampler(new SamplingOptions { Temperature = 1, TopP = topP, Seed = 3 });
        var logits = Enumerable.Range(0, Groups * Group).Select(i => MathF.Sin(i)).ToArray();
        var counts = new int[Groups];
        for (var i = 0; i < Draws; i++)
        {
            counts[sampler.Next([.. logits], []) / Group]++;
        }

        var chiSquare = counts.Sum(c => Math.Pow(c - (Draws / (double)Groups), 2) / (Draws / (double)Groups));
        Assert.InRange(chiSquare, 0, Groups + (4 * Math.Sqrt(2 * Groups)));
    }

    [Fact]
    public void Weights_are_exponentials_with_the_same_bits_on_every_machine()
    {
        var weights = Enumerable.Range(0, 20_003).Select(i => -i / 230f).ToArray();
        var logits = weights.ToArray();
        var sums = new double[LogitVectors.Blocks(weights.Length)];
        var total = LogitVectors.Weigh(weights, 0, 1, 0, sums);
        var hash = 0u;
        for (var i = 0; i < weights.Length; i++)
        {
            var exact = logits[i] < -87 ? 0 : Math.Exp(logits[i]);
            Assert.InRange(weights[i], exact * (1 - 2e-7), exact * (1 + 2e-7));
            hash = unchecked((hash * 31) + BitConverter.SingleToUInt32Bits(weights[i]));
        }

        Assert.Equal((1_496_897_858u, 4_642_314_027_082_529_706ul), (hash, BitConverter.DoubleToUInt64Bits(total)));
        Assert.Equal(weights.Sum(w => (double)w), total, 1e-9);
        Assert.Equal(1f, weights[0]);
    }

    private static SamplingOptions Options(Random random) => new()
    {
        Seed = random.Next(),
        Temperature = Pick(random, 0, 1e-300, 0.01, 0.5, 0.8, 1, 2, 100),
        TopK = Pick<int?>(random, null, null, 1, 2, 5, 50, 1000, int.MaxValue),
        TopP = Pick(random, 1, 1, double.Epsilon, 1e-9, 0.1, 0.5, 0.9, 0.95, 0.999, 1 - 1e-12),
        MinP = Pick(random, 0, 0, 0, 1e-60, 0.001, 0.05, 0.5, 1),
        RepetitionPenalty = Pick(random, 1, 1, 1.1, 2, 0.5),
        FrequencyPenalty = Pick(random, 0, 0, 0.3, -0.2),
        PresencePenalty = Pick(random, 0, 0, 0.7, -0.4),
    };

    // A bulk, ties, zeros of both signs, a constraint that leaves few.
    private static float[] Logits(Random random, int vocabulary)
    {
        var (kind, allowed, scale) = (random.Next(4), Pick(random, 1, 1, 0.5, 0.02), Pick(random, 0.1, 1, 3, 20));
        var logits = new float[vocabulary];
        for (var id = 0; id < vocabulary; id++)
        {
            logits[id] = kind switch
            {
                0 => (float)(scale * Normal(random)),
                1 => random.Next(-4, 4),
                2 => random.Next(2) == 0 ? 0f : -0f,
                _ => (float)(scale * Normal(random)) + (random.Next(50) == 0 ? 10 : 0),
            };
            logits[id] = random.NextDouble() < allowed ? logits[id] : float.NegativeInfinity;
        }

        logits[random.Next(vocabulary)] = 1;
        return logits;
    }

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    private static T Pick<T>(Random random, params T[] values) => values[random.Next(values.Length)];
}
