using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Gives the numbers of some blocks.</summary>
/// <param name="blocks">their bytes</param>
/// <param name="count">how many blocks</param>
/// <param name="to">written</param>
internal unsafe delegate void BlockUnpacker(byte* blocks, int count, float* to);

/// <summary>Numbers in blocks of a fixed size, each of which tells its numbers alone.</summary>
/// <param name="name">what it is called where models are published</param>
/// <param name="columns">numbers of a block</param>
/// <param name="bytes">bytes of a block</param>
/// <param name="unpack">gives blocks' numbers</param>
internal sealed unsafe class BlockPacking(string name, int columns, int bytes, BlockUnpacker unpack) : Packing
{
    private const int Share = 1 << 16; // numbers that are worth a thread

    public override string Name => name;

    public override int BlockColumns => columns;

    public override long RowBytes(long count) => count / columns * bytes;

    // A row has whole blocks, so where it ends does not matter.
    public override void Unpack(ReadOnlySpan<byte> rows, int width, Span<float> to)
    {
        var blocks = rows.Length / bytes;
        var shares = Math.Clamp((int)((long)blocks * columns / Share), 1, Environment.ProcessorCount);
        fixed (byte* source = rows)
        fixed (float* target = to[..(blocks * columns)])
        {
            var (from, into) = ((nint)source, (nint)target);
            Parallel.For(0, shares, share =>
            {
                var (start, end) = ((int)((long)blocks * share / shares), (int)((long)blocks * (share + 1) / shares));
                unpack((byte*)from + ((long)start * bytes), end - start, (float*)into + ((long)start * columns));
            });
        }
    }

    public override void UnpackPart(byte* row, int width, int first, int count, float* to) =>
        unpack(row + ((long)first / columns * bytes), count / columns, to);
}
