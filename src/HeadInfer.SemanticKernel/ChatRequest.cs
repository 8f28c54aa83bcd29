namespace HeadInfer.SemanticKernel;

/// <summary>Messages and options of a caller, in the runtime's words: every one of them honoured or refused.</summary>
internal static class ChatRequest
{
    // A call that names no function, and was answered so.
    private const string Unnamed = "unnamed";

    private const string MinP = "min_p", RepetitionPenalty = "repetition_penalty", ShowReasoning = "show_reasoning";

    /// <summary>The functions that the model is shown; null if it is shown none.</summary>
    /// <exception cref="NotSupportedException">A tool is not a function.</exception>
    /// <exception cref="ArgumentException">Two have the same name.</exception>
    public static IReadOnlyList<ChatTool>? Tools(ChatOptions? options)
    {
        if (options?.Tools is not { Count: > 0 } tools || options.ToolMode is NoneChatToolMode)
        {
            return null;
        }

        var (result, names) = (new List<ChatTool>(), new HashSet<string>(StringComparer.Ordinal));
        foreach (var tool in tools)
        {
            if (tool is null)
            {
                throw new ArgumentException($"ChatOptions.Tools[{result.Count}] is null.", nameof(options));
            }

            if (tool is not AIFunctionDeclaration function)
            {
                throw new NotSupportedException($"The tool '{tool.Name}' ({tool.GetType().Name}) is not supported: a local model calls functions. Remove it from ChatOptions.Tools.");
            }

            if (!names.Add(function.Name))
            {
                throw new ArgumentException($"ChatOptions.Tools has two functions named '{function.Name}'; the model could not tell them apart.", nameof(options));
            }

            result.Add(new ChatTool(function.Name, function.Description, function.JsonSchema));
        }

        return result;
    }

    /// <summary>Sampling, limits and stops.</summary>
    /// <exception cref="NotSupportedException">An option cannot be honoured; the message names it.</exception>
    /// <param name="options">the caller's</param>
    /// <param name="defaults">the model's</param>
    /// <param name="modelId">the model's name</param>
    /// <param name="raw">what <see cref="ChatOptions.RawRepresentationFactory"/> made; null is nothing</param>
    public static GenerationOptions Generation(ChatOptions? options, GenerationOptions defaults, string modelId, object? raw = null)
    {
        if (options is null)
        {
            return defaults;
        }

        if (options.ModelId is { Length: > 0 } asked && asked != modelId)
        {
            throw new NotSupportedException($"ChatOptions.ModelId asks for '{asked}'; this client has the model '{modelId}'. Leave it out, or ask the client of that model.");
        }

        if (options.ResponseFormat is not (null or ChatResponseFormatText or ChatResponseFormatJson))
        {
            throw new NotSupportedException($"ChatOptions.ResponseFormat cannot be honoured: it is {options.ResponseFormat.GetType().Name}, and there are text, JSON, and JSON of a schema.");
        }

        if (options.Reasoning?.Output is { } output && !Enum.IsDefined(output))
        {
            throw new ArgumentException($"ChatOptions.Reasoning.Output is {output}; it must be None, Summary or Full.");
        }

        if (options.Reasoning?.Output == ReasoningOutput.Summary)
        {
            throw new NotSupportedException("ChatOptions.Reasoning.Output cannot be honoured: thoughts are not summarised; ask for Full or None.");
        }

        if (options.ContinuationToken is not null)
        {
            throw new NotSupportedException("ChatOptions.ContinuationToken cannot be honoured: answers are not made in the background; ask again, and what was read before is not read again.");
        }

        if (options.StopSequences?.Any(string.IsNullOrEmpty) == true)
        {
            throw new ArgumentException("ChatOptions.StopSequences has an empty text, which would stop at once.", nameof(options));
        }

        // Typed options win over the runtime's own, and these over the model's.
        defaults = Raw(raw, defaults);
        var sampling = defaults.Sampling;
        return defaults with
        {
            MaxTokens = (int?)Within(options.MaxOutputTokens, nameof(options.MaxOutputTokens), 1, int.MaxValue) ?? defaults.MaxTokens,
            StopSequences = options.StopSequences is { Count: > 0 } stops ? [.. stops] : defaults.StopSequences,
            Sampling = sampling with
            {
                Temperature = Within(options.Temperature, nameof(options.Temperature), 0, 100) ?? sampling.Temperature,
                TopP = Within(options.TopP, nameof(options.TopP), 0, 1) is { } share ? Math.Max(share, float.Epsilon) : sampling.TopP, // 0 is the likeliest token alone
                TopK = Within(options.TopK, nameof(options.TopK), -1, int.MaxValue) is { } most ? most > 0 ? (int)most : null : sampling.TopK, // 0 and -1 stand for all
                Seed = options.Seed ?? sampling.Seed,
                FrequencyPenalty = Within(options.FrequencyPenalty, nameof(options.FrequencyPenalty), -100, 100) ?? sampling.FrequencyPenalty,
                PresencePenalty = Within(options.PresencePenalty, nameof(options.PresencePenalty), -100, 100) ?? sampling.PresencePenalty,
                MinP = Within(Number(options, MinP), Property(MinP), 0, 1) ?? sampling.MinP,
                RepetitionPenalty = Within(Number(options, RepetitionPenalty), Property(RepetitionPenalty), 0.001, 1000) ?? sampling.RepetitionPenalty,
            },
        };
    }

