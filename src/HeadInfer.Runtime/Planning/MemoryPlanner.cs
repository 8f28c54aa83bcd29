using System.Globalization;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Planning;

/// <summary>Plans memory: a pure function of model, options and budget.</summary>
internal static class MemoryPlanner
{
    private const int MaxSegment = 8192, MaxGpuSegment = 65_536, MinSegment = 256;
    private const int Page = 256, MostPage = 2048, Tile = 2048, Chunk = 256, GpuChunk = 4096;
    private const int MixtureChunk = 16_384; // on a GPU: each expert's products are calls of their own, so they had better be of many tokens

    private const int OtherStates = 2; // what a pass of many tokens makes, and what a pass in its gap does

    private static readonly ByteSize ProcessSize = ByteSize.FromMiB(200), CudaProcessSize = ByteSize.FromGiB(2);
    private static readonly (ByteSize Least, ByteSize Most) WorkspaceGoal = (ByteSize.FromMiB(48), ByteSize.FromGiB(1));

    // What CUDA's context, cuBLAS and cuDNN took on a Hopper GPU, and room for what libtorch's allocator rounds up.
    private static readonly ByteSize GpuLibraries = ByteSize.FromGiB(1.1), GpuMargin = ByteSize.FromMiB(256);
    private static readonly ByteSize GpuTile = ByteSize.FromMiB(64);

    /// <param name="weights">its weights, as they lie where it is computed</param>
    /// <param name="type">the type that is computed in</param>
    /// <param name="options">what the caller fixed, validated</param>
    /// <param name="budget">memory there is</param>
    /// <exception cref="MemoryBudgetException">Weights and workspace alone do not fit.</exception>
    public static MemoryPlan Plan(ModelConfig config, WeightNeeds weights, ScalarType type, HeadInferOptions options, MemoryBudget budget)
    {
        var onGpu = budget.Gpu is not null;
        var (kvType, state) = (options.KvTypeFor(type, onGpu), States(config).Size);
        var kv = new ByteSize(config.KvElementsPerToken * DataTypes.Size(kvType));
        var page = options.PageTokens ?? PageFor(kv, state);
        var mostHeads = config.HeadKinds.Max(h => h.KvHeads);
        var group = Math.Min(options.HeadGroupSize ?? mostHeads, mostHeads);
        var most = state == ByteSize.Zero ? 0 : (int)Math.Clamp((budget.Gpu ?? budget.Host).Bytes / 24 / state.Bytes, 1, RowKernels.MostRows);
        var sizes = new Sizes(config, type, kvType, onGpu, group, options.TileTokens ?? (onGpu ? GpuTileTokens(config, kvType, group, page) : Tile), options.ChunkTokens ?? (!onGpu ? Chunk : config.Experts > 0 ? MixtureChunk : GpuChunk), state * (most + OtherStates));

        // So that the workspace never dominates; a segment is a power of two. Longer ones stream the history less often,
        // and from a few thousand tokens on it streams faster than it is attended.
        var goal = onGpu ? budget.Gpu!.Value.Bytes / 12 : Math.Clamp(weights.Total.Bytes / 2, WorkspaceGoal.Least.Bytes, WorkspaceGoal.Most.Bytes);
        var segment = options.SegmentTokens ?? (onGpu ? MaxGpuSegment : MaxSegment);
        while (options.SegmentTokens is null && segment > MinSegment && (sizes.Activations(segment) - sizes.States + sizes.KvBuffers(segment)).Bytes > goal)
        {
            segment /= 2;
            if (onGpu && options.ChunkTokens is null && segment < (config.Experts > 0 ? 1 : 4) * sizes.Chunk && sizes.Chunk > MinSegment)
            {
                sizes = sizes with { Chunk = sizes.Chunk / 2 };
            }
        }

        var streamed = onGpu ? StreamedLayers(budget.Gpu!.Value, weights, sizes, segment, options) : 0;
        var gpu = onGpu ? PlanGpu(budget.Gpu!.Value, weights.OnDevice(streamed), sizes, segment, options) : null;
        var heads = Placements(config, options, onGpu);
        var copied = config.KvLayers.Where(l => config.Windows[l] is null).Sum(config.AttendedElements) * DataTypes.Size(kvType); // of a token; what is behind a window is not worth it
        var (windowed, windows) = gpu is null || options.Placement is not null ? default : Windows(config, kvType, gpu.Resident, copied > 0, options.MaxContextTokens ?? config.MaxPositions, page);
        var plan = new MemoryPlan
        {
            HostBudget = budget.Host,
            Gpu = gpu,
            Weights = weights.Total,
            ReadPerToken = Cost.ReadPerToken(config, weights),
            ComingPerToken = onGpu ? Cost.ReadOfLayers(config, weights, streamed) : ByteSize.Zero,
            ArePacked = weights.ArePacked,
            StreamedLayers = streamed,
            HostWeights = onGpu ? weights.OnHost(streamed) : ByteSize.Zero,
            HostTables = weights.Tables,
            Workspace = sizes.Activations(segment) + sizes.KvBuffers(segment),
            Process = onGpu ? CudaProcessSize : ProcessSize,
            KvPerToken = kv,
            StateSize = state,
            MostStates = most,
            ResidentPerToken = new ByteSize(ResidentElements(config, options) * DataTypes.Size(kvType)),
            Heads = heads,
            ResidentTokens = gpu is null || options.Placement is not null || copied == 0 ? 0 : (int)Math.Min((gpu.Resident - windows).Bytes / copied, int.MaxValue),
            WindowBudget = windows,
            WindowTokens = windowed == 0 ? 0 : (int)Math.Min(windows.Bytes / windowed, int.MaxValue),
            MaxContextTokens = options.MaxContextTokens ?? config.MaxPositions,
            LongestContext = 0,
            PageTokens = page,
            TileTokens = sizes.Tile,
            HeadGroupSize = group,
            SegmentTokens = segment,
            ChunkTokens = sizes.Chunk,
            ElementType = type.ToString(),
            KvElementType = kvType.ToString(),
        };
        var longest = Longest(plan);
        return plan with { LongestContext = longest };
    }

