using System.CommandLine;
using HeadInfer.Tool.Asking;

namespace HeadInfer.Tool.Commands;

/// <summary>Reads documents once and answers questions about them.</summary>
internal static class AskCommand
{
    private const string Document = "--document", Question = "--question";

    private static readonly Flag<Asked>[] Own =
    [
        new(Document, "PATH", "a file or folder to read, text or code; may be given several times; - is standard input", (flags, text) => flags.Documents.Add(text)) { IsMany = true },
        new(Question, "TEXT", "a question; may be given several times; without one, questions are read line by line", (flags, text) => flags.Questions.Add(text)) { IsMany = true },
        new("--max-tokens", "N", "tokens of an answer at most; default: 1024", (flags, text) => flags.MaxTokens = Values.Above0(text)),
        .. ModelFlags.For<Asked>(ModelFlags.ChatTemplate),
    ];

    public static Command Create()
    {
        var model = new Argument<string>("MODEL") { Description = ModelPlace.Meaning };
        var (json, verbose) = (Outputs.JsonOption(), new Option<bool>("--verbose") { Description = "also say which libtorch is in use, and the memory plan" });
        var thoughts = Outputs.ThoughtsOption();
        var command = new Command("ask", "Reads documents once and answers questions about them.") { model, json, verbose, thoughts };
        var flags = new FlagSet<Asked>(command, Own);
        command.Validators.Add(result =>
        {
            if (flags.Given(result, Document).Count == 0)
            {
                result.AddError($"{Document} is missing: name a file or a folder, or - for standard input. To talk without a document, use chat.");
            }
            else if (flags.Given(result, Document).Contains("-") && flags.Given(result, Question).Count == 0)
            {
                result.AddError($"{Question} is missing: {Document} - reads standard input, so questions cannot come from there.");
            }
        });
        command.SetAction((result, cancellationToken) => RunAsync(ModelPlace.Find(result.GetValue(model)!), flags.Read(result), result.GetValue(json), result.GetValue(verbose), result.GetValue(thoughts), cancellationToken));
        return command;
    }

    private static async Task<int> RunAsync(string path, Asked asked, bool json, bool verbose, bool showThoughts, CancellationToken cancellationToken)
    {
        var screen = new Screen();
        var texts = asked.Documents.Select(d => d == "-" ? Console.In.ReadToEnd().Trim() : DocumentReader.Read([d], screen.Note)).ToList();
        await using var model = await HeadInferModel.LoadAsync(path, asked.Options(), cancellationToken: cancellationToken);
        if (verbose)
        {
            screen.Note(HeadInferModel.NativeLibraries);
            screen.Note(model.Plan.ToString());
        }

        using var reader = new Reader(model, string.Join("\n\n", texts), asked.MaxTokens, screen, showThoughts);
        await reader.ReadAsync(cancellationToken);
        foreach (var question in asked.Questions)
        {
            await AnswerAsync(question, isTyped: false);
        }

        while (asked.Questions.Count == 0 && screen.Ask() is { } question)
        {
            if (question.Trim().Length > 0)
            {
                await screen.TryAsync(() => AnswerAsync(question.Trim(), isTyped: true));
            }
        }

        screen.Note(reader.Figures());
        return Exits.Done;

        async Task AnswerAsync(string question, bool isTyped)
        {
            if (!isTyped && !json)
            {
                screen.Question(question);
            }

            var answer = await reader.AnswerAsync(question, json ? null : Console.Out, cancellationToken);
            if (json)
            {
                Console.WriteLine(JsonSerializer.Serialize(answer, Outputs.Json));
            }
        }
    }

    private sealed class Asked : ModelFlags
    {
        public List<string> Documents { get; } = [];

        public List<string> Questions { get; } = [];

        public int MaxTokens { get; set; } = 1024;
    }
}
