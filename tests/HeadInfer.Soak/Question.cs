using HeadInfer.Runtime;

namespace HeadInfer.Soak;

/// <summary>A prompt, and the answer that a model gives to it alone.</summary>
/// <param name="Name">model and number</param>
/// <param name="Prompt">the tokens to read</param>
/// <param name="Answer">the greedy tokens after them</param>
internal sealed record Question(string Name, int[] Prompt, int[] Answer)
{
    public const int AnswerTokens = 40;

    private const int Documents = 5, Ends = 6, Shortest = 12, Longest = 120;

    // Beginnings that were read in other pieces give logits that differ by some 1e-6 deviations. Where the two best are
    // closer than this, either may win, so such prompts are left out, and what is left must be the same to the token.
    private const double ClearLead = 1e-3;

    /// <summary>Questions about documents that several of them share, each answered with nothing known from before.</summary>
    public static async Task<IReadOnlyList<Question>> AskAsync(string folder, int seed, Tally tally)
    {
        await using var model = await HeadInferModel.LoadAsync(folder, new HeadInferOptions { Device = ComputeDevice.Cpu });
        var random = new Random(seed);
        int[] Text(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(model.Config.VocabularySize))];
        var questions = new List<Question>();
        for (var document = 0; document < Documents; document++)
        {
            var text = Text(random.Next(Shortest, Longest));
            for (var end = 0; end < Ends; end++)
            {
                int[] prompt = [.. text[..random.Next(text.Length / 2, text.Length + 1)], .. Text(random.Next(1, 12))];
                tally.Add("question");
                if (await AnswerAsync(model, prompt) is { } answer)
                {
                    questions.Add(new Question($"{Path.GetFileName(folder)} {document}.{end}", prompt, answer));
                }
            }
        }

        return questions;
    }

    // Null where some token of the answer has no clear lead.
    private static async Task<int[]?> AnswerAsync(HeadInferModel model, int[] prompt)
    {
        model.ClearCache();
        await using var session = model.CreateSession();
        var answer = new List<int>();
        await foreach (var step in session.GenerateAsync(prompt, new GenerationOptions { MaxTokens = AnswerTokens, StopTokens = [] }))
        {
            answer.Add(step.TokenId);
        }

        await using var again = model.CreateSession("every token");
        var logits = await again.LogitsAsync([.. prompt, .. answer[..^1]]);
        return logits.Skip(prompt.Length - 1).All(HasClearLead) ? [.. answer] : null;
    }

    private static bool HasClearLead(float[] logits)
    {
        var best = logits.Order().TakeLast(2).ToArray();
        var mean = logits.Average();
        return best[1] - best[0] > ClearLead * Math.Sqrt(logits.Average(x => (x - mean) * (x - mean)));
    }
}
