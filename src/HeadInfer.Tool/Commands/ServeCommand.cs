using System.CommandLine;
using System.Security.Cryptography;
using HeadInfer.Tool.Serving;

namespace HeadInfer.Tool.Commands;

/// <summary>Serves a model over HTTP, in the formats of OpenAI and of Ollama.</summary>
internal static class ServeCommand
{
    public const string Name = "serve";

    public static Command Create() => Make().Command;

    /// <summary>Reads what would follow <c>headinfer serve</c>.</summary>
    /// <exception cref="ArgumentException">It cannot be understood; the message names the flag.</exception>
    public static ServeFlags Read(params string[] args)
    {
        var (command, read) = Make();
        var result = command.Parse(args);
        return result.Errors.Count == 0 ? read(result) : throw new ArgumentException(CommandLine.Mistakes(result));
    }

    private static (Command Command, Func<ParseResult, ServeFlags> Read) Make()
    {
        var model = new Argument<string>("MODEL") { Description = ModelPlace.Meaning };
        var command = new Command(Name, "Serves a model over HTTP: OpenAI's chat completions, completions and responses, and Ollama's chat and generate.") { model };
        var set = new FlagSet<ServeFlags>(command, ServeFlags.All);
        ServeFlags Flags(ParseResult result)
        {
            var flags = set.Read(result);
            flags.Model = result.GetValue(model)!;
            return flags;
        }

        command.SetAction(async (result, cancellationToken) =>
        {
            var flags = Flags(result);
            flags.Model = ModelPlace.Find(flags.Model);
            await using var app = Server.Build(flags);
            try
            {
                await app.StartAsync(cancellationToken);
            }
            catch (Exception e) when (e is CryptographicException or InvalidOperationException && app.Urls.Any(u => u.StartsWith("https", StringComparison.OrdinalIgnoreCase)))
            {
                throw new ArgumentException($"The certificate that the variables Kestrel__Certificates__Default__... name cannot be used: {e.Message}", e);
            }

            using var signals = new StopSignals(app.Services.GetRequiredService<Stopping>(), flags.StopTimeout);
            await signals.StopAsync(app);
            return signals.WasInterrupted ? Exits.Cancelled : Exits.Done;
        });
        return (command, Flags);
    }
}
