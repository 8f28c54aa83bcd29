using HeadInfer.SemanticKernel.ToolCalls;

namespace HeadInfer.SemanticKernel;

/// <summary>How a model writes the calls of functions.</summary>
public enum ToolCallFormat
{
    /// <summary><c>&lt;tool_call&gt;{"name": ..., "arguments": {...}}&lt;/tool_call&gt;</c>: Hermes, Qwen 2.5, Qwen 3.</summary>
    Hermes,

    /// <summary><c>{"name": ..., "parameters": {...}}</c>: Llama 3.1 and later.</summary>
    Llama,

    /// <summary><c>[TOOL_CALLS][{"name": ..., "arguments": {...}}]</c>: Mistral.</summary>
    Mistral,

    /// <summary><c>[TOOL_CALLS]name[ARGS]{...}</c>: Mistral since 2025.</summary>
    MistralNames,

    /// <summary><c>&lt;tool_call&gt;&lt;function=name&gt;&lt;parameter=key&gt;</c>: Qwen3-Coder.</summary>
    QwenCoder,

    /// <summary><c>&lt;tool_call&gt;name&lt;arg_key&gt;key&lt;/arg_key&gt;&lt;arg_value&gt;</c>: GLM 4.5 and later.</summary>
    Glm,

    /// <summary><c>&lt;|channel|&gt;commentary to=functions.name&lt;|message|&gt;{...}</c>: gpt-oss.</summary>
    Harmony,

    /// <summary><c>&lt;|tool_call&gt;call:name{key:value}&lt;tool_call|&gt;</c>: Gemma 4.</summary>
    Gemma,

    /// <summary><c>&lt;｜tool▁call▁begin｜&gt;function&lt;｜tool▁sep｜&gt;name</c> with a block of JSON: DeepSeek V3 and R1.</summary>
    DeepSeek,

    /// <summary><c>&lt;｜tool▁call▁begin｜&gt;name&lt;｜tool▁sep｜&gt;{...}</c>: DeepSeek V3.1.</summary>
    DeepSeekNames,

    /// <summary><c>&lt;|tool_call|&gt;[{"name": ..., "arguments": {...}}]</c>: Granite 3.</summary>
    Granite,

    /// <summary><c>&lt;|tool_call|&gt;[{"name": ..., "arguments": {...}}]&lt;|/tool_call|&gt;</c>: Phi-4-mini.</summary>
    Phi,

    /// <summary><c>&lt;seed:tool_call&gt;&lt;function=name&gt;&lt;parameter=key&gt;</c>: Seed-OSS.</summary>
    Seed,

    /// <summary>A JSON list in <c>&lt;TOOLCALL&gt;</c>: Nemotron Nano 2.</summary>
    Nemotron,

    /// <summary><c>&lt;|tool_call_start|&gt;[name(key="value")]&lt;|tool_call_end|&gt;</c>, as Python writes calls: LFM2.</summary>
    Python,
}

/// <summary>Knows a model's format from its chat template, which shows the model its own earlier calls.</summary>
internal static class ToolCallFormats
{
    public static IToolCallFormat Of(string template, ToolCallFormat? chosen = null) => (chosen ?? Guess(template) ?? ToolCallFormat.Hermes) switch
    {
        ToolCallFormat.Hermes => new HermesFormat(),
        ToolCallFormat.Llama => new LlamaFormat(),
        ToolCallFormat.Mistral => new MistralFormat(names: false),
        ToolCallFormat.MistralNames => new MistralFormat(names: true, ids: template.Contains(MistralFormat.Id, StringComparison.Ordinal)),
        ToolCallFormat.QwenCoder => new QwenCoderFormat(),
        ToolCallFormat.Glm => new GlmFormat(),
        ToolCallFormat.Harmony => new HarmonyFormat(),
        ToolCallFormat.Gemma => new GemmaFormat(),
        ToolCallFormat.DeepSeek => new DeepSeekFormat(names: false),
        ToolCallFormat.DeepSeekNames => new DeepSeekFormat(names: true),
        ToolCallFormat.Granite => CallListFormat.Granite,
        ToolCallFormat.Phi => CallListFormat.Phi,
        ToolCallFormat.Seed => new QwenCoderFormat(seed: true),
        ToolCallFormat.Nemotron => CallListFormat.Nemotron,
        ToolCallFormat.Python => new PythonFormat(),
        var other => throw new ArgumentOutOfRangeException(nameof(chosen), other, "There is no such tool call format."),
    };

    /// <summary>Whether a template, or the caller, says what the model's format is.</summary>
    public static bool IsSaid(string template, ToolCallFormat? chosen) => (chosen ?? Guess(template)) is not null;

    private static ToolCallFormat? Guess(string template)
    {
        bool Has(string text) => template.Contains(text, StringComparison.Ordinal);
        return Has("<|START_ACTION|>") ? null // Command's calls, which are not read
            : Has("[TOOL_CALLS]") ? Has("[ARGS]") ? ToolCallFormat.MistralNames : ToolCallFormat.Mistral
            : HarmonyTags.IsIn(template) ? ToolCallFormat.Harmony
            : Has("<|tool_call>") ? ToolCallFormat.Gemma
            : PythonFormat.Signs.Any(Has) ? ToolCallFormat.Python
            : Has("<｜tool▁sep｜>") ? Has("```json") ? ToolCallFormat.DeepSeek : ToolCallFormat.DeepSeekNames
            : Has("<|/tool_call|>") || Has("<|/tool|>") ? ToolCallFormat.Phi
            : Has("<|tool_call|>") ? ToolCallFormat.Granite
            : Has(CallListFormat.NemotronStart) ? ToolCallFormat.Nemotron
            : Has("<seed:tool_call>") ? ToolCallFormat.Seed
            : Has("<function=") ? ToolCallFormat.QwenCoder
            : Has("<arg_key>") ? ToolCallFormat.Glm
            : Has("<tool_call>") ? ToolCallFormat.Hermes
            : Has("\"parameters\": ") ? ToolCallFormat.Llama
            : null;
    }
}
