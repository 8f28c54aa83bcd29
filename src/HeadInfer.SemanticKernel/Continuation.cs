using System.Collections.Concurrent;
using HeadInfer.SemanticKernel.ToolCalls;
using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel;

/// <summary>A conversation as it is given to the model.</summary>
/// <param name="Key">the caller's cache key</param>
/// <param name="Conversation">its turns and functions</param>
/// <param name="Text">as the template writes it</param>
/// <param name="Lead">where in the text the lead begins</param>
/// <param name="Hash">of the text before the lead</param>
/// <param name="Edits">what is read in place of parts of that</param>
/// <param name="Tokens">what the model reads</param>
/// <param name="LeadTokens">those at the end that are the lead's</param>
/// <param name="Known">tokens that the model had after the last of its answers that is known here; 0 if none is</param>
/// <param name="Miss">why some of these may have to be read again</param>
internal sealed record RenderedPrompt(string Key, Conversation Conversation, TemplateText Text, int Lead, Digest Hash, Edit? Edits, IReadOnlyList<int> Tokens, int LeadTokens, int Known, CacheMiss Miss);

/// <summary>
/// Lets a conversation go on where it ended. A client sends the model's answer back as a message, and the template writes it
/// anew, with other spaces and in other tokens. Where both say the same, the tokens that the model generated stand in its place,
/// so that only what follows must be read.
/// </summary>
/// <param name="engine">the model</param>
/// <param name="past">the answers that were given</param>
/// <param name="format">how it writes calls</param>
/// <param name="tags">what it thinks between</param>
/// <param name="endTokens">what ends its answers</param>
/// <param name="logger">told, once each, why conversations of this template cannot go on so</param>
internal sealed class Continuation(IChatEngine engine, Recollection past, IToolCallFormat format, ThoughtTags tags, IReadOnlyList<int> endTokens, ILogger logger)
{
    private readonly ConcurrentDictionary<string, bool> _told = new(StringComparer.Ordinal);

    // What a reader of answers looks for may be special tokens, which are no text to anybody else.
    private readonly HashSet<int> _shown = [.. tags.Markers.Concat(format.Markers).Select(engine.Tokenizer.AddedToken).OfType<int>()];

    /// <summary>Gives calls the thoughts that stood before them, where the client could not send these back. Ids of calls are random, so no others can be meant.</summary>
    public Conversation WithThoughts(string key, Conversation conversation)
    {
        var turns = conversation.Turns.ToArray();
        for (var i = turns.Length - 1; i >= 0 && turns[i].Role != "user"; i--) // no template is shown those before
        {
            if (turns[i] is { Reasoning: null, ToolCalls.Count: > 0 } && past.Find(key, Identity(turns[i])) is { } answer)
            {
                turns[i] = turns[i] with { Reasoning = Generated(answer, conversation).Thoughts };
            }
        }

        return conversation with { Turns = turns };
    }

    /// <summary>What the model reads of a conversation.</summary>
    /// <param name="key">the caller's cache key</param>
    /// <param name="text">as the template writes it</param>
    /// <param name="cancellationToken">ends the encoding</param>
    public RenderedPrompt Prompt(string key, Conversation conversation, TemplateText text, CancellationToken cancellationToken)
    {
        var lead = LeadOf(text);
        var (answers, hash) = past.Find(key, text, lead);
        var (edits, written, continued) = (answers.Count > 0 ? answers[0].Edits : null, (Said?)null, (PastAnswer?)null);
        foreach (var answer in answers)
        {
            if (Written(text, answer, conversation, out var end) is not { } again)
            {
                continue;
            }

            written = again;
            if (again.Equals(Generated(answer, conversation)))
            {
                (continued, edits) = (answer, new Edit(answer.Length, end, answer.Tokens, answer.Edits));
                break;
            }
        }

        var (known, miss) = (continued, CacheMiss.WasForgotten);
        if (LastAnswer(key, conversation) is var (last, turn) && turn > (continued?.Outline.Turns.Length ?? -1))
        {
            (known, miss) = (last, Why(last, turn, conversation, text, answers, written));
            if (miss.Cause == CacheMiss.Template && _told.TryAdd(miss.Reason, true))
            {
                HeadInferLog.NotContinued(logger, miss.Reason);
            }
        }

        var tokens = Encode(text, lead, edits, cancellationToken, out var leadTokens);
        return new RenderedPrompt(key, conversation, text, lead, hash, edits, tokens, leadTokens, known?.KnownTokens ?? 0, miss);
    }

