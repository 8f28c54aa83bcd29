using System.Text.RegularExpressions;
using HeadInfer.Tool.Commands;

namespace HeadInfer.Tool.Serving;

/// <summary>Messages of the library in the words of who reads them: fields of the wire, and flags of the command line.</summary>
internal static partial class Words
{
    private const int Most = 2000; // a message may quote what was sent, and that may be long

    public static string Of(Exception error)
    {
        var text = Option().Replace(Field().Replace(Parameter().Replace(error.Message, ""), FieldName), m => ModelFlags.Of(m.Groups["name"].Value) ?? m.Value);
        return text.Length <= Most ? text : text[..(char.IsHighSurrogate(text[Most - 1]) ? Most - 1 : Most)] + "...";
    }

    private static string FieldName(Match match) => match.Groups["key"] is { Success: true } key ? key.Value : match.Groups["name"].Value switch
    {
        "ToolMode" => "tool_choice",
        "AllowMultipleToolCalls" => "parallel_tool_calls",
        "ModelId" => "model",
        "MaxTokens" or "MaxOutputTokens" => "max_completion_tokens",
        "StopSequences" => "stop",
        "Reasoning.Effort" => "reasoning_effort",
        var name => JsonNamingPolicy.SnakeCaseLower.ConvertName(name),
    };

    // What .NET adds to the messages of arguments.
    [GeneratedRegex(@"\s*\(Parameter '[^']*'\)(\s*Actual value was .*)?", RegexOptions.Singleline)]
    private static partial Regex Parameter();

    [GeneratedRegex("""\b(Chat|Generation|Sampling)Options\.(?<name>[A-Z]\w*(\.[A-Z]\w*)*)(\["(?<key>\w+)"\])?""", RegexOptions.ExplicitCapture)]
    private static partial Regex Field();

    [GeneratedRegex(@"\bHeadInferOptions\.(?<name>[A-Z]\w*)", RegexOptions.ExplicitCapture)]
    private static partial Regex Option();
}
