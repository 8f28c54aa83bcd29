using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using HeadInfer.Tests;
using HeadInfer.Text;
using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>Chat templates of the common forms, and a tokenizer that has the markers of all of them.</summary>
internal static partial class LoopTemplates
{
    public const string MarkerShape = @"(</?(?:think|tool_call|tool_response|arg_key|arg_value|s|seed:\w+)>|\[/?(?:THINK|TOOL_CALLS|ARGS|CALL_ID|INST|TOOL_RESULTS|AVAILABLE_TOOLS)\]|<\|[^|<>\s]+\|?>|<[^|<>\s]+\|>|<\uff5c[^\uff5c<>]+\uff5c>|<(?:start|end)_of_turn>)";

    public const string Harmony = "<|start|>system<|message|>Reasoning: {{ reasoning_effort | default('medium') }}<|end|>{% if tools %}<|start|>developer<|message|># Tools{% for t in tools %}\n{{ t.function.name }}{% endfor %}<|end|>{% endif %}{% for m in messages %}{% if m.role == 'assistant' %}{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}{% if m.content and m.thinking %}{{ raise_exception('text or thoughts') }}{% endif %}{% set thought = m.thinking or m.content %}{% if thought %}<|start|>assistant<|channel|>analysis<|message|>{{ thought }}<|end|>{% endif %}<|start|>assistant to=functions.{{ m.tool_calls[0].function.name }}<|channel|>commentary json<|message|>{{ m.tool_calls[0].function.arguments | tojson }}<|call|>{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}{% endif %}{% elif m.role == 'tool' %}<|start|>functions.{{ m.name }} to=assistant<|channel|>commentary<|message|>{{ m.content | tojson }}<|end|>{% elif m.role == 'system' %}<|start|>developer<|message|># Instructions\n\n{{ m.content }}<|end|>{% else %}<|start|>user<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}";

    public const string Gemma = "{% macro value(v) %}{% if v is string %}<|\"|>{{ v }}<|\"|>{% elif v is boolean %}{{ 'true' if v else 'false' }}{% elif v is mapping %}{{ '{' }}{% for k, x in v | dictsort %}{{ ',' if not loop.first }}{{ k }}:{{ value(x) }}{% endfor %}{{ '}' }}{% elif v is sequence %}[{% for x in v %}{{ ',' if not loop.first }}{{ value(x) }}{% endfor %}]{% else %}{{ v }}{% endif %}{% endmacro %}<s>{% set ns = namespace(last='', user=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.user = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'tool' %}<|tool_response>response:{{ m.name }}{{ '{value:' }}{{ value(m.content) }}{{ '}' }}<tool_response|>{% else %}{% if not (ns.last == 'tool' and m.role == 'assistant') %}<|turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{% endif %}{% if m.role == 'system' %}{% for t in tools %}<|tool>declaration:{{ t.function.name }}<tool|>{% endfor %}{% endif %}{% if m.reasoning and loop.index0 > ns.user %}<|channel>thought\n{{ m.reasoning }}\n<channel|>{% endif %}{{ m.content | trim }}{% for c in m.tool_calls %}<|tool_call>call:{{ c.function.name }}{{ value(c.function.arguments) }}<tool_call|>{% endfor %}{% if not m.tool_calls %}<turn|>\n{% endif %}{% endif %}{% set ns.last = m.role %}{% endfor %}{% if add_generation_prompt and ns.last != 'tool' %}<|turn>model\n{% endif %}";

    // Of models that call functions, whose templates write no calls.
    public const string SmolLm = "<|im_start|>system\n{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}{% for t in tools %}\n{{ t | string }}{% endfor %}\nCall with <tool_call>...</tool_call>.<|im_end|>\n{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n{{ m.content.lstrip('\n') }}<|im_end|>\n{% elif m.role != 'system' %}<|im_start|>user\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{# <think></think> #}";

    public const string Granite = "{% if tools %}<|start_of_role|>available_tools<|end_of_role|>{{ tools | tojson }}\nCalls begin with <|tool_call|>.<|end_of_text|>\n{% endif %}{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>\n{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}";

    public const string Phi = "{% for m in messages %}{% if m.role == 'system' and m.tools %}<|{{ m.role }}|>{{ m.content }}<|tool|>{{ m.tools }}<|/tool|><|end|>{% else %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}{# <|tool_call|> <|/tool_call|> #}";

