using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Sequences;

/// <summary>What layers without keys and values remember of a sequence: it is there while a request runs, and is kept in blocks between them.</summary>
/// <remarks>
/// A state cannot be cut as keys can. It is kept at the end of each full block, and after the last token of a request in the block
/// that has that token. A sequence that was cut elsewhere, or whose state made room for another's, goes back to the last place where there is one.
/// </remarks>
internal sealed partial class Sequence
{
    private readonly List<(int Length, SequenceState State)> _ends = []; // of blocks that the pass under way fills
    private SequenceState? _state, _next;

    /// <summary>The largest number of its first tokens for which a state is there; all where nothing is remembered.</summary>
    public int Settled(int length) => !pool.HasStates || _state?.Serves(length) == true ? length : Known(Keepers(length), length);

    /// <summary>What is remembered of all its tokens, where it is computed with. Owned by the sequence. Engine thread.</summary>
    public SequenceState Remember()
    {
        if (_state?.Serves(Length) == true)
        {
            return _state;
        }

        Lose();
        var device = pool.Device.Torch;
        _state = Length == 0 ? new SequenceState(pool.State, device)
            : Kept(Keepers(Length), Length) is { } kept && kept.Serves(Length) ? kept.CopyTo(device)
            : throw new InvalidOperationException($"Nothing is remembered of the first {Length} tokens.");
        _state.Length = Length;
        return _state;
    }

    /// <summary>Takes what is remembered of no tokens as what is remembered of all: for a benchmark, whose keys are random too.</summary>
    public void Pretend()
    {
        Lose();
        _state = new SequenceState(pool.State, pool.Device.Torch) { Length = Length };
        Array.Fill(_state.Taken, Length);
    }

    /// <summary>Gives up what is remembered: a step has failed in the midst of it.</summary>
    public void Lose()
    {
        _state?.Dispose();
        _state = null;
    }

    /// <summary>Takes what a pass makes of it, which counts when its tokens are committed.</summary>
    /// <param name="next">after all tokens of the pass; owned from now on</param>
    /// <param name="ends">after those blocks that it fills, in host memory; owned from now on</param>
    public void Prepare(SequenceState next, IEnumerable<(int Length, SequenceState State)> ends)
    {
        Forget();
        _next = next;
        _ends.AddRange(ends);
    }

    /// <summary>Keeps what is remembered at the end of a block, if it is known there and not kept yet. Engine thread.</summary>
    public void KeepAtEnd()
    {
        if (Length % pool.BlockTokens == 0 && Length > 0 && _state is { } state && state.Taken.All(taken => taken == Length) && EndOf(Length / pool.BlockTokens) is var block && block.State?.Length != Length)
        {
            pool.Keep(block, Saved(state));
        }
    }

    /// <summary>Puts what is remembered where other sequences with these tokens find it, and this one its own when it goes on. What cannot be kept is read again. Engine thread.</summary>
    public void Park()
    {
        try
        {
            if (_state is { } state && state.Serves(Length) && Length > 0)
            {
                var last = pool.BlocksFor(Length) - 1;
                var block = Length % pool.BlockTokens == 0 ? EndOf(last + 1) : _blocks[last];
                if (block.State is not { } kept || kept.Length < Length) // else it is another's that has gone further
                {
                    state.Length = Length;
                    pool.Keep(block, Saved(state));
                }
            }
        }
        catch (Exception e) when (e is ExternalException or OutOfMemoryException or DeviceException)
        {
            // No memory, or a device that has failed: whoever ends must end all the same.
        }

        Lose();
        Forget();
    }

    // The last state that blocks keep of no more than so many tokens, and how many of these it serves.
    private static SequenceState? Kept(IEnumerable<Block> blocks, int length) => blocks.Reverse().Select(b => b.State).FirstOrDefault(kept => kept?.Least <= length);

    private static int Known(IEnumerable<Block> blocks, int length) => Math.Min(length, Kept(blocks, length)?.Length ?? 0);

    private static SequenceState Saved(SequenceState state) => state.CopyTo(CPU);

    private Block EndOf(int blocks) => blocks <= _known.Count ? _known[blocks - 1] : _blocks[blocks - 1];

    // Of each block and the one by which it is known, who keeps what is remembered, if any does.
    private IEnumerable<Block> Keepers(int length) => Enumerable.Range(0, pool.BlocksFor(length)).Select(i => i < _known.Count && _known[i].State is not null ? _known[i] : _blocks[i]);

    // The tokens have become more: those of a pass that made a state of its own, or those of a step, which the state has seen.
    private void Advance()
    {
        if (_next is { } next && next.Length == Length)
        {
            _state?.Dispose();
            (_state, _next) = (next, null);
            foreach (var (length, state) in _ends)
            {
                pool.Keep(EndOf(length / pool.BlockTokens), state);
            }

            _ends.Clear();
        }
        else if (_state is { } state)
        {
            state.Length = Length;
        }
    }

    // The tokens have become fewer, or others.
    private void Recede()
    {
        Forget();
        if (_state is { } state && (Length == 0 || !state.Serves(Math.Min(Length, state.Length))))
        {
            Lose();
        }
        else if (_state is not null)
        {
            _state.Length = Math.Min(_state.Length, Length);
        }
    }

    private void Forget()
    {
        _next?.Dispose();
        _next = null;
        _ends.ForEach(e => e.State.Dispose());
        _ends.Clear();
    }
}
