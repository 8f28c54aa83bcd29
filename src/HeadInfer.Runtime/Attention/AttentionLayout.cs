using HeadInfer.Runtime.Compute;
using System.Numerics;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Attention;

/// <summary>Heads, windows, placement and grouping of every layer, as attention needs them.</summary>
/// <param name="KvHeads">KV heads of a layer.</param>
/// <param name="HeadsPerKvHead">Query heads that share a KV head.</param>
/// <param name="HeadDim">Dimensions of a head.</param>
/// <param name="Windows">[layer, of those that attend] window in tokens, or null.</param>
/// <param name="TileTokens">Tokens of a tile of a whole group; smaller groups have longer tiles where groups adapt.</param>
internal sealed record AttentionLayout(int KvHeads, int HeadsPerKvHead, int HeadDim, IReadOnlyList<int?> Windows, int TileTokens)
{
    /// <summary>Where each head is attended; null keeps copies of as many tokens as there is room for and streams the rest.</summary>
    public Func<HeadKey, HeadPlacement>? Placement { get; init; }

    /// <summary>KV heads of a group at most; null lets groups shrink as the context grows.</summary>
    public int? GroupSize { get; init; }

    public int Layers => Windows.Count;

    /// <summary>Whether the last of its layers is the model's last, where only what is wanted at the end attends.</summary>
    public bool EndsModel { get; init; } = true;

    /// <summary>Tokens times heads of a tile.</summary>
    public long TileRows => (long)TileTokens * Math.Min(GroupSize ?? KvHeads, KvHeads);

    /// <summary>Floating-point operations of so many query-key pairs, for all query heads of a group.</summary>
    public double Operations(HeadGroup group, long pairs) => 4.0 * HeadDim * HeadsPerKvHead * group.Count * pairs;

    /// <summary>Heads of a group at most.</summary>
    /// <param name="history">tokens that are streamed for each head</param>
    /// <remarks>
    /// Many heads together while the history is short, so that there are few launches; single heads when it is long, so
    /// that a tile holds much of it and few parts have to be merged.
    /// </remarks>
    public int GroupSizeFor(int history) =>
        GroupSize ?? (int)Math.Clamp(BitOperations.RoundUpToPowerOf2((uint)(TileRows / Math.Max(history, 1)) + 1) / 2, 1, (uint)KvHeads);

    /// <summary>The groups of a layer's heads, in head order: neighbours of one placement.</summary>
    /// <param name="layer">the layer</param>
    /// <param name="size">streamed heads of a group at most</param>
    /// <param name="onHost">where no placement is given, how many of the layer's last heads the host attends, for each row that it does so for</param>
    public IReadOnlyList<HeadGroup> Groups(int layer, int size, params IReadOnlyCollection<int> onHost)
    {
        var most = onHost.DefaultIfEmpty().Max();
        var groups = new List<HeadGroup>();
        for (var head = 0; head < KvHeads; head++)
        {
            var place = Placement?.Invoke(new HeadKey(layer, head)) ?? (head < KvHeads - most ? HeadPlacement.Streamed : HeadPlacement.Host);
            var heads = place != HeadPlacement.Streamed && GroupSize is null ? KvHeads : size;
            if (groups.Count > 0 && groups[^1] is var last && last.Placement == place && last.Count < heads && !onHost.Contains(KvHeads - head))
            {
                groups[^1] = last with { Count = last.Count + 1 };
            }
            else
            {
                groups.Add(new HeadGroup(head, 1, place));
            }
        }

        return groups;
    }

    /// <summary>What a layer keeps copies of: the heads that are placed so; where no place is given all, as far as there is room.</summary>
    /// <remarks>A windowed layer reads only its window's pages, so a whole copy would be wasted on it unless the caller wants it.</remarks>
    public IEnumerable<HeadGroup> ResidentGroups(int layer) =>
        Placement is not null ? Groups(layer, GroupSizeFor(0)).Where(g => g.Placement == HeadPlacement.Resident)
        : Windows[layer] is null ? [new HeadGroup(0, KvHeads, HeadPlacement.Resident)]
        : [];

    /// <summary>Tokens of a split, in which a step attends what is copied or streamed: blocks and tiles have whole ones.</summary>
    /// <param name="blockTokens">of a block</param>
    public int SplitTokens(int blockTokens)
    {
        var split = (int)BigInteger.GreatestCommonDivisor(blockTokens, RowKernels.SplitTokens);
        return TileTokens < split ? (int)BigInteger.GreatestCommonDivisor(TileTokens, split) : split;
    }

    /// <summary>Tokens of a tile of a group at most.</summary>
    public int TileTokensOf(HeadGroup group) => GroupSize is null ? (int)(TileRows / group.Count) : TileTokens;
}
