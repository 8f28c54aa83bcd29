using HeadInfer.Runtime.Compute;
using System.Numerics;

namespace HeadInfer.Runtime.Attention;

/// <summary>Heads, windows, placement and grouping of every layer that attends.</summary>
/// <param name="KvHeads">KV heads of a layer, unless <see cref="LayerHeads"/> says otherwise.</param>
/// <param name="HeadsPerKvHead">Query heads that share a KV head.</param>
/// <param name="HeadDim">Dimensions of a head.</param>
/// <param name="Windows">[layer, of those that attend] window in tokens, or null.</param>
/// <param name="TileTokens">Tokens of a tile of a whole group; smaller groups have longer tiles where groups adapt.</param>
internal sealed record AttentionLayout(int KvHeads, int HeadsPerKvHead, int HeadDim, IReadOnlyList<int?> Windows, int TileTokens)
{
    /// <summary>Of a layer's heads the share, one in so many, that is joined at once.</summary>
    public const int MergedShare = 8;

    /// <summary>Where each head is attended; null keeps copies of as many tokens as there is room for and streams the rest.</summary>
    public Func<HeadKey, HeadPlacement>? Placement { get; init; }

    /// <summary>KV heads of a group at most; null lets groups shrink as the context grows.</summary>
    public int? GroupSize { get; init; }

    /// <summary>[layer] heads, where not all layers' are alike.</summary>
    public IReadOnlyList<HeadShape>? LayerHeads { get; init; }

    /// <summary>[layer] in which pages its keys and values lie, counted from 0 on, where some layers attend what an earlier one keeps; null if each keeps its own.</summary>
    public IReadOnlyList<int>? LayerPages { get; init; }

    /// <summary>Windows are chunks: a token sees those of its own alone.</summary>
    public bool Chunked { get; init; }

    public int Layers => Windows.Count;

    /// <summary>What queries of a layer see.</summary>
    public Visibility ViewOf(int layer) => Chunked ? new(null, Windows[layer]) : new(Windows[layer]);

    public HeadShape HeadsOf(int layer) => LayerHeads is null ? new(KvHeads * HeadsPerKvHead, KvHeads, HeadDim) : LayerHeads[layer];

    /// <summary>In which pages a layer's keys and values lie.</summary>
    public int PagesOf(int layer) => LayerPages is null ? layer : LayerPages[layer];

    /// <summary>Whether a layer keeps keys and values of its own.</summary>
    public bool Keeps(int layer) => LayerPages is null || !LayerPages.Take(layer).Contains(LayerPages[layer]);

    /// <summary>Whether later layers attend what a layer keeps.</summary>
    public bool Lends(int layer) => LayerPages is not null && LayerPages.Skip(layer + 1).Contains(LayerPages[layer]);

    /// <summary>Whether the last of its layers is the model's last, where only what is wanted at the end attends.</summary>
    public bool EndsModel { get; init; } = true;

    /// <summary>Numbers of the keys of a tile: as many as the largest heads make of its tokens.</summary>
    public long TileNumbers => Enumerable.Range(0, LayerHeads is null ? 1 : Layers).Max(layer => (long)TileTokens * Math.Min(GroupSize ?? HeadsOf(layer).KvHeads, HeadsOf(layer).KvHeads) * HeadsOf(layer).Dim);

    /// <summary>Floating-point operations of so many query-key pairs, for all query heads of a group.</summary>
    public double Operations(int layer, HeadGroup group, long pairs) => 4.0 * HeadsOf(layer).Dim * HeadsOf(layer).Shared * group.Count * pairs;

    /// <summary>Heads of a group at most.</summary>
    /// <param name="history">tokens that are streamed for each head</param>
    /// <remarks>
    /// Many heads together while the history is short, so that there are few launches; single heads when it is long, so
    /// that a tile holds much of it and few parts have to be merged.
    /// </remarks>
    public int GroupSizeFor(int history, int layer = 0) =>
        GroupSize ?? (int)Math.Clamp(BitOperations.RoundUpToPowerOf2((uint)(TileRows(layer) / Math.Max(history, 1)) + 1) / 2, 1, (uint)HeadsOf(layer).KvHeads);

    /// <summary>Heads of which parts of a prompt are joined at once: their sum is float32, and two parts wait for it.</summary>
    public static int MergedHeads(HeadShape heads) => (heads.KvHeads + MergedShare - 1) / MergedShare;

    /// <summary>The groups of a layer's heads, in head order: neighbours of one placement.</summary>
    /// <param name="size">streamed heads of a group at most</param>
    /// <param name="most">heads of a group at most, however they are placed</param>
    /// <param name="onHost">where no placement is given, how many of the layer's last heads the host attends, for each row that it does so for</param>
    public IReadOnlyList<HeadGroup> Groups(int layer, int size, int most = int.MaxValue, params IReadOnlyCollection<int> onHost)
    {
        var (hosted, all) = (onHost.DefaultIfEmpty().Max(), HeadsOf(layer).KvHeads);
        var groups = new List<HeadGroup>();
        for (var head = 0; head < all; head++)
        {
            var place = Placement?.Invoke(new HeadKey(layer, head)) ?? (head < all - hosted ? HeadPlacement.Streamed : HeadPlacement.Host);
            var heads = Math.Min(most, place != HeadPlacement.Streamed && GroupSize is null ? all : size);
            if (groups.Count > 0 && groups[^1] is var last && last.Placement == place && last.Count < heads && !onHost.Contains(all - head))
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
        Placement is not null ? Groups(layer, GroupSizeFor(0, layer)).Where(g => g.Placement == HeadPlacement.Resident)
        : Windows[layer] is null ? [new HeadGroup(0, HeadsOf(layer).KvHeads, HeadPlacement.Resident)]
        : [];

    /// <summary>Tokens of a split, in which a step attends what is copied or streamed: blocks and tiles have whole ones.</summary>
    public int SplitTokens(int blockTokens)
    {
        var split = (int)BigInteger.GreatestCommonDivisor(blockTokens, RowKernels.SplitTokens);
        return TileTokens < split ? (int)BigInteger.GreatestCommonDivisor(TileTokens, split) : split;
    }

    /// <summary>Tokens of a tile of a group at most.</summary>
    public int TileTokensOf(HeadGroup group, int layer = 0) => GroupSize is null ? (int)(TileRows(layer) / group.Count) : TileTokens;

    // Tokens times heads of a tile.
    private long TileRows(int layer) => TileNumbers / HeadsOf(layer).Dim;
}
