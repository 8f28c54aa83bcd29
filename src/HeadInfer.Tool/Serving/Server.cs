using System.Net;
using HeadInfer.SemanticKernel;
using HeadInfer.Tool.Commands;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

namespace HeadInfer.Tool.Serving;

/// <summary>The server's routes, and who may use them.</summary>
internal static class Server
{
    /// <summary>What there is.</summary>
    public const string Routes = "there are POST /v1/chat/completions, /v1/completions and /v1/responses, GET /v1/models and the models by their names, Ollama's POST /api/chat, /api/generate and /api/show, GET /api/tags, /api/ps and /api/version, GET /health, /metrics and /api/headinfer/status";

    private static readonly TimeSpan CutOff = TimeSpan.FromSeconds(5); // beyond the time that answers have to end

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

        if (addresses.Any(a => a.Scheme == "https") && !builder.Configuration.GetSection("Kestrel:Certificates:Default").GetChildren().Any())
        {
            throw new ArgumentException("--urls asks for https, and there is no certificate. Name one in Kestrel's configuration, such as by the variables Kestrel__Certificates__Default__Path and Kestrel__Certificates__Default__KeyPath.");
        }

        builder.Logging.AddFilter("Microsoft.AspNetCore", LogLevel.Warning); // not four lines a request
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None); // why it does not start is said once, without a stack
        builder.WebHost.UseUrls([.. addresses.Select(a => a.ToString())]);
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.WebHost.ConfigureKestrel(k => (k.Limits.MaxRequestBodySize, k.AddServerHeader) = (flags.MaxRequestBytes, false));
        builder.Services.Configure<HostOptions>(o => o.ShutdownTimeout = flags.StopTimeout + CutOff);
        builder.Services.AddHeadInferChatClient(flags.Model, configure: flags.Configure);
        builder.Services.AddSingleton(new Stopping(flags.StopTimeout)).AddHostedService(services => services.GetRequiredService<Stopping>());
        builder.Services.AddSingleton(services => new Answering(new Patience(flags.KeepAlive, flags.WriteTimeout, flags.Deadline), services.GetRequiredService<ILogger<Answering>>()));
        builder.Services.AddOpenTelemetry().ConfigureResource(r => r.AddService("headinfer", serviceVersion: Ollama.Version)).WithMetrics(m => m.AddMeter(HeadInferTelemetry.Name, "Microsoft.AspNetCore.Hosting").AddPrometheusExporter());
        if (flags.Origins.Count > 0)
        {
            builder.Services.AddCors(o => o.AddDefaultPolicy(p => p.WithOrigins([.. flags.Origins]).AllowAnyHeader().AllowAnyMethod()));
        }

        var app = builder.Build();
        var served = Served.Of(app.Services, flags.Model); // so that a model that does not load is known now

        // A page whose name was made to lead here has a Host of its own, but no key. A proxy has its Host too.
        string[]? hosts = flags.Keys.Count == 0 ? ["localhost", "127.0.0.1", "[::1]", .. addresses.Select(a => a.Host)] : null;
        var (callers, stopping) = (new Callers(flags.Keys), app.Services.GetRequiredService<Stopping>());
        app.UseStatusCodePages(pages => Unserved(pages.HttpContext).SendAsync(pages.HttpContext));
        app.Use((context, next) => hosts is not null && !hosts.Contains(context.Request.Host.Host, StringComparer.OrdinalIgnoreCase)
            ? Refusal.Of(HttpStatusCode.BadRequest, $"The Host of the request is '{Fields.Short(context.Request.Host.Host)}', which is none of this machine's own names. Ask for {hosts[^1]}, or start the server with --api-key, which lets any Host in.").SendAsync(context)
            : next(context));
        if (flags.Origins.Count > 0)
        {
            app.UseCors(); // before keys: a browser asks without one whether it may ask
        }

        app.Use((context, next) => context.Request.Path == "/health" ? HealthAsync(context, stopping)
            : Page.IsPage(context.Request.Path) || callers.Admit(context) ? stopping.PassAsync(context, next)
            : Refusal.Of(HttpStatusCode.Unauthorized, "The API key is missing or wrong: send it as a bearer token.", "invalid_api_key").SendAsync(context));
        var answering = app.Services.GetRequiredService<Answering>();
        Map(app, served, answering);
        app.MapPrometheusScrapingEndpoint("/metrics");
        Status.Map(app, served, stopping, answering);
        Page.Map(app);
        return app;
    }

    /// <summary>The routes by which a model is asked.</summary>
    public static void Map(WebApplication app, Served served, Answering answering)
    {
        var model = new ModelBody(served.Id, "model", DateTimeOffset.UtcNow.ToUnixTimeSeconds(), "headinfer");
        var responses = new ResponseStore();
        app.MapGet("/v1/models", () => Results.Json(new Models("list", [model]), Wire.Json));
        app.MapGet("/v1/models/{**id}", (HttpContext context, string id) =>
        {
            var name = id.Replace("%2F", "/", StringComparison.OrdinalIgnoreCase); // all else is unescaped by now
            return name == model.Id ? context.Response.WriteAsJsonAsync(model, Wire.Json) : Refusal.Unknown(name, served).SendAsync(context);
        });
        app.MapPost("/v1/chat/completions", context => answering.AnswerAsync(context, served.Chat, Requests.Read));
        app.MapPost("/v1/completions", context => answering.AnswerAsync(context, served.Text, Requests.ReadText));
        app.MapPost("/v1/responses", context => answering.AnswerAsync(context, served.Chat, new ResponseRequests(responses, Callers.CacheKey(context) ?? "", served.Id).Read));
        Ollama.Map(app, served, answering);
    }

    private static Task HealthAsync(HttpContext context, Stopping stopping)
    {
        context.Response.StatusCode = stopping.IsStopping ? StatusCodes.Status503ServiceUnavailable : StatusCodes.Status200OK;
        return context.Response.WriteAsJsonAsync(new { status = stopping.IsStopping ? "stopping" : "ok" }, Wire.Json);
    }

    private static Refusal Unserved(HttpContext context) => Refusal.Of(
        (HttpStatusCode)context.Response.StatusCode,
        context.Response.StatusCode == StatusCodes.Status404NotFound || context.Response.StatusCode == StatusCodes.Status405MethodNotAllowed
            ? $"There is no such thing here; {Routes}."
            : "The request cannot be served.");
}
