using System.Security.Cryptography;
using HeadInfer.SemanticKernel.ToolCalls;

namespace HeadInfer.SemanticKernel;

/// <summary>Turns an answer's text, as it streams in, into what a caller is shown: text, calls, and thoughts if asked for.</summary>
/// <param name="format">how the model writes calls</param>
/// <param name="tools">the functions that were offered</param>
/// <param name="callsAtMost">calls that are wanted; none leaves text that looks like one as it is</param>
/// <param name="tags">what it thinks between</param>
/// <param name="thinking">whether the prompt has opened the model's thoughts</param>
/// <param name="showThoughts">whether thoughts are shown</param>
/// <param name="stops">texts that end the answer where it says them: in thoughts and calls they do not</param>
internal sealed class AnswerReader(IToolCallFormat format, IReadOnlyList<ChatTool> tools, int callsAtMost, ThoughtTags tags, bool thinking, bool showThoughts, params string[] stops)
{
    /// <summary>The property of a call that keeps the thoughts before it, so that they can be shown to the model with the call's result.</summary>
    public const string ThoughtsKey = "reasoning";

    // Nine letters and digits are an id for every template; Mistral's take no other.
    private const int IdLength = 9;
    private const string IdCharacters = "abcdefghijklmnopqrstuvwxyz0123456789";

    private readonly IThoughtScanner _reasoning = tags.Scanner(thinking);
    private readonly ToolCallScanner? _calls = callsAtMost > 0 ? new ToolCallScanner(format, tools) : null;
    private readonly StopMatcher _said = new(stops);
    private readonly StringBuilder _thoughts = new();
    private bool _cut; // whether the limit ended the answer
    private int _lastThoughts; // where they begin

    /// <summary>Calls so far.</summary>
    public int Calls { get; private set; }

    /// <summary>Whether the last call cannot be read.</summary>
    public bool LastCallFailed { get; private set; }

    /// <summary>Whether a stop sequence was said.</summary>
    public bool IsStopped => _said.IsStopped;

    /// <summary>Characters that came from that on.</summary>
    public int Dropped => _said.Dropped;

    /// <summary>Whether nothing that could follow is wanted.</summary>
    public bool IsDone => IsStopped || (_calls is not null && Calls >= callsAtMost);

    public IEnumerable<AIContent> Append(string text) => text.Length == 0 ? [] : _reasoning.Append(text).SelectMany(Read);

    /// <summary>Whether the answer is within thoughts.</summary>
    public bool IsThinking => _reasoning.IsThinking;

    /// <param name="cut">whether the limit ended it</param>
    public IEnumerable<AIContent> End(bool cut)
    {
        _cut = cut;
        var last = _reasoning.Finish().SelectMany(Read).ToList(); // before the calls are told that nothing follows
        return last.Concat((_calls?.End(cut) ?? []).SelectMany(Show)).Concat(CallsInThoughts()).Concat(Text(_said.Flush()));
    }

    // Some models call from within thoughts, and never close them. A call that cannot be read was only thought of.
    private IEnumerable<AIContent> CallsInThoughts()
    {
        if (_calls is null || !_reasoning.IsThinking)
        {
            return [];
        }

        var scanner = new ToolCallScanner(format, tools);
        var parts = scanner.Append(_thoughts.ToString(_lastThoughts, _thoughts.Length - _lastThoughts)).Concat(scanner.End(_cut));
        return parts.Where(p => p.Call is { Error: null } call && tools.Any(t => t.Name == call.Name)).SelectMany(Show);
    }

    private IEnumerable<AIContent> Read((string Text, bool IsReasoning) part)
    {
        if (IsStopped)
        {
            return [];
        }

        if (part.IsReasoning)
        {
            _thoughts.Append(part.Text);
            return showThoughts ? [new TextReasoningContent(part.Text)] : [];
        }

        _lastThoughts = _thoughts.Length;
        return _calls is null ? Text(_said.Append(part.Text)) : _calls.Append(part.Text).SelectMany(Show);
    }

    private IEnumerable<AIContent> Show(ScannedPart part)
    {
        if (IsDone)
        {
            return [];
        }

        if (part.Call is not { } call)
        {
            return Text(_said.Append(part.Text));
        }

        Calls++;
        LastCallFailed = call.Error is not null;
        var content = new FunctionCallContent(RandomNumberGenerator.GetString(IdCharacters, IdLength), call.Name, call.Arguments) { Exception = call.Error, RawRepresentation = call.Raw };
        // Whoever invokes functions looks at no error, and would leave out the arguments. One without a name is not found, and so told to the model.
        content.InformationalOnly = call.Error is not null && (call.Name.Length > 0 || _cut);

        if (Calls == 1 && !showThoughts && _thoughts.Length > 0)
        {
            content.AdditionalProperties = new AdditionalPropertiesDictionary { [ThoughtsKey] = _thoughts.ToString() };
        }

        return [.. Text(_said.Flush()), content];
    }

    private static TextContent[] Text(string text) => text.Length > 0 ? [new TextContent(text)] : [];
}
