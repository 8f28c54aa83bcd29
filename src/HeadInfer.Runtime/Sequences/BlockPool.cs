using System.Globalization;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Sequences;

/// <summary>Blocks of host memory in number.</summary>
/// <param name="InUse">Those of sequences, shared ones once.</param>
/// <param name="Kept">Those that nobody has, kept for whoever begins alike.</param>
/// <param name="Most">As many as there may be.</param>
internal readonly record struct BlockCount(int InUse, int Kept, int Most)
{
    /// <summary>Blocks that can be had.</summary>
    public int Free => Most - InUse;
}

/// <summary>All blocks of a model. When their sequences end they are kept, and found again by their tokens, until room is needed.</summary>
/// <remarks>
/// Bookkeeping is safe from any thread and never waits for computation. Memory itself is taken and given to the system by the
/// engine's thread alone.
/// </remarks>
internal sealed class BlockPool : IDisposable
{
    private const int PagesInRow = 128;

    private readonly Lock _gate = new();
    private readonly PrefixIndex _index = new();
    private readonly PagePool _pages;
    private readonly Device _device;
    private readonly PageShape[] _shapes; // [layer]
    private readonly Fence[] _written; // [layer]
    private readonly Fence _computed, _arrived;
    private readonly int _mostKept;
    private int _inUse;
    private int _kept;
    private long _evicted;
    private long _blocksMade;
    private bool _hasRented; // since the last step

    /// <param name="shape">of a page; the largest, where layers have different heads</param>
    /// <param name="layers">layers of the model</param>
    /// <param name="budget">memory of all blocks at most</param>
    /// <param name="keep">memory of blocks that nobody has, at most</param>
    /// <param name="device">takes rows to the pages; not owned</param>
    /// <param name="slabSize">memory that is taken from the system at once; null for what suits the device</param>
    /// <param name="state">what other layers remember of a sequence; a block may have it once</param>
    /// <param name="heads">[layer], where not all have those of <paramref name="shape"/></param>
    public BlockPool(PageShape shape, int layers, ByteSize budget, ByteSize keep, Device device, ByteSize? slabSize = null, StateShape state = default, IReadOnlyList<HeadShape>? heads = null)
    {
        _shapes = [.. Enumerable.Range(0, layers).Select(layer => heads is null ? shape : shape.With(heads[layer]))];
        State = state;
        (_device, Layers, _computed, _arrived) = (device, layers, device.CreateFence(), device.CreateFence());
        _pages = new PagePool(shape, slabSize ?? device.SlabSize, device);
        _written = [.. Enumerable.Range(0, layers).Select(_ => device.CreateFence())];
        MostBlocks = (int)Math.Min(budget.Bytes / BlockSize.Bytes, int.MaxValue);
        _mostKept = (int)Math.Min(keep.Bytes / BlockSize.Bytes, int.MaxValue);
    }

    /// <summary>Of the largest page: pages are alike.</summary>
    public PageShape Shape => _pages.Shape;

    /// <summary>Of what a layer has in its pages.</summary>
    public PageShape ShapeOf(int layer) => _shapes[layer];

    /// <summary>Takes rows to the pages.</summary>
    public Device Device => _device;

    public int Layers { get; }

    public int BlockTokens => Shape.Tokens;

    /// <summary>What layers without keys and values remember of a sequence.</summary>
    public StateShape State { get; }

    public bool HasStates => State.Layers > 0;

    public ByteSize BlockSize => (Shape.Size * Layers) + State.Size;

    public int MostBlocks { get; }

    public BlockCount Count
    {
        get
        {
            lock (_gate)
            {
                return new BlockCount(_inUse, _kept, MostBlocks);
            }
        }
    }

    /// <summary>Blocks that were forgotten so far.</summary>
    public long Evicted => Interlocked.Read(ref _evicted);

    /// <summary>Blocks that so many tokens need.</summary>
    public int BlocksFor(long tokens) => (int)((tokens + BlockTokens - 1) / BlockTokens);

    /// <summary>Passed when all rows that were written to a layer are in their pages.</summary>
    public Fence Written(int layer) => _written[layer];

