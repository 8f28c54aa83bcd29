namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>How a model writes the calls of functions into its answer.</summary>
internal interface IToolCallFormat
{
    /// <summary>Text with which a call begins.</summary>
    string Start { get; }

    /// <summary>Text with which it ends, or null if it goes on to the end of the answer.</summary>
    string? End { get; }

    /// <summary>Reads what stands between them: the calls, in order. What cannot be read is a call with its error.</summary>
    IReadOnlyList<ParsedCall> Parse(string body);
}

/// <summary>A call as a model wrote it.</summary>
/// <param name="Name">The function; empty if the text names none.</param>
/// <param name="Arguments">Its arguments by name; null if they cannot be read.</param>
/// <param name="Error">Why they cannot be read.</param>
internal sealed record ParsedCall(string Name, IDictionary<string, object?>? Arguments, Exception? Error = null);
