using System.Security.Cryptography;
using HeadInfer.Text.Templates.Jinja;

namespace HeadInfer.Text.Templates;

/// <summary>How the arguments of a call are given to a template.</summary>
internal enum ArgumentForm
{
    Object,

    /// <summary>JSON text.</summary>
    Text,

    /// <summary>An object whose values are all texts.</summary>
    Texts,
}

/// <summary>The content of a message that only calls functions.</summary>
internal enum EmptyContent
{
    Text,
    None,
    Absent,
}

/// <summary>Where text goes that stands beside calls.</summary>
internal enum TextBesideCalls
{
    Together,

    /// <summary>Into a message of its own, before that of the calls.</summary>
    Before,
    LeftOut,
}

/// <summary>How a conversation is given to one template, so that it takes all of it. <see cref="TemplateProbe"/> finds it.</summary>
internal sealed record ConversationShape
{
    private const int ShortId = 9;

    /// <summary>Everything as it stands.</summary>
    public static ConversationShape Plain { get; } = new();

    /// <summary>Whether system messages become the beginning of the user's next message.</summary>
    public bool SystemInUser { get; init; }

    /// <summary>Whether that happens to all but the first.</summary>
    public bool OneSystem { get; init; }

    /// <summary>Whether messages of one role that follow each other become one.</summary>
    public bool JoinsRoles { get; init; }

    /// <summary>Whether ids of calls are nine letters and digits; others are mapped to such.</summary>
    public bool ShortIds { get; init; }

    public ArgumentForm Arguments { get; init; }

    public EmptyContent Empty { get; init; }

    /// <summary>Whether each call is a message of its own, with its result behind it.</summary>
    public bool OneCall { get; init; }

    public TextBesideCalls Beside { get; init; }

    /// <summary>What the template calls thoughts; null if it shows none.</summary>
    public string? Thoughts { get; init; }

    /// <summary>Whether they are a part of the content, beside the text, as Mistral's templates have them.</summary>
    public bool ThoughtParts { get; init; }

    /// <summary>Whether the template leaves out what is said, without a word.</summary>
    public bool LosesMessages { get; init; }

    /// <summary>Why the template takes no calls and results; null if it does.</summary>
    public string? NoCalls { get; init; }

    /// <summary>Whether it takes their results all the same, so that calls may be written as an assistant's text.</summary>
    public bool TakesResults { get; init; }

    /// <summary>Whether a system message carries the functions, as JSON, where the template looks for them nowhere else.</summary>
    public bool ToolsInSystem { get; init; }

    /// <summary>Why it does not take several calls, neither in one message nor in several.</summary>
    public string? NoSeveralCalls { get; init; }

    /// <summary>What differs from a plain conversation in a way that people should know.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>The messages in this shape.</summary>
    /// <exception cref="ChatTemplateException">The template does not take such a conversation.</exception>
    public List<object?> Messages(IReadOnlyList<ChatTurn> turns)
    {
        if (LosesMessages && turns.Any(t => t.Content.Length > 0))
        {
            throw new ChatTemplateException("The model's chat template leaves out what is said. Set HeadInferOptions.ChatTemplate to one that writes it.");
        }

        if (NoCalls is not null && turns.Any(t => t.ToolCalls.Count > 0 || (t.Role == "tool" && !TakesResults)))
        {
            throw Refused("calls of functions and their results", NoCalls);
        }

        if (NoSeveralCalls is not null && turns.Any(t => t.ToolCalls.Count > 1))
        {
            throw Refused("several calls in one message", NoSeveralCalls);
        }

        turns = Joined(WithCallsApart(WithSystemApart(turns)));
        var lastUser = turns.Select((t, i) => t.Role == "user" ? i : -1).DefaultIfEmpty(-1).Max();
        return [.. turns.Select((t, i) => (object?)Message(t, showThoughts: i > lastUser))];
    }

