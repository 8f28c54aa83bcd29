using System.Collections;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Sequences;

/// <summary>Pages of one layer that lie at equal distances in one slab, cut to the tokens asked for.</summary>
/// <param name="Memory">[pages, kv_heads, 2, tokens a page, dim]: a view of the slab</param>
/// <param name="Tokens">the tokens it holds, in order; pages * tokens a page of them</param>
internal readonly record struct PageRun(Tensor Memory, TokenRange Tokens, PageSlab Slab);

/// <summary>Rows of one page, for kernels that read host memory.</summary>
/// <param name="Page">address of the page, <c>[kv_heads][2][page tokens][dim]</c></param>
/// <param name="First">first token within the page</param>
/// <param name="Count">tokens</param>
internal readonly record struct PageRows(nint Page, int First, int Count);

/// <summary>Tokens, and the blocks that hold their keys and values. It knows heads, tokens and bytes, never the model.</summary>
/// <remarks>
/// The host has every row of every layer, so a copy elsewhere may be dropped at any time. Rows written at and beyond
/// <see cref="Length"/> count only once <see cref="Commit"/> says so. Blocks are shared with other sequences: forking costs
/// nothing, and a block that others may read is copied before it is written to.
///
/// One thread at a time changes it: the engine's while a request is under way, else whoever holds the session. Any thread may
/// look at its <see cref="Blocks"/> meanwhile: that list is replaced and never changed, and a block is in it only as long as the
/// pool counts the sequence among its users. All else is for the thread that may change it.
/// </remarks>
internal sealed partial class Sequence(BlockPool pool, string key) : IReadOnlyList<int>, IDisposable
{
    private volatile Block[] _blocks = []; // of the tokens, then those that are reserved
    private readonly List<Block> _known = [];  // of each full block the one with the same tokens that the index has, mostly itself

    /// <summary>Tokens that the sequence has.</summary>
    public int Length { get; private set; }

    /// <summary>Callers with different keys share no blocks.</summary>
    public CacheKey Key => new(key, Rotation);

    /// <summary>Which of a model's rotations its keys have; sequences of different ones share no blocks.</summary>
    public int Rotation { get; private set; }

    /// <summary>Changes when rows that may have been fetched ahead are about to be others.</summary>
    public int Version { get; private set; }

    /// <summary>Whether what is known went on otherwise from where the last <see cref="Adopt"/> ended.</summary>
    public bool Diverged { get; private set; }

    /// <summary>How many heads of all layers the host attends of it in steps, and from which token on; null as long as that is not chosen since its last prompt.</summary>
    public (int Heads, int Start)? OnHost { get; set; }

    /// <summary>Tokens that it will have when the prompt that is being read is, as far as that is known: room for copies is best taken at once.</summary>
    public int Coming { get; set; }

    public BlockPool Pool => pool;

    /// <summary>Its blocks, in order; the last ones perhaps reserved only. From any thread, as they are now.</summary>
    public IReadOnlyList<Block> Blocks => _blocks;

    int IReadOnlyCollection<int>.Count => Length;

    public int this[int index] => index < Length ? _blocks[index / pool.BlockTokens].Tokens[index % pool.BlockTokens] : throw new ArgumentOutOfRangeException(nameof(index));

    /// <summary>Copies tokens out.</summary>
    public void CopyTo(int start, Span<int> tokens)
    {
        for (var done = 0; done < tokens.Length;)
        {
            var (block, at) = Math.DivRem(start + done, pool.BlockTokens);
            var some = _blocks[block].Tokens[at..];
            some = some[..Math.Min(some.Length, tokens.Length - done)];
            some.CopyTo(tokens[done..]);
            done += some.Length;
        }
    }

    /// <summary>Chooses the rotation. Tokens whose keys have another one are not its own any more.</summary>
    public void Rotate(int rotation)
    {
        if (rotation != Rotation)
        {
            Truncate(0);
            Rotation = rotation;
        }
    }

    /// <summary>Takes what is known of tokens that are to follow, from whatever sequence, so that it need not be computed.</summary>
    /// <param name="next">what follows; the last one always remains, for its logits</param>
    /// <returns>how many of them the sequence has now</returns>
    public int Adopt(ReadOnlySpan<int> next)
    {
        if (next.Length < 2)
        {
            return 0;
        }

        var all = new int[Length + next.Length - 1];
        CopyTo(0, all.AsSpan(0, Length));
        next[..^1].CopyTo(all.AsSpan(Length));
        (var length, Diverged, var blocks) = pool.Find(Key, all);
        if (pool.HasStates)
        {
            var known = Known(blocks, length);
            (length, Diverged) = (known, Diverged && known == length);
        }

        if (length <= Length)
        {
            pool.Release(blocks, this);
            return 0;
        }

        var more = blocks.Skip(pool.BlocksFor(length)).ToList();
        pool.Release(more, this);
        blocks.RemoveRange(blocks.Count - more.Count, more.Count);

        var adopted = length - Length;
        Replace([.. blocks], 0, 0);
        _known.AddRange(blocks.Take(length / pool.BlockTokens));
        Length = length;
        Recede();
        Version++;
        return adopted;
    }

    /// <summary>Makes the place behind the last token the sequence's own, unless another sequence goes on there: then its last block must be copied before more tokens can follow.</summary>
    /// <returns>whether it is its own</returns>
    public bool TryClaimTail() => Length % pool.BlockTokens is 0 || pool.TryClaim(_blocks[Length / pool.BlockTokens], Length % pool.BlockTokens, this);