    /// <summary>Remembers an answer, as far as it came.</summary>
    /// <param name="prompt">what it answers</param>
    /// <param name="options">under which it was generated</param>
    public void Keep(RenderedPrompt prompt, GivenAnswer answer, GenerationOptions options)
    {
        var (tokens, stream, length, count) = (answer.Tokens, new TokenStream(engine.Tokenizer).Show(options.ShownTokens.Select(engine.Tokenizer.AddedToken).OfType<int>()), 0, 0);
        while (count < tokens.Count && (length += Text(stream, tokens[count]).Length) <= answer.Characters)
        {
            count++; // a stop sequence is no part of the answer
        }

        if (count == tokens.Count && count > 0 && Ends(tokens[^1], answer.Reason, options))
        {
            count--; // the model has not read it, and the template writes it again
        }

        if (count > 0)
        {
            past.Add(new PastAnswer(
                prompt.Key, answer.Identity, prompt.Lead, prompt.Hash, prompt.Edits, prompt.Text.Text[prompt.Lead..], prompt.LeadTokens,
                [.. prompt.Tokens.TakeLast(prompt.LeadTokens), .. tokens.Take(count)], tags.IsOpenedBy(prompt.Text.Text), prompt.Tokens.Count + count, prompt.Conversation.Outline));
        }
    }

    // The template may write other white space before an answer than before the message that it becomes. The line that ends
    // in such belongs to the answer, then.
    private static int LeadOf(TemplateText text)
    {
        var end = text.Text.AsSpan().TrimEnd().Length;
        var line = end < text.Length ? text.Text.AsSpan(0, end).LastIndexOf('\n') + 1 : text.Length;
        return text.TrustedRanges is [.., var (start, length)] && start + length == text.Length && start < line ? line : text.Length;
    }

    private static Digest Identity(ChatTurn turn) => Digest.OfAnswer([.. turn.ToolCalls.Select(c => c.Id)], turn.Content);

    // A stop token ends an answer also where the limit shortened what came before it.
    private bool Ends(int token, FinishReason? reason, GenerationOptions options) =>
        reason is not null && ((options.StopTokens ?? endTokens).Contains(token) || (reason == FinishReason.Stop && IsMark(token)));

    private bool IsMark(int token) => engine.Tokenizer.IsSpecial(token) && !_shown.Contains(token);

    // Models pad their vocabulary beyond the tokenizer's; such a token stands for no text.
    private string Text(TokenStream stream, int token) => token < engine.Tokenizer.VocabularySize ? stream.Append(token) : "";

    private Said Generated(PastAnswer answer, Conversation conversation) => Read(answer.Tokens[answer.LeadTokens..], answer.Thinking, conversation);

    // What the template writes in the place of an answer; null if it writes no answer there, or does not end it.
    private Said? Written(TemplateText text, PastAnswer answer, Conversation conversation, out int end)
    {
        var start = answer.Length + answer.Lead.TrimEnd().Length;
        end = start;
        if (start > text.Length || text.Substring(answer.Length, start - answer.Length) is not { IsTrusted: true } lead || !answer.Lead.StartsWith(lead.Text, StringComparison.Ordinal) || EndOfAnswer(text, start) is not { } found)
        {
            return null;
        }

        end = found;
        return Read(engine.Tokenizer.Encode(text.Substring(start, end - start), continues: true), answer.Thinking, conversation);
    }

