using System.ClientModel;
using System.ClientModel.Primitives;
using System.Net;
using System.Text;
using System.Text.Json;
using HeadInfer.Tool.Commands;
using HeadInfer.Tool.Serving;
using Microsoft.AspNetCore.Builder;
using OpenAI;
using OpenAI.Chat;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>A server on the loopback, and ways to talk to it.</summary>
public sealed class RunningServer : IAsyncDisposable
{
    public const string Key = "a secret";

    private const string Chat = "/v1/chat/completions";

    /// <summary>The demo model's folder.</summary>
    public static string Model { get; } = Path.Combine(Tool.Root, "models", "headinfer-demo");

    private readonly WebApplication _app;

    private RunningServer(WebApplication app)
    {
        _app = app;
        Address = new Uri(app.Urls.First());
        Http = new HttpClient(new SocketsHttpHandler { Expect100ContinueTimeout = TimeSpan.FromMinutes(1) }) { BaseAddress = Address };
        Http.DefaultRequestHeaders.Add("Authorization", "Bearer " + Key);
    }

    public Uri Address { get; }

    public HttpClient Http { get; }

    public static Task<RunningServer> StartAsync(params string[] flags) => StartAsync(Model, flags);

    public static async Task<RunningServer> StartAsync(string model, string[] flags) => await StartAsync(Server.Build(ServeCommand.Read([model, "--urls", "http://127.0.0.1:0", "--api-key", Key, .. flags])));

    internal static async Task<RunningServer> StartAsync(WebApplication app)
    {
        await app.StartAsync();
        return new RunningServer(app);
    }

    public static StringContent Json(string body) => new(body, Encoding.UTF8, "application/json");

    public Task<HttpResponseMessage> PostAsync(HttpContent content, string path = Chat, CancellationToken cancellationToken = default) =>
        Http.SendAsync(new HttpRequestMessage(HttpMethod.Post, path) { Content = content }, HttpCompletionOption.ResponseHeadersRead, cancellationToken);

    public async Task<(HttpStatusCode Status, JsonElement Body)> AskAsync(HttpContent content, string path = Chat)
    {
        using var response = await PostAsync(content, path: path);
        return (response.StatusCode, JsonElement.Parse(await response.Content.ReadAsByteArrayAsync()));
    }

    public Task<(HttpStatusCode Status, JsonElement Body)> AskAsync(string body, string path = Chat) => AskAsync(Json(body), path);

    /// <summary>What a stream sends, its lines without the empty ones.</summary>
    public async IAsyncEnumerable<string> LinesAsync(string body, string path = Chat)
    {
        using var response = await PostAsync(Json(body), path: path);
        Assert.Equal((HttpStatusCode.OK, "text/event-stream"), (response.StatusCode, response.Content.Headers.ContentType?.MediaType));
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
        while (await reader.ReadLineAsync() is { } line)
        {
            if (line.Length > 0)
            {
                yield return line;
            }
        }
    }

    public ChatClient Client(string key = Key) => new("headinfer-demo", new ApiKeyCredential(key), new OpenAIClientOptions { Endpoint = new Uri(Address, "/v1"), RetryPolicy = new ClientRetryPolicy(0) });

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await _app.DisposeAsync();
    }
}
