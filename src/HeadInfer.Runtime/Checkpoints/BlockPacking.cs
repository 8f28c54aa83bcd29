using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>What the blocks of a type are like.</summary>
/// <param name="Name">what it is called where models are published</param>
/// <param name="Columns">numbers of a block</param>
/// <param name="Bytes">bytes of a block</param>
/// <param name="Codes">what its codes are</param>
/// <param name="Factor">where a block has the float16 that its scales are multiples of</param>
/// <param name="OfLeast">where it has that of its offsets, which are less by it</param>
internal readonly record struct BlockForm(string Name, int Columns, int Bytes, CodeForm Codes, int Factor = 0, int OfLeast = 0);

/// <summary>A type of blocks of a fixed size, each of which tells its numbers alone.</summary>
internal unsafe interface IBlockFormat
{
    static abstract BlockForm Form { get; }

    /// <summary>Gives on what is in a block, in the order of columns.</summary>
    static abstract void Read<TTaker>(byte* block, ref TTaker taker)
        where TTaker : struct, ICodeTaker;
}

/// <summary>A type whose codes are multiplied as they are by activations in planes.</summary>
internal unsafe interface IPlaneFormat : IBlockFormat
{
    /// <summary>Gives on what is in the blocks of sixty-four numbers, or in a block of more.</summary>
    static abstract void ReadForPlanes<TTaker>(byte* blocks, ref TTaker taker)
        where TTaker : struct, IPlaneTaker;
}

/// <summary>A type of blocks of 256 numbers, whose scales and offsets are made for all of them.</summary>
internal unsafe interface ISuperBlockFormat : IPlaneFormat
{
    /// <summary>Makes the scales and offsets of a block.</summary>
    /// <param name="block">which</param>
    /// <param name="to">[<see cref="BlockFactors.Count"/>], written</param>
    static abstract void ReadFactors(byte* block, float* to);

    /// <summary>Gives on 64 numbers of a block, in the order of columns.</summary>
    /// <param name="block">which</param>
    /// <param name="factors">its scales and offsets</param>
    /// <param name="quarter">0 to 3</param>
    /// <param name="taker">of them</param>
    static abstract void ReadQuarter<TTaker>(byte* block, float* factors, int quarter, ref TTaker taker)
        where TTaker : struct, ICodeTaker;
}

/// <summary>Numbers in blocks.</summary>
internal abstract class BlockPacking(BlockForm form) : Packing
{
    public override string Name => form.Name;

    public override int BlockColumns => form.Columns;

    public override CodeForm? Form => form.Codes;

    public override long RowBytes(long columns) => columns / form.Columns * form.Bytes;

    public override unsafe void UnpackFactors(byte* row, int columns, ushort* to)
    {
        for (var unit = 0; unit < columns / TiledPacking.UnitColumns; unit++)
        {
            var block = row + (unit * TiledPacking.UnitColumns / form.Columns * form.Bytes);
            (to[2 * unit], to[(2 * unit) + 1]) = (Unsafe.ReadUnaligned<ushort>(block + form.Factor), Unsafe.ReadUnaligned<ushort>(block + form.OfLeast));
        }
    }
}

