using System.Globalization;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Planning;

/// <summary>Plans memory: a pure function of model, options and budget.</summary>
internal static class MemoryPlanner
{
    /// <summary>Slots of the tile ring: one computes while the next is filled.</summary>
    public const int TileSlots = 2;

    private static readonly ByteSize ProcessSize = ByteSize.FromMiB(200);
    private static readonly (ByteSize Least, ByteSize Most) WorkspaceGoal = (ByteSize.FromMiB(48), ByteSize.FromGiB(1));

    private const int MaxSegment = 8192;
    private const int MinSegment = 256;

    /// <param name="config">the model</param>
    /// <param name="weightElements">elements of its weights</param>
    /// <param name="type">type of weights and KV cache</param>
    /// <param name="options">what the caller fixed, validated</param>
    /// <param name="budget">memory there is</param>
    /// <exception cref="MemoryBudgetException">Weights and workspace alone do not fit.</exception>
    public static MemoryPlan Plan(ModelConfig config, long weightElements, ScalarType type, HeadInferOptions options, MemoryBudget budget)
    {
        var groupSize = Math.Min(options.HeadGroupSize ?? config.KvHeads, config.KvHeads);
        var tile = options.TileTokens ?? 2048;
        var chunk = options.ChunkTokens ?? 256;
        var page = options.PageTokens ?? 256;
        var weights = new ByteSize(weightElements * DataTypes.Size(type));

        // Half of the weights at most, so that the workspace never dominates; a segment is a power of two.
        var goal = Math.Clamp(weights.Bytes / 2, WorkspaceGoal.Least.Bytes, WorkspaceGoal.Most.Bytes);
        var segment = options.SegmentTokens ?? MaxSegment;
        while (options.SegmentTokens is null && segment > MinSegment && Workspace(config, type, segment, chunk, tile, groupSize).Bytes > goal)
        {
            segment /= 2;
        }

        var kv = new ByteSize(config.KvElementsPerToken * DataTypes.Size(type));
        var heads = Placements(config, options);

        // A resident copy grows by doubling, the old one kept until the new one is filled.
        var resident = kv.Bytes * 3 * heads.GetValueOrDefault(HeadPlacement.Resident) / ((long)config.Layers * config.KvHeads);
        var plan = new MemoryPlan
        {
            HostBudget = budget.Host,
            Weights = weights,
            Workspace = Workspace(config, type, segment, chunk, tile, groupSize),
            Process = ProcessSize,
            KvPerToken = kv,
            ResidentPerToken = new ByteSize(resident),
            Heads = heads,
            MaxContextTokens = options.MaxContextTokens ?? config.MaxPositions,
            LongestContext = 0,
            PageTokens = page,
            TileTokens = tile,
            HeadGroupSize = groupSize,
            SegmentTokens = segment,
            ChunkTokens = chunk,
            ElementType = type.ToString(),
        };
        var pages = plan.KvBudget.Bytes / ((kv.Bytes + resident) * page);
        return pages >= 1
            ? plan with { LongestContext = (int)Math.Min(pages * page, plan.MaxContextTokens) }
            : throw new MemoryBudgetException(string.Create(CultureInfo.InvariantCulture,
                $"The model does not fit: weights {plan.Weights} ({type}), workspace {plan.Workspace} and process {plan.Process} leave no room for a KV cache in {plan.HostBudget}. Raise HeadInferOptions.HostMemory, lower SegmentTokens, or take a smaller model."));
    }

    /// <summary>The placement of every head, as the options say or the device prefers.</summary>
    public static Func<HeadKey, HeadPlacement> Placement(HeadInferOptions options) => options.Placement ?? (_ => HeadPlacement.Host);

    /// <summary>The attention layout that a plan stands for.</summary>
    public static AttentionLayout Layout(ModelConfig config, HeadInferOptions options, MemoryPlan plan) => new(
        config.KvHeads,
        config.Heads / config.KvHeads,
        config.HeadDim,
        config.Windows,
        [.. Enumerable.Range(0, config.Layers).Select(layer => AttentionLayout.Group(layer, config.KvHeads, plan.HeadGroupSize, Placement(options)))]);

    private static Dictionary<HeadPlacement, int> Placements(ModelConfig config, HeadInferOptions options)
    {
        var placement = Placement(options);
        return Enumerable.Range(0, config.Layers)
            .SelectMany(layer => Enumerable.Range(0, config.KvHeads), (layer, head) => placement(new HeadKey(layer, head)))
            .CountBy(p => p)
            .ToDictionary();
    }

    private static ByteSize Workspace(ModelConfig config, ScalarType type, int segment, int chunk, int tile, int groupSize)
    {
        long element = DataTypes.Size(type), heads = config.Heads * config.HeadDim, kv = 2L * config.KvHeads * config.HeadDim;
        var group = (long)groupSize * (config.Heads / config.KvHeads) * config.HeadDim;
        var perToken = ((config.HiddenSize + heads + kv + (2 * config.Rope.RotaryDim)) * element) // residual stream, heads, angles
            + (group * (element + 12)); // one group's part, its merge in float32
        var width = Math.Max(config.IntermediateSize, config.ExpertIntermediateSize);
        var perChunkToken = ((3 * config.HiddenSize) + heads + kv + (3L * width)) * element;
        var ring = TileSlots * groupSize * 2L * tile * config.HeadDim * element;
        return new ByteSize((perToken * segment) + (perChunkToken * Math.Min(chunk, segment)) + ring + (config.VocabularySize * 4L));
    }
}
