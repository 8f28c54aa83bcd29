using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Attention;

/// <summary>Copies, in device memory, of what the windowed layers of sequences that are being answered see: their last tokens.</summary>
/// <remarks>
/// Without them every step streams whole windows. A sequence has a ring: a token's place is its number modulo the ring's, so a step
/// writes its rows over those that have left the window. A ring may be dropped at any time, since the pages have everything; the
/// layers are streamed then. A prompt's passes take no part: they read a window once a segment.
/// </remarks>
internal sealed class WindowCopies : IDisposable
{
    private const int LeastRoom = 1024; // tokens that a sequence may grow by before its ring must
    private const int Turns = 8;        // steps after which a ring that was in none of them may make way: many answers take turns

    private readonly BlockPool _pool;
    private readonly Device _device;
    private readonly List<ResidentGroup> _groups;
    private readonly List<Ring> _rings = [];
    private readonly ResidentArena _arena;
    private readonly Fence _computed, _filled;
    private readonly int _window; // the largest
    private long _steps;

    /// <param name="layout">the layers' windows</param>
    /// <param name="pool">the blocks; not owned</param>
    /// <param name="size">device memory for rings</param>
    public WindowCopies(AttentionLayout layout, BlockPool pool, ByteSize size)
    {
        (_pool, _device) = (pool, pool.Device);
        _groups = layout.Placement is not null || !_device.IsAsynchronous ? [] : [.. Enumerable.Range(0, layout.Layers)
            .Where(layer => layout.Keeps(layer) && layout.Windows[layer] is not null)
            .Select(layer => new ResidentGroup(layout.PagesOf(layer), Whole(layout, layer), layout.HeadsOf(layer).Dim))];
        _window = layout.Windows.Max() ?? 0;
        _arena = new ResidentArena(_groups.Count > 0 ? size : ByteSize.Zero, pool.Shape.Type, _device.Torch);
        (_computed, _filled) = (_device.CreateFence(), _device.CreateFence());
    }

    /// <summary>Whether there is room for any. If so, the host attends no windowed layer.</summary>
    public bool Exist => _arena.Size > ByteSize.Zero;

    /// <summary>Memory of all rings. From any thread.</summary>
    public ByteSize InUse => _arena.InUse;

    /// <summary>Tokens of a ring in which a window has room beside a step's rows.</summary>
    /// <param name="window">tokens that a query sees</param>
    /// <param name="longest">a sequence that is no longer needs no more</param>
    /// <param name="blockTokens">rings have whole blocks</param>
    public static long TokensFor(int window, long longest, int blockTokens) =>
        (Math.Min(window - 1L, longest) + RowKernels.MostRows + blockTokens - 1) / blockTokens * blockTokens;

    /// <summary>All heads of a layer.</summary>
    public static HeadGroup Whole(AttentionLayout layout, int layer) => new(0, layout.HeadsOf(layer).KvHeads, HeadPlacement.Resident);

    /// <summary>Begins a step: its sequences' rings do not make way for each other.</summary>
    public void BeginStep(IEnumerable<Sequence> sequences)
    {
        _steps++;
        foreach (var sequence in sequences)
        {
            if (Find(sequence) is { } ring)
            {
                ring.LastUse = _steps;
            }
        }
    }

    /// <summary>Takes note that a sequence goes on with a prompt, whose rows its ring does not get.</summary>
    public void Leave(Sequence sequence)
    {
        if (Find(sequence) is { } ring)
        {
            Settle(ring, sequence);
            (ring.End, ring.Written) = (Math.Min(ring.End, sequence.Length), 0);
        }
    }