    /// <summary>Gives the functions to the messages, where the template looks for them there.</summary>
    public void AddTools(List<object?> messages, IEnumerable<ChatTool> tools)
    {
        if (!ToolsInSystem)
        {
            return;
        }

        if (messages is not [JinjaDict first, ..] || !first.TryGet("role", out var role) || role is not TemplateText { Text: "system" })
        {
            messages.Insert(0, first = Values.Dict([("role", Role("system")), ("content", TemplateText.Empty)]));
        }

        first.Set("tools", Json(new JinjaList(tools.Select(t => (object?)Values.Dict([("name", TemplateText.Data(t.Name)), ("description", TemplateText.Data(t.Description)), ("parameters", ChatData.Parameters(t))])))));
    }

    /// <summary>The arguments of a call as JSON, with the spaces that models write.</summary>
    public static TemplateText JsonArguments(ChatToolCall call) => (TemplateText)(Plain with { Arguments = ArgumentForm.Text }).ArgumentsOf(call)!;

    private static ChatTemplateException Refused(string what, string reason) => new(
        $"The model's chat template does not take {what}: {reason} Set HeadInferOptions.ChatTemplate to one that does, or leave them out of the conversation.");

    private IReadOnlyList<ChatTurn> WithSystemApart(IReadOnlyList<ChatTurn> turns)
    {
        if (!SystemInUser && !OneSystem)
        {
            return turns;
        }

        var result = new List<ChatTurn>();
        var open = new List<string>(); // system messages that wait for a user's
        foreach (var turn in turns)
        {
            if (turn.Role == "system" && OneSystem && (result.Count == 0 || result is [{ Role: "system" }]) && open.Count == 0)
            {
                var before = result.Count == 0 ? "" : result[0].Content + "\n\n";
                result = [turn with { Content = before + turn.Content }];
            }
            else if (turn.Role == "system")
            {
                open.Add(turn.Content);
            }
            else if (turn.Role == "user" && open.Count > 0)
            {
                result.Add(turn with { Content = string.Join("\n\n", [.. open, turn.Content]) });
                open.Clear();
            }
            else
            {
                result.Add(turn);
            }
        }

        return open.Count == 0 ? result : [.. result, new ChatTurn("user", string.Join("\n\n", open))];
    }

    private IReadOnlyList<ChatTurn> WithCallsApart(IReadOnlyList<ChatTurn> turns)
    {
        var result = new List<ChatTurn>();
        for (var i = 0; i < turns.Count; i++)
        {
            var turn = turns[i];
            if (turn.ToolCalls.Count > 0 && turn.Content.Length > 0 && Beside != TextBesideCalls.Together)
            {
                if (Beside == TextBesideCalls.Before)
                {
                    result.Add(turn with { ToolCalls = [], Reasoning = null });
                }

                turn = turn with { Content = "" };
            }

            if (!OneCall || turn.ToolCalls.Count < 2)
            {
                result.Add(turn);
                continue;
            }

            var results = turns.Skip(i + 1).TakeWhile(t => t.Role == "tool").ToList();
            i += results.Count;
            foreach (var (call, at) in turn.ToolCalls.Select((c, at) => (c, at)))
            {
                result.Add(turn with { ToolCalls = [call], Content = at == 0 ? turn.Content : "", Reasoning = at == 0 ? turn.Reasoning : null });
                if (results.FindIndex(r => r.ToolCallId == call.Id) is >= 0 and var its)
                {
                    result.Add(results[its]);
                    results.RemoveAt(its);
                }
            }

            result.AddRange(results);
        }

        return result;
    }

    private IReadOnlyList<ChatTurn> Joined(IReadOnlyList<ChatTurn> turns)
    {
        if (!JoinsRoles)
        {
            return turns;
        }

        var result = new List<ChatTurn>();
        foreach (var run in Runs(turns))
        {
            result.Add(run.Count == 1 ? run[0] : run[0] with
            {
                Content = string.Join("\n\n", run.Select(t => t.Content).Where(c => c.Length > 0)),
                Reasoning = run.Select(t => t.Reasoning).LastOrDefault(r => r is not null),
            });
        }

        return result;
    }

