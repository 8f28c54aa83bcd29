using HeadInfer.Tool.Serving;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>A chat client that answers as a test wants it to, behind the server's own handler.</summary>
internal sealed class ScriptedClient(Func<IReadOnlyList<ChatMessage>, ChatOptions, CancellationToken, IAsyncEnumerable<ChatResponseUpdate>> answer) : IChatClient
{
    /// <summary>Patience of a server that tells all the time that it is still there. A test that asks for something else may not have it: on a slow machine it would hear of waiting first.</summary>
    public static Patience Restless { get; } = new(TimeSpan.FromMilliseconds(5), TimeSpan.FromMinutes(1));

    public static async Task<RunningServer> ServeAsync(Func<IReadOnlyList<ChatMessage>, ChatOptions, CancellationToken, IAsyncEnumerable<ChatResponseUpdate>> answer, Patience? patience = null, Action<WebApplication>? map = null, string model = "scripted")
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var app = builder.Build();
        var client = new ScriptedClient(answer);
        var answering = new Answering(patience ?? new Patience(TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(1)), NullLogger<Answering>.Instance);
        app.Lifetime.ApplicationStopped.Register(answering.Dispose);
        Server.Map(app, new Served(model, model, DateTimeOffset.UnixEpoch, client, client, null), answering);
        map?.Invoke(app);
        return await RunningServer.StartAsync(app);
    }

    /// <summary>Serves answers of these updates, and keeps what is asked.</summary>
    public static Task<RunningServer> ServeAsync(List<(IReadOnlyList<ChatMessage> Messages, ChatOptions Options)> asked, params AIContent[] contents) => ServeAsync((messages, options, _) =>
    {
        asked.Add((messages, options));
        return Answer([.. contents]).ToAsyncEnumerable();
    });

    public static IEnumerable<ChatResponseUpdate> Answer(params AIContent[] contents)
    {
        foreach (var content in contents)
        {
            yield return Update(content);
        }

        var last = Update(new UsageContent(new UsageDetails { InputTokenCount = 3, OutputTokenCount = 2, TotalTokenCount = 5, CachedInputTokenCount = 1 }));
        last.FinishReason = contents.OfType<FunctionCallContent>().Any() ? ChatFinishReason.ToolCalls : ChatFinishReason.Stop;
        yield return last;
    }

    /// <summary>What a function said: some clients send it as JSON.</summary>
    public static string Text(FunctionResultContent result) => ((string)result.Result!).Trim('"');

    public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken);

    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        answer([.. messages], options!, cancellationToken);

    public object? GetService(Type serviceType, object? serviceKey = null) => null;

    public void Dispose()
    {
    }

    private static ChatResponseUpdate Update(AIContent content) => new(ChatRole.Assistant, [content]) { ResponseId = "r", MessageId = "r", ModelId = "scripted", CreatedAt = DateTimeOffset.UnixEpoch };
}
