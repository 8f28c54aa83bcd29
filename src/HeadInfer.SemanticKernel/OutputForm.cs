using HeadInfer.Runtime;
using HeadInfer.SemanticKernel.ToolCalls;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel;

/// <summary>The form that an answer must have, by what a caller asks for: JSON, calls, or either.</summary>
internal static class OutputForm
{
    /// <param name="options">the caller's</param>
    /// <param name="tools">the functions that the model is shown; null if none</param>
    /// <param name="callsAtMost">calls that are wanted</param>
    /// <param name="format">how the model writes calls</param>
    /// <param name="thinking">whether the prompt ends within the model's thoughts</param>
    /// <param name="mayThink">whether the model thinks of its own accord</param>
    /// <param name="schemas">makes forms of JSON schemas</param>
    /// <returns>null if the answer is free</returns>
    /// <exception cref="ArgumentException">Calls are required of functions that are not there, or nothing satisfies a schema.</exception>
    public static OutputConstraint? Of(
        ChatOptions? options, IReadOnlyList<ChatTool>? tools, int callsAtMost, IToolCallFormat format, bool thinking, bool mayThink, SchemaForms schemas)
    {
        OutputConstraint? answer = options?.ResponseFormat is ChatResponseFormatJson json ? json.Schema is { } schema ? schemas.Of(schema) : schemas.Any : null;
        if (options?.ToolMode is RequiredChatToolMode required)
        {
            answer = format.Constrain(Required(required, tools), callsAtMost, schemas);
        }
        else if (answer is not null && tools is not null)
        {
            answer = OutputConstraint.OneOf(answer, format.Constrain(tools, callsAtMost, schemas));
        }

        if (answer is null)
        {
            return null;
        }

        var thoughts = OutputConstraint.Sequence(OutputConstraint.Until(ReasoningScanner.End), OutputConstraint.Space(), answer);
        return thinking ? thoughts
            : mayThink ? OutputConstraint.OneOf(answer, OutputConstraint.Sequence(OutputConstraint.Marker(ReasoningScanner.Start), thoughts))
            : answer;
    }

    private static IReadOnlyList<ChatTool> Required(RequiredChatToolMode mode, IReadOnlyList<ChatTool>? tools)
    {
        if (tools is null)
        {
            throw new ArgumentException("ChatOptions.ToolMode requires a function call, and ChatOptions.Tools has no function.");
        }

        return mode.RequiredFunctionName is not { } name ? tools
            : tools.Where(t => t.Name == name).ToList() is { Count: > 0 } named ? named
            : throw new ArgumentException($"ChatOptions.ToolMode requires a call of '{name}', and ChatOptions.Tools has {string.Join(", ", tools.Select(t => $"'{t.Name}'"))}.");
    }
}