    /// <summary>Takes empty blocks for a sequence to write. Of those that are kept the ones that were not wanted for the longest time make room. Engine thread.</summary>
    /// <exception cref="MemoryBudgetException">There are not so many; nothing has changed.</exception>
    public List<Block> Rent(int count, Sequence writer)
    {
        lock (_gate)
        {
            if (_inUse + count > MostBlocks)
            {
                throw new MemoryBudgetException(string.Create(CultureInfo.InvariantCulture,
                    $"The KV cache needs {BlockSize * count} more host memory; {BlockSize * _inUse} of its {BlockSize * MostBlocks} are in use. Raise HeadInferOptions.HostMemory, shorten the context or dispose other sessions."));
            }

            while (_inUse + _kept + count > MostBlocks)
            {
                Evict();
            }

            var pages = _pages.Rent(count * Layers);
            _inUse += count;
            _hasRented = true;

            // Some neighbouring pages of each layer in turn, in the order in which they will be written: memory is made ready
            // while earlier tokens are computed.
            var ofBlocks = Enumerable.Range(0, count).Select(_ => new Page[Layers]).ToArray();
            for (var (at, first) = (0, 0); first < count; first += PagesInRow)
            {
                var row = Math.Min(PagesInRow, count - first);
                for (var layer = 0; layer < Layers; layer++)
                {
                    for (var i = 0; i < row; i++)
                    {
                        ofBlocks[first + i][layer] = pages[at++];
                    }
                }
            }

            return [.. ofBlocks.Select(p => new Block(++_blocksMade, BlockTokens, p) { Users = 1, Writer = writer })];
        }
    }

    /// <summary>Counts another sequence that has the blocks.</summary>
    public void Retain(IEnumerable<Block> blocks)
    {
        lock (_gate)
        {
            foreach (var block in blocks)
            {
                RetainOne(block);
            }
        }
    }

    /// <summary>Says that a sequence has the blocks no more. Those that are known are kept as long as there is room.</summary>
    public void Release(IEnumerable<Block> blocks, Sequence by)
    {
        lock (_gate)
        {
            foreach (var block in blocks.Reverse()) // what stands last is the first to be forgotten
            {
                block.Writer = block.Writer == by ? null : block.Writer;
                if (--block.Users > 0)
                {
                    continue;
                }

                _inUse--;
                if (block.Node is null)
                {
                    Return(block);
                    continue;
                }

                _kept++;
                _index.SetIdle(block, true);
            }

            while (_kept > _mostKept)
            {
                Evict();
            }
        }
    }

    /// <summary>The longest known beginning of some tokens; its blocks are retained.</summary>
    /// <param name="key">callers with different keys share nothing</param>
    /// <returns>its length and blocks, and whether what is known goes on otherwise from there</returns>
    public (int Length, bool Diverged, List<Block> Blocks) Find(CacheKey key, ReadOnlySpan<int> tokens)
    {
        lock (_gate)
        {
            var blocks = new List<Block>();
            var (length, diverged) = _index.Find(key, tokens, blocks);
            blocks.ForEach(RetainOne);
            return (length, diverged, blocks);
        }
    }

    /// <summary>The beginnings of a caller that nothing longer continues.</summary>
    public IReadOnlyList<KnownBeginning> Known(string name)
    {
        lock (_gate)
        {
            return [.. _index.Known(name)];
        }
    }

    /// <summary>Adds tokens to a block, whose rows are all written.</summary>
    /// <param name="key">the sequence's</param>
    /// <param name="before">the known block that it follows; null at the beginning</param>
    /// <param name="block">the sequence's own</param>
    /// <param name="tokens">as many as it has room for, at most</param>
    /// <returns>the block by which what follows is known, retained if it is another; null as long as it is not full</returns>
    public Block? Append(CacheKey key, Block? before, Block block, ReadOnlySpan<int> tokens)
    {
        lock (_gate)
        {
            var isNew = block.Filled == 0;
            block.Append(tokens);
            if (isNew)
            {
                PrefixIndex.Add(_index.Place(key, before), block);
            }

            if (!block.IsFull)
            {
                return null;
            }

            var known = PrefixIndex.Seal(block);
            if (known != block && known.Users == 0)
            {
                // It would be in use again, beside this one, and take a block that may be promised to others.
                _index.Replace(known, block);
                (block.State, known.State) = (block.State ?? known.State, block.State is null ? null : known.State);
                Return(known);
                _kept--;
                return block;
            }

            if (known != block)
            {
                RetainOne(known);
            }

            return known;
        }
    }

    /// <summary>Makes a sequence the one that may add rows to a block, if those it has are all there are and nobody else is that one.</summary>
    /// <param name="block">one of the sequence's</param>
    /// <param name="tokens">tokens of it that the sequence has</param>
    public bool TryClaim(Block block, int tokens, Sequence by)
    {
        lock (_gate)
        {
            if (block.Filled != tokens || (block.Writer ?? by) != by)
            {
                return false;
            }

            block.Writer = by;
            return true;
        }
    }

