using System.ComponentModel;
using HeadInfer.SemanticKernel;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;

// A kernel whose model calls the functions of two plugins, answering as a stream. Questions may be given as arguments.
var builder = Kernel.CreateBuilder().AddHeadInferChatCompletion(Path.Combine(AppContext.BaseDirectory, "models", "headinfer-demo"));
builder.Plugins.AddFromType<Weather>("weather");
builder.Plugins.AddFromType<Stock>("stock");
var kernel = builder.Build();
using var services = (IDisposable)kernel.Services; // frees the model at the end: a kernel cannot be disposed

var chat = kernel.GetRequiredService<IChatCompletionService>();
var settings = new HeadInferPromptExecutionSettings { FunctionChoiceBehavior = FunctionChoiceBehavior.Auto() };
foreach (var question in args.Length > 0 ? args : ["What is the weather in Oslo?"])
{
    Console.WriteLine($"> {question}");
    await foreach (var part in chat.GetStreamingChatMessageContentsAsync(new ChatHistory(question, AuthorRole.User), settings, kernel))
    {
        Console.Write(part.Content);
    }

    Console.WriteLine();
}

internal sealed class Weather
{
    [KernelFunction("get_weather"), Description("Gets the weather of a city")]
    public static string Get([Description("Name of the city")] string city)
    {
        Console.WriteLine($"  (get_weather {city})");
        return $"It is 17 degrees and sunny in {city}.";
    }
}

internal sealed class Stock
{
    [KernelFunction("count_items"), Description("Counts the items of a product in the warehouse")]
    public static int Count([Description("Name of the product")] string product)
    {
        Console.WriteLine($"  (count_items {product})");
        return product.Length * 7;
    }
}