    /// <summary>Makes room for more tokens, and the last block the sequence's own.</summary>
    /// <exception cref="MemoryBudgetException">There is not enough; nothing has changed.</exception>
    public void Reserve(int tokens)
    {
        var (full, tail) = Math.DivRem(Length, pool.BlockTokens);
        var copied = !TryClaimTail();
        var missing = pool.BlocksFor((long)Length + tokens) - _blocks.Length;
        if (missing <= 0 && !copied)
        {
            return;
        }

        if (copied && pool.HasStates)
        {
            Remember(); // what the shared block keeps is its own
        }

        var blocks = pool.Rent(Math.Max(missing, 0) + (copied ? 1 : 0), this);
        if (!copied)
        {
            _blocks = [.. _blocks, .. blocks];
            return;
        }

        var (shared, own) = (_blocks[full], blocks[0]);
        pool.Copy(shared, own, tail);
        pool.Append(Key, full > 0 ? _known[full - 1] : null, own, shared.Tokens[..tail]);
        _blocks = [.. _blocks[..full], own, .. _blocks[(full + 1)..], .. blocks[1..]];
        pool.Release([shared], this);
        Version++;
    }

    /// <summary>Writes rows of one layer behind the tokens there are, into reserved blocks.</summary>
    /// <param name="rows">[kv_heads, 2, tokens, dim]; must not change until the layer's <see cref="BlockPool.Written"/> has passed</param>
    public void Write(int layer, Tensor rows)
    {
        pool.Write(layer, Runs(layer, new TokenRange(Length, Length + (int)rows.shape[2])), Length, rows);
    }

    /// <summary>Counts tokens whose rows every layer has.</summary>
    public void Commit(ReadOnlySpan<int> tokens)
    {
        while (!tokens.IsEmpty)
        {
            var (block, at) = Math.DivRem(Length, pool.BlockTokens);
            var some = tokens[..Math.Min(tokens.Length, pool.BlockTokens - at)];
            if (pool.Append(Key, block > 0 ? _known[block - 1] : null, _blocks[block], some) is { } known)
            {
                _known.Add(known);
            }

            Length += some.Length;
            tokens = tokens[some.Length..];
        }

        Advance();
    }

    /// <summary>Forgets the tokens from <paramref name="length"/> on, and gives back what was reserved. Their blocks stay known.</summary>
    public void Truncate(int length)
    {
        Length = Math.Min(Length, length);
        var kept = pool.BlocksFor(Length);
        Replace(_blocks[..kept], kept, Length / pool.BlockTokens);
        Recede();
        Version++;
    }

    /// <summary>Another sequence with the same tokens, in the same blocks.</summary>
    public Sequence Fork()
    {
        var fork = new Sequence(pool, key) { Rotation = Rotation, Length = Length, _blocks = _blocks[..pool.BlocksFor(Length)] };
        fork._known.AddRange(_known);
        pool.Retain(fork._blocks);
        pool.Retain(fork.Twins(0));
        return fork;
    }

    public void Dispose() => Truncate(0);

    /// <summary>The memory of a range of tokens of one layer, in order, in as few pieces as the pages allow.</summary>
    public IEnumerable<PageRun> Runs(int layer, TokenRange range)
    {
        var (size, shape) = (pool.BlockTokens, pool.ShapeOf(layer));
        for (var at = range.Start; at < range.End;)
        {
            var first = at / size;
            var (slab, index) = _blocks[first].Pages[layer];
            var whole = at % size == 0 ? (range.End - at) / size : 0;
            if (whole <= 1)
            {
                var tokens = new TokenRange(at, Math.Min(range.End, (first + 1) * size));
                yield return new PageRun(slab.As(shape).narrow(0, index, 1).narrow(3, at % size, tokens.Count), tokens, slab);
                at = tokens.End;
                continue;
            }

            // Growing one page a layer at a time leaves a layer's pages at equal distances: that is one piece too.
            var next = _blocks[first + 1].Pages[layer];
            var step = next.Slab == slab ? next.Index - index : 0;
            var count = 1;
            while (step > 0 && count < whole && _blocks[first + count].Pages[layer] == new Page(slab, index + (count * step)))
            {
                count++;
            }

            var end = at + (count * size);
            yield return new PageRun(slab.As(shape).slice(0, index, index + ((count - 1) * Math.Max(step, 1)) + 1, Math.Max(step, 1)), new TokenRange(at, end), slab);
            at = end;
        }
    }

    /// <summary>Adds the rows of a range of tokens of one layer, page by page, by address.</summary>
    public void AddRows(int layer, TokenRange range, List<PageRows> rows)
    {
        var size = pool.BlockTokens;
        for (var at = range.Start; at < range.End;)
        {
            var count = Math.Min(range.End - at, size - (at % size));
            rows.Add(new PageRows(pool.AddressOf(_blocks[at / size].Pages[layer]), at % size, count));
            at += count;
        }
    }

    public IEnumerator<int> GetEnumerator() => Enumerable.Range(0, Length).Select(i => this[i]).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    // Blocks of others by which own ones are known.
    private IEnumerable<Block> Twins(int from) => _known.Where((known, i) => i >= from && known != _blocks[i]);

    // Goes on with other blocks, and gives back its own from a number on, and those by which full ones from another on are known.
    private void Replace(Block[] blocks, int from, int known)
    {
        known = Math.Min(known, _known.Count);
        Block[] gone = [.. Twins(known), .. _blocks[from..]]; // together: a twin that is kept cannot be forgotten while a block that follows it is in use
        _blocks = blocks;
        _known.RemoveRange(known, _known.Count - known);
        pool.Release(gone, this);
    }
}