/// <summary>Numbers in blocks of a type.</summary>
internal unsafe class BlockPacking<TFormat>() : BlockPacking(TFormat.Form)
    where TFormat : struct, IBlockFormat
{
    private const int Share = 1 << 16; // numbers that are worth a thread

    private static readonly int Columns = TFormat.Form.Columns, Bytes = TFormat.Form.Bytes;

    // A row has whole blocks, so where it ends does not matter.
    public override void Unpack(ReadOnlySpan<byte> rows, int columns, Span<float> to)
    {
        var blocks = rows.Length / Bytes;
        var shares = Math.Clamp((int)((long)blocks * Columns / Share), 1, Environment.ProcessorCount);
        fixed (byte* source = rows)
        fixed (float* target = to[..(blocks * Columns)])
        {
            var (from, into) = ((nint)source, (nint)target);
            Parallel.For(0, shares, share =>
            {
                var (start, end) = ((int)((long)blocks * share / shares), (int)((long)blocks * (share + 1) / shares));
                ReadAll((byte*)from + ((long)start * Bytes), end - start, new NumberMaker<NumberWriter>(new NumberWriter((float*)into + ((long)start * Columns))));
            });
        }
    }

    public override void UnpackPart(byte* row, int columns, int first, int count, float* to) =>
        ReadAll(row + RowBytes(first), count / Columns, new NumberMaker<NumberWriter>(new NumberWriter(to)));

    public override void UnpackCodes(byte* row, int columns, byte* to, float* scales, float* offsets) =>
        ReadAll(row, columns / Columns, new CodeTaker(to, scales, offsets));

    public override bool Multiplies(int columns) => Avx2.IsSupported;

    public override void Multiply4(byte* rows, long stride, int columns, float* x, float* result)
    {
        if (!Vector512.IsHardwareAccelerated)
        {
            var ((first, second), (third, fourth)) = (Multiply2(rows, stride, columns, x), Multiply2(rows + (2 * stride), stride, columns, x));
            PlainLane.Sum4(first, second, third, fourth).Store(result);
            return;
        }

        var end = RowBytes(columns); // before there are sums: what lives across a call lies on the stack afterwards too, and these would in every turn
        byte* r1 = rows + stride, r2 = r1 + stride, r3 = r2 + stride;
        NumberMaker<NumberMultiplier> a = Begin(x), b = Begin(x), c = Begin(x), d = Begin(x);
        for (long at = 0; at < end; at += Bytes)
        {
            TFormat.Read(rows + at, ref a);
            TFormat.Read(r1 + at, ref b);
            TFormat.Read(r2 + at, ref c);
            TFormat.Read(r3 + at, ref d);
        }

        WideLane.Sum4(a.Numbers.Sum, b.Numbers.Sum, c.Numbers.Sum, d.Numbers.Sum).Store(result);
    }

    // Each sum waits for the product before, so one row alone computes half of the time. Four have no registers for sums, scales and codes.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static (PlainLane First, PlainLane Second) Multiply2(byte* rows, long stride, int columns, float* x)
    {
        NumberMaker<NarrowMultiplier> first = new(new NarrowMultiplier(x)), second = first;
        for (var left = columns / Columns; left > 0; left--, rows += Bytes)
        {
            TFormat.Read(rows, ref first);
            TFormat.Read(rows + stride, ref second);
        }

        return (first.Numbers.Sum, second.Numbers.Sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static NumberMaker<NumberMultiplier> Begin(float* x) => new(new NumberMultiplier(x));

    private static void ReadAll<TTaker>(byte* blocks, int count, TTaker taker)
        where TTaker : struct, ICodeTaker
    {
        for (; count > 0; count--, blocks += Bytes)
        {
            TFormat.Read(blocks, ref taker);
        }
    }
}

/// <summary>Numbers in blocks of a type that activations in planes are multiplied by.</summary>
internal unsafe class PlanePacking<TFormat> : BlockPacking<TFormat>
    where TFormat : struct, IPlaneFormat
{
    private static readonly int Columns = Math.Max(TFormat.Form.Columns, PlaneRows.Columns), Bytes = TFormat.Form.Bytes * (Columns / TFormat.Form.Columns);

    public override bool HasSmallGroups => TFormat.Form.Codes.Group == 16;

    public override bool TakesPlanes(int columns) => columns % PlaneRows.Columns == 0;

    public override void MultiplyPlanes4(byte* rows, long stride, int columns, byte* planes, float* result)
    {
        var ((first, second), (third, fourth)) = (Multiply2(rows, stride, columns, planes), Multiply2(rows + (2 * stride), stride, columns, planes));
        PlainLane.Sum4(first, second, third, fourth).Store(result);
    }

    public override void UnpackForPlanes(byte* row, int columns, int first, int count, byte* to)
    {
        var writer = new PlaneWriter(to);
        row += RowBytes(first);
        for (var left = count / Columns; left > 0; left--, row += Bytes)
        {
            TFormat.ReadForPlanes(row, ref writer);
        }
    }

    // Two rows take planes from the first cache where one would from the second.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static (PlainLane First, PlainLane Second) Multiply2(byte* rows, long stride, int columns, byte* planes)
    {
        PlaneMultiplier first = new(planes), second = first;
        for (var left = columns / Columns; left > 0; left--, rows += Bytes)
        {
            TFormat.ReadForPlanes(rows, ref first);
            TFormat.ReadForPlanes(rows + stride, ref second);
        }

        return (first.Sum, second.Sum);
    }
}

/// <summary>Numbers in blocks of 256.</summary>
internal sealed unsafe class SuperBlockPacking<TFormat> : PlanePacking<TFormat>
    where TFormat : struct, ISuperBlockFormat
{
    private const int Line = 64; // bytes
    private const int Quarter = GgmlSuperBlocks.Columns / 4;

    private static readonly int Bytes = TFormat.Form.Bytes;

    [SkipLocalsInit]
    public override void Multiply4(byte* rows, long stride, int columns, float* x, float* result)
    {
        if (!Vector512.IsHardwareAccelerated)
        {
            base.Multiply4(rows, stride, columns, x, result);
            return;
        }

        var taken = stackalloc byte[(4 * sizeof(BlockFactors)) + Line];
        MultiplyWide4(rows, stride, columns, x, (float*)(((nuint)taken + Line - 1) / Line * Line), result);
    }

    // A quarter of a block of four rows at a time: so the processor sees enough that waits for no sum, and x is read once for all four. It is a
    // method by itself, as .NET compiles one with a stackalloc only once, before constants are known.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void MultiplyWide4(byte* rows, long stride, int columns, float* x, float* factors, float* result)
    {
        var end = (long)columns / GgmlSuperBlocks.Columns * Bytes;
        byte* r1 = rows + stride, r2 = r1 + stride, r3 = r2 + stride;
        float* f1 = factors + BlockFactors.Count, f2 = f1 + BlockFactors.Count, f3 = f2 + BlockFactors.Count;
        Vector512<float> a = default, b = default, c = default, d = default;
        for (long at = 0; at < end; at += Bytes)
        {
            TFormat.ReadFactors(rows + at, factors);
            TFormat.ReadFactors(r1 + at, f1);
            TFormat.ReadFactors(r2 + at, f2);
            TFormat.ReadFactors(r3 + at, f3);
            for (var quarter = 0; quarter < 4; quarter++, x += Quarter)
            {
                a = Add(a, rows + at, factors, quarter, x);
                b = Add(b, r1 + at, f1, quarter, x);
                c = Add(c, r2 + at, f2, quarter, x);
                d = Add(d, r3 + at, f3, quarter, x);
            }
        }

        WideLane.Sum4(new(a), new(b), new(c), new(d)).Store(result);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Add(Vector512<float> sum, byte* block, float* factors, int quarter, float* x)
    {
        NumberMaker<NumberMultiplier> taker = new(new NumberMultiplier(x, sum));
        TFormat.ReadQuarter(block, factors, quarter, ref taker);
        return taker.Numbers.Sum.Value;
    }
}