    /// <summary>Keeps what layers remember in a block, in place of what it had. Engine thread.</summary>
    /// <param name="block">of a sequence</param>
    /// <param name="state">in host memory; owned from now on</param>
    public void Keep(Block block, SequenceState state)
    {
        lock (_gate)
        {
            block.State?.Dispose();
            block.State = state;
        }
    }

    /// <summary>Writes rows of one layer into pages, in order.</summary>
    /// <param name="runs">where</param>
    /// <param name="start">the token that the rows begin with</param>
    /// <param name="rows">[kv_heads, 2, tokens, dim]; must not change until <see cref="Written"/> has passed</param>
    public void Write(int layer, IEnumerable<PageRun> runs, int start, TorchSharp.torch.Tensor rows)
    {
        _device.Record(WorkQueue.Compute, _computed);
        _device.Wait(WorkQueue.Download, _computed);
        foreach (var run in runs)
        {
            run.Slab.EnsureReady();
            _device.Download(rows, run.Tokens.Start - start, run.Memory);
        }

        _device.Record(WorkQueue.Download, _written[layer]);
    }

    /// <summary>Says that the computation queued so far writes a layer's rows to their pages itself.</summary>
    public void WrittenByComputation(int layer)
    {
        _device.Record(WorkQueue.Compute, _written[layer]);
        _device.Wait(WorkQueue.Download, _written[layer]); // whoever waits for what is downloaded waits for this too
    }

    /// <summary>Lets what is computed next, which may write to pages by address, wait for what passes that have ended still bring to those rented since. Engine thread.</summary>
    public void AwaitDownloads()
    {
        if (_hasRented)
        {
            _hasRented = false;
            _device.Record(WorkQueue.Download, _arrived);
            _device.Wait(WorkQueue.Compute, _arrived);
        }
    }

    /// <summary>Blocks the calling thread until all rows are in their pages.</summary>
    public void Drain() => _device.Drain();

    /// <summary>Copies the first rows of a block into another, for all layers. Engine thread.</summary>
    public unsafe void Copy(Block from, Block to, int tokens)
    {
        // All that is queued: a pass that was cancelled may have left rows on their way to pages that are the copy's now.
        _device.Record(WorkQueue.Compute, _computed);
        _device.Wait(WorkQueue.Download, _computed);
        _device.Record(WorkQueue.Download, _arrived);
        _device.Block(_arrived);
        for (var layer = 0; layer < Layers; layer++)
        {
            var (shape, row) = (ShapeOf(layer), ShapeOf(layer).RowBytes);
            to.Pages[layer].Slab.EnsureReady(); // memory is touched while it is pinned
            for (var half = 0; half < 2 * shape.KvHeads; half++)
            {
                var at = (nint)(half * shape.Tokens * row);
                Buffer.MemoryCopy((void*)(_pages.AddressOf(from.Pages[layer]) + at), (void*)(_pages.AddressOf(to.Pages[layer]) + at), tokens * row, tokens * row);
            }
        }
    }

    /// <summary>Blocks that a sequence has alone, and those that others have too. From any thread.</summary>
    public (int Own, int Shared) CountShared(Sequence sequence)
    {
        lock (_gate)
        {
            var blocks = sequence.Blocks;
            var own = blocks.Count(b => b.Users == 1);
            return (own, blocks.Count - own);
        }
    }

    public nint AddressOf(Page page) => _pages.AddressOf(page);

    /// <summary>Forgets all blocks that nobody has.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            while (_kept > 0)
            {
                Evict();
            }
        }
    }

    /// <summary>Gives the system back what no block needs. Engine thread.</summary>
    public void Trim() => _pages.Free(TakeEmpty()); // outside of the lock: bookkeeping does not wait for copies

    public void Dispose() => Parts.Dispose([Clear, _pages.Dispose, .. _written.Select(f => (Action)f.Dispose), _computed.Dispose, _arrived.Dispose]); // first what is remembered in blocks

    private List<PageSlab> TakeEmpty()
    {
        lock (_gate)
        {
            return _pages.TakeEmpty();
        }
    }

    private static void Return(Block block)
    {
        PagePool.Return(block.Pages);
        block.State?.Dispose();
        block.State = null;
    }

    private void RetainOne(Block block)
    {
        if (block.Users++ == 0)
        {
            _kept--;
            _inUse++;
            _index.SetIdle(block, false);
        }
    }

    private void Evict()
    {
        Return(_index.TakeOldest()!);
        _kept--;
        _evicted++;
    }
}
