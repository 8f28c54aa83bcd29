using HeadInfer.Tool.Commands;

namespace HeadInfer.Tool.Serving;

/// <summary>What the engine knows of itself: its plan, what it takes now, and what it has read. Sizes are bytes.</summary>
internal static class Status
{
    /// <summary>Fields of a plan that a request may set, by the flags of the same names.</summary>
    private static readonly HashSet<string> Planned = new(StringComparer.Ordinal) { "gpu", "context", "gpu_memory", "resident_memory", "host_memory", "max_context", "kv_cache_type" };

    /// <param name="app">gets the routes</param>
    /// <param name="served">the model</param>
    /// <param name="stopping">knows the requests under way</param>
    /// <param name="answering">answers</param>
    public static void Map(WebApplication app, Served served, Stopping stopping, Answering answering)
    {
        app.MapGet("/api/headinfer/status", (HttpContext context) => served.Model is { } model
            ? Results.Json(Of(served, model, stopping, Callers.CacheKey(context) ?? ""), Wire.Json)
            : Results.NotFound());
        app.MapPost("/api/headinfer/plan", context => answering.GuardAsync(context, json => PlanAsync(context, json, served)));
    }

    private static object Of(Served served, HeadInferModel model, Stopping stopping, string caller)
    {
        var (config, plan, memory, count) = (model.Config, model.Plan, model.Memory, model.Attention.Pool.Count);
        var known = model.Attention.Pool.Known(caller);
        return new
        {
            Model = new { served.Id, config.Architecture, config.Layers, config.Heads, config.KvHeads, config.HeadDim },
            model.Device,
            plan.ElementType,
            plan.KvElementType,
            Context = new { Model = plan.MaxContextTokens, Longest = plan.LongestContext },
            Requests = new { stopping.Running, stopping.IsStopping },
            Memory = new
            {
                Host = new
                {
                    Budget = plan.HostBudget.Bytes, Process = plan.Process.Bytes, Weights = (plan.Gpu is null ? plan.Weights : plan.HostWeights + plan.HostTables).Bytes, Workspace = plan.Gpu is null ? plan.Workspace.Bytes : 0,
                    Kv = new { Budget = plan.KvBudget.Bytes, InUse = memory.HostCache.Bytes, Kept = memory.KeptCache.Bytes, PerToken = plan.KvPerToken.Bytes },
                    Copies = plan.Gpu is null ? memory.DeviceCache.Bytes : 0,
                },
                Gpu = plan.Gpu is not { } gpu ? null : new
                {
                    Budget = gpu.Budget.Bytes, Libraries = gpu.Libraries.Bytes, Weights = gpu.Weights.Bytes, Activations = gpu.Activations.Bytes, KvBuffers = gpu.KvBuffers.Bytes,
                    Copies = new { Budget = gpu.Resident.Bytes, InUse = memory.DeviceCache.Bytes, Tokens = plan.ResidentTokens },
                },
                plan.StreamedLayers,
                Forgotten = memory.Forgotten.Bytes, Uploaded = memory.Uploaded.Bytes, Downloaded = memory.Downloaded.Bytes,
            },
            Heads = new { Placement = Placements(model), plan.HostShare, Windows = config.Windows },
            Cache = new
            {
                plan.PageTokens, Blocks = new { count.InUse, count.Kept, count.Most },

                // Of the caller alone, the one last wanted first.
                Conversations = known.OrderByDescending(k => k.LastUse).Take(256).Select(k => new { k.Tokens, k.InUse, Since = k.Read }).ToList(), Count = known.Count,
            },
        };
    }

    // [layer][KV head]; null for a layer that keeps a state in place of keys and values.
    private static List<IReadOnlyList<string>?> Placements(HeadInferModel model)
    {
        var (layout, config) = (model.Attention.Layout, model.Config);
        var layers = new List<IReadOnlyList<string>?>();
        for (var (layer, attending) = (0, 0); layer < config.Layers; layer++)
        {
            layers.Add(!config.KvLayers.Contains(layer) ? null
                : [.. Enumerable.Range(0, config.KvHeads).Select(head => Name(layout.Placement?.Invoke(new HeadKey(attending, head)) ?? HeadPlacement.Streamed))]);
            attending += layers[^1] is null ? 0 : 1;
        }

        return layers;
    }

    private static string Name(HeadPlacement placement) => JsonNamingPolicy.SnakeCaseLower.ConvertName(placement.ToString());

    // Another machine's: what this one has free is taken by the model that is served.
    private static Task PlanAsync(HttpContext context, JsonElement json, Served served)
    {
        var body = new Fields(json, "");
        body.NeededText("gpu");
        var given = body.All.Where(f => f.Value.ValueKind != JsonValueKind.Null).Select(f => Planned.Contains(f.Name)
            ? ("--" + f.Name.Replace('_', '-'), f.Value.ValueKind == JsonValueKind.String ? f.Value.GetString()! : f.Value.GetRawText())
            : throw body.Wrong(Fields.Short(f.Name), $"is no setting of a plan; there are {string.Join(", ", Planned)}."));
        var wanted = PlanCommand.Read(given);
        var report = PlanCommand.Report(served.Path, wanted);
        report.Plan.EnsureFits(wanted.Context ?? 0);
        return context.Response.WriteAsJsonAsync(report.Figures(wanted.Context), Outputs.Json, context.RequestAborted);
    }
}
