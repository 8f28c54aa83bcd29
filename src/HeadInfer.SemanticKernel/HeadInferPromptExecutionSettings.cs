using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Extensions.AI;
using Microsoft.SemanticKernel;

namespace HeadInfer.SemanticKernel;

/// <summary>Settings of a request, under the names that Semantic Kernel's connectors share.</summary>
[JsonNumberHandling(JsonNumberHandling.AllowReadingFromString)]
public sealed class HeadInferPromptExecutionSettings : PromptExecutionSettings
{
    private float? _temperature, _topP, _frequencyPenalty, _presencePenalty;
    private int? _topK, _maxTokens;
    private long? _seed;
    private IList<string>? _stopSequences;

    /// <summary>Divisor of the logits; 0 always takes the most likely token. Default: the model's.</summary>
    [JsonPropertyName("temperature")]
    public float? Temperature
    {
        get => _temperature;
        set => Set(ref _temperature, value);
    }

    /// <summary>Only the most likely tokens that together reach this probability. Default: the model's.</summary>
    [JsonPropertyName("top_p")]
    public float? TopP
    {
        get => _topP;
        set => Set(ref _topP, value);
    }

    /// <summary>Only so many of the most likely tokens. Default: the model's.</summary>
    [JsonPropertyName("top_k")]
    public int? TopK
    {
        get => _topK;
        set => Set(ref _topK, value);
    }

    /// <summary>Makes answers repeatable. Default: a new one each time.</summary>
    [JsonPropertyName("seed")]
    public long? Seed
    {
        get => _seed;
        set => Set(ref _seed, value);
    }

    /// <summary>Tokens of an answer at most. Default: the model's, else 512.</summary>
    [JsonPropertyName("max_tokens")]
    public int? MaxTokens
    {
        get => _maxTokens;
        set => Set(ref _maxTokens, value);
    }

    /// <summary>Subtracted from a token's logit once for each time it was generated. Default: 0.</summary>
    [JsonPropertyName("frequency_penalty")]
    public float? FrequencyPenalty
    {
        get => _frequencyPenalty;
        set => Set(ref _frequencyPenalty, value);
    }

    /// <summary>Subtracted from a token's logit if it was generated at all. Default: 0.</summary>
    [JsonPropertyName("presence_penalty")]
    public float? PresencePenalty
    {
        get => _presencePenalty;
        set => Set(ref _presencePenalty, value);
    }

    /// <summary>Texts that end an answer; they are not part of it.</summary>
    [JsonPropertyName("stop_sequences")]
    public IList<string>? StopSequences
    {
        get => _stopSequences;
        set => Set(ref _stopSequences, value);
    }

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
            base.Freeze();
            _stopSequences = _stopSequences is null ? null : Array.AsReadOnly([.. _stopSequences]);
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
    };

    internal ChatOptions ToChatOptions() => new()
    {
        Temperature = Temperature,
        TopP = TopP,
        TopK = TopK,
        Seed = Seed,
        MaxOutputTokens = MaxTokens,
        FrequencyPenalty = FrequencyPenalty,
        PresencePenalty = PresencePenalty,
        StopSequences = StopSequences,
    };

    private void Set<T>(ref T field, T value)
    {
        ThrowIfFrozen();
        field = value;
    }
}
