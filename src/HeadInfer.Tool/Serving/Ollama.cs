using System.Security.Cryptography;
using System.Text;
using HeadInfer.Text;

namespace HeadInfer.Tool.Serving;

/// <summary>Ollama's routes, for its clients. There is one model, and whatever name a request gives, that one answers.</summary>
internal static class Ollama
{
    // Whose routes and fields these are. Clients ask for a least version, such as 0.6.4, and mean Ollama's.
    private const string ApiVersion = "0.12.0";

    /// <summary>How a route is asked for by clients that read it, or that look whether the server is there.</summary>
    public static readonly string[] GetOrHead = [HttpMethods.Get, HttpMethods.Head];

    /// <param name="app">gets the routes</param>
    /// <param name="served">the model</param>
    /// <param name="answering">answers</param>
    public static void Map(WebApplication app, Served served, Answering answering)
    {
        app.MapPost("/api/chat", context => answering.AnswerAsync(context, served.Chat, new OllamaRequests(served.Chat).ReadChat));
        app.MapPost("/api/generate", context => answering.AnswerAsync(context, served.Chat, json =>
        {
            var (request, isRaw) = new OllamaRequests(served.Chat).ReadGenerate(json);
            return isRaw ? request with { By = served.Text } : request;
        }));
        app.MapMethods("/api/version", GetOrHead, () => Results.Json(new { version = ApiVersion }, Wire.Json));
        app.MapMethods("/api/tags", GetOrHead, () => Results.Json(new { models = new[] { Body(served) } }, Wire.Json));
        app.MapGet("/api/ps", () => Results.Json(new { models = new[] { Running(served) } }, Wire.Json));
        app.MapPost("/api/show", context => answering.GuardAsync(context, json =>
        {
            var body = new Fields(json, "");
            var name = body.Text("model") ?? body.Text("name");
            return name is null || IsNamed(served, name) ? context.Response.WriteAsJsonAsync(Shown(served), Wire.Json, context.RequestAborted) : Refusal.Unknown(name, served).SendAsync(context);
        }));
    }

    /// <summary>The version of this program.</summary>
    public static string Version { get; } = typeof(Ollama).Assembly.GetName().Version?.ToString(3) ?? "0.0.0";

    // Ollama's own tags stand for "the newest".
    private static bool IsNamed(Served served, string name) => name == served.Id || name == served.Id + ":latest";

    private static OllamaModel Body(Served served)
    {
        var (modified, size) = (served.Modified.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture), served.Model?.Plan.Weights.Bytes);

        // Clients tell models apart by it. No file has the bytes that Ollama's would be of.
        var digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{served.Id} {modified}")));
        return new(served.Id, served.Id, modified, size, digest, Details(served));
    }

    private static OllamaModel Running(Served served) => Body(served) with
    {
        SizeVram = served.Model is { Plan.Gpu: { } gpu } ? gpu.Weights.Bytes : 0,
        ContextLength = served.Model?.Plan.LongestContext,
    };

    private static OllamaDetails Details(Served served) => new(
        served.Path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase) ? "gguf" : "safetensors", served.Model?.Config.Architecture ?? "", served.Model is null ? [] : [served.Model.Config.Architecture],
        served.Weights is { } weights ? Count(weights.Parameters) : null, served.Weights?.Type);

    /// <summary>Parameters in Ollama's words.</summary>
    public static string Count(long parameters) => parameters switch
    {
        >= 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{parameters / 1e9:F1}B"),
        >= 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{parameters / 1e6:F2}M"),
        >= 1_000 => string.Create(CultureInfo.InvariantCulture, $"{parameters / 1e3:F0}K"),
        _ => parameters.ToString(CultureInfo.InvariantCulture),
    };

    private static object Shown(Served served)
    {
        var model = served.Model;
        var info = new Dictionary<string, object> { ["general.architecture"] = model?.Config.Architecture ?? "", ["general.basename"] = served.Id };
        if (model is not null)
        {
            void Add(string name, object value) => info[$"{model.Config.Architecture}.{name}"] = value;
            info["general.parameter_count"] = served.Weights?.Parameters ?? 0;
            Add("context_length", model.Plan.LongestContext); // what the model was made for may not fit
            Add("embedding_length", model.Config.HiddenSize);
            Add("block_count", model.Config.Layers);
            Add("attention.head_count", model.Config.Heads);
            Add("attention.head_count_kv", model.Config.KvHeads);
        }

        var source = served.Chat.GetService<ChatTemplate>()?.Source ?? "";
        string[] capabilities = ["completion", .. source.Contains("tools", StringComparison.Ordinal) ? ["tools"] : Array.Empty<string>(), .. source.Contains("think", StringComparison.Ordinal) ? ["thinking"] : Array.Empty<string>()];
        return new { template = source, details = Details(served), model_info = info, capabilities, modified_at = Body(served).ModifiedAt };
    }
}

internal sealed record OllamaModel(string Name, string Model, string ModifiedAt, long? Size, string Digest, OllamaDetails Details)
{
    public long? SizeVram { get; init; }

    public int? ContextLength { get; init; }
}

internal sealed record OllamaDetails(string Format, string Family, IReadOnlyList<string> Families, string? ParameterSize, string? QuantizationLevel);
