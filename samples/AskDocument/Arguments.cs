using System.Globalization;

namespace AskDocument;

/// <summary>The command line.</summary>
internal sealed record Arguments(IReadOnlyList<string> Documents, IReadOnlyList<string> Questions, string Model, int MaxTokens, bool Interactive, bool Verbose)
{
    public const string Usage =
        """
        usage: AskDocument [--document PATH...] [--question TEXT]... [--model PATH] [--max-tokens N] [--verbose]

          --document    files or folders to read, text or code; default: the Book of Esther
          --question    a question; give it several times for several questions. Without one, questions are read line by line
          --model       a model folder or a GGUF file; default: the demo model
          --max-tokens  tokens of an answer at most; default: 256
          --verbose     also say which libtorch is in use, and the memory plan
        """;

    private const string DefaultQuestion = "Quote the passage that begins with \"And Mordecai went out\".";

    /// <summary>Reads the command line; null if help is wanted.</summary>
    /// <exception cref="ArgumentException">It cannot be understood.</exception>
    public static Arguments? Parse(string[] args)
    {
        List<string> documents = [], questions = [];
        var (model, maxTokens, verbose) = (Beside("models/headinfer-demo"), 256, false);
        for (var i = 0; i < args.Length; i++)
        {
            string Value() => i + 1 < args.Length ? args[++i] : throw new ArgumentException($"{args[i]} needs a value.");
            switch (args[i])
            {
                case "--document":
                    documents.Add(Value());
                    while (i + 1 < args.Length && !args[i + 1].StartsWith("--", StringComparison.Ordinal))
                    {
                        documents.Add(args[++i]);
                    }

                    break;
                case "--question":
                    questions.Add(Value());
                    break;
                case "--model":
                    model = Value();
                    break;
                case "--max-tokens":
                    maxTokens = int.TryParse(Value(), CultureInfo.InvariantCulture, out var number) && number > 0 ? number : throw new ArgumentException($"--max-tokens must be a whole number above 0, not '{args[i]}'.");
                    break;
                case "--verbose":
                    verbose = true;
                    break;
                case "--help" or "-h":
                    return null;
                default:
                    throw new ArgumentException($"'{args[i]}' is not understood. Try --help.");
            }
        }

        // Nothing asked for at all: show what it does, then let a person at a terminal go on.
        var interactive = questions.Count == 0 && (documents.Count > 0 || !Console.IsInputRedirected);
        if (documents.Count == 0)
        {
            documents.Add(Beside("documents/esther.txt"));
            if (questions.Count == 0)
            {
                questions.Add(DefaultQuestion);
            }
        }

        return new Arguments(documents, questions, model, maxTokens, interactive, verbose);
    }

    private static string Beside(string path) => Path.Combine(AppContext.BaseDirectory, path);
}
