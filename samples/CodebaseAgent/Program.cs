using System.Text;
using CodebaseAgent;
using HeadInfer;
using HeadInfer.SemanticKernel;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;

// An agent that has a whole folder in its context, and tools that list and read its files as they are now.
const string Usage = "CodebaseAgent [--folder DIR] [--model PATH] [QUESTION...]";
if (OperatingSystem.IsWindows())
{
    Console.OutputEncoding = new UTF8Encoding(false); // its own code page lacks letters
}

var options = new Dictionary<string, string> { ["--folder"] = Path.Combine(AppContext.BaseDirectory, "code"), ["--model"] = Path.Combine(AppContext.BaseDirectory, "models", "headinfer-demo") };
var questions = new List<string>();
for (var i = 0; i < args.Length; i++)
{
    if (options.ContainsKey(args[i]) && i + 1 < args.Length)
    {
        options[args[i]] = args[++i];
    }
    else if (args[i].StartsWith("--", StringComparison.Ordinal))
    {
        Console.Error.WriteLine($"Usage: {Usage}");
        return 1;
    }
    else
    {
        questions.Add(args[i]);
    }
}

try
{
    var folder = new Folder(options["--folder"]);
    var builder = Kernel.CreateBuilder().AddHeadInferChatCompletion(options["--model"]);
    builder.Plugins.AddFromObject(folder, "folder");
    var kernel = builder.Build();
    using var services = (IDisposable)kernel.Services; // frees the model at the end: a kernel cannot be disposed
    kernel.FunctionInvocationFilters.Add(new Announcer());
    var chat = kernel.GetRequiredService<IChatCompletionService>();

    async Task AskAsync(ChatHistory history, string question, FunctionChoiceBehavior functions)
    {
        Console.WriteLine($"> {question}");
        history.AddUserMessage(question);
        await foreach (var part in chat.GetStreamingChatMessageContentsAsync(history, new HeadInferPromptExecutionSettings { FunctionChoiceBehavior = functions }, kernel))
        {
            Console.Write(part.Content);
        }

        Console.WriteLine();
    }

    // First it looks what there is, which it must do by calling the function.
    await AskAsync([], "Please list the files.", FunctionChoiceBehavior.Required([kernel.Plugins["folder"]["list_files"]]));

    // Then each question begins with the same code, which is read once.
    var code = folder.ReadAll();
    foreach (var question in questions.Count > 0 ? questions : ["Read the file Folder.cs.", "Quote the line that begins with \"internal sealed class Folder\"."])
    {
        await AskAsync(new ChatHistory(code), question, FunctionChoiceBehavior.Auto());
    }

    return 0;
}
catch (ContextLengthException e)
{
    Console.Error.WriteLine($"The code is too long: {e.Message} Or name a smaller folder with --folder, or a model that reads longer texts with --model.");
    return 1;
}
catch (Exception e) when (e is HeadInferException or IOException or UnauthorizedAccessException)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}

/// <summary>Shows the calls as they are made.</summary>
internal sealed class Announcer : IFunctionInvocationFilter
{
    public async Task OnFunctionInvocationAsync(FunctionInvocationContext context, Func<FunctionInvocationContext, Task> next)
    {
        Console.WriteLine($"  ({context.Function.Name} {string.Join(", ", context.Arguments.Select(a => a.Value))})");
        await next(context);
    }
}
