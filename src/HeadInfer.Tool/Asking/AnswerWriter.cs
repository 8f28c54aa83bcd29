using System.Diagnostics;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Asking;

/// <summary>Writes answers as they come. What the model thinks goes to standard error, or nowhere.</summary>
/// <param name="screen">told where an answer was cut off</param>
/// <param name="showThoughts">whether thoughts are written</param>
internal sealed class AnswerWriter(IChatClient client, Screen screen, bool showThoughts)
{
    /// <param name="question">the question, as it was asked</param>
    /// <param name="messages">the conversation that ends in it</param>
    /// <param name="options">how it is to be answered</param>
    /// <param name="output">gets the answer as it comes; null waits for all of it</param>
    /// <returns>what came of it, and the messages that the answer is, without thoughts that nobody wanted</returns>
    public async Task<(Reply Reply, IList<ChatMessage> Messages)> AnswerAsync(string question, IEnumerable<ChatMessage> messages, ChatOptions options, TextWriter? output, CancellationToken cancellationToken)
    {
        options = options.Clone();
        options.Reasoning = new ReasoningOptions { Output = ReasoningOutput.Full, Effort = options.Reasoning?.Effort }; // else nobody knows what the limit has cut off
        var (clock, updates, isThought) = (Stopwatch.StartNew(), new List<ChatResponseUpdate>(), false);
        await foreach (var update in client.GetStreamingResponseAsync(messages, options, cancellationToken).ConfigureAwait(false))
        {
            foreach (var content in update.Contents.Where(c => c is TextContent or TextReasoningContent))
            {
                EndThoughts(content is TextContent);
                isThought = content is TextReasoningContent;
                if (content is TextReasoningContent thought && showThoughts)
                {
                    Console.Error.Write(thought.Text);
                }
                else if (content is TextContent text && output is not null)
                {
                    output.Write(text.Text);
                    output.Flush();
                }
            }

            update.Contents = showThoughts ? update.Contents : [.. update.Contents.Where(c => c is not TextReasoningContent)];
            updates.Add(update);
        }

        EndThoughts(true);
        output?.WriteLine();
        var response = updates.ToChatResponse();
        var usage = response.Usage ?? new UsageDetails();
        if (response.FinishReason == ChatFinishReason.Length)
        {
            screen.Note($"(cut off after {usage.OutputTokenCount} tokens{(isThought ? ", within its thoughts" : "")}; raise --max-tokens for more)");
        }

        var reply = new Reply(
            question, response.Text, response.FinishReason?.Value ?? "stop", (int)(usage.InputTokenCount ?? 0), (int)(usage.CachedInputTokenCount ?? 0), (int)(usage.OutputTokenCount ?? 0), clock.Elapsed.TotalSeconds);
        return (reply, response.Messages);

        void EndThoughts(bool follows)
        {
            if (isThought && follows && showThoughts)
            {
                Console.Error.WriteLine();
            }
        }
    }
}

/// <summary>An answer, and what it took.</summary>
/// <param name="Question">what was asked</param>
/// <param name="Answer">what was answered</param>
/// <param name="FinishReason">stop, or length if the limit cut it off</param>
/// <param name="PromptTokens">of the whole prompt</param>
/// <param name="CachedTokens">of these, known from before</param>
/// <param name="Tokens">of the answer, thoughts included</param>
/// <param name="Seconds">from question to end</param>
internal sealed record Reply(string Question, string Answer, string FinishReason, int PromptTokens, int CachedTokens, int Tokens, double Seconds);