    public const string Lfm = "<s>{% if tools %}<|im_start|>system\nList of tools: <|tool_list_start|>{{ tools | tojson }}<|tool_list_end|><|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'tool' %}<|tool_response_start|>{{ m.content }}<|tool_response_end|>{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    // Those of the project's own, by what they are an example of.
    public static readonly (string Name, string Source, bool Continues)[] Own =
    [
        ("hermes", "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls %}{% if m.content or not loop.first %}\n{% endif %}<tool_call>\n{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", true),
        ("hermes with the line's end before calls", "{% for m in messages %}<|im_start|>{{ m.role }}{% if m.content %}{{ '\n' + m.content }}{% endif %}{% for c in m.tool_calls %}{{ '\n<tool_call>\n{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}{{ c.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", true),
        ("thoughts in the loop", "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.index0 > ns.last and m.reasoning_content %}<think>\n{{ m.reasoning_content | trim }}\n</think>\n\n{% endif %}{{ m.content }}{% for c in m.tool_calls %}\n<tool_call>\n<function={{ c.function.name }}>\n{% for k, v in c.function.arguments | items %}<parameter={{ k }}>\n{{ v if v is string else v | tojson }}\n</parameter>\n{% endfor %}</function>\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", true),
        ("seed oss", "{% set begin = '<seed:tool_call>' %}{% for m in messages %}<seed:bos>{{ m.role }}{% if m.reasoning_content %}\n<seed:think>{{ m.reasoning_content | trim }}</seed:think>{% endif %}{% if m.content | trim or not m.tool_calls %}\n{{ m.content | trim }}{% endif %}{% for c in m.tool_calls %}{{ '\n' + begin + '\n<function=' + c.function.name + '>\n' }}{% for k, v in c.function.arguments | items %}<parameter={{ k }}>{{ v if v is string else v | string }}</parameter>\n{% endfor %}</function>\n</seed:tool_call>{% endfor %}<seed:eos>{% endfor %}{% if add_generation_prompt %}<seed:bos>assistant\n{% endif %}", true),
        ("llama", "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}{\"name\": \"{{ m.tool_calls[0].function.name }}\", \"parameters\": {{ m.tool_calls[0].function.arguments | tojson }}}{% else %}{{ m.content }}{% endif %}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}", true),
        ("mistral", "<s>{% for m in messages %}{% if m.role == 'assistant' %}{% if m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}{% if not loop.first %}, {% endif %}{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}, \"id\": \"{{ c.id }}\"}{% endfor %}]{% else %} {{ m.content }}{% endif %}</s>{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.content }}[/TOOL_RESULTS]{% else %}[INST] {{ m.content }}[/INST]{% endif %}{% endfor %}", true),
        ("mistral with names", "<s>{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}</s>{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}", true),
        ("glm", "{% for m in messages %}{% if m.role == 'tool' %}<|observation|>{{ m.content }}{% else %}<|{{ m.role }}|>{{ m.content }}{% for c in m.tool_calls %}<tool_call>{{ c.function.name }}{% for k, v in c.function.arguments | items %}<arg_key>{{ k }}</arg_key><arg_value>{{ v if v is string else v | tojson }}</arg_value>{% endfor %}</tool_call>{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}", true),
        ("harmony", Harmony, true),
        ("gemma 4", Gemma, true),
        ("deepseek v3", "<s>{% for m in messages %}{% if m.role == 'tool' %}<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>{% elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content }}{% if m.tool_calls %}<｜tool▁calls▁begin｜>{% for c in m.tool_calls %}{% if not loop.first %}\n{% endif %}<｜tool▁call▁begin｜>{{ c.type }}<｜tool▁sep｜>{{ c.function.name }}\n```json\n{{ c.function.arguments + '' }}\n```<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>{% endif %}</s>{% else %}<｜{{ m.role }}｜>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %}", true),
        ("deepseek v3.1", "<s>{% for m in messages %}{% if m.role == 'tool' %}<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>{% elif m.role == 'assistant' %}<｜Assistant｜></think>{{ m.content }}{% if m.tool_calls %}<｜tool▁calls▁begin｜>{% for c in m.tool_calls %}<｜tool▁call▁begin｜>{{ c.function.name }}<｜tool▁sep｜>{{ c.function.arguments | tojson }}<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>{% endif %}</s>{% else %}<｜{{ m.role }}｜>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜></think>{% endif %}", true),
        ("granite 3", "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}{% if m.tool_calls %}<|tool_call|>[{% for c in m.tool_calls %}{% if not loop.first %}, {% endif %}{{ c.function | tojson }}{% endfor %}]{% endif %}<|end_of_text|>\n{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}", true),
        ("phi 4 mini", "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'system' and tools %}<|tool|>{{ tools | map(attribute='function') | list | tojson }}<|/tool|>{% endif %}{{ m.content }}{% if m.tool_calls %}<|tool_call|>[{% for c in m.tool_calls %}{% if not loop.first %}, {% endif %}{{ c.function | tojson }}{% endfor %}]<|/tool_call|>{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}", true),
        ("ministral 3", "<s>{% for m in messages %}{% if m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]{% elif m.role == 'assistant' %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'thinking' %}[THINK]{{ p.thinking }}[/THINK]{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}{% endfor %}</s>{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content | string }}[/TOOL_RESULTS]{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}", true),
        ("qwen 3.5", "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'tool' %}{% if loop.previtem.role != 'tool' %}<|im_start|>user{% endif %}\n<tool_response>\n{{ m.content }}\n</tool_response>{% if loop.last or loop.nextitem.role != 'tool' %}<|im_end|>\n{% endif %}{% else %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.index0 > ns.last %}<think>\n{{ m.reasoning_content | default('') | trim }}\n</think>\n\n{% endif %}{{ m.content | trim }}{% for c in m.tool_calls %}{{ '\n\n' if loop.first and m.content | trim else '\n' if not loop.first else '' }}<tool_call>\n<function={{ c.function.name }}>\n{% for k, v in c.function.arguments | items %}<parameter={{ k }}>\n{{ v | string }}\n</parameter>\n{% endfor %}</function>\n</tool_call>{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}", true),
        ("glm 4.5", "[gMASK]<sop>{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}{% if m.role == 'tool' %}{% if loop.previtem.role != 'tool' %}<|observation|>{% endif %}\n<tool_response>\n{{ m.content }}\n</tool_response>{% elif m.role == 'assistant' %}<|assistant|>\n<think>{% if loop.index0 > ns.last %}{{ m.reasoning_content | default('') | trim }}{% endif %}</think>{% if m.content.strip() %}\n{{ m.content.strip() }}{% endif %}{% for c in m.tool_calls %}\n<tool_call>{{ c.function.name }}{% for k, v in c.function.arguments.items() %}\n<arg_key>{{ k }}</arg_key>\n<arg_value>{{ v if v is string else v | tojson }}</arg_value>{% endfor %}\n</tool_call>{% endfor %}{% else %}<|{{ m.role }}|>\n{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}", true),
        ("calls as text: smollm 3", SmolLm, true),
        ("calls as text: granite 3", Granite, true),
        ("calls as text: phi 4 mini", Phi, true),
        ("calls as text: lfm 2", Lfm, true),
        ("no end", "{% for m in messages %}\n\n### {{ m.role }}:\n{{ m.content | trim }}{% endfor %}{% if add_generation_prompt %}\n\n### assistant:\n{% endif %}", true),
        ("thoughts opened", "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}", false),
        ("thoughts lost", "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] | upper if m.role == 'assistant' else m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", false),
    ];