    // Bytes of a token in windowed layers, and what their copies may take: of as many sequences as a step has rows. Where other layers
    // want copies too a quarter, unless one sequence needs more; half at most.
    private static (long PerToken, ByteSize Budget) Windows(ModelConfig config, ScalarType type, ByteSize resident, bool others, int longest, int page)
    {
        if (config.KvWindows.Max() is not { } window)
        {
            return default;
        }

        var perToken = config.KvLayers.Where(l => config.Windows[l] is not null).Sum(config.AttendedElements) * DataTypes.Size(type);
        var one = perToken * WindowCopies.TokensFor(window, longest, page);
        var room = others ? Math.Max(resident.Bytes / 4, one <= resident.Bytes / 2 ? one : 0) : resident.Bytes;
        return room < one ? default : (perToken, new ByteSize(Math.Min(room, RowKernels.MostRows * one))); // what fits nobody is better left to others
    }

    /// <summary>What the layers that have a state in place of keys and values remember of a sequence.</summary>
    public static StateShape States(ModelConfig config) => new(config.StateLayers.Count, config.Recurrent?.Remembered ?? 0);

    /// <summary>The attention layout that a plan stands for.</summary>
    public static AttentionLayout Layout(ModelConfig config, HeadInferOptions options, MemoryPlan plan)
    {
        var (layers, kept) = (config.AttendingLayers, config.KvLayers); // attention counts these alone, and callers all
        return new(config.KvHeads, config.Heads / config.KvHeads, config.HeadDim, config.KvWindows, plan.TileTokens)
        {
            LayerHeads = config.LayerHeads.Count == 0 ? null : [.. layers.Select(config.HeadsOf)],
            LayerPages = config.CacheOf.Count == 0 ? null : [.. layers.Select(layer => kept.Index().First(k => k.Item == config.CacheOf[layer]).Index)],
            Placement = options.Placement is { } placement ? head => placement(new HeadKey(config.CacheOf.Count == 0 ? layers[head.Layer] : config.CacheOf[layers[head.Layer]], head.Head)) : plan.Gpu is null ? _ => HeadPlacement.Host : null,
            GroupSize = plan.Gpu is null ? plan.HeadGroupSize : options.HeadGroupSize,
            EndsModel = layers[^1] == config.Layers - 1,
            Chunked = config.Family.Chunked,
        };
    }

    // The last layers come by turns if they do not fit beside what has to be there; as few as that takes. Of a mixture a token reads
    // a few experts of each, but all keys and values: so these have a quarter of the GPU first.
    private static int StreamedLayers(ByteSize budget, WeightNeeds weights, Sizes sizes, int segment, HeadInferOptions options)
    {
        var room = budget - new GpuPlan(budget, GpuLibraries, ByteSize.Zero, sizes.Activations(segment), sizes.KvBuffers(segment), ByteSize.Zero).Fixed - GpuMargin - (options.ResidentMemory ?? ByteSize.Zero);
        int Fewest(ByteSize within) => Enumerable.Range(0, weights.Layers.Count + 1).FirstOrDefault(n => weights.OnDevice(n) <= within, -1);
        var fewest = Fewest(room);
        return fewest > 0 && sizes.Config.Experts > 0 && options.ResidentMemory is null ? Math.Max(fewest, Fewest(room - new ByteSize(budget.Bytes / 4))) : Math.Max(fewest, 0);
    }

