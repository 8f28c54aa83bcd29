using System.Text;
using HeadInfer.Runtime;
using HeadInfer.SemanticKernel;
using Microsoft.Agents.AI;
using Microsoft.Extensions.AI;

// An agent over a local model. Arguments are questions; without any they are read line by line.
if (OperatingSystem.IsWindows())
{
    try
    {
        Console.OutputEncoding = new UTF8Encoding(false); // its own code page lacks letters
        Console.InputEncoding = Console.IsInputRedirected ? new UTF8Encoding(false) : Encoding.Unicode;
    }
    catch (IOException)
    {
        // there is no console
    }
}

await using var model = await HeadInferModel.LoadAsync(@"path/to/a/model");
using var client = new HeadInferChatClient(model);
var weather = AIFunctionFactory.Create((string city) => $"It is 17 degrees in {city}.", "get_weather", "Gets the weather of a city");
var agent = new ChatClientAgent(client, tools: [weather]);
var session = await agent.CreateSessionAsync();
foreach (var question in args.Length > 0 ? args : Questions())
{
    await foreach (var update in agent.RunStreamingAsync(question, session))
    {
        Console.Write(update.Text);
    }

    Console.WriteLine();
}

static IEnumerable<string> Questions()
{
    for (Console.Error.Write("> "); Console.ReadLine() is { Length: > 0 } line; Console.Error.Write("> "))
    {
        yield return line;
    }
}
