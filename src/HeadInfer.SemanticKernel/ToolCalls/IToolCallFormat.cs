using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>How a model writes the calls of functions into its answer.</summary>
internal interface IToolCallFormat
{
    /// <summary>What calls stand between, the usual way first.</summary>
    IReadOnlyList<CallMarks> Marks { get; }

    /// <summary>Whether a call is all that there is of an answer, so that one is looked for at its beginning alone.</summary>
    bool OnlyAtBeginning => false;

    /// <summary>A word that may stand before a call at the beginning, and is no text; null if there is none.</summary>
    string? Prefix => null;

    /// <summary>Whether what stands before an end is all of a call: the end may be within one of its texts.</summary>
    bool IsWhole(string body) => true;

    /// <summary>Whether a call that is read without an error has shown where it ends, also where the answer ends before its end.</summary>
    bool CallsShowTheirEnd => false;

    /// <summary>Whether what begins like a call is one, and not text; null if that cannot be known yet.</summary>
    bool? IsCall(string body, IReadOnlyList<ChatTool> tools) => true;

    /// <summary>Words of the format that are special tokens of some models, and are read as text all the same.</summary>
    IReadOnlyList<string> Markers { get; }

    /// <summary>Calls as the model writes them, for a template that writes none; null if templates of this format all do.</summary>
    TemplateText? Write(IReadOnlyList<ChatToolCall> calls) => null;

    /// <summary>Special tokens that end an answer after its calls, beside those of the model's configuration.</summary>
    IReadOnlyList<string> Stops => [];

    /// <summary>Reads what stands between start and end: the calls, in order. What cannot be read is a call with its error.</summary>
    /// <param name="body">the text, with the start where that belongs to the call</param>
    /// <param name="tools">the functions that were offered</param>
    /// <returns>no calls if it is none after all, but text that begins like one</returns>
    IReadOnlyList<ParsedCall> Parse(string body, IReadOnlyList<ChatTool> tools);

    /// <summary>Calls of these functions, as the model writes them.</summary>
    /// <param name="tools">the functions, one at least</param>
    /// <param name="most">calls at most; there is one at least</param>
    /// <param name="schemas">makes forms of JSON schemas</param>
    OutputConstraint Constrain(IReadOnlyList<ChatTool> tools, int most, SchemaForms schemas);

    /// <summary>What free text may go on to once a call has begun: how it begins, and all that may follow.</summary>
    /// <param name="tools">the functions, one at least</param>
    /// <param name="schemas">makes forms of JSON schemas</param>
    /// <param name="text">free text again</param>
    IEnumerable<(string Marker, OutputConstraint Form)> Hold(IReadOnlyList<ChatTool> tools, SchemaForms schemas, OutputConstraint text);
}

/// <summary>What a call stands between.</summary>
/// <param name="Start">Text with which it begins.</param>
/// <param name="End">Text with which it ends, or null if it goes on to the end of the answer.</param>
/// <param name="StartIsPart">Whether the start is part of the call itself, which is then read with it.</param>
internal sealed record CallMarks(string Start, string? End, bool StartIsPart = false);

/// <summary>A call as a model wrote it.</summary>
/// <param name="Name">The function; empty if the text names none.</param>
/// <param name="Arguments">Its arguments by name; null if they cannot be read.</param>
/// <param name="Error">Why they cannot be read.</param>
/// <param name="Raw">What the model wrote, if it cannot be read.</param>
internal sealed record ParsedCall(string Name, IDictionary<string, object?>? Arguments, Exception? Error = null, string? Raw = null)
{
    /// <summary>The call as one that the limit cut off.</summary>
    /// <param name="raw">what the model wrote of it</param>
    public ParsedCall CutOff(string raw) => this with { Arguments = null, Error = new FormatException($"The model's call of '{Name}' was cut off: {raw.Trim()}"), Raw = raw };
}
