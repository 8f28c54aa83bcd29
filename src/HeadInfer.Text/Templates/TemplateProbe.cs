namespace HeadInfer.Text.Templates;

/// <summary>Finds out what a template takes by rendering small conversations: what it raises, and what it leaves out without a word.</summary>
/// <param name="render">renders a template over data, and says how many steps that took</param>
internal sealed class TemplateProbe(Func<Dictionary<string, object?>, Action<long>, string> render)
{
    /// <summary>Steps of all renderings together; published templates take some thousands each.</summary>
    private const long MostSteps = 4_000_000;

    private const string Key = "probekey", Value = "probevalue", Name = "probefunction", Result = "proberesult", Other = "otherresult", Said = "probesaid", Asked = "probeasked", Rule = "proberule", Offered = "probeoffered", Later = "probelater", Second = "probesecond", Third = "probethird", Last = "probelast", Thought = "probethought", OtherValue = "probeother";

    // Another function than the one that is called, so that a word of a call is never that of the list.
    private static readonly ChatTool[] Tools = [new(Offered, "A function.", JsonDocument.Parse("""{"type":"object","properties":{"text":{"type":"string","description":"A text."}}}""").RootElement)];

    private static readonly ChatToolCall Call = new("call_0123456789abcdef", Name, $$"""{"{{Key}}":"{{Value}}","count":7,"flag":true,"list":["x"]}""");

    private static readonly ChatToolCall OtherCall = new("call_fedcba9876543210", Name, $$"""{"{{Key}}":"{{OtherValue}}"}""");

    private static readonly ChatTurn User = new("user", Asked), Assistant = new("assistant", Said), Found = Answer(Call, Result);

    private long _steps;

    /// <summary>The shape in which the template takes as much as it can.</summary>
    public ConversationShape Find()
    {
        try
        {
            return FindAll();
        }
        catch (ChatTemplateException e) when (e.IsTooMuch)
        {
            return ConversationShape.Plain; // it is not tried a second time; a real conversation is told the same
        }
    }

    private ConversationShape FindAll()
    {
        var notes = new List<string>();
        if (Fails(ConversationShape.Plain, [User], Asked) is not null)
        {
            // It takes no conversation that is known here. A real one is told why, which a template that raises nothing does not do itself.
            return ConversationShape.Plain with { LosesMessages = Fails(ConversationShape.Plain, [User]) is null };
        }

        var shape = WithSystem(ConversationShape.Plain, notes);
        shape = FirstThat(shape, s => Fails(s, [User, User with { Content = Second }, Assistant, Assistant with { Content = Third }, User with { Content = Last }], Asked, Second, Said, Third, Last), shape with { JoinsRoles = true }) ?? shape;
        return WithCalls(shape, notes) with { Notes = notes };
    }

    private ConversationShape WithSystem(ConversationShape shape, List<string> notes)
    {
        var system = new ChatTurn("system", Rule);
        if (Fails(shape, [system, User], Rule, Asked) is { } refusal)
        {
            notes.Add($"System messages are written at the beginning of the user's next message, since the chat template does not take them: {refusal}");
            return shape with { SystemInUser = true };
        }

        var later = system with { Content = Later };
        if ((Fails(shape, [system, later, User], Rule, Later, Asked) ?? Fails(shape, [system, User, Assistant, later, User], Rule, Later)) is not { } second)
        {
            return shape;
        }

        notes.Add($"System messages after the first are written at the beginning of the user's next message, since the chat template does not take them: {second}");
        return shape with { OneSystem = true };
    }

    private ConversationShape WithCalls(ConversationShape shape, List<string> notes)
    {
        if (BestForCalls(shape, out var refusal) is not { } calls)
        {
            notes.Add($"The chat template does not take calls of functions and their results: {refusal}");
            var refused = WithTools(shape, notes);
            return refused with { NoCalls = refusal, TakesResults = Fails(refused, [User, Assistant, Found, Assistant with { Content = Later }, User with { Content = Last }], Said, Result, Later, Last) is null };
        }

        calls = WithTools(calls, notes);

        ChatTurn[] several = [User, Calling(Call, OtherCall), Found, Answer(OtherCall, Other)];
        string? SeveralFail(ConversationShape s) => Goes(s, several, Key, Value, Result, OtherValue, Other);
        calls = FirstThat(calls, SeveralFail, calls with { OneCall = true }) ?? calls with { NoSeveralCalls = SeveralFail(calls) };

        ChatTurn[] beside = [User, Calling(Call) with { Content = Said }, Found];
        string? BesideFails(ConversationShape s) => Goes(s, beside, Said, Name, Value, Result) ?? (IsInOrder(Renders(beside, Tools, s), Said, Result) ? null : "it writes the text behind the result.");
        if (FirstThat(calls, BesideFails, calls with { Beside = TextBesideCalls.Before }) is not { } both)
        {
            notes.Add($"Text beside a call is left out of the conversation, since the chat template does not take it: {BesideFails(calls)}");
            both = calls with { Beside = TextBesideCalls.LeftOut };
        }

        ChatTurn[] thinking = [User, Calling(Call) with { Reasoning = Thought }, Found];
        string? ThoughtsFail(ConversationShape s) => Fails(s, thinking, Thought) ?? (Renders(thinking, Tools, s).Contains("type': 'thinking", StringComparison.Ordinal) ? "it prints a list." : null);
        var shown = FirstThat(both, ThoughtsFail, [.. ((string[])["reasoning_content", "thinking", "reasoning"]).Select(t => both with { Thoughts = t }), both with { Thoughts = "thinking", ThoughtParts = true }]) ?? both;

        // Some take text beside a call, or thoughts, but not both.
        ChatTurn[] all = [User, thinking[1] with { Content = Said }, Found];
        string? AllFail(ConversationShape s) => Fails(s, all, Name, Value, Result);
        return FirstThat(shown, AllFail, shown with { Beside = TextBesideCalls.Before }) ?? shown with { Thoughts = null };
    }

