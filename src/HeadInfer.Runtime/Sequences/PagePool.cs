using System.Runtime.InteropServices;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Sequences;

/// <summary>The extent of a page: one layer's keys and values of a run of tokens, <c>[kv_heads][2][tokens][dim]</c>.</summary>
/// <param name="KvHeads">KV heads of a layer.</param>
/// <param name="Tokens">Tokens of a page.</param>
/// <param name="HeadDim">Dimensions of a head.</param>
internal readonly record struct PageShape(int KvHeads, int Tokens, int HeadDim, ScalarType Type)
{
    public long Elements => 2L * KvHeads * Tokens * HeadDim;

    /// <summary>Bytes of a key, and of a value.</summary>
    public long RowBytes => (long)HeadDim * DataTypes.Size(Type);

    /// <summary>The same tokens of a layer with other heads.</summary>
    public PageShape With(HeadShape heads) => this with { KvHeads = heads.KvHeads, HeadDim = heads.Dim };

    public ByteSize Size => new(Elements * DataTypes.Size(Type));
}

/// <summary>A page of a slab. Neighbours in head order are one contiguous piece of memory.</summary>
internal readonly record struct Page(PageSlab Slab, int Index);

/// <summary>One allocation of host memory that holds many pages.</summary>
/// <remarks>It is made fast to copy in the background, as that takes longer than computing what is first written to it.</remarks>
internal sealed unsafe class PageSlab : IDisposable
{
    private readonly bool[] _used;
    private readonly Tensor _memory; // [pages, elements of a page]
    private readonly Dictionary<PageShape, Tensor> _views = [];
    private readonly Task<IDisposable?>? _pinning;

    /// <param name="device">what copies to and from it</param>
    /// <param name="before">the slab that is made ready first, if any</param>
    public PageSlab(PageShape shape, int pages, Device device, PageSlab? before)
    {
        _memory = empty([pages, shape.Elements], shape.Type).DetachFromDisposeScope();
        Address = (nint)TensorMemory.Address(_memory);
        _used = new bool[pages];
        Free = pages;
        if (device.IsAsynchronous)
        {
            var (address, bytes) = (Address, (shape.Size * pages).Bytes);
            _pinning = before?._pinning is { } first
                ? first.ContinueWith(_ => device.Pin(address, bytes), TaskScheduler.Default)
                : Task.Run(() => device.Pin(address, bytes));
        }
    }

    /// <summary>Where the first page begins.</summary>
    public nint Address { get; }

    public int Pages => _used.Length;

    public int Free { get; private set; }

    /// <summary>All pages as those of a layer, which begin with its rows. A view, owned by the slab. Engine thread.</summary>
    /// <returns>[pages, kv_heads, 2, tokens, dim]</returns>
    public Tensor As(PageShape shape)
    {
        if (!_views.TryGetValue(shape, out var view))
        {
            using var rows = _memory.narrow(1, 0, shape.Elements);
            _views.Add(shape, view = rows.unflatten(1, [shape.KvHeads, 2, shape.Tokens, shape.HeadDim]).DetachFromDisposeScope());
        }

        return view;
    }

    /// <summary>The first run of free pages, at most <paramref name="wanted"/> of them.</summary>
    public Range FindFree(int wanted)
    {
        var start = Array.IndexOf(_used, false);
        var end = start;
        while (end < _used.Length && !_used[end] && end - start < wanted)
        {
            end++;
        }

        return start..end;
    }

    public void Take(int index)
    {
        _used[index] = true;
        Free--;
    }

    public void Return(int index)
    {
        _used[index] = false;
        Free++;
    }

    /// <summary>Waits until the memory is ready to be copied to.</summary>
    public void EnsureReady() => _pinning?.Wait();

    /// <summary>Whether a device may write to it by address. Waits until that is known.</summary>
    public bool IsPinned => _pinning?.Result is not null;

    /// <summary>Frees the memory; no copy may be under way.</summary>
    public void Dispose()
    {
        _pinning?.GetAwaiter().GetResult()?.Dispose();
        foreach (var view in _views.Values)
        {
            view.Dispose();
        }

        _memory.Dispose();
    }
}

/// <summary>Pages of host memory, in slabs.</summary>
/// <remarks>On the CPU memory that no page has touched yet is not resident; for a GPU it is pinned, and so is.</remarks>
internal sealed class PagePool(PageShape shape, ByteSize slabSize, Device device) : IDisposable
{
    private readonly List<PageSlab> _slabs = [];
    private readonly int _pagesPerSlab = (int)Math.Clamp(slabSize.Bytes / shape.Size.Bytes, 1, 1 << 20);

    public PageShape Shape => shape;

    public nint AddressOf(Page page) => page.Slab.Address + (nint)(page.Index * shape.Size.Bytes);

    /// <summary>Takes pages, in runs of neighbours as long as the pool has them.</summary>
    /// <exception cref="MemoryBudgetException">The system refuses; none is taken.</exception>
    public List<Page> Rent(int count)
    {
        var pages = new List<Page>(count);
        try
        {
            while (pages.Count < count)
            {
                var slab = _slabs.Find(s => s.Free > 0) ?? Grow();
                var run = slab.FindFree(count - pages.Count);
                for (var i = run.Start.Value; i < run.End.Value; i++)
                {
                    slab.Take(i);
                    pages.Add(new Page(slab, i));
                }
            }

            return pages;
        }
        catch (ExternalException)
        {
            Return(pages);
            throw new MemoryBudgetException($"The system refuses {shape.Size * _pagesPerSlab} of memory for the KV cache, beside the {shape.Size * _pagesPerSlab * _slabs.Count} that it has. Lower HeadInferOptions.HostMemory to what the system gives, or shorten the context.");
        }
    }

    public static void Return(IEnumerable<Page> pages)
    {
        foreach (var page in pages)
        {
            page.Slab.Return(page.Index);
        }
    }

    /// <summary>Slabs without pages in use, which are not the pool's any more.</summary>
    public List<PageSlab> TakeEmpty()
    {
        var empty = _slabs.FindAll(s => s.Free == s.Pages);
        _slabs.RemoveAll(empty.Contains);
        return empty;
    }

    /// <summary>Frees slabs that are not the pool's any more.</summary>
    public void Free(List<PageSlab> slabs)
    {
        if (slabs.Count > 0)
        {
            Parts.Dispose([device.Drain, .. slabs.Select(s => (Action)s.Dispose)]);
        }
    }

    public void Dispose()
    {
        PageSlab[] all = [.. _slabs];
        _slabs.Clear();
        Parts.Dispose([device.Drain, .. all.Select(s => (Action)s.Dispose)]);
    }

    private PageSlab Grow()
    {
        var slab = new PageSlab(shape, _pagesPerSlab, device, _slabs.Count > 0 ? _slabs[^1] : null);
        _slabs.Add(slab);
        return slab;
    }
}
