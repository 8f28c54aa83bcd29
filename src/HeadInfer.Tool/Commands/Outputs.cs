using System.CommandLine;

namespace HeadInfer.Tool.Commands;

/// <summary>What the commands end with.</summary>
internal static class Exits
{
    /// <summary>It was done; it failed, and standard error says why; the command line cannot be understood; it was interrupted.</summary>
    public const int Done = 0, Failed = 1, Misused = 2, Cancelled = 130;
}

/// <summary>How commands write. Answers go to standard output, everything else to standard error.</summary>
internal static class Outputs
{
    /// <summary>One line of JSON, names in camel case, text as it is.</summary>
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web) { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Option<bool> ThoughtsOption() => new("--show-thoughts") { Description = "also write what the model thinks, to standard error" };

    public static Option<bool> JsonOption() => new("--json") { Description = "write JSON to standard output, one object a line" };
}
