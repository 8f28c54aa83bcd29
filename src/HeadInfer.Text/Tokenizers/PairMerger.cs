using System.Numerics;

namespace HeadInfer.Text.Tokenizers;

/// <summary>What a pair of neighbouring tokens becomes.</summary>
/// <param name="Left">the token before</param>
/// <param name="Right">the token after it</param>
/// <param name="Rank">smaller ones first</param>
/// <param name="Id">the token they become</param>
internal readonly record struct PairMerge(int Left, int Right, int Rank, int Id);

/// <summary>Merges neighbouring tokens by rank, the leftmost of equals first, until no pair is left that can: byte-pair encoding itself.</summary>
/// <remarks>Time grows with the length times its logarithm. Immutable, so safe for concurrent use.</remarks>
internal sealed class PairMerger
{
    private const int Scanned = 512; // tokens up to which looking at all ranks is faster than a heap
    private const int Never = int.MaxValue;
    private const int Interval = 4096; // pairs between two looks

    // Open addressing: a lookup or two for each character of a text is most of the time that encoding takes.
    private readonly PairMerge[] _table;
    private readonly int _shift;

    /// <param name="merges">of several for one pair the first counts</param>
    public PairMerger(IReadOnlyCollection<PairMerge> merges)
    {
        var bits = Math.Max(4, 1 + (int)Math.Ceiling(Math.Log2(merges.Count + 1)));
        (_table, _shift) = (new PairMerge[1 << bits], 64 - bits);
        Array.Fill(_table, new PairMerge(-1, -1, Never, -1));
        foreach (var merge in merges)
        {
            ref var place = ref Find(merge.Left, merge.Right);
            place = place.Rank == Never ? merge : place;
        }
    }

    /// <param name="tokens">changed; those that are left are at its beginning</param>
    /// <param name="work">looked at now and then</param>
    /// <returns>how many are left</returns>
    public int Merge(Span<int> tokens, TextWork work) => tokens.Length < 2 ? tokens.Length : tokens.Length <= Scanned ? Scan(tokens) : MergeByHeap(tokens, work);

    private ref PairMerge Find(int left, int right)
    {
        var at = (int)(((((ulong)(uint)left << 32) | (uint)right) * 0x9e3779b97f4a7c15) >> _shift);
        while (true)
        {
            ref var place = ref _table[at];
            if (place.Rank == Never || (place.Left == left && place.Right == right))
            {
                return ref place;
            }

            at = (at + 1) & (_table.Length - 1);
        }
    }

    private int Scan(Span<int> tokens)
    {
        Span<int> ranks = stackalloc int[Scanned]; // of each token with the one after it
        var count = tokens.Length;
        for (var i = 0; i + 1 < count; i++)
        {
            ranks[i] = Find(tokens[i], tokens[i + 1]).Rank;
        }

        while (count > 1)
        {
            var best = Least(ranks[..(count - 1)]);
            if (best == Never)
            {
                break;
            }

            var at = ranks.IndexOf(best);

            tokens[at] = Find(tokens[at], tokens[at + 1]).Id;
            tokens[(at + 2)..count].CopyTo(tokens[(at + 1)..]);
            ranks[(at + 1)..(count - 1)].CopyTo(ranks[at..]);
            count--;
            if (at + 1 < count)
            {
                ranks[at] = Find(tokens[at], tokens[at + 1]).Rank;
            }

            if (at > 0)
            {
                ranks[at - 1] = Find(tokens[at - 1], tokens[at]).Rank;
            }
        }

        return count;
    }

    private static int Least(ReadOnlySpan<int> ranks)
    {
        var (least, at) = (Never, 0);
        if (ranks.Length >= Vector<int>.Count)
        {
            var lanes = new Vector<int>(Never);
            for (; at <= ranks.Length - Vector<int>.Count; at += Vector<int>.Count)
            {
                lanes = Vector.Min(lanes, new Vector<int>(ranks[at..]));
            }

            for (var lane = 0; lane < Vector<int>.Count; lane++)
            {
                least = Math.Min(least, lanes[lane]);
            }
        }

        for (; at < ranks.Length; at++)
        {
            least = Math.Min(least, ranks[at]);
        }

        return least;
    }

    // Pairs wait in a heap; some are no more when their turn comes. A pair is a number: its rank above its place.
    private int MergeByHeap(Span<int> tokens, TextWork work)
    {
        var (symbols, next, previous) = (tokens.ToArray(), new int[tokens.Length], new int[tokens.Length]);
        var heap = new NumberHeap(symbols.Length);
        void Offer(int left, int right)
        {
            if (Find(symbols[left], symbols[right]).Rank is var rank and not Never)
            {
                heap.Add(((long)rank << 32) | (uint)left);
            }
        }

        for (var i = 0; i < symbols.Length; i++)
        {
            (previous[i], next[i]) = (i - 1, i + 1 < symbols.Length ? i + 1 : -1);
        }

        for (var i = 0; i + 1 < symbols.Length; i++)
        {
            Offer(i, i + 1);
            if (i % Interval == 0)
            {
                work.Look();
            }
        }

        for (var taken = 1; heap.TryTake(out var candidate); taken++)
        {
            if (taken % Interval == 0)
            {
                work.Look();
            }

            var left = (int)(uint)candidate;
            var right = symbols[left] < 0 ? -1 : next[left];
            if (right < 0 || Find(symbols[left], symbols[right]) is var merge && merge.Rank != candidate >> 32)
            {
                continue;
            }

            (symbols[left], symbols[right]) = (merge.Id, -1);
            next[left] = next[right];
            if (next[left] >= 0)
            {
                previous[next[left]] = left;
                Offer(left, next[left]);
            }

            if (previous[left] >= 0)
            {
                Offer(previous[left], left);
            }
        }

        var count = 0;
        foreach (var symbol in symbols)
        {
            if (symbol >= 0)
            {
                tokens[count++] = symbol;
            }
        }

        return count;
    }
}
