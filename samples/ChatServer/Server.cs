using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using HeadInfer.Runtime;
using Microsoft.Extensions.AI;

namespace ChatServer;

/// <summary>The server's routes, and who may use them.</summary>
internal static class Server
{
    /// <exception cref="ArgumentException">A flag is not understood, or the server would be open to everybody.</exception>
    public static WebApplication Build(params string[] args) => Build(Flags.Parse(args) ?? throw new ArgumentException(Flags.Usage));

    /// <exception cref="ArgumentException">The server would be open to everybody, or cannot listen where it should.</exception>
    public static WebApplication Build(Flags flags)
    {
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        if (builder.Configuration.GetSection("Kestrel:Endpoints").GetChildren().Any())
        {
            throw new ArgumentException("Kestrel:Endpoints names addresses beside --urls. Name them there, where it is seen who may come in.");
        }

        var addresses = Addresses.Of(flags.Urls ?? builder.Configuration["urls"] ?? "http://127.0.0.1:8080");
        if (flags.Key is null && addresses.FirstOrDefault(a => !Addresses.IsLoopback(a)) is { } open)
        {
            throw new ArgumentException($"--urls has '{open}', which lets other machines in. Give --api-key, or stay on http://127.0.0.1.");
        }

        builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning); // not four lines a request
        builder.WebHost.UseUrls([.. addresses.Select(a => a.ToString())]);
        builder.WebHost.ConfigureKestrel(k => k.Limits.MaxRequestBodySize = flags.MaxRequestBytes);
        builder.Services.AddHeadInferChatClient(flags.Model, configure: flags.Configure);
        var app = builder.Build();
        app.Services.GetRequiredService<IChatClient>(); // so that a model that does not load is known now
        string[]? hosts = addresses.All(Addresses.IsLoopback) ? ["localhost", "127.0.0.1", "[::1]", .. addresses.Select(a => a.Host)] : null;
        app.Use((context, next) =>
            hosts is not null && !hosts.Contains(context.Request.Host.Host, StringComparer.OrdinalIgnoreCase) ? FailAsync(context, HttpStatusCode.BadRequest, "The Host of the request is none of this machine's own names.")
            : Authorized(context, flags.Key) ? next(context)
            : FailAsync(context, HttpStatusCode.Unauthorized, "The API key is missing or wrong: send it as a bearer token.", "invalid_api_key"));
        app.MapGet("/v1/models", (IChatClient client) => Results.Json(new { Object = "list", Data = new[] { new { Id = ModelId(client), Object = "model", OwnedBy = "headinfer" } } }, Wire.Json));
        app.MapPost("/v1/chat/completions", CompleteAsync);
        return app;
    }

    private static string ModelId(IChatClient client) => client.GetService<ChatClientMetadata>()?.DefaultModelId ?? "";

    private static async Task CompleteAsync(HttpContext context, IChatClient client)
    {
        var started = false;
        try
        {
            if (!context.Request.HasJsonContentType())
            {
                await FailAsync(context, HttpStatusCode.UnsupportedMediaType, "The request must be application/json.");
                return;
            }

            var body = await context.Request.ReadFromJsonAsync<ChatRequestBody>(Wire.Json, context.RequestAborted) ?? throw new ArgumentException("The request is empty.");
            var (messages, options) = Requests.Read(body);
            if (body.Stream != true)
            {
                await context.Response.WriteAsJsonAsync(Answers.Whole(await client.GetResponseAsync(messages, options, context.RequestAborted)), Wire.Json, context.RequestAborted);
                return;
            }

            var calls = 0;
            await foreach (var update in client.GetStreamingResponseAsync(messages, options, context.RequestAborted))
            {
                if (!started)
                {
                    (started, context.Response.ContentType) = (true, "text/event-stream");
                    context.Response.Headers.CacheControl = "no-cache";
                }

                foreach (var chunk in Answers.Chunks(update, calls, body.StreamOptions?.IncludeUsage == true))
                {
                    await SendAsync(context, JsonSerializer.Serialize(chunk, Wire.Json));
                }

                calls += update.Contents.OfType<FunctionCallContent>().Count();
            }

            await SendAsync(context, "[DONE]");
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // The caller has gone, and nobody else waits for the answer.
        }
        catch (Exception e) when (!started)
        {
            await FailAsync(context, e);
        }
        catch (Exception e)
        {
            await SendAsync(context, JsonSerializer.Serialize(new Failure(new FailureBody(e is HeadInferException ? e.Message : "The server failed.", "server_error", null)), Wire.Json));
        }
    }

    private static async Task SendAsync(HttpContext context, string data)
    {
        await context.Response.WriteAsync($"data: {data}\n\n", context.RequestAborted);
        await context.Response.Body.FlushAsync(context.RequestAborted);
    }

    // What the caller can act on is told; what went wrong inside is not the caller's.
    private static Task FailAsync(HttpContext context, Exception error) => error switch
    {
        ContextLengthException or MemoryBudgetException => FailAsync(context, HttpStatusCode.BadRequest, error.Message, "context_length_exceeded"),
        BadHttpRequestException { StatusCode: 413 } => FailAsync(context, HttpStatusCode.RequestEntityTooLarge, "The request is larger than --max-request-bytes allows."),
        JsonException or BadHttpRequestException => FailAsync(context, HttpStatusCode.BadRequest, "The request is not the JSON of a chat completion: " + error.Message),
        ArgumentException or NotSupportedException or ChatTemplateException => FailAsync(context, HttpStatusCode.BadRequest, error.Message),
        _ => FailAsync(context, HttpStatusCode.InternalServerError, error is HeadInferException ? error.Message : "The server failed."),
    };

    private static Task FailAsync(HttpContext context, HttpStatusCode status, string message, string? code = null)
    {
        context.Response.StatusCode = (int)status;
        return context.Response.WriteAsJsonAsync(new Failure(new FailureBody(message, status >= HttpStatusCode.InternalServerError ? "server_error" : "invalid_request_error", code)), Wire.Json);
    }

    // Hashes have one length, and are compared in one time: neither tells anything of the key.
    private static bool Authorized(HttpContext context, string? key)
    {
        if (string.IsNullOrEmpty(key))
        {
            return true;
        }

        const string scheme = "Bearer ";
        var header = context.Request.Headers.Authorization.ToString();
        var given = header.StartsWith(scheme, StringComparison.OrdinalIgnoreCase) ? header[scheme.Length..] : "";
        return CryptographicOperations.FixedTimeEquals(SHA256.HashData(Encoding.UTF8.GetBytes(given)), SHA256.HashData(Encoding.UTF8.GetBytes(key)));
    }
}