    private Said Read(IReadOnlyList<int> tokens, bool thinking, Conversation conversation)
    {
        var stream = new TokenStream(engine.Tokenizer).Show(_shown);
        return Said.Of(string.Concat(tokens.Select(t => Text(stream, t))) + stream.Flush(), new AnswerReader(format, conversation.Tools ?? [], int.MaxValue, tags, thinking, showThoughts: true)) with { Marks = [.. tokens.Where(IsMark)] };
    }

    private List<int> Encode(TemplateText text, int lead, Edit? edits, CancellationToken cancellationToken, out int leadTokens)
    {
        var (inOrder, tokens, at) = (new Stack<Edit>(), new List<int>(), 0);
        for (; edits is not null; edits = edits.Before)
        {
            inOrder.Push(edits);
        }

        // Cut at the same places each time, so that a beginning has the same tokens each time.
        foreach (var edit in inOrder)
        {
            Add(edit.Start);
            tokens.AddRange(edit.Tokens);
            at = edit.End;
        }

        Add(lead);
        leadTokens = -tokens.Count;
        Add(text.Length);
        leadTokens += tokens.Count;
        return tokens;

        void Add(int to)
        {
            tokens.AddRange(engine.Tokenizer.Encode(text.Substring(at, to - at), continues: at > 0, cancellationToken: cancellationToken));
            at = to;
        }
    }

    // Where the template ends an answer that begins at a place: by a token that no message can forge, else where what the message brought ends.
    private int? EndOfAnswer(TemplateText text, int from)
    {
        // What ends thoughts ends an answer too, if no more of the answer follows.
        var ends = tags.Between.Length > 0 && engine.Tokenizer.AddedToken(tags.End) is { } inner ? [.. endTokens, inner] : endTokens;
        for (var at = from; engine.Tokenizer.Find(text, at, ends) is { } end; at = end + 1)
        {
            if (ends == endTokens || !text.Text.AsSpan(end).StartsWith(tags.End + tags.Between))
            {
                return end;
            }
        }

        foreach (var (start, length) in text.TrustedRanges)
        {
            if (start > from)
            {
                return start;
            }

            from = Math.Max(from, start + length);
        }

        return null;
    }

    // The last turn of a conversation that is an answer given here. The same words may be said in two conversations; ids of calls are not.
    private (PastAnswer Answer, int Turn)? LastAnswer(string key, Conversation conversation)
    {
        for (var i = conversation.Turns.Count - 1; i >= 0; i--)
        {
            if (conversation.Turns[i] is { Role: "assistant" } turn && past.Find(key, Identity(turn)) is { } answer
                && (turn.ToolCalls.Count > 0 || answer.Outline.BeginsAs(conversation.Outline)))
            {
                return (answer, i);
            }
        }

        return null;
    }

    // Why a conversation does not go on after an answer that it has: what was said before it or in it changed, or the template writes it otherwise.
    private CacheMiss Why(PastAnswer last, int turn, Conversation conversation, TemplateText text, IReadOnlyList<PastAnswer> answers, Said? written)
    {
        if (conversation.Outline.ChangeSince(last.Outline, conversation.Messages) is { } change)
        {
            return change;
        }

        if (!Said.Of(conversation.Turns[turn]).SpeaksAs(Generated(last, conversation)))
        {
            return CacheMiss.Of(CacheMiss.EditedMessage, conversation.Messages[turn]);
        }

        if (answers.Count == 0 || written is null)
        {
            return tags.IsOpenedBy(text.Text) ? CacheMiss.OfTemplate($"writes {tags.Start} before an answer, and writes earlier answers without it") : CacheMiss.Of(CacheMiss.Template);
        }

        var said = Generated(answers[0], conversation);
        return said.Thoughts != written.Thoughts ? CacheMiss.OfTemplate("leaves out the thoughts of earlier answers, or changes them")
            : !said.CallsAs(written) ? CacheMiss.OfTemplate("writes calls in another form or order than the model is read to write them in")
            : said.Text != written.Text || !said.Marks.SequenceEqual(written.Marks) ? CacheMiss.OfTemplate("changes what earlier answers said")
            : CacheMiss.Of(CacheMiss.Template);
    }
}