    private ConversationShape WithTools(ConversationShape shape, List<string> notes)
    {
        bool Shows(ConversationShape s)
        {
            try
            {
                return Renders([User], Tools, s).Contains(Offered, StringComparison.Ordinal);
            }
            catch (ChatTemplateException e) when (!e.IsTooMuch)
            {
                return false;
            }
        }

        var inSystem = shape with { ToolsInSystem = true };
        if (!Shows(shape) && !Shows(inSystem))
        {
            notes.Add("The chat template does not show the model its functions. Describe them in a system message.");
            return shape;
        }

        return Shows(shape) ? shape : inSystem;
    }

    // Ids as they stand, arguments as an object and "" as content are what most templates take.
    private ConversationShape? BestForCalls(ConversationShape shape, out string? refusal)
    {
        ChatTurn[] turns = [User, Assistant, User with { Content = "again" }, Calling(Call), Found];
        ConversationShape? readable = null;
        refusal = null;
        foreach (var shortIds in (bool[])[false, true])
        {
            foreach (var arguments in Enum.GetValues<ArgumentForm>())
            {
                foreach (var empty in Enum.GetValues<EmptyContent>())
                {
                    var next = shape with { ShortIds = shortIds, Arguments = arguments, Empty = empty };
                    if (Goes(next, turns, Name, Key, Value, Result) is { } failure)
                    {
                        refusal ??= failure;
                    }
                    else if (IsWellWritten(Renders(turns, Tools, next)))
                    {
                        return next;
                    }
                    else
                    {
                        readable ??= next;
                    }
                }
            }
        }

        return readable;
    }

    // A dictionary where text is written, JSON text where JSON is made of it, or a content of none that is printed.
    private static bool IsWellWritten(string text) =>
        !text.Contains($"'{Key}': ", StringComparison.Ordinal) && !text.Contains($"\\\"{Key}", StringComparison.Ordinal) && !text.Contains("None", StringComparison.Ordinal);

    private static bool IsInOrder(string text, string first, string second) => text.IndexOf(first, StringComparison.Ordinal) < text.LastIndexOf(second, StringComparison.Ordinal);

    private static ConversationShape? FirstThat(ConversationShape shape, Func<ConversationShape, string?> fails, params ConversationShape[] others) =>
        others.Prepend(shape).FirstOrDefault(s => fails(s) is null);

    // Whether a conversation is taken with all it has, and also when it has gone on.
    private string? Goes(ConversationShape shape, ChatTurn[] turns, params string[] words) =>
        Fails(shape, turns, words) ?? Fails(shape, [.. turns, Assistant with { Content = "after" }, User with { Content = "then" }]);

    // Why a conversation is not taken; null if it is, with all these words.
    private string? Fails(ConversationShape shape, ChatTurn[] turns, params string[] words)
    {
        try
        {
            var text = Renders(turns, turns.Any(t => t.ToolCalls.Count > 0) ? Tools : null, shape);
            var lost = words.FirstOrDefault(w => !text.Contains(w, StringComparison.Ordinal));
            return lost is null ? null : $"it leaves out {What(lost)}.";
        }
        catch (ChatTemplateException e) when (!e.IsTooMuch)
        {
            return e.Message;
        }
    }

    private static string What(string word) => word switch
    {
        Rule or Later => "a system message",
        Name => "a call's function",
        Key or Value or OtherValue => "a call's arguments",
        Result or Other => "a call's result",
        Thought => "thoughts",
        _ => "what is said",
    };

    private string Renders(ChatTurn[] turns, ChatTool[]? tools, ConversationShape shape) => _steps <= MostSteps
        ? render(ChatData.Of(turns, tools, null, shape), steps => _steps += steps)
        : throw new ChatTemplateException("The chat template does too much even for small conversations.") { IsTooMuch = true };

    private static ChatTurn Calling(params ChatToolCall[] calls) => new("assistant", "") { ToolCalls = calls };

    private static ChatTurn Answer(ChatToolCall call, string result) => new("tool", result) { ToolCallId = call.Id, Name = call.Name };
}
