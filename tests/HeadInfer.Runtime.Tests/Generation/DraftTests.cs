using System.Text.Json;
using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Tests.Support;
using HeadInfer.Text;

namespace HeadInfer.Runtime.Tests.Generation;

/// <summary>Answers of the demo model with guessed tokens, and the same without.</summary>
public abstract class DraftTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : DraftTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : DraftTests(ComputeDevice.Cuda);

    private const string Question = "Quote the passage that begins with \"So they cast lots\".";

    [Fact]
    public async Task A_quotation_is_the_same_and_takes_fewer_passes()
    {
        await using var model = await Load(Fixtures.DemoModel);
        await using var plain = await Load(Fixtures.DemoModel, new HeadInferOptions { DraftTokens = 0 });
        var options = new GenerationOptions { MaxTokens = 120 };
        var (tokens, drafted, accepted) = await Answer(model, options);
        var (same, none, _) = await Answer(plain, options);
        Assert.Equal(same, tokens);
        Assert.Equal(0, none);
        Assert.InRange(accepted, 1, drafted);
    }

    [Fact]
    public async Task A_seed_gives_the_same_tokens_as_without_guesses()
    {
        // One draw a token, in their order, from the same logits: so the distribution is the same for certain.
        await using var model = await Load(Fixtures.DemoModel);
        await using var plain = await Load(Fixtures.DemoModel, new HeadInferOptions { DraftTokens = 0 });
        var (drafted, accepted) = (0, 0);
        for (var seed = 0; seed < 12; seed++)
        {
            var options = new GenerationOptions { MaxTokens = 60, Sampling = new SamplingOptions { Temperature = 0.4 + (0.1 * seed), TopP = 0.95, RepetitionPenalty = 1 + (0.01 * (seed % 3)), FrequencyPenalty = 0.1 * (seed % 2), Seed = seed } };
            var answer = await Answer(model, options);
            Assert.Equal((await Answer(plain, options)).Tokens, answer.Tokens);
            (drafted, accepted) = (drafted + answer.Drafted, accepted + answer.Accepted);
        }

        Assert.InRange(accepted, 1, drafted - 1); // some were right, and some were not
    }

    [Fact]
    public async Task Sampled_tokens_are_distributed_as_the_model_says_though_they_are_guessed()
    {
        // Pearson's test of the third token after the first two that come most often; it is verified in the pass of the second.
        const int answers = 800;
        const double temperature = 1.3;
        await using var model = await Load(Fixtures.DemoModel);
        int[] prompt = [.. model.Tokenizer.Encode(string.Concat(Enumerable.Repeat("The red house, the green tree and the blue lake. ", 6)) + "The red house, the")];
        using var read = model.CreateSession();
        await read.PrefillAsync(prompt[..^1]);
        var (texts, drafted, accepted) = (new List<int[]>(), 0, 0);
        for (var seed = 0; seed < answers; seed++)
        {
            using var session = read.Fork();
            var tokens = new List<int>();
            await foreach (var step in session.GenerateAsync([prompt[^1]], new GenerationOptions { MaxTokens = 5, StopTokens = [], Sampling = new SamplingOptions { Temperature = temperature, Seed = seed } }))
            {
                tokens.Add(step.TokenId);
            }

            texts.Add([.. tokens]);
            (drafted, accepted) = (drafted + session.Drafted, accepted + session.Accepted);
        }

        Assert.InRange(accepted, 1, drafted - 1);
        var beginning = texts.GroupBy(t => (t[0], t[1])).MaxBy(g => g.Count())!;
        using var same = read.Fork();
        var logits = (await same.LogitsAsync([prompt[^1], beginning.Key.Item1, beginning.Key.Item2]))[^1].Select(l => l / temperature).ToArray();
        var total = logits.Sum(l => Math.Exp(l - logits.Max()));
        var expected = logits.Select(l => beginning.Count() * Math.Exp(l - logits.Max()) / total).ToArray();
        var seen = beginning.CountBy(t => t[2]).ToDictionary();
        var often = Enumerable.Range(0, expected.Length).Where(token => expected[token] >= 5).ToList();
        var (rest, restSeen) = (beginning.Count() - often.Sum(t => expected[t]), beginning.Count() - often.Sum(t => seen.GetValueOrDefault(t)));
        var squares = often.Sum(t => Math.Pow(seen.GetValueOrDefault(t) - expected[t], 2) / expected[t]) + (rest >= 5 ? Math.Pow(restSeen - rest, 2) / rest : 0);
        var freedom = often.Count - (rest >= 5 ? 0 : 1);
        Assert.InRange(freedom, 1, 1000);
        Assert.InRange(squares, 0, freedom + (4 * Math.Sqrt(2 * freedom))); // one in some thousands is beyond, and seeds are fixed
    }

    [Fact]
    public async Task What_a_form_demands_is_guessed_without_having_been_written()
    {
        await using var model = await Load(Fixtures.DemoModel);
        await using var plain = await Load(Fixtures.DemoModel, new HeadInferOptions { DraftTokens = 0 });
        using var schema = JsonDocument.Parse("""{"type": "object", "required": ["recommendation"], "additionalProperties": false, "properties": {"recommendation": {"enum": ["The committee recommends approval without any further conditions.", "No."]}}}""");
        var options = new GenerationOptions { MaxTokens = 80, Constraint = OutputConstraint.Sequence(OutputConstraint.Text("Answer in the prescribed form: "), OutputConstraint.JsonSchema(schema.RootElement)) };
        var (tokens, _, accepted) = await Answer(model, options, "Hello");
        Assert.Equal((await Answer(plain, options, "Hello")).Tokens, tokens);
        Assert.InRange(accepted, 1, tokens.Length);
    }

    [Theory]
    [InlineData("llama2-style")]
    [InlineData("llama3-style")]
    [InlineData("qwen2-style")]
    [InlineData("tekken-style")]
    public void A_demanded_text_of_any_kind_can_be_guessed(string name)
    {
        var tokenizer = Tokenizer.Load(Path.Combine(Fixtures.Root, "tokenizers", name));
        foreach (var text in (string[])[" ", "    ", "\n", "\u0301", "\u00e9", "\ud83d\ude00", "a b", "\t\u2028x"])
        {
            var generator = new Generator(new GenerationOptions { Constraint = OutputConstraint.Text(text) }, tokenizer, [], 100);
            byte[] demanded = System.Text.Encoding.UTF8.GetBytes(text);
            var bytes = generator.Propose([], 0, 15).Tokens.ToArray().SelectMany(t => tokenizer.Bytes(t).ToArray()).ToArray();
            Assert.Equal(demanded[..bytes.Length], bytes); // all of it, or none where the tokenizer writes it otherwise
        }
    }

    [Fact]
    public async Task No_more_is_guessed_than_an_answer_may_have()
    {
        await using var model = await Load(Fixtures.DemoModel);
        foreach (var most in (int[])[1, 2, 3, 9])
        {
            var (tokens, drafted, _) = await Answer(model, new GenerationOptions { MaxTokens = most, StopTokens = [] });
            Assert.Equal(most, tokens.Length);
            Assert.True(most > 2 || drafted == 0, $"{drafted} guessed for {most}");
        }
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(16)]
    public async Task Numbers_out_of_range_are_named(int tokens) =>
        Assert.Contains("DraftTokens", (await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => Load(Fixtures.DemoModel, new HeadInferOptions { DraftTokens = tokens }))).Message, StringComparison.Ordinal);

    private static async Task<(int[] Tokens, int Drafted, int Accepted)> Answer(HeadInferModel model, GenerationOptions options, string question = Question)
    {
        using var session = model.CreateSession();
        var tokens = new List<int>();
        await foreach (var step in session.GenerateAsync(model.ChatTemplate!.Encode([new ChatTurn("user", $"{Fixtures.Book("jonah")}\n\n{question}")], model.Tokenizer), options))
        {
            tokens.Add(step.TokenId);
        }

        return ([.. tokens], session.Drafted, session.Accepted);
    }
}
