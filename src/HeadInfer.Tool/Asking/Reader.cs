using System.Diagnostics;
using System.Globalization;
using HeadInfer.Runtime;
using HeadInfer.SemanticKernel;
using HeadInfer.Text;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Asking;

/// <summary>A document that is read once and asked often.</summary>
/// <param name="model">the model; not owned</param>
/// <param name="maxTokens">of an answer</param>
/// <param name="screen">told of the reading, and where an answer was cut off</param>
/// <param name="showThoughts">whether thoughts are written, to standard error</param>
internal sealed class Reader(HeadInferModel model, string document, int maxTokens, Screen screen, bool showThoughts = false) : IDisposable
{
    private readonly HeadInferChatClient _client = new(model);
    private (int Tokens, TimeSpan Time) _read, _answered;

    /// <summary>Reads what all questions about the document begin with. They find it among what the model has read.</summary>
    public async Task ReadAsync(CancellationToken cancellationToken)
    {
        // Two questions show where the document ends and a question begins, in tokens.
        var (one, other) = (Prompt("What is it?"), Prompt("Quote it."));
        var common = one.Zip(other).TakeWhile(p => p.First == p.Second).Count();
        model.Plan.EnsureFits(common + (long)maxTokens);
        var clock = Stopwatch.StartNew();
        using var session = model.CreateSession();
        await screen.ProgressAsync(common, progress => session.PrefillAsync([.. one.Take(common)], progress, cancellationToken)).ConfigureAwait(false);
        _read = (common, clock.Elapsed);
    }

    /// <param name="output">gets the answer as it comes; null waits for all of it</param>
    public async Task<Reply> AnswerAsync(string question, TextWriter? output, CancellationToken cancellationToken)
    {
        model.Plan.EnsureFits(Prompt(question).Count + (long)maxTokens);
        var (reply, _) = await new AnswerWriter(_client, screen, showThoughts)
            .AnswerAsync(question, [new ChatMessage(ChatRole.User, Asked(question))], new ChatOptions { MaxOutputTokens = maxTokens }, output, cancellationToken).ConfigureAwait(false);
        _answered = (_answered.Tokens + reply.Tokens, _answered.Time + TimeSpan.FromSeconds(reply.Seconds));
        return reply;
    }

    /// <summary>One line: what was read and answered, how fast, and where the KV cache lies.</summary>
    public string Figures()
    {
        var memory = model.Memory;
        return string.Create(CultureInfo.InvariantCulture,
            $"read {_read.Tokens:N0} tokens in {_read.Time.TotalSeconds:F1} s ({_read.Tokens / _read.Time.TotalSeconds:N0} tok/s); answered {_answered.Tokens:N0} tokens in {_answered.Time.TotalSeconds:F1} s ({_answered.Tokens / Math.Max(_answered.Time.TotalSeconds, 1e-3):N0} tok/s); KV cache {memory.HostCache + memory.KeptCache} in host memory, {memory.DeviceCache} on the device");
    }

    public void Dispose() => _client.Dispose();

    private string Asked(string question) => $"{document}\n\n{question}";

    private IReadOnlyList<int> Prompt(string question) => model.ChatTemplate!.Encode([new ChatTurn("user", Asked(question))], model.Tokenizer); // the client is refused a model without one
}