    /// <summary>Whether the caller is shown what the model thinks.</summary>
    /// <exception cref="ArgumentException">An option is neither yes nor no.</exception>
    public static bool ShowsThoughts(ChatOptions? options) => options?.Reasoning?.Output is { } output
        ? output == ReasoningOutput.Full
        : options?.AdditionalProperties?.GetValueOrDefault(ShowReasoning) switch
        {
            null or JsonElement { ValueKind: JsonValueKind.Null } => false,
            var value when bool.TryParse(value.ToString(), out var shows) => shows,
            var other => throw new ArgumentException($"ChatOptions.AdditionalProperties[\"{ShowReasoning}\"] is '{other}'; it must be true or false."),
        };

    /// <summary>The names of further properties that nobody here knows.</summary>
    public static IEnumerable<string> Unknown(ChatOptions? options) => (options?.AdditionalProperties ?? [])
        .Where(p => p.Value is not (null or JsonElement { ValueKind: JsonValueKind.Null })).Select(p => p.Key)
        .Except([MinP, RepetitionPenalty, ShowReasoning, HeadInferChatOptionsExtensions.CacheKeyName, HeadInferChatOptionsExtensions.ContinueName], StringComparer.OrdinalIgnoreCase);

    /// <summary>The model's defaults, with answers as long as there is room for: a caller who names no limit wants all of an answer.</summary>
    public static GenerationOptions ConnectorDefaults(this HeadInferModel model) => model.Defaults with { MaxTokens = null };

    /// <summary>What the options say to the chat template: how much the model is to think.</summary>
    /// <exception cref="NotSupportedException">The template has no such switch, or does not know so high an effort.</exception>
    public static IReadOnlyDictionary<string, object?>? Variables(ChatOptions? options, ChatTemplate template)
    {
        if (options?.Reasoning?.Effort is not { } effort)
        {
            return null;
        }

        var (name, value) = Switch(template, effort) ?? throw new NotSupportedException($"ChatOptions.Reasoning.Effort cannot be honoured: the model's chat template has no switch for '{effort}'.");
        return value is null ? null : new Dictionary<string, object?>(StringComparer.Ordinal) { [name] = value };
    }