    private static GpuPlan PlanGpu(ByteSize budget, ByteSize weights, Sizes sizes, int segment, HeadInferOptions options)
    {
        var plan = new GpuPlan(budget, GpuLibraries, weights, sizes.Activations(segment), sizes.KvBuffers(segment), ByteSize.Zero);
        var left = budget - plan.Fixed - GpuMargin;
        if (left < ByteSize.Zero)
        {
            throw new MemoryBudgetException(string.Create(CultureInfo.InvariantCulture,
                $"The model does not fit the GPU: weights {weights}, libraries {plan.Libraries}, activations {plan.Activations} (segment {segment:N0}, chunk {sizes.Chunk:N0} tokens){(sizes.States > ByteSize.Zero ? $", {sizes.States} of it states of requests," : "")} and KV buffers {plan.KvBuffers} (tile {sizes.Tile:N0} tokens) need {plan.Fixed + GpuMargin} of {budget}. Raise HeadInferOptions.GpuMemory, lower SegmentTokens, ChunkTokens or TileTokens, or take a smaller model."));
        }

        if (options.ResidentMemory is { } resident && resident > left)
        {
            throw new MemoryBudgetException($"HeadInferOptions.ResidentMemory asks for {resident} of the GPU; {left} of {budget} are left beside weights and workspace. Lower it, or raise GpuMemory.");
        }

        return plan with { Resident = options.ResidentMemory ?? left };
    }

    private static int Longest(MemoryPlan plan)
    {
        var pages = Math.Max(0, plan.KvBudget.Bytes) / (plan.KvFor(plan.PageTokens).Bytes);
        if (plan.Gpu is not null && plan.ResidentPerToken > ByteSize.Zero)
        {
            pages = Math.Min(pages, plan.Gpu.Resident.Bytes / (plan.ResidentPerToken.Bytes * plan.PageTokens));
        }

        if (pages >= 1)
        {
            return (int)Math.Min(pages * plan.PageTokens, plan.MaxContextTokens);
        }

        throw new MemoryBudgetException(plan.Gpu is null
            ? $"The model does not fit: weights {plan.Weights} ({plan.ElementType}), workspace {plan.Workspace} and process {plan.Process} leave no room for a KV cache in {plan.HostBudget}. Raise HeadInferOptions.HostMemory, lower SegmentTokens, or take a smaller model."
            : $"There is no room for a KV cache: {plan.HostBudget} of host memory less {plan.Process + plan.HostWeights + plan.HostTables} for the process and weights, and {plan.Gpu.Resident} of the GPU for resident copies. Raise HeadInferOptions.HostMemory, or place fewer heads as resident.");
    }

    // A page has room for a state beside its keys and values, and so has many tokens where states are large.
    private static int PageFor(ByteSize kv, ByteSize state)
    {
        var page = Page;
        while (page < MostPage && kv * page < state)
        {
            page *= 2;
        }

        return page;
    }

    // A tile of 64 MiB whatever the heads, in whole pages.
    private static int GpuTileTokens(ModelConfig config, ScalarType type, int group, int page)
    {
        var tokens = GpuTile.Bytes / (2L * TileKeys(config, group) * DataTypes.Size(type));
        return (int)Math.Max(page, tokens / page * page);
    }

    // Numbers of a token's keys and values that have copies because the caller says so.
    private static long ResidentElements(ModelConfig config, HeadInferOptions options) => options.Placement is not { } placement ? 0
        : config.KvLayers.Sum(layer => 2L * config.HeadsOf(layer).Dim * Enumerable.Range(0, config.HeadsOf(layer).KvHeads).Count(head => placement(new HeadKey(layer, head)) == HeadPlacement.Resident));

    // Numbers of a token's keys in a tile of a whole group, of the layers that have most.
    private static long TileKeys(ModelConfig config, int group) => config.HeadKinds.Max(h => (long)Math.Min(group, h.KvHeads) * h.Dim);

    private static Dictionary<HeadPlacement, int> Placements(ModelConfig config, HeadInferOptions options, bool onGpu)
    {
        var placement = options.Placement ?? (_ => onGpu ? HeadPlacement.Streamed : HeadPlacement.Host);
        return config.KvLayers
            .SelectMany(layer => Enumerable.Range(0, config.HeadsOf(layer).KvHeads), (layer, head) => placement(new HeadKey(layer, head)))
            .CountBy(p => p)
            .ToDictionary();
    }