    // Messages that follow each other and may become one.
    private static IEnumerable<List<ChatTurn>> Runs(IReadOnlyList<ChatTurn> turns)
    {
        var run = new List<ChatTurn>();
        foreach (var turn in turns)
        {
            if (run.Count > 0 && !(run[^1].Role == turn.Role && turn.Role != "tool" && run[^1] is { ToolCalls.Count: 0, Written: null } && turn is { ToolCalls.Count: 0, Written: null }))
            {
                yield return run;
                run = [];
            }

            run.Add(turn);
        }

        if (run.Count > 0)
        {
            yield return run;
        }
    }

    private JinjaDict Message(ChatTurn turn, bool showThoughts)
    {
        var message = Values.Dict([("role", Role(turn.Role))]);
        if (turn.ToolCalls.Count == 0 || turn.Content.Length > 0 || Empty == EmptyContent.Text)
        {
            message.Set("content", turn.Written ?? TemplateText.Data(turn.Content));
        }
        else if (Empty == EmptyContent.None)
        {
            message.Set("content", null);
        }

        if (turn.ToolCalls.Count > 0)
        {
            message.Set("tool_calls", turn.ToolCalls.Select(c =>
            {
                var call = ChatData.Function(("name", TemplateText.Data(c.Name)), ("arguments", ArgumentsOf(c)));
                call.Set("id", TemplateText.Data(Id(c.Id)));
                return (object?)call;
            }).ToList());
        }

        if (turn.ToolCallId is { } id)
        {
            message.Set("tool_call_id", TemplateText.Data(Id(id)));
        }

        if (turn.Name is { } name)
        {
            message.Set("name", TemplateText.Data(name));
        }

        if (showThoughts && Thoughts is { } key && turn is { Role: "assistant", Reasoning: { Length: > 0 } reasoning })
        {
            message.Set(ThoughtParts ? "content" : key, ThoughtParts ? Parts(key, reasoning, turn.Content) : TemplateText.Data(reasoning));
        }

        return message;
    }

    private static List<object?> Parts(string key, string thoughts, string text)
    {
        static JinjaDict Part(string key, string text) => Values.Dict([("type", TemplateText.Trusted(key)), (key, TemplateText.Data(text))]);
        return text.Length > 0 ? [Part(key, thoughts), Part("text", text)] : [Part(key, thoughts)];
    }

    private object? ArgumentsOf(ChatToolCall call)
    {
        object? value;
        try
        {
            using var document = JsonDocument.Parse(string.IsNullOrWhiteSpace(call.Arguments) ? "{}" : call.Arguments, new JsonDocumentOptions { MaxDepth = 128 });
            value = Values.From(document.RootElement);
        }
        catch (JsonException)
        {
            return TemplateText.Data(call.Arguments);
        }

        return Arguments switch
        {
            ArgumentForm.Text => Json(value),
            ArgumentForm.Texts when value is JinjaDict dict => Values.Dict(dict.Items.Select(i => (((TemplateText)i.Key!).Text, (object?)(i.Value as TemplateText ?? Json(i.Value))))),
            _ => value,
        };
    }

    // As large as what the message brought, so it needs no bound of its own.
    private static TemplateText Json(object? value)
    {
        var unbounded = new WorkBudget(long.MaxValue, long.MaxValue, (what, _) => new ChatTemplateException($"A call's arguments take too many {what}."));
        return TemplateText.Data(JsonText.Write(value, new JsonStyle(false, null, ", ", ": ", false), CallArguments.None(default, unbounded)));
    }

    // The same id is always mapped to the same, so that what was read before is not read again.
    private string Id(string id) => !ShortIds || (id.Length == ShortId && id.All(char.IsAsciiLetterOrDigit))
        ? id
        : Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(id)))[..ShortId];

    // Templates build special tokens of roles, such as "<|" + role + "|>". A word cannot forge one by itself.
    private static TemplateText Role(string role) =>
        role.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-') ? TemplateText.Trusted(role) : TemplateText.Data(role);
}