    /// <summary>The variable that tells a template how much the model is to think, and its value, null where none says it; null if the template has no such switch.</summary>
    public static (string Name, object? Value)? Switch(ChatTemplate template, ReasoningEffort effort) =>
        template.Source.Contains("reasoning_effort", StringComparison.Ordinal) && effort != ReasoningEffort.None
            ? effort switch { ReasoningEffort.Low => ("reasoning_effort", "low"), ReasoningEffort.Medium => ("reasoning_effort", "medium"), ReasoningEffort.High => ("reasoning_effort", "high"), _ => null }
        : template.HasSwitch("enable_thinking") ? ("enable_thinking", effort != ReasoningEffort.None)
        : ((string[])["thinking", "reasoning"]).FirstOrDefault(name => template.HasSwitch(name)) is { } name ? (name, effort != ReasoningEffort.None)
        : template.HasSwitch("thinking_budget", 0, 1024) ? ("thinking_budget", Budget(effort)) : null;

    // Tokens of thoughts, in steps that Seed-OSS was trained with; null is no limit.
    private static int? Budget(ReasoningEffort effort) => effort switch
    {
        ReasoningEffort.None => 0,
        ReasoningEffort.Low => 1024,
        ReasoningEffort.Medium => 4096,
        ReasoningEffort.High => 16384,
        _ => null,
    };

    /// <summary>The conversation, with the options' instructions as its first system message.</summary>
    /// <exception cref="NotSupportedException">A message has content that is neither text nor a function's call or result.</exception>
    public static Conversation Conversation(IEnumerable<ChatMessage> messages, ChatOptions? options, IReadOnlyList<ChatTool>? tools)
    {
        IReadOnlyList<ChatMessage> all = [.. messages.Select((m, i) => m ?? throw new ArgumentException($"Message {i} is null.", nameof(messages)))];
        var (turns, origins, names) = (new List<ChatTurn>(), new List<int>(), new Dictionary<string, string>(StringComparer.Ordinal)); // call id -> function
        var answered = all.SelectMany(m => m.Contents).OfType<FunctionResultContent>().Select(r => r.CallId).ToHashSet(StringComparer.Ordinal);
        for (var i = 0; i < all.Count; i++)
        {
            Add(turns, all[i], names, answered);
            origins.AddRange(Enumerable.Repeat(i, turns.Count - origins.Count));
        }

        if (options?.Instructions is { Length: > 0 } instructions)
        {
            // Templates take one system message, and take it first.
            if (turns.Count > 0 && turns[0].Role == "system")
            {
                turns[0] = turns[0] with { Content = turns[0].Content + "\n\n" + instructions };
            }
            else
            {
                turns.Insert(0, new ChatTurn("system", instructions));
                origins.Insert(0, 0);
            }
        }

        return turns.Count > 0 ? new Conversation(turns, origins, tools) : throw new ArgumentException("There are no messages; there is nothing to answer.", nameof(messages));
    }

    /// <summary>What the model wrote of a call that was never made.</summary>
    public static string Written(FunctionCallContent broken) => broken.RawRepresentation as string ?? broken.Name;