    /// <summary>What a segment takes where the model computes.</summary>
    private readonly record struct Sizes(ModelConfig Config, ScalarType Type, ScalarType KvType, bool OnGpu, int Group, int Tile, int Chunk, ByteSize States)
    {
        private long Element => DataTypes.Size(Type);

        // Numbers of a token's keys and values that later layers attend too, all layers together.
        private long Lent => Config.CacheOf.Where((lender, layer) => lender != layer).Distinct().Sum(Config.AttendedElements);

        private int Rotary => Config.LayerRopes.Append(Config.Rope).Max(r => r.RotaryDim);

        private int Ropes => Math.Max(1, Config.LayerRopes.Distinct().Count());

        /// <summary>Activations of a segment and of a chunk.</summary>
        public ByteSize Activations(int segment)
        {
            long heads = Config.HeadKinds.Max(h => h.Queries), kv = 2L * Config.HeadKinds.Max(h => h.Keys), told = ((long)Config.Layers * Config.PerLayerSize) + (Config.Family.AttendsBesideStates ? Config.HiddenSize : 0); // beside the stream
            var most = Group;
            var group = Config.HeadKinds.Max(h => (long)Math.Min(most, h.KvHeads) * h.Shared * h.Dim);
            var merged = Config.HeadKinds.Max(h => (long)Math.Min(most, AttentionLayout.MergedHeads(h)) * h.Shared * h.Dim);
            var perToken = OnGpu
                ? ((Config.HiddenSize + (2 * heads) + told) * Element) + (Ropes * Rotary * 4L) // residual stream, queries, what they attend among themselves, angles
                    + (merged * (4 + (2 * Element))) // where there are other parts a sum in float32, and two of them
                : ((Config.HiddenSize + heads + told + kv + Lent + (2 * Ropes * Rotary)) * Element)
                    + (group * (Element + 12)); // one group's part, its merge in float32
            long width = Math.Max(Enumerable.Range(0, Config.Layers).Max(Config.IntermediateOf), Math.Max(Config.ExpertIntermediateSize, Config.SharedExpertSize));
            var made = Config.Latent is { } latent ? heads + kv + latent.Kept + latent.QueryRank : 0; // what heads are made of, and the products before they lie together
            var perChunkToken = (OnGpu ? Config.HiddenSize + Math.Max(heads + kv + made, 3 * width) : (3 * Config.HiddenSize) + heads + kv + made + (3 * width)) * Element;
            var softCap = Config.AttentionSoftCap;
            var unfused = OnGpu && (Type == ScalarType.Float32 || Config.HeadKinds.Any(h => !SegmentAttention.Takes(h.Dim) && !CudaDevice.IsOrdinary(h.Dim, softCap)));
            var scores = unfused ? ExplicitAttention.MaxScores * 12 : 0;
            var steps = RowKernels.MostRows * 4 * (Config.VocabularySize + (3L * Config.HiddenSize) + (2 * heads) + kv + made + width + (2 * told) + Config.Experts + (Config.ExpertsPerToken * ((long)Config.HiddenSize + Config.ExpertIntermediateSize))); // buffers of a decoding step
            return States + new ByteSize((perToken * segment) + (perChunkToken * Math.Min(Chunk, segment)) + scores + steps + Recurrent(Math.Min(Chunk, segment))) + (OnGpu ? CudaRowKernels.SizeFor(Config.HeadKinds) : ByteSize.Zero);
        }

        // What a chunk is projected to in layers with states, what a scan of it makes, and buffers of a step.
        private long Recurrent(int chunk) => Config.Recurrent is not { } shape ? 0
            : (((shape.Projected + (3L * shape.ValueHeads) + shape.Values) * Element) * chunk) + shape.WorkBytes(chunk) + (RowKernels.MostRows * 4L * ((RecurrentShape.MostRows + 2) * (long)(shape.Channels + shape.Values)));

        /// <summary>Tile rings, tiles in the type that is computed in where pages have another, and rows on their way to host memory: of a pass, and of one in its gap.</summary>
        public ByteSize KvBuffers(int segment)
        {
            var slots = (AttentionLane.Slots(OnGpu) + AttentionLane.GapSlots(OnGpu)) * DataTypes.Size(KvType);
            var widened = KvType == Type ? 0 : AttentionLane.Lanes * Element;
            return new ByteSize((slots + widened) * 2L * Tile * TileKeys(Config, Group))
                + (OnGpu ? RowStaging.SizeFor(Config.HeadKinds.Max(h => h.Keys), (int)Lent / 2, KvType, Math.Max(segment, RowKernels.MostRows) + Math.Max(Math.Min(Chunk, segment), RowKernels.MostRows)) : ByteSize.Zero);
        }
    }
}
