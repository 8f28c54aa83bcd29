using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Keys and values of one head group in device memory, as one part of attention reads them.</summary>
/// <param name="Keys">[heads, tokens, dim]</param>
/// <param name="Values">[heads, tokens, dim]</param>
/// <param name="Tokens">the tokens they are of</param>
internal readonly record struct KvTile(Tensor Keys, Tensor Values, TokenRange Tokens)
{
    /// <summary>Some of its tokens, as views.</summary>
    public KvTile Narrow(TokenRange tokens) =>
        new(Keys.narrow(1, tokens.Start - Tokens.Start, tokens.Count), Values.narrow(1, tokens.Start - Tokens.Start, tokens.Count), tokens);
}

/// <summary>A piece of a sequence's history that attention will ask for.</summary>
/// <param name="Sequence">one that has it</param>
/// <param name="Version">the sequence's, so that rows which were overwritten since are never taken for it</param>
internal readonly record struct TileRequest(Sequence Sequence, int Version, int Layer, HeadGroup Group, TokenRange Range);

/// <summary>A few tile buffers, allocated once, through which head groups stream whatever the length of the context.</summary>
/// <remarks>
/// <see cref="Follow"/> says what will be asked for, in order; free slots are filled ahead, so that the link never idles
/// while a layer computes. A tile is valid until <see cref="Release"/>.
/// </remarks>
internal sealed class TileRing : IDisposable
{
    private readonly Device _device;
    private readonly AttentionLayout _layout;
    private readonly Slot[] _slots;
    private readonly Queue<Slot> _free = [];
    private readonly Queue<Slot> _filled = []; // in the order they will be asked for
    private IEnumerator<TileRequest>? _upcoming;
    private Slot? _inUse;

    /// <param name="pool">has the pages; not owned</param>
    /// <param name="layout">heads and tiles</param>
    public TileRing(BlockPool pool, AttentionLayout layout, int slots)
    {
        (_device, _layout) = (pool.Device, layout);
        // If one is refused, the scope takes back those before it.
        var memory = Enumerable.Range(0, slots).Select(_ => empty([2 * layout.TileNumbers], pool.Shape.Type, _device.Torch)).ToList();
        _slots = [.. memory.Select(m => new Slot(m.DetachFromDisposeScope(), _device.CreateFence(), _device.CreateFence()))];
        Array.ForEach(_slots, _free.Enqueue);
    }

    /// <summary>Says what will be asked for from now on. What was fetched ahead and is not its beginning is dropped.</summary>
    public void Follow(IEnumerable<TileRequest> upcoming)
    {
        _upcoming?.Dispose();
        _upcoming = upcoming.GetEnumerator();
        foreach (var slot in _filled)
        {
            if (!_upcoming.MoveNext() || _upcoming.Current != slot.Request)
            {
                Forget();
                _upcoming.Dispose();
                _upcoming = upcoming.GetEnumerator();
                break;
            }
        }

        FetchAhead();
    }

    /// <summary>A group's rows on the device; they must be what <see cref="Follow"/> said comes next.</summary>
    public KvTile Take(TileRequest request)
    {
        var rows = Rows(TakeSlot(request));
        return new KvTile(rows.select(1, 0), rows.select(1, 1), request.Range);
    }

    /// <summary>The same by address.</summary>
    public KeyRows TakeRows(TileRequest request)
    {
        var (start, part) = (TakeSlot(request).Address, request.Range.Count * request.Sequence.Pool.ShapeOf(_layout.PagesOf(request.Layer)).RowBytes);
        return new KeyRows(start, start + (nint)part, 2 * part, request.Range.Count);
    }

    /// <summary>Gives the tile that was taken back, once all that reads it has been queued.</summary>
    public void Release()
    {
        _device.Record(WorkQueue.Compute, _inUse!.Freed);
        _free.Enqueue(_inUse);
        _inUse = null;
        FetchAhead();
    }

    /// <summary>Drops everything that was fetched ahead, and what an operation that failed had taken.</summary>
    public void Reset()
    {
        _upcoming?.Dispose();
        _upcoming = null; // first: nothing more is fetched for an operation that failed
        Forget();
        if (_inUse is not null)
        {
            Release();
        }
    }

    public void Dispose()
    {
        _upcoming?.Dispose();
        foreach (var slot in _slots)
        {
            slot.Memory.Dispose();
            slot.Filled.Dispose();
            slot.Freed.Dispose();
        }
    }

    private Slot TakeSlot(TileRequest request)
    {
        if (_filled.Count == 0)
        {
            Fetch();
        }

        var slot = _filled.Dequeue();
        if (slot.Request != request)
        {
            throw new InvalidOperationException($"Attention asks for layer {request.Layer}, {request.Range} where layer {slot.Request.Layer}, {slot.Request.Range} was announced.");
        }

        _inUse = slot;
        _device.Wait(WorkQueue.Compute, slot.Filled);
        return slot;
    }

    private void Forget()
    {
        while (_filled.TryDequeue(out var slot))
        {
            _free.Enqueue(slot);
        }
    }

    private void FetchAhead()
    {
        // Where copies do not overlap with the computation there is nothing to gain.
        while (_device.IsAsynchronous && _upcoming is not null && _free.Count > 0 && _upcoming.MoveNext())
        {
            Fill(_free.Dequeue(), _upcoming.Current);
        }
    }

    private void Fetch()
    {
        if (_upcoming is null || !_upcoming.MoveNext())
        {
            throw new InvalidOperationException("Attention asks for a tile that was not announced.");
        }

        Fill(_free.Dequeue(), _upcoming.Current);
    }

    private void Fill(Slot slot, TileRequest request)
    {
        slot.Request = request;
        using var scope = TorchSharp.torch.NewDisposeScope();
        _device.Wait(WorkQueue.Upload, slot.Freed);
        var (rows, pages) = (Rows(slot), _layout.PagesOf(request.Layer));
        _device.Wait(WorkQueue.Upload, request.Sequence.Pool.Written(pages));
        foreach (var run in request.Sequence.Runs(pages, request.Range))
        {
            _device.Upload(run.Memory.narrow(1, request.Group.First, request.Group.Count), rows, run.Tokens.Start - request.Range.Start);
        }

        _device.Record(WorkQueue.Upload, slot.Filled);
        _filled.Enqueue(slot);
    }

    // [heads, 2, tokens, dim]
    private Tensor Rows(Slot slot)
    {
        var (heads, tokens, dim) = (slot.Request.Group.Count, slot.Request.Range.Count, _layout.HeadsOf(slot.Request.Layer).Dim);
        return slot.Memory.narrow(0, 0, 2L * heads * tokens * dim).view(heads, 2, tokens, dim);
    }

    private sealed class Slot(Tensor memory, Fence filled, Fence freed)
    {
        public Tensor Memory { get; } = memory;

        public nint Address { get; } = TensorMemory.Pointer(memory);

        public Fence Filled { get; } = filled;

        public Fence Freed { get; } = freed;

        public TileRequest Request { get; set; }
    }
}
