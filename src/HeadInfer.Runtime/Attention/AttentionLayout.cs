using HeadInfer.Runtime.Cache;

namespace HeadInfer.Runtime.Attention;

/// <summary>Heads, windows and head groups of every layer, as attention needs them.</summary>
/// <param name="KvHeads">KV heads of a layer.</param>
/// <param name="HeadsPerKvHead">Query heads that share a KV head.</param>
/// <param name="HeadDim">Dimensions of a head.</param>
/// <param name="Windows">[layer] window in tokens, or null.</param>
/// <param name="Groups">[layer] groups in head order, which together are all heads of the layer.</param>
internal sealed record AttentionLayout(int KvHeads, int HeadsPerKvHead, int HeadDim, IReadOnlyList<int?> Windows, IReadOnlyList<IReadOnlyList<HeadGroup>> Groups)
{
    /// <summary>Floating-point operations of so many query-key pairs, for all query heads of a group.</summary>
    public double Operations(HeadGroup group, long pairs) => 4.0 * HeadDim * HeadsPerKvHead * group.Count * pairs;

    /// <summary>Cuts a layer's heads into groups of neighbours with one placement, of at most <paramref name="size"/> heads.</summary>
    public static IReadOnlyList<HeadGroup> Group(int layer, int kvHeads, int size, Func<HeadKey, HeadPlacement> placement)
    {
        var groups = new List<HeadGroup>();
        for (var head = 0; head < kvHeads; head++)
        {
            var place = placement(new HeadKey(layer, head));
            if (groups.Count > 0 && groups[^1] is var last && last.Placement == place && last.Count < size)
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
}
