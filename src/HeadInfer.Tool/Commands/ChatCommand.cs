using System.CommandLine;
using HeadInfer.SemanticKernel;
using HeadInfer.Tool.Asking;

namespace HeadInfer.Tool.Commands;

/// <summary>A conversation at a terminal, or line by line from standard input.</summary>
internal static class ChatCommand
{
    private const string Clear = "/clear", Exit = "/exit";

    private static readonly Flag<Chat>[] Own =
    [
        new("--system", "TEXT", "what the model is told before the conversation", (flags, text) => flags.Options.Instructions = text),
        new("--max-tokens", "N", "tokens of an answer at most; default: as many as fit", (flags, text) => flags.Options.MaxOutputTokens = Values.Above0(text)),
        new("--temperature", "NUMBER", "0 is greedy; default: the model's own", (flags, text) => flags.Options.Temperature = (float)Values.Number(text, 0, 100)),
        new("--top-p", "NUMBER", "share of the likely tokens that are drawn from; default: the model's own", (flags, text) => flags.Options.TopP = (float)Values.Number(text, 0.001, 1)),
        new("--seed", "N", "makes a drawn answer the same again", (flags, text) => flags.Options.Seed = Values.Whole(text)),
        .. ModelFlags.For<Chat>(ModelFlags.ChatTemplate),
    ];

    public static Command Create()
    {
        var model = new Argument<string>("MODEL") { Description = ModelPlace.Meaning };
        var (json, thoughts) = (Outputs.JsonOption(), Outputs.ThoughtsOption());
        var command = new Command("chat", $"Talks with a model. Lines of standard input are messages; {Clear} begins anew, and {Exit} ends.") { model, json, thoughts };
        var flags = new FlagSet<Chat>(command, Own);
        command.SetAction((result, cancellationToken) => RunAsync(ModelPlace.Find(result.GetValue(model)!), flags.Read(result), result.GetValue(json), result.GetValue(thoughts), cancellationToken));
        return command;
    }

    private static async Task<int> RunAsync(string path, Chat chat, bool json, bool showThoughts, CancellationToken cancellationToken)
    {
        var screen = new Screen();
        await using var model = await HeadInferModel.LoadAsync(path, chat.ModelOptions(), cancellationToken: cancellationToken);
        using var client = new HeadInferChatClient(model);
        screen.Note(string.Create(CultureInfo.InvariantCulture, $"{model.Name} on {model.Device}, up to {model.Plan.LongestContext:N0} tokens. {Clear} begins anew, {Exit} ends."));
        var messages = new List<ChatMessage>();
        var writer = new AnswerWriter(client, screen, showThoughts);
        while (screen.Ask()?.Trim() is { } line && line != Exit)
        {
            if (line == Clear)
            {
                messages.Clear();
            }
            else if (line.Length > 0)
            {
                messages.Add(new ChatMessage(ChatRole.User, line));
                if (!await screen.TryAsync(async () => messages.AddRange(await AnswerAsync(line))))
                {
                    messages.RemoveAt(messages.Count - 1);
                }
            }
        }

        return Exits.Done;

        async Task<IList<ChatMessage>> AnswerAsync(string line)
        {
            var (reply, answer) = await writer.AnswerAsync(line, messages, chat.Options, json ? null : Console.Out, cancellationToken);
            if (json)
            {
                Console.WriteLine(JsonSerializer.Serialize(reply, Outputs.Json));
            }

            return answer;
        }
    }

    /// <summary>How is talked.</summary>
    private sealed class Chat : ModelFlags
    {
        public new ChatOptions Options { get; } = new();

        public HeadInferOptions ModelOptions() => base.Options();
    }
}
