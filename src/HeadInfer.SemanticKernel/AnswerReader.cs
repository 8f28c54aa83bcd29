using HeadInfer.Runtime;
using HeadInfer.SemanticKernel.ToolCalls;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel;

/// <summary>Turns an answer's text, as it streams in, into what a caller is shown: text, calls, and thoughts if asked for.</summary>
/// <param name="format">how the model writes calls</param>
/// <param name="tools">the functions that were offered</param>
/// <param name="callsAtMost">calls that are wanted; none leaves text that looks like one as it is</param>
/// <param name="thinking">whether the prompt ends within the model's thoughts</param>
/// <param name="showThoughts">whether thoughts are shown</param>
internal sealed class AnswerReader(IToolCallFormat format, IReadOnlyList<ChatTool> tools, int callsAtMost, bool thinking, bool showThoughts)
{
    private readonly ReasoningScanner _reasoning = new(thinking);
    private readonly ToolCallScanner? _calls = callsAtMost > 0 ? new ToolCallScanner(format, tools) : null;

    /// <summary>Calls so far.</summary>
    public int Calls { get; private set; }

    /// <summary>Whether the last call cannot be read.</summary>
    public bool LastCallFailed { get; private set; }

    /// <summary>Whether nothing that could follow is wanted.</summary>
    public bool IsDone => _calls is not null && Calls >= callsAtMost;

    public IEnumerable<AIContent> Append(string text) => text.Length == 0 ? [] : _reasoning.Append(text).SelectMany(Read);

    /// <summary>Ends the answer.</summary>
    public IEnumerable<AIContent> End() => _reasoning.Finish().SelectMany(Read).Concat((_calls?.End() ?? []).SelectMany(Show));

    private IEnumerable<AIContent> Read((string Text, bool IsReasoning) part) =>
        part.IsReasoning ? showThoughts ? [new TextReasoningContent(part.Text)] : []
        : _calls is null ? [new TextContent(part.Text)]
        : _calls.Append(part.Text).SelectMany(Show);

    private IEnumerable<AIContent> Show(ScannedPart part)
    {
        if (IsDone)
        {
            return [];
        }

        if (part.Call is not { } call)
        {
            return [new TextContent(part.Text)];
        }

        Calls++;
        LastCallFailed = call.Error is not null;
        return [new FunctionCallContent("call_" + Guid.NewGuid().ToString("N")[..16], call.Name, call.Arguments) { Exception = call.Error, RawRepresentation = call.Raw }];
    }
}
