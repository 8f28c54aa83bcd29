using System.Diagnostics;
using System.Globalization;
using System.Text;
using HeadInfer;
using HeadInfer.Runtime;
using HeadInfer.Text;

namespace HeadInfer.Tool.Asking;

/// <summary>A document in a session: read once, asked often.</summary>
internal sealed class Reader(HeadInferModel model, string document, int maxTokens, Screen screen) : IDisposable
{
    private readonly HeadInferSession _session = model.CreateSession();
    private (int Tokens, TimeSpan Time) _read, _answered;

    /// <summary>Reads what all questions about the document begin with.</summary>
    public async Task ReadAsync(CancellationToken cancellationToken)
    {
        // Two questions show where the document ends and a question begins, in tokens.
        var (one, other) = (Prompt("What is it?"), Prompt("Quote it."));
        var common = one.Zip(other).TakeWhile(p => p.First == p.Second).Count();
        model.Plan.EnsureFits(common + (long)maxTokens);
        var clock = Stopwatch.StartNew();
        await screen.ProgressAsync(common, progress => _session.PrefillAsync([.. one.Take(common)], progress, cancellationToken)).ConfigureAwait(false);
        _read = (common, clock.Elapsed);
    }

    /// <summary>Answers a question.</summary>
    /// <param name="question">the question</param>
    /// <param name="output">gets the answer as it comes; null waits for all of it</param>
    /// <param name="cancellationToken">cancels</param>
    public async Task<Reply> AnswerAsync(string question, TextWriter? output, CancellationToken cancellationToken)
    {
        var prompt = Prompt(question);
        model.Plan.EnsureFits(prompt.Count + (long)maxTokens);
        _session.Truncate(0); // what it has in common with the next prompt is found again
        var (clock, tokens, text, reason) = (Stopwatch.StartNew(), 0, new StringBuilder(), FinishReason.Stop);
        await foreach (var step in _session.GenerateAsync(prompt, model.Defaults with { MaxTokens = maxTokens }, cancellationToken: cancellationToken).ConfigureAwait(false))
        {
            text.Append(step.Text);
            output?.Write(step.Text);
            output?.Flush();
            tokens++;
            reason = step.FinishReason ?? reason;
        }

        output?.WriteLine();
        if (reason == FinishReason.Length)
        {
            screen.Note($"(cut off after {tokens} tokens; raise --max-tokens for more)");
        }

        _answered = (_answered.Tokens + tokens, _answered.Time + clock.Elapsed);
        return new Reply(question, text.ToString(), reason == FinishReason.Length ? "length" : "stop", prompt.Count, _session.Reused, tokens, clock.Elapsed.TotalSeconds);
    }

    /// <summary>One line: what was read and answered, how fast, and where the KV cache lies.</summary>
    public string Figures()
    {
        var cache = _session.CacheSize;
        return string.Create(CultureInfo.InvariantCulture,
            $"read {_read.Tokens:N0} tokens in {_read.Time.TotalSeconds:F1} s ({_read.Tokens / _read.Time.TotalSeconds:N0} tok/s); answered {_answered.Tokens:N0} tokens in {_answered.Time.TotalSeconds:F1} s ({_answered.Tokens / Math.Max(_answered.Time.TotalSeconds, 1e-3):N0} tok/s); KV cache {cache.Host} in host memory, {cache.Resident} on the device");
    }

    public void Dispose() => _session.Dispose();

    private IReadOnlyList<int> Prompt(string question)
    {
        var turn = new ChatTurn("user", $"{document}\n\n{question}");
        return model.ChatTemplate is { } template
            ? template.Encode([turn], model.Tokenizer)
            : throw new ChatTemplateException("The model folder has no chat template, so it is not known how to ask it. Choose an instruct model.");
    }
}

/// <summary>An answer, and what it took.</summary>
/// <param name="Question">what was asked</param>
/// <param name="Answer">what was answered</param>
/// <param name="FinishReason">stop, or length if the limit cut it off</param>
/// <param name="PromptTokens">of documents and question</param>
/// <param name="CachedTokens">of these, known from before</param>
/// <param name="Tokens">of the answer</param>
/// <param name="Seconds">from question to end</param>
internal sealed record Reply(string Question, string Answer, string FinishReason, int PromptTokens, int CachedTokens, int Tokens, double Seconds);
