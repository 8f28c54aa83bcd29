namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Gives the numbers of one block.</summary>
/// <param name="block">its bytes</param>
/// <param name="to">written</param>
internal delegate void BlockUnpacker(ReadOnlySpan<byte> block, Span<float> to);

/// <summary>Numbers in blocks of a fixed size, each of which tells its numbers alone.</summary>
/// <param name="name">what it is called where models are published</param>
/// <param name="columns">numbers of a block</param>
/// <param name="bytes">bytes of a block</param>
/// <param name="unpack">gives a block's numbers</param>
internal sealed class BlockPacking(string name, int columns, int bytes, BlockUnpacker unpack) : Packing
{
    private const int Share = 1 << 16; // numbers that are worth a thread

    public override string Name => name;

    public override int BlockColumns => columns;

    public override long RowBytes(long count) => count / columns * bytes;

    // A row has whole blocks, so where it ends does not matter.
    public override unsafe void Unpack(ReadOnlySpan<byte> rows, int width, Span<float> to)
    {
        var blocks = rows.Length / bytes;
        var shares = Math.Clamp((int)((long)blocks * columns / Share), 1, Environment.ProcessorCount);
        fixed (byte* source = rows)
        fixed (float* target = to[..(blocks * columns)])
        {
            var (from, into) = ((nint)source, (nint)target);
            void UnpackShare(int share)
            {
                var end = (int)((long)blocks * (share + 1) / shares);
                for (var i = (int)((long)blocks * share / shares); i < end; i++)
                {
                    unpack(new ReadOnlySpan<byte>((byte*)from + ((long)i * bytes), bytes), new Span<float>((float*)into + ((long)i * columns), columns));
                }
            }

            if (shares == 1)
            {
                UnpackShare(0);
            }
            else
            {
                Parallel.For(0, shares, UnpackShare);
            }
        }
    }
}