    private static void Add(List<ChatTurn> turns, ChatMessage message, Dictionary<string, string> names, HashSet<string> answered)
    {
        var (text, thoughts) = (new StringBuilder(), new StringBuilder());
        List<ChatToolCall> calls = [];
        List<ChatTurn> results = [];
        foreach (var content in message.Contents)
        {
            switch (content)
            {
                case TextContent part:
                    text.Append(part.Text);
                    break;
                case FunctionCallContent { Arguments: null, Exception: not null } broken when !answered.Contains(broken.CallId):
                    // The limit cut it off, say. It was never made, so it is what the model wrote.
                    text.Append(text.Length > 0 ? "\n" : "").Append(Written(broken));
                    break;
                case FunctionCallContent call:
                    names[call.CallId] = call.Name.Length > 0 ? call.Name : Unnamed;
                    thoughts.Append(call.AdditionalProperties?.GetValueOrDefault(AnswerReader.ThoughtsKey)?.ToString());
                    calls.Add(new ChatToolCall(call.CallId, names[call.CallId], JsonSerializer.Serialize(call.Arguments ?? new Dictionary<string, object?>(), AIJsonUtilities.DefaultOptions)));
                    break;
                case FunctionResultContent result:
                    results.Add(new ChatTurn("tool", Text(result)) { ToolCallId = result.CallId, Name = names.GetValueOrDefault(result.CallId) ?? message.AuthorName });
                    break;
                case TextReasoningContent thought:
                    thoughts.Append(thought.Text);
                    break;
                case UsageContent:
                    break; // what an answer cost is not said again
                default:
                    throw NoText(content, "A message");
            }
        }

        if (text.Length > 0 || calls.Count > 0 || results.Count == 0)
        {
            // White space beside calls stood around them, and would make some templates write a message of it.
            turns.Add(new ChatTurn(Role(message.Role), calls.Count > 0 && string.IsNullOrWhiteSpace(text.ToString()) ? "" : text.ToString()) { ToolCalls = calls, Reasoning = thoughts.Length > 0 ? thoughts.ToString() : null });
        }

        turns.AddRange(results);
    }

    // Roles are equal in any case; templates know the names alone.
    private static string Role(ChatRole role) => role == ChatRole.User ? "user"
        : role == ChatRole.Assistant ? "assistant"
        : role == ChatRole.System || role == new ChatRole("developer") ? "system"
        : role == ChatRole.Tool ? "tool"
        : throw new NotSupportedException($"A message has the role '{role.Value}'; there are system, developer, user, assistant and tool.");

    private static NotSupportedException NoText(AIContent content, string where) =>
        new($"{where} has {content.GetType().Name}{(content is DataContent data ? $" ({data.MediaType})" : "")}; this model reads text. Remove it, or give its text.");

    private static string Text(FunctionResultContent result) => result.Result switch
    {
        AIContent content => Text(content),
        IEnumerable<AIContent> contents => string.Join('\n', contents.Select(Text)), // what a tool of the Model Context Protocol gives
        null => result.Exception?.Message ?? "",
        string text => text,
        JsonElement { ValueKind: JsonValueKind.String } text => text.GetString()!,
        var other => JsonSerializer.Serialize(other, AIJsonUtilities.DefaultOptions),
    };

    private static string Text(AIContent content) => content is TextContent text ? text.Text : throw NoText(content, "A function's result");

    private static GenerationOptions Raw(object? made, GenerationOptions defaults) => made switch
    {
        null => defaults,
        GenerationOptions given => given,
        Func<GenerationOptions, GenerationOptions> change => change(defaults),
        var other => throw new NotSupportedException($"ChatOptions.RawRepresentationFactory cannot be honoured: it made {other.GetType().Name}, and this client knows {nameof(GenerationOptions)}, and functions that change them."),
    };

    private static double? Number(ChatOptions options, string name)
    {
        object? value = null;
        if (options.AdditionalProperties?.TryGetValue(name, out value) != true || value is null)
        {
            return null;
        }

        try
        {
            return value is JsonElement json ? json.GetDouble() : Convert.ToDouble(value, System.Globalization.CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is FormatException or InvalidCastException or InvalidOperationException or OverflowException)
        {
            throw new ArgumentException($"ChatOptions.{Property(name)} is '{value}', which is no number.", e);
        }
    }

    private static string Property(string name) => $"AdditionalProperties[\"{name}\"]";

    private static double? Within(double? value, string name, double least, double most) => value is null || (value >= least && value <= most) ? value
        : throw new ArgumentOutOfRangeException(nameof(value), value, most == int.MaxValue
            ? FormattableString.Invariant($"ChatOptions.{name} must be at least {least:0.###}.")
            : FormattableString.Invariant($"ChatOptions.{name} must be from {least:0.###} to {most:0.###}."));
}
