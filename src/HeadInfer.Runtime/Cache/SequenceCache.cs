using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Cache;

/// <summary>Pages of one layer that lie at equal distances in one slab, cut to the tokens asked for.</summary>
/// <param name="Memory">[pages, kv_heads, 2, tokens a page, dim]: a view of the slab</param>
/// <param name="Tokens">the tokens it holds, in order; pages * tokens a page of them</param>
internal readonly record struct PageRun(Tensor Memory, TokenRange Tokens)
{
    public int Pages => (int)Memory.shape[0];

    public int PageTokens => (int)Memory.shape[3];
}

/// <summary>Rows of one page, for kernels that read host memory.</summary>
/// <param name="Page">address of the page, <c>[kv_heads][2][page tokens][dim]</c></param>
/// <param name="First">first token within the page</param>
/// <param name="Count">tokens</param>
internal readonly record struct PageRows(nint Page, int First, int Count);

/// <summary>The keys and values of one sequence in host pages. It knows heads, tokens and bytes, never the model.</summary>
/// <remarks>
/// The host has every row of every layer (write-through), so a copy elsewhere may be dropped at any time. Rows at and
/// beyond <see cref="Length"/> may be written; they count only once <see cref="Advance"/> says so.
/// </remarks>
internal sealed class SequenceCache : IDisposable
{
    private readonly PagePool _pool;
    private readonly List<Page>[] _pages; // [layer][page]

    public SequenceCache(PagePool pool, int layers)
    {
        _pool = pool;
        _pages = [.. Enumerable.Range(0, layers).Select(_ => new List<Page>())];
    }

    /// <summary>Tokens that the sequence has.</summary>
    public int Length { get; private set; }

    public ByteSize Size => _pool.Shape.Size * _pages.Sum(p => p.Count);

    /// <summary>Makes room for <paramref name="tokens"/> tokens in all.</summary>
    /// <exception cref="MemoryBudgetException">There is not enough; nothing has changed.</exception>
    public void Reserve(int tokens)
    {
        var missing = ((tokens + _pool.Shape.Tokens - 1) / _pool.Shape.Tokens) - _pages[0].Count;
        if (missing <= 0)
        {
            return;
        }

        // One request for all layers, so that it succeeds or fails as a whole; each layer's pages stay neighbours.
        var pages = _pool.Rent(missing * _pages.Length);
        for (var layer = 0; layer < _pages.Length; layer++)
        {
            _pages[layer].AddRange(pages.GetRange(layer * missing, missing));
        }
    }

    /// <summary>Writes rows of one layer from token <paramref name="start"/> on, into reserved pages.</summary>
    /// <param name="layer">the layer</param>
    /// <param name="start">first token</param>
    /// <param name="keys">[tokens, kv_heads, dim]</param>
    /// <param name="values">like <paramref name="keys"/></param>
    public void Write(int layer, int start, Tensor keys, Tensor values)
    {
        var shape = _pool.Shape;
        if (keys.shape[0] == 1 && HostMath.Takes(keys))
        {
            WriteRow(layer, start, keys, values);
            return;
        }

        foreach (var run in Runs(layer, new TokenRange(start, start + (int)keys.shape[0])))
        {
            for (var part = 0; part < 2; part++)
            {
                var rows = (part == 0 ? keys : values).narrow(0, run.Tokens.Start - start, run.Tokens.Count);
                run.Memory.select(2, part).copy_(rows.view(run.Pages, run.PageTokens, shape.KvHeads, shape.HeadDim).transpose(1, 2));
            }
        }
    }

    /// <summary>The memory of a range of tokens of one layer, in order, in as few pieces as the pages allow.</summary>
    public IEnumerable<PageRun> Runs(int layer, TokenRange range)
    {
        var (pages, size) = (_pages[layer], _pool.Shape.Tokens);
        for (var at = range.Start; at < range.End;)
        {
            var first = at / size;
            var (slab, index) = pages[first];
            var whole = at % size == 0 ? (range.End - at) / size : 0;
            if (whole <= 1)
            {
                var tokens = new TokenRange(at, Math.Min(range.End, (first + 1) * size));
                yield return new PageRun(slab.Memory.narrow(0, index, 1).narrow(3, at % size, tokens.Count), tokens);
                at = tokens.End;
                continue;
            }

            // Growing one page a layer at a time leaves a layer's pages at equal distances: that is one piece too.
            var step = pages[first + 1].Slab == slab ? pages[first + 1].Index - index : 0;
            var count = 1;
            while (step > 0 && count < whole && pages[first + count] == new Page(slab, index + (count * step)))
            {
                count++;
            }

            var end = at + (count * size);
            yield return new PageRun(slab.Memory.slice(0, index, index + ((count - 1) * Math.Max(step, 1)) + 1, Math.Max(step, 1)), new TokenRange(at, end));
            at = end;
        }
    }

    /// <summary>Adds the rows of a range of tokens of one layer, page by page, by address.</summary>
    public void AddRows(int layer, TokenRange range, List<PageRows> rows)
    {
        var (pages, size) = (_pages[layer], _pool.Shape.Tokens);
        for (var at = range.Start; at < range.End;)
        {
            var count = Math.Min(range.End - at, size - (at % size));
            rows.Add(new PageRows(AddressOf(pages[at / size]), at % size, count));
            at += count;
        }
    }

    /// <summary>Counts rows that every layer has written.</summary>
    public void Advance(int tokens) => Length += tokens;

    /// <summary>Forgets the tokens from <paramref name="length"/> on; their rows stay until they are overwritten.</summary>
    public void Truncate(int length) => Length = Math.Min(Length, length);

    public void Dispose()
    {
        foreach (var page in _pages.SelectMany(p => p))
        {
            _pool.Return(page);
        }

        Array.ForEach(_pages, p => p.Clear());
        Length = 0;
    }

    private nint AddressOf(Page page) => page.Slab.Address + (nint)(page.Index * _pool.Shape.Size.Bytes);

    // One token, as decoding writes it: two short copies a head, without a tensor in between.
    private unsafe void WriteRow(int layer, int token, Tensor keys, Tensor values)
    {
        var (heads, tokens, dim) = (_pool.Shape.KvHeads, _pool.Shape.Tokens, _pool.Shape.HeadDim);
        var page = (float*)AddressOf(_pages[layer][token / tokens]) + ((long)(token % tokens) * dim);
        float* k = HostMath.Address(keys), v = HostMath.Address(values);
        for (var head = 0; head < heads; head++)
        {
            var row = page + (2L * head * tokens * dim);
            new ReadOnlySpan<float>(k + ((long)head * dim), dim).CopyTo(new Span<float>(row, dim));
            new ReadOnlySpan<float>(v + ((long)head * dim), dim).CopyTo(new Span<float>(row + ((long)tokens * dim), dim));
        }
    }
}
