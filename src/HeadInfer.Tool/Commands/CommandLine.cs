using System.CommandLine;
using System.CommandLine.Invocation;

namespace HeadInfer.Tool.Commands;

/// <summary>The tool's command line.</summary>
internal static class CommandLine
{
    // A question may begin with an @, which would else name a file of arguments.
    private static readonly ParserConfiguration Plain = new() { ResponseFileTokenReplacer = null };

    public static ParseResult Parse(IReadOnlyList<string> args) => new RootCommand("Local models that read whole books and codebases, exactly.")
    {
        PlanCommand.Create(), AskCommand.Create(), ChatCommand.Create(), ServeCommand.Create(), BenchCommand.Create(), CompletionCommand.Create(),
    }.Parse(args, Plain);

    /// <returns>one of <see cref="Exits"/></returns>
    public static Task<int> RunAsync(IReadOnlyList<string> args)
    {
        var result = Parse(args);
        if (result.Action is not ParseErrorAction)
        {
            // A server ends by itself, when its answers have.
            var isServer = result.CommandResult.Command.Name == ServeCommand.Name;
            return result.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = isServer ? null : TimeSpan.FromSeconds(2) });
        }

        Console.Error.WriteLine($"error: {Mistakes(result)}");
        Console.Error.WriteLine($"Try: {string.Join(' ', result.CommandResult.Path())} --help");
        return Task.FromResult(Exits.Misused);
    }

    /// <summary>What is wrong with a command line, in one line.</summary>
    public static string Mistakes(ParseResult result) => string.Join(" ", result.Errors.Select(e => e.Message).Distinct());

    private static IEnumerable<string> Path(this System.CommandLine.Parsing.CommandResult command) =>
        (command.Parent is System.CommandLine.Parsing.CommandResult parent ? parent.Path() : []).Append(command.Command is RootCommand ? "headinfer" : command.Command.Name);
}