    public static ChatTemplate Template(string source) => new(
        source, new Dictionary<string, object?> { ["bos_token"] = TemplateText.Trusted("<s>"), ["eos_token"] = TemplateText.Trusted("</s>") }, new Noon());

    /// <summary>Third-party templates, which are read where they are present: names and sources.</summary>
    public static List<(string Name, string Source)> Published()
    {
        List<(string, string)> sources = [];
        foreach (var file in (string[])["published.json", "rendered.json"])
        {
            if (Fixtures.Shared("fixtures", "chat-templates", file) is { } path)
            {
                using var rows = JsonDocument.Parse(File.ReadAllBytes(path));
                sources.AddRange(rows.RootElement.EnumerateArray().Select(r => (r.GetProperty("name").GetString()!, r.GetProperty("chat_template").GetString()!)));
            }
        }

        return [.. sources.DistinctBy(s => s.Item2)];
    }

    /// <summary>A tokenizer in which what these templates mark is a token of its own.</summary>
    public static Tokenizer Tokenizer(IEnumerable<string> sources)
    {
        using var folder = TokenizerFolder.Folder("qwen2-style");
        TokenizerFolder.Edit(folder, json =>
        {
            var (added, vocabulary) = (json["added_tokens"]!.AsArray(), json["model"]!["vocab"]!.AsObject());
            var next = Math.Max(added.Max(t => t!["id"]!.GetValue<int>()), vocabulary.Max(t => t.Value!.GetValue<int>())) + 1;
            var known = added.Select(t => t!["content"]!.GetValue<string>()).ToHashSet();
            foreach (var marker in sources.SelectMany(s => Marker().Matches(s)).Select(m => m.Value).Append("<s>").Append("</s>").Distinct().Where(m => known.Add(m)))
            {
                added.Add((JsonNode)TokenizerFolder.Added(next++, marker, special: !Tag().IsMatch(marker)));
            }
        });
        return Text.Tokenizer.Load(folder.Path, string.Concat(sources));
    }

    [GeneratedRegex(MarkerShape)]
    private static partial Regex Marker();

    // Published tokenizers have these as tokens that are text.
    [GeneratedRegex("^</?(think|tool_call|tool_response|arg_key|arg_value)>$")]
    private static partial Regex Tag();

    private sealed class Noon : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => new(2025, 7, 10, 12, 0, 0, TimeSpan.Zero);
    }
}
