using BenchmarkDotNet.Attributes;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Generation;

namespace HeadInfer.Benchmarks;

/// <summary>
/// One choice out of 150,000 logits, after a context of 128K tokens. Each includes a copy of the logits, 600 KB, since a
/// sampler changes what it is given.
/// </summary>
[Config(typeof(InProcess))]
public class SamplerBenchmarks
{
    private const int Vocabulary = 150_000, Context = 128 * 1024;

    private readonly float[] _logits = new float[Vocabulary], _step = new float[Vocabulary];
    private readonly int[] _context = new int[Context];

    // The frequency penalty is small: a benchmark takes so many steps that the logits would become level.
    private readonly Sampler _greedy = new(new SamplingOptions()),
        _temperature = new(new SamplingOptions { Temperature = 0.8, Seed = 1 }),
        _topK = new(new SamplingOptions { Temperature = 0.8, TopK = 50, Seed = 1 }),
        _topP = new(new SamplingOptions { Temperature = 0.8, TopP = 0.95, Seed = 1 }),
        _topPHot = new(new SamplingOptions { Temperature = 2, TopP = 0.95, Seed = 1 }),
        _topKTopP = new(new SamplingOptions { Temperature = 0.8, TopK = 50, TopP = 0.95, Seed = 1 }),
        _minP = new(new SamplingOptions { Temperature = 0.8, MinP = 0.05, Seed = 1 }),
        _repetition = new(new SamplingOptions { RepetitionPenalty = 1.1 }),
        _frequency = new(new SamplingOptions { FrequencyPenalty = 1e-6, PresencePenalty = 0.01 }),
        _all = new(new SamplingOptions { Temperature = 0.8, TopP = 0.95, MinP = 0.001, RepetitionPenalty = 1.1, FrequencyPenalty = 1e-6, PresencePenalty = 0.01, Seed = 1 });

    /// <summary>A broad normal distribution, and ten tokens above it that hold most of the weight.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var random = new Random(1);
        for (var i = 0; i < Vocabulary; i++)
        {
            _logits[i] = (float)(2.5 * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        }

        for (var i = 0; i < 10; i++)
        {
            _logits[random.Next(Vocabulary)] = 18 - (0.6f * i);
        }

        for (var i = 0; i < Context; i++)
        {
            _context[i] = (int)(Vocabulary * Math.Pow(random.NextDouble(), 4)); // as words are: few are most of a text
        }
    }

    [Benchmark(Baseline = true)]
    public void Copy() => _logits.CopyTo(_step, 0);

    [Benchmark]
    public int Greedy() => Next(_greedy);

    [Benchmark]
    public int Temperature() => Next(_temperature);

    [Benchmark]
    public int TopK() => Next(_topK);

    [Benchmark]
    public int TopP() => Next(_topP);

    /// <summary>So hot that tens of thousands of tokens are within the nucleus.</summary>
    [Benchmark]
    public int TopPHot() => Next(_topPHot);

    [Benchmark]
    public int TopKTopP() => Next(_topKTopP);

    [Benchmark]
    public int MinP() => Next(_minP);

    [Benchmark]
    public int RepetitionPenalty() => Next(_repetition);

    [Benchmark]
    public int FrequencyAndPresence() => Next(_frequency);

    /// <summary>All penalties, min-p and top-p.</summary>
    [Benchmark]
    public int AllTogether() => Next(_all);

    private int Next(Sampler sampler)
    {
        _logits.CopyTo(_step, 0);
        sampler.Penalize(_step, _context);
        return sampler.Choose(_step);
    }
}
