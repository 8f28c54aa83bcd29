using HeadInfer.Runtime.Native;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Cache;

/// <summary>Pages of one layer that lie at equal distances in one slab, cut to the tokens asked for.</summary>
/// <param name="Memory">[pages, kv_heads, 2, tokens a page, dim]: a view of the slab</param>
/// <param name="Tokens">the tokens it holds, in order; pages * tokens a page of them</param>
/// <param name="Slab">the slab</param>
internal readonly record struct PageRun(Tensor Memory, TokenRange Tokens, PageSlab Slab)
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
    private const int BlockPages = 128;

    private readonly PagePool _pool;
    private readonly KvLink _link;
    private readonly List<Page>[] _pages; // [layer][page]
    private readonly Fence[] _written;    // [layer]
    private readonly Fence _computed;

    /// <param name="pool">where pages come from; not owned</param>
    /// <param name="layers">layers of the model</param>
    /// <param name="link">takes rows to the pages; not owned</param>
    public SequenceCache(PagePool pool, int layers, KvLink link)
    {
        (_pool, _link, _computed) = (pool, link, link.CreateFence());
        _pages = [.. Enumerable.Range(0, layers).Select(_ => new List<Page>())];
        _written = [.. Enumerable.Range(0, layers).Select(_ => link.CreateFence())];
    }

    /// <summary>Tokens that the sequence has.</summary>
    public int Length { get; private set; }

    /// <summary>Changes when rows that may have been read before are about to be written anew.</summary>
    public int Version { get; private set; }

    /// <summary>Tokens of which rows have been written, those beyond <see cref="Length"/> counted in.</summary>
    public int Filled { get; private set; }

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

        // One request for all layers, so that it succeeds or fails as a whole. Some neighbouring pages of each layer in turn,
        // in the order in which they will be written: memory is made ready while earlier tokens are computed.
        var pages = _pool.Rent(missing * _pages.Length);
        for (var (at, left) = (0, missing); left > 0;)
        {
            var block = Math.Min(left, BlockPages);
            foreach (var layer in _pages)
            {
                layer.AddRange(pages.GetRange(at, block));
                at += block;
            }

            left -= block;
        }
    }

    /// <summary>Writes rows of one layer from token <paramref name="start"/> on, into reserved pages.</summary>
    /// <param name="layer">the layer</param>
    /// <param name="start">first token</param>
    /// <param name="rows">[kv_heads, 2, tokens, dim]; must not change until <see cref="Written"/> has passed</param>
    public void Write(int layer, int start, Tensor rows)
    {
        var count = (int)rows.shape[2];
        Filled = Math.Max(Filled, start + count);
        if (count == 1 && HostMath.Takes(rows))
        {
            WriteRow(layer, start, rows);
            return;
        }

        _link.Record(LinkQueue.Compute, _computed);
        _link.Wait(LinkQueue.Download, _computed);
        foreach (var run in Runs(layer, new TokenRange(start, start + count)))
        {
            run.Slab.EnsureReady();
            _link.Download(rows, run.Tokens.Start - start, run.Memory);
        }

        _link.Record(LinkQueue.Download, _written[layer]);
    }

    /// <summary>Passed when all rows of a layer are in their pages.</summary>
    public Fence Written(int layer) => _written[layer];

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
                yield return new PageRun(slab.Memory.narrow(0, index, 1).narrow(3, at % size, tokens.Count), tokens, slab);
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
            yield return new PageRun(slab.Memory.slice(0, index, index + ((count - 1) * Math.Max(step, 1)) + 1, Math.Max(step, 1)), new TokenRange(at, end), slab);
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
    public void Truncate(int length)
    {
        Length = Math.Min(Length, length);
        Version++;
    }

    public void Dispose()
    {
        foreach (var page in _pages.SelectMany(p => p))
        {
            _pool.Return(page);
        }

        Array.ForEach(_pages, p => p.Clear());
        Array.ForEach(_written, f => f.Dispose());
        _computed.Dispose();
        Length = 0;
    }

    private nint AddressOf(Page page) => page.Slab.Address + (nint)(page.Index * _pool.Shape.Size.Bytes);

    // One token, as decoding writes it on the CPU: two short copies a head, without a tensor in between.
    private unsafe void WriteRow(int layer, int token, Tensor rows)
    {
        var (heads, tokens, dim) = (_pool.Shape.KvHeads, _pool.Shape.Tokens, _pool.Shape.HeadDim);
        var page = (float*)AddressOf(_pages[layer][token / tokens]) + ((long)(token % tokens) * dim);
        var source = (float*)TensorMemory.Pointer(rows);
        var (head, part) = (rows.stride(0), rows.stride(1));
        for (var i = 0; i < 2 * heads; i++)
        {
            new ReadOnlySpan<float>(source + (i / 2 * head) + (i % 2 * part), dim).CopyTo(new Span<float>(page + ((long)i * tokens * dim), dim));
        }
    }
}
