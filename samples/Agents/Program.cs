using System.ComponentModel.DataAnnotations;
using HeadInfer.Runtime;
using HeadInfer.SemanticKernel;
using Microsoft.Agents.AI;
using Microsoft.Agents.AI.Workflows;
using Microsoft.Extensions.AI;

// Two agents over one document. The clerk takes a question and hands it to the reader, who answers. Both have the document
// at the beginning of their instructions, so it is read once. Questions may be given as arguments.
var folder = AppContext.BaseDirectory;
await using var model = await HeadInferModel.LoadAsync(Path.Combine(folder, "models", "headinfer-demo"));
using var client = new HeadInferChatClient(model);
var document = string.Join("\n\n", Directory.GetFiles(Path.Combine(folder, "documents")).Order(StringComparer.Ordinal).Select(File.ReadAllText));

// The clerk has to call a function, and has none but the one that hands over.
var clerk = new ChatClientAgent(client, new ChatClientAgentOptions
{
    Name = "clerk",
    ChatOptions = new ChatOptions { Instructions = document, ToolMode = ChatToolMode.RequireAny },
});
var reader = new ChatClientAgent(client, new ChatClientAgentOptions
{
    Name = "reader",
    Description = "Answers from the document",
    ChatOptions = new ChatOptions { Instructions = $"{document}\n\nAnswer from the document." },
});
var workflow = AgentWorkflowBuilder.CreateHandoffBuilderWith(clerk).WithHandoff(clerk, reader).EmitAgentResponseEvents(true).Build();

foreach (var question in args.Length > 0 ? args : ["Quote the passage that begins with \"And Mordecai went out\"."])
{
    Console.WriteLine($"> {question}");
    await using var run = await InProcessExecution.RunStreamingAsync(workflow, new List<ChatMessage> { new(ChatRole.User, question) });
    await run.TrySendMessageAsync(new TurnToken(emitEvents: false));
    await foreach (var happened in run.WatchStreamAsync())
    {
        if (happened is AgentResponseEvent { Response: var response })
        {
            var calls = response.Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>().Select(c => c.Name);
            Tell(response.Messages[0].AuthorName, response.Text + string.Join(", ", calls), response.Usage);
        }
        else if (happened is ExecutorFailedEvent { Data: { } error })
        {
            throw error;
        }
    }
}

// The reader alone, in a session. Its answer has a type.
var session = await reader.CreateSessionAsync();
var found = await reader.RunAsync<Finding>("What is the access code for the old harbor?", session);
Tell("reader", found.Result.Text, found.Usage);

static void Tell(string? who, string what, UsageDetails? usage) =>
    Console.WriteLine($"{who}: {what}\n  ({usage?.InputTokenCount} tokens, of which {usage?.CachedInputTokenCount} were known)");

/// <param name="Text">The sentence of the document that tells the code.</param>
internal sealed record Finding([property: RegularExpression(@"^The access code for the (old harbor|silver tower|north gate) is [a-z0-9-]+\.$")] string Text);
