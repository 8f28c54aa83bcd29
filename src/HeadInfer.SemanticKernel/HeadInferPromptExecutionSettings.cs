using System.Text.Json.Serialization;
using Microsoft.SemanticKernel;
using ReasoningEffort = Microsoft.Extensions.AI.ReasoningEffort;

namespace HeadInfer.SemanticKernel;

/// <summary>Settings of a request, under the names that Semantic Kernel's connectors share.</summary>
/// <example>
/// <code>
/// using HeadInfer.SemanticKernel;
/// using Microsoft.SemanticKernel;
///
/// var kernel = Kernel.CreateBuilder().AddHeadInferChatCompletion("path/to/a/model").Build();
/// var settings = new HeadInferPromptExecutionSettings { MaxTokens = 200, Temperature = 0, FunctionChoiceBehavior = FunctionChoiceBehavior.Auto() };
/// Console.WriteLine(await kernel.InvokePromptAsync&lt;string&gt;("What is the weather in Oslo?", new KernelArguments(settings)));
/// </code>
/// </example>
[JsonNumberHandling(JsonNumberHandling.AllowReadingFromString)]
public sealed class HeadInferPromptExecutionSettings : PromptExecutionSettings
{
    /// <summary>Divisor of the logits; 0 always takes the most likely token. Default: the model's.</summary>
    [JsonPropertyName("temperature")]
    public float? Temperature { get; set => Set(ref field, value); }

    /// <summary>Only the most likely tokens that together reach this probability. Default: the model's.</summary>
    [JsonPropertyName("top_p")]
    public float? TopP { get; set => Set(ref field, value); }

    /// <summary>Only so many of the most likely tokens. Default: the model's.</summary>
    [JsonPropertyName("top_k")]
    public int? TopK { get; set => Set(ref field, value); }

    /// <summary>Makes answers repeatable. Default: a new one each time.</summary>
    [JsonPropertyName("seed")]
    public long? Seed { get; set => Set(ref field, value); }

    /// <summary>Tokens of an answer at most, thoughts among them. Default: as many as the context has room for.</summary>
    [JsonPropertyName("max_tokens")]
    public int? MaxTokens { get; set => Set(ref field, value); }

    /// <summary>Subtracted from a token's logit once for each time it was generated. Default: 0.</summary>
    [JsonPropertyName("frequency_penalty")]
    public float? FrequencyPenalty { get; set => Set(ref field, value); }

    /// <summary>Subtracted from a token's logit if it was generated at all. Default: 0.</summary>
    [JsonPropertyName("presence_penalty")]
    public float? PresencePenalty { get; set => Set(ref field, value); }

    /// <summary>Texts that end an answer where it says them; they are not part of it. In thoughts and calls they end nothing.</summary>
    [JsonPropertyName("stop_sequences")]
    public IList<string>? StopSequences { get; set => Set(ref field, value); }

    /// <summary>Only tokens at least this share as likely as the most likely one. Default: the model's.</summary>
    [JsonPropertyName("min_p")]
    public float? MinP { get; set => Set(ref field, value); }

    /// <summary>Logits of tokens that are in the conversation already are divided by this if positive, else multiplied. Default: the model's.</summary>
    [JsonPropertyName("repetition_penalty")]
    public float? RepetitionPenalty { get; set => Set(ref field, value); }

    /// <summary>
    /// The form of the answer: <c>"text"</c>, <c>"json_object"</c>, a type whose schema it is to have, a JSON schema (also
    /// as OpenAI wraps it), or a <see cref="ChatResponseFormat"/>. Default: text.
    /// </summary>
    /// <exception cref="ArgumentException">It is none of these.</exception>
    [JsonPropertyName("response_format")]
    public object? ResponseFormat { get; set => Set(ref field, Normal(value)); }

    /// <summary>How much the model is to think, if its chat template has a switch for it: a name of <see cref="Microsoft.Extensions.AI.ReasoningEffort"/>, in any case. Default: as the template has it.</summary>
    /// <exception cref="ArgumentException">It is none of these.</exception>
    [JsonPropertyName("reasoning_effort")]
    public string? ReasoningEffort
    {
        get;
        set => Set(ref field, value is null || Enum.GetNames<ReasoningEffort>().Contains(value, StringComparer.OrdinalIgnoreCase) ? value : throw new ArgumentException($"ReasoningEffort is '{value}'; it must be one of {string.Join(", ", Enum.GetNames<ReasoningEffort>())}.", nameof(value)));
    }

    /// <summary>Whether what the model thinks is shown too. Default: no.</summary>
    [JsonPropertyName("show_reasoning")]
    public bool? ShowReasoning { get; set => Set(ref field, value); }

    /// <summary>Names the caller: those with different keys share nothing that was read. See <see cref="HeadInferChatOptionsExtensions.WithCacheKey"/>. Default: all share.</summary>
    [JsonPropertyName("cache_key")]
    public string? CacheKey { get; set => Set(ref field, value); }

