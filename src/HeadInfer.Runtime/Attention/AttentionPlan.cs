using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Attention;

/// <summary>Keys that some queries attend at once.</summary>
/// <param name="Keys">tokens that all of the queries' sequences have in the same blocks, and that all of the queries see some of</param>
/// <param name="First">the first of the sequences</param>
/// <param name="Count">how many sequences, neighbours in their batch</param>
internal readonly record struct AttentionPart(TokenRange Keys, int First, int Count);

/// <summary>The same, of copies on the device.</summary>
/// <param name="Extents">where their copies are, in order</param>
/// <param name="First">the first of the sequences</param>
/// <param name="Count">how many sequences, neighbours in their batch</param>
internal readonly record struct ResidentPart(TokenRange Keys, IReadOnlyList<ResidentExtent> Extents, int First, int Count);

/// <summary>Cuts what sequences have into parts. Pure.</summary>
/// <remarks>
/// Cuts lie at whole multiples of a size, wherever a sequence begins to see and whatever others there are. So the parts of a
/// sequence, and the order in which they are summed, do not depend on its company.
/// </remarks>
internal static class AttentionPlan
{
    /// <param name="sequences">those that share blocks are neighbours</param>
    /// <param name="seen">the tokens that are to be attended, by sequence</param>
    /// <param name="size">tokens of a part at most</param>
    public static IEnumerable<AttentionPart> Cut(IReadOnlyList<Sequence> sequences, IReadOnlyList<TokenRange> seen, int size)
    {
        var all = new TokenRange(seen.Min(s => s.Start), seen.Max(s => s.End));
        foreach (var piece in all.SplitAligned(size))
        {
            for (var first = 0; first < sequences.Count;)
            {
                var keys = seen[first].Intersect(piece);
                var next = first + 1;
                while (!keys.IsEmpty && next < sequences.Count && seen[next].Intersect(piece) == keys && Shares(sequences[first], sequences[next], keys))
                {
                    next++;
                }

                if (!keys.IsEmpty)
                {
                    yield return new AttentionPart(keys, first, next - first);
                }

                first = next;
            }
        }
    }

    /// <summary>Cuts copies into parts, as long as they lie in one run; sequences that have the same ones attend them together.</summary>
    /// <param name="extents">what has copies, by sequence; those that share are neighbours</param>
    /// <param name="seen">the tokens that are to be attended, by sequence</param>
    /// <param name="size">sequences part at multiples of it; extents begin at such ones</param>
    public static List<ResidentPart> Cut(IReadOnlyList<IReadOnlyList<ResidentExtent>> extents, IReadOnlyList<TokenRange> seen, int size)
    {
        var parts = new List<ResidentPart>();
        var all = new TokenRange(seen.Min(s => s.Start), seen.Max(s => s.End));
        foreach (var piece in extents.All(e => ReferenceEquals(e, extents[0])) ? extents[0].Select(e => e.Tokens) : all.SplitAligned(size))
        {
            for (var first = 0; first < extents.Count;)
            {
                var next = first + 1;
                if (Clip(extents[first], seen[first], piece) is [var extent])
                {
                    while (next < extents.Count && Clip(extents[next], seen[next], piece) is [var other] && other == extent)
                    {
                        next++;
                    }

                    Append(parts, extent, first, next - first);
                }

                first = next;
            }
        }

        return parts;
    }

    // A part, or more of the one before for the same sequences.
    private static void Append(List<ResidentPart> parts, ResidentExtent extent, int first, int count)
    {
        for (var i = parts.Count - 1; i >= Math.Max(0, parts.Count - RowKernels.MostRows); i--)
        {
            var (before, last) = (parts[i], parts[i].Extents[0]);
            if (before.First == first && before.Count == count && last.Run == extent.Run && last.Tokens.End == extent.Tokens.Start && last.First + last.Tokens.Count == extent.First)
            {
                parts[i] = before with { Keys = before.Keys with { End = extent.Tokens.End }, Extents = [last with { Tokens = last.Tokens with { End = extent.Tokens.End } }] };
                return;
            }
        }

        parts.Add(new ResidentPart(extent.Tokens, [extent], first, count));
    }

    /// <summary>Cuts a sequence's copies at whole multiples of a size, whatever the runs: its parts do not depend on others.</summary>
    public static IEnumerable<ResidentPart> CutAlone(IReadOnlyList<ResidentExtent> extents, TokenRange seen, int size)
    {
        foreach (var piece in seen.SplitAligned(size))
        {
            if (Clip(extents, seen, piece) is { Count: > 0 } some)
            {
                yield return new ResidentPart(piece with { End = some[^1].Tokens.End }, some, 0, 1);
            }
        }
    }

    private static List<ResidentExtent> Clip(IReadOnlyList<ResidentExtent> extents, TokenRange seen, TokenRange piece)
    {
        var clipped = new List<ResidentExtent>();
        foreach (var extent in extents)
        {
            if (extent.Tokens.Intersect(piece).Intersect(seen) is { IsEmpty: false } keys)
            {
                clipped.Add(new ResidentExtent(keys, extent.Run, extent.First + keys.Start - extent.Tokens.Start));
            }
        }

        return clipped;
    }

    /// <summary>Sorts sequences so that those with a common beginning are neighbours.</summary>
    public static int Compare(Sequence a, Sequence b)
    {
        var common = Math.Min(a.Blocks.Count, b.Blocks.Count);
        for (var i = 0; i < common; i++)
        {
            if (a.Blocks[i] != b.Blocks[i])
            {
                return a.Blocks[i].Number.CompareTo(b.Blocks[i].Number);
            }
        }

        return a.Blocks.Count.CompareTo(b.Blocks.Count);
    }

    private static bool Shares(Sequence a, Sequence b, TokenRange keys)
    {
        var size = a.Pool.BlockTokens;
        for (var block = keys.Start / size; block <= (keys.End - 1) / size; block++)
        {
            if (a.Blocks[block] != b.Blocks[block])
            {
                return false;
            }
        }

        return true;
    }
}
