using System.Diagnostics;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.Text;
using HeadInfer.Text.Constraints;

namespace HeadInfer.Hostile;

/// <summary>A schema: compiled, then 30 tokens of its form by random logits.</summary>
internal static class SchemaCase
{
    private const int Tokens = 30;

    public static async Task<CaseResult> RunAsync(string file)
    {
        await using var model = await HeadInferModel.LoadAsync(HostileCase.DemoModel);
        var vocabulary = TokenTrie.Of(model.Tokenizer);
        var text = await File.ReadAllTextAsync(file);
        Generate(OutputConstraint.Json(), vocabulary); // so that start-up is not counted
        var ignored = 0;
        OutputConstraint Compile(CancellationToken cancellationToken)
        {
            using var json = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = int.MaxValue });
            return OutputConstraint.JsonSchema(json.RootElement, _ => ignored++, cancellationToken);
        }

        var measured = new Measured();
        try
        {
            var constraint = Compile(CancellationToken.None);
            measured.Stop();
            var told = $"{ignored} parts not enforced";
            return new CaseResult("ok", measured.Seconds, measured.MiB, Generate(constraint, vocabulary), HostileCase.Cancel(measured.Seconds, c => Compile(c)), told);
        }
        catch (Exception e)
        {
            return HostileCase.Ended(measured, e, c => Compile(c));
        }
    }

    // Seconds a token.
    private static double Generate(OutputConstraint constraint, TokenTrie vocabulary)
    {
        var (random, logits, text, clock) = (new Random(1), new float[vocabulary.Size], constraint.Begin(vocabulary), Stopwatch.StartNew());
        for (var i = 0; i < Tokens && !text.IsComplete; i++)
        {
            for (var token = 0; token < logits.Length; token++)
            {
                logits[token] = random.NextSingle();
            }

            text.Mask(logits, 1024, []);
            var best = Array.IndexOf(logits, logits.Max());
            if (float.IsNegativeInfinity(logits[best]))
            {
                break;
            }

            text.Advance(best);
        }

        return clock.Elapsed.TotalSeconds / Tokens;
    }
}