    /// <summary>Gives a sequence of a step a ring with all that the step's rows see, if there is room.</summary>
    /// <param name="sequence">has blocks for the step's tokens</param>
    /// <param name="count">tokens of the step</param>
    /// <returns>what has copies, the step's own tokens among them; empty if there is no room</returns>
    public IReadOnlyList<ResidentExtent> Place(Sequence sequence, int count)
    {
        var end = sequence.Length + count;
        if (!Exist || Enlarged(sequence, Find(sequence), end) is not { } ring)
        {
            return [];
        }

        Settle(ring, sequence);
        var first = Math.Max(0, sequence.Length - _window + 1);
        var (start, known) = ring.Start <= first && first <= ring.End ? (ring.Start, ring.End) : (first, first);
        if (new TokenRange(known, sequence.Length) is { IsEmpty: false } missing)
        {
            Fill(ring.Run, sequence, missing);
        }

        (ring.Start, ring.End, ring.Written) = (Math.Max(start, end - ring.Run.Capacity), sequence.Length, count); // the step writes over what is before
        return [.. new TokenRange(first, end).SplitAligned(ring.Run.Capacity).Select(tokens => new ResidentExtent(tokens, ring.Run, tokens.Start % ring.Run.Capacity))];
    }

    public void Dispose()
    {
        _rings.ForEach(r => r.Run.Dispose());
        _arena.Dispose();
        _computed.Dispose();
        _filled.Dispose();
    }

    private Ring? Find(Sequence sequence) => _rings.Find(r => r.Owner.TryGetTarget(out var owner) && owner == sequence);

    // What the last step wrote counts as far as the sequence has taken it; nothing does once its tokens have become others.
    private static void Settle(Ring ring, Sequence sequence)
    {
        ring.End = ring.Version == sequence.Version ? Math.Min(sequence.Length, ring.End + ring.Written) : 0;
        (ring.Version, ring.Written) = (sequence.Version, 0);
    }

    // A ring in which so many tokens have room, as far as a window needs them; null if the device has none.
    private Ring? Enlarged(Sequence sequence, Ring? ring, int end)
    {
        var block = _pool.BlockTokens;
        var (least, most) = (TokensFor(_window, end, block), TokensFor(_window, end + Math.Max(LeastRoom, end / 8), block));
        if (ring is not null && ring.Run.Capacity >= least)
        {
            return ring;
        }

        if (ring is not null)
        {
            Drop(ring);
        }

        var numbers = _groups.Sum(g => g.Numbers);
        while (_arena.LargestPiece < most * numbers && _rings.Where(r => r.LastUse < _steps - Turns || !r.Owner.TryGetTarget(out _)).MinBy(r => r.LastUse) is { } unused)
        {
            Drop(unused);
        }

        var tokens = _arena.LargestPiece >= most * numbers ? most : least;
        if (_arena.TryRent(tokens * numbers) is not { } memory)
        {
            return null;
        }

        _rings.Add(ring = new Ring(new WeakReference<Sequence>(sequence), new ResidentRun(_arena, memory, _groups, (int)tokens)) { Version = sequence.Version, LastUse = _steps });
        return ring;
    }

    private void Drop(Ring ring)
    {
        _rings.Remove(ring);
        ring.Run.Dispose();
    }

    private void Fill(ResidentRun run, Sequence sequence, TokenRange tokens)
    {
        _device.Record(WorkQueue.Compute, _computed);
        _device.Wait(WorkQueue.Upload, _computed); // what was there may be read yet
        foreach (var piece in tokens.SplitAligned(run.Capacity))
        {
            run.Fill(_groups, sequence, piece, piece.Start % run.Capacity);
        }

        _device.Record(WorkQueue.Upload, _filled);
        _device.Wait(WorkQueue.Compute, _filled);
    }

    /// <summary>A sequence's ring. It has the tokens from Start to End, and what a step has written behind them.</summary>
    private sealed class Ring(WeakReference<Sequence> owner, ResidentRun run)
    {
        public WeakReference<Sequence> Owner { get; } = owner;

        public ResidentRun Run { get; } = run;

        public int Version { get; set; }

        public int Start { get; set; }

        public int End { get; set; }

        public int Written { get; set; }

        public long LastUse { get; set; }
    }
}
