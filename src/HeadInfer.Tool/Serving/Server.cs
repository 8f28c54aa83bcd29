using System.Net;
using HeadInfer.Tool.Commands;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Serving;

/// <summary>The server's routes, and who may use them.</summary>
internal static class Server
{
    /// <exception cref="ArgumentException">The server would be open to everybody, or cannot listen where it should.</exception>
    public static WebApplication Build(ServeFlags flags)
    {
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        if (builder.Configuration.GetSection("Kestrel:Endpoints").GetChildren().Any())
        {
            throw new ArgumentException("Kestrel:Endpoints names addresses beside --urls. Name them there, where it is seen who may come in.");
        }

        var addresses = Addresses.Of(flags.Urls ?? builder.Configuration["urls"] ?? "http://127.0.0.1:8080");
        if (flags.Keys.Count == 0 && addresses.FirstOrDefault(a => !Addresses.IsLoopback(a)) is { } open)
        {
            throw new ArgumentException($"--urls has '{open}', which lets other machines in. Give --api-key, or stay on http://127.0.0.1.");
        }

        builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning); // not four lines a request
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None); // why it does not start is said once, without a stack
        builder.WebHost.UseUrls([.. addresses.Select(a => a.ToString())]);
        builder.WebHost.ConfigureKestrel(k => k.Limits.MaxRequestBodySize = flags.MaxRequestBytes);
        builder.Services.AddHeadInferChatClient(flags.Model, configure: flags.Configure);
        builder.Services.AddSingleton(services => new Completions(services.GetRequiredService<IChatClient>(), new Patience(flags.KeepAlive, flags.WriteTimeout, flags.Deadline), services.GetRequiredService<ILogger<Completions>>()));
        var app = builder.Build();
        var client = app.Services.GetRequiredService<IChatClient>(); // so that a model that does not load is known now
        var model = new ModelBody(client.GetService<ChatClientMetadata>()?.DefaultModelId ?? "", "model", DateTimeOffset.UtcNow.ToUnixTimeSeconds(), "headinfer");
        string[]? hosts = addresses.All(Addresses.IsLoopback) ? ["localhost", "127.0.0.1", "[::1]", .. addresses.Select(a => a.Host)] : null;
        var callers = new Callers(flags.Keys);
        app.UseStatusCodePages(pages => Unserved(pages.HttpContext).SendAsync(pages.HttpContext));
        app.Use((context, next) =>
            hosts is not null && !hosts.Contains(context.Request.Host.Host, StringComparer.OrdinalIgnoreCase) ? Refusal.Of(HttpStatusCode.BadRequest, "The Host of the request is none of this machine's own names.").SendAsync(context)
            : callers.Admit(context) ? next(context)
            : Refusal.Of(HttpStatusCode.Unauthorized, "The API key is missing or wrong: send it as a bearer token.", "invalid_api_key").SendAsync(context));
        app.MapGet("/v1/models", () => Results.Json(new Models("list", [model]), Wire.Json));
        app.MapGet("/v1/models/{**id}", (string id) => id == model.Id ? Results.Json(model, Wire.Json) : Results.NotFound());
        app.MapPost("/v1/chat/completions", (HttpContext context, Completions completions) => completions.AnswerAsync(context));
        return app;
    }

    private static Refusal Unserved(HttpContext context) => Refusal.Of(
        (HttpStatusCode)context.Response.StatusCode,
        context.Response.StatusCode == StatusCodes.Status404NotFound || context.Response.StatusCode == StatusCodes.Status405MethodNotAllowed
            ? "There is no such thing here; there are POST /v1/chat/completions, GET /v1/models, and the models by their names."
            : "The request cannot be served.");
}