    /// <summary>Who is told how far the reading of this request's prompt is, some times a second. See <see cref="HeadInferChatOptionsExtensions.WithPrefillProgress"/>. It is not serialised. Default: <see cref="HeadInferChatClientOptions.Progress"/>.</summary>
    [JsonIgnore]
    public IProgress<PrefillProgress>? PrefillProgress { get; set => Set(ref field, value); }

    /// <summary>Settings of any connector as these, by the names they share. Null gives the defaults.</summary>
    public static HeadInferPromptExecutionSettings FromExecutionSettings(PromptExecutionSettings? settings)
    {
        if (settings is null or HeadInferPromptExecutionSettings)
        {
            return (HeadInferPromptExecutionSettings?)settings ?? new HeadInferPromptExecutionSettings();
        }

        var result = JsonSerializer.Deserialize<HeadInferPromptExecutionSettings>(JsonSerializer.Serialize<object>(settings))!;
        result.FunctionChoiceBehavior = settings.FunctionChoiceBehavior; // what is no JSON
        return result;
    }

    /// <inheritdoc/>
    public override void Freeze()
    {
        if (!IsFrozen)
        {
            StopSequences = StopSequences is null ? null : Array.AsReadOnly([.. StopSequences]);
            base.Freeze();
        }
    }

    /// <inheritdoc/>
    public override PromptExecutionSettings Clone() => new HeadInferPromptExecutionSettings
    {
        ModelId = ModelId,
        ServiceId = ServiceId,
        ExtensionData = ExtensionData is null ? null : new Dictionary<string, object>(ExtensionData),
        FunctionChoiceBehavior = FunctionChoiceBehavior,
        Temperature = Temperature,
        TopP = TopP,
        TopK = TopK,
        Seed = Seed,
        MaxTokens = MaxTokens,
        FrequencyPenalty = FrequencyPenalty,
        PresencePenalty = PresencePenalty,
        StopSequences = StopSequences is null ? null : [.. StopSequences],
        MinP = MinP,
        RepetitionPenalty = RepetitionPenalty,
        ResponseFormat = ResponseFormat,
        ReasoningEffort = ReasoningEffort,
        ShowReasoning = ShowReasoning,
        CacheKey = CacheKey,
        PrefillProgress = PrefillProgress,
    };

    /// <inheritdoc/>
    protected override void PrepareChatOptionsForRequest(ChatOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (ReasoningEffort is not null)
        {
            (options.Reasoning ??= new ReasoningOptions()).Effort = Enum.Parse<ReasoningEffort>(ReasoningEffort, ignoreCase: true); // the general conversion knows no "none"
        }

        if (ShowReasoning is not null)
        {
            (options.Reasoning ??= new ReasoningOptions()).Output = ShowReasoning.Value ? ReasoningOutput.Full : ReasoningOutput.None;
        }

        if (PrefillProgress is not null)
        {
            options.WithPrefillProgress(PrefillProgress);
        }
    }

    /// <summary>The settings of text generation, which knows no conversation.</summary>
    internal ChatOptions ToChatOptions() => new()
    {
        ModelId = ModelId,
        Temperature = Temperature,
        TopP = TopP,
        TopK = TopK,
        Seed = Seed,
        MaxOutputTokens = MaxTokens,
        FrequencyPenalty = FrequencyPenalty,
        PresencePenalty = PresencePenalty,
        StopSequences = StopSequences,
        AdditionalProperties = new AdditionalPropertiesDictionary { ["min_p"] = MinP, ["repetition_penalty"] = RepetitionPenalty, ["cache_key"] = CacheKey },
        ResponseFormat = ResponseFormat switch
        {
            null or "text" => null,
            JsonElement schema => ChatResponseFormat.ForJsonSchema(schema),
            _ => ChatResponseFormat.Json,
        },
    };

    // Text, or a schema: what the general conversion of settings to options understands.
    private static object? Normal(object? format) => format switch
    {
        null or "text" or "json_object" => format,
        Type type => AIJsonUtilities.CreateJsonSchema(type),
        ChatResponseFormatText => "text",
        ChatResponseFormatJson json => json.Schema is { } schema ? schema : "json_object",
        JsonElement { ValueKind: JsonValueKind.Null } => null,
        JsonElement { ValueKind: JsonValueKind.String } text => Normal(text.GetString()),
        JsonElement { ValueKind: JsonValueKind.Object } json => OutputForm.Unwrapped(json) switch
        {
            null => "text",
            ChatResponseFormatJson { Schema: { } schema } => schema.Clone(),
            _ => "json_object",
        },
        _ => throw new ArgumentException($"ResponseFormat is '{format}'; it must be \"text\", \"json_object\", a type, a JSON schema or a ChatResponseFormat.", nameof(format)),
    };

    private void Set<T>(ref T field, T value)
    {
        ThrowIfFrozen();
        field = value;
    }
}
