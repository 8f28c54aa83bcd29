using System.Text.RegularExpressions;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Caching.Distributed;
using Microsoft.Extensions.Caching.Memory;
using Microsoft.Extensions.Options;

namespace HeadInfer.SemanticKernel.Tests.Suite;

/// <summary>
/// The cases of dotnet/extensions' integration suite of chat clients that a text model can take, in our own words:
/// docs/chat-client-suite.md has the table. Questions are such as the demo model answers, which knows only its context.
/// </summary>
public abstract partial class ChatClientSuite
{
    private const string Harbor = "The access code for the old harbor is amber-4821.", Tower = "The access code for the silver tower is 7305926.";
    private const string AskHarbor = "What is the access code for the old harbor?", AskTower = "What is the access code for the silver tower?";

    /// <summary>The client of a case, which the suite disposes.</summary>
    /// <param name="script">what a scripted engine answers, one answer after another; <c>$result</c> stands for the last result of a function</param>
    protected abstract IChatClient Client(params string[] script);

    /// <summary>Skips a case where a model answers by itself, and a small one does not get it right.</summary>
    protected abstract void TooHardForTheDemoModel(string why);

    private static string Call(string name, string arguments) => $"<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>";

    private static MemoryDistributedCache Cache() => new(Options.Create(new MemoryDistributedCacheOptions()));

    private static async Task<string> TextAsync(IChatClient client, string message, ChatOptions? options, bool streaming) => streaming
        ? string.Concat(await client.GetStreamingResponseAsync(message, options).Select(u => u.Text).ToListAsync())
        : (await client.GetResponseAsync(message, options)).Text;

    /// <summary>Counts the requests that reach a client.</summary>
    private sealed class Counting(IChatClient inner) : DelegatingChatClient(inner)
    {
        public int Requests { get; private set; }

        public List<(IReadOnlyList<ChatMessage> Messages, ChatOptions? Options)> All { get; } = [];

        public override Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
        {
            All.Add(([.. messages], options));
            Requests++;
            return base.GetResponseAsync(messages, options, cancellationToken);
        }

        public override IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
        {
            All.Add(([.. messages], options));
            Requests++;
            return base.GetStreamingResponseAsync(messages, options, cancellationToken);
        }
    }
}

/// <summary>The suite over answers that the test gives: what is around the model, without one.</summary>
public sealed class ScriptedSuite(DemoModel demo) : ChatClientSuite, IClassFixture<DemoModel>, IDisposable
{
    private readonly List<(HeadInferChatClient Client, ScriptedEngine Engine, int Answers)> _clients = [];

    public void Dispose()
    {
        foreach (var (client, engine, answers) in _clients)
        {
            client.Dispose();
            Assert.True(TestContext.Current.TestState?.Result == TestResult.Failed || engine.Prompts.Count == answers, $"{engine.Prompts.Count} of {answers} answers were asked for.");
        }
    }

    [Fact]
    public void The_table_of_the_docs_names_every_case()
    {
        var table = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", "chat-client-suite.md"));
        var cases = typeof(ChatClientSuite).GetMethods().Where(m => m.DeclaringType == typeof(ChatClientSuite) && m.IsPublic).Select(m => m.Name).Order();
        Assert.Equal(cases, Regex.Matches(table, "`([A-Z][a-z]*_[a-z]\\w*)`").Select(m => m.Groups[1].Value).Distinct().Order());
    }

    protected override IChatClient Client(params string[] script)
    {
        var engine = new ScriptedEngine(demo.Model, script);
        _clients.Add((new HeadInferChatClient(engine), engine, script.Length));
        return _clients[^1].Client;
    }

    protected override void TooHardForTheDemoModel(string why)
    {
    }
}

/// <summary>The suite over the demo model, which reads and answers.</summary>
public sealed class DemoModelSuite(DemoModel demo) : ChatClientSuite, IClassFixture<DemoModel>, IDisposable
{
    private readonly List<IChatClient> _clients = [];

    public void Dispose() => _clients.ForEach(c => c.Dispose());

    protected override IChatClient Client(params string[] script)
    {
        _clients.Add(new HeadInferChatClient(demo.Model));
        return _clients[^1];
    }

    protected override void TooHardForTheDemoModel(string why) => Assert.Skip(why);
}
