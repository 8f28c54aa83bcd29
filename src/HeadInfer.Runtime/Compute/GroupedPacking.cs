using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Rows of codes of which neighbours share a scale. First come all codes of the row (of 4 bits two a byte, the low half first), then what its groups have.</summary>
/// <remarks>Rows are filled up to 16 bytes, so that kernels may read them in vectors.</remarks>
/// <param name="bits">of a code, 4 or 8</param>
/// <param name="group">columns that share a scale; the last group of a row may have fewer. <see cref="WholeRow"/>: all.</param>
internal abstract unsafe class GroupedPacking(int bits, int group) : Packing
{
    public const int WholeRow = int.MaxValue;

    public const int Lanes = 16; // codes that are unpacked at once

    private const int Alignment = 16;

    public int Bits => bits;

    public int Group => group;

    public override int BlockColumns => 8 / bits;

    public override long RowBytes(long columns) => (CodeBytes(columns) + TailBytes(Groups(columns)) + Alignment - 1) / Alignment * Alignment;

    /// <summary>Bytes of a row's codes.</summary>
    public long CodeBytes(long columns) => ((columns * bits) + 7) / 8;

    /// <summary>Groups of a row.</summary>
    public long Groups(long columns) => columns == 0 ? 0 : ((columns - 1) / group) + 1;

    public override void Unpack(ReadOnlySpan<byte> rows, int columns, Span<float> to)
    {
        fixed (byte* from = rows)
        fixed (float* target = to)
        {
            for (var row = 0; row < to.Length / columns; row++)
            {
                UnpackPart(from + (row * RowBytes(columns)), columns, 0, columns, target + ((long)row * columns));
            }
        }
    }

    public override void UnpackPart(byte* row, int columns, int first, int count, float* to)
    {
        var tail = row + CodeBytes(columns);
        var groups = (int)Groups(columns);
        for (int at = first, end = first + count; at < end;)
        {
            var number = at / group;
            var next = (int)Math.Min(end, (long)(number + 1) * group);
            UnpackGroup(row + ((long)at * bits / 8), tail, number, groups, to + (at - first), next - at);
            at = next;
        }
    }

    /// <summary>Bytes behind the codes.</summary>
    protected abstract long TailBytes(long groups);

    /// <param name="codes">the first</param>
    /// <param name="tail">what lies behind the row's codes</param>
    /// <param name="number">of the group</param>
    /// <param name="groups">of the row</param>
    /// <param name="to">[count], written</param>
    /// <param name="count">codes, all of one group</param>
    protected abstract void UnpackGroup(byte* codes, byte* tail, int number, int groups, float* to, int count);

    /// <summary>What scales of a type are.</summary>
    protected static CodeScales KindOf(ScalarType type) => type switch { ScalarType.Float32 => CodeScales.Single, ScalarType.Float16 => CodeScales.Half, _ => CodeScales.Brain };

    /// <summary>A scale of a type that weights have.</summary>
    protected static float Scale(byte* scales, ScalarType type, int number) => type switch
    {
        ScalarType.Float32 => Unsafe.ReadUnaligned<float>(scales + (4 * number)),
        ScalarType.Float16 => Codes.Half(scales + (2 * number)),
        _ => BitConverter.UInt32BitsToSingle((uint)Unsafe.ReadUnaligned<ushort>(scales + (2 * number)) << 16),
    };

    /// <summary>A code of 4 bits.</summary>
    protected static int Nibble(byte* codes, int number) => (codes[number / 2] >> (number % 2 * 4)) & 15;

    /// <summary>Sixteen codes of 4 bits, in their order.</summary>
    protected static Vector128<byte> Sixteen(byte* codes)
    {
        var words = Vector128.WidenLower(Vector128.CreateScalarUnsafe(Unsafe.ReadUnaligned<ulong>(codes)).AsByte());
        return ((words | (words << 4)) & Vector128.Create((ushort)0x0f0f)).AsByte();
    }
}

/// <summary>Integers of 4 or 8 bits: (code - zero) * scale. Behind a row's codes: scales, then zeros, a byte each.</summary>
/// <param name="bits">of a code</param>
/// <param name="group">columns that share a scale</param>
/// <param name="scale">type of the scales</param>
/// <param name="zeros">whether groups have zeros of their own; else zero is half of what codes can say, 8 or 128</param>
internal sealed unsafe class IntegerPacking(int bits, int group, ScalarType scale, bool zeros) : GroupedPacking(bits, group)
{
    private const int MostFactors = 256; // that are widened once for a part of a row

    private readonly int _scaleBytes = DataTypes.Size(scale);
    private readonly (int Place, int Group)[] _places = []; // of each column

    public override string Name => $"int{Bits}";

    public ScalarType ScaleType => scale;

    public bool HasZeros => zeros;

    /// <summary>The column that each code of a row is of, or null if they lie in their order. So columns of a group are neighbours.</summary>
    public int[]? Order
    {
        get;
        init
        {
            field = value;
            _places = value is null ? [] : [.. Enumerable.Range(0, value.Length).OrderBy(place => value[place]).Select(place => (place, place / Group))];
        }
    }

    /// <summary>None where codes do not lie in the order of columns, or where groups end within those of kernels.</summary>
    public override CodeForm? Form => Order is null && (Group is Lanes or WholeRow || Group % (2 * Lanes) == 0) ? new CodeForm(Bits, Group == Lanes ? Lanes : 2 * Lanes, Scales, Bits == 4 ? 8 : 0) : null;

    // With zeros of 4 bits a float16 is the scale of two groups, one time, and of their offsets, as often as zero says.
    private CodeScales Scales => !zeros ? KindOf(scale)
        : Bits == 4 && scale == ScalarType.Float16 && (Group == WholeRow || Group % TiledPacking.UnitColumns == 0) ? CodeScales.NestedPair : CodeScales.Pair;

    public override void UnpackCodes(byte* row, int columns, byte* to, float* scales, float* offsets)
    {
        var (groups, unsigned) = ((int)Groups(columns), 1 << (Bits - 1));
        byte* tail = row + CodeBytes(columns), points = tail + (groups * DataTypes.Size(scale));
        for (var i = 0; i < columns / Lanes; i++)
        {
            var (number, sixteen) = (i * Lanes / Group, Bits == 4 ? Sixteen(row + (i * Lanes / 2)) : Vector128.Load(row + (i * Lanes)) ^ Vector128.Create((byte)unsigned));
            sixteen.Store(to + (i * Lanes));
            var zero = (zeros ? points[number] : unsigned) - (Bits == 4 ? 0 : unsigned); // of 8 bits codes are signed now
            scales[i] = Scale(tail, scale, number);
            offsets[i] = -zero * scales[i];
        }
    }

    public override void UnpackFactors(byte* row, int columns, ushort* to)
    {
        var scales = (ushort*)(row + CodeBytes(columns));
        for (var unit = 0; unit < columns / TiledPacking.UnitColumns; unit++)
        {
            to[2 * unit] = to[(2 * unit) + 1] = scales[unit * TiledPacking.UnitColumns / Group];
        }
    }

    public override void UnpackPart(byte* row, int columns, int first, int count, float* to)
    {
        if (Order is null)
        {
            base.UnpackPart(row, columns, first, count, to);
            return;
        }

        var groups = (int)Groups(columns);
        byte* tail = row + CodeBytes(columns), points = tail + (groups * DataTypes.Size(scale));
        var factors = stackalloc float[MostFactors];
        for (var number = 0; number < Math.Min(groups, MostFactors); number++)
        {
            factors[number] = Scale(tail, scale, number);
        }

        for (var i = 0; i < count; i++)
        {
            var (place, number) = _places[first + i];
            var code = Bits == 4 ? Nibble(row, place) : row[place];
            to[i] = (code - (zeros ? points[number] : 1 << (Bits - 1))) * (number < MostFactors ? factors[number] : Scale(tail, scale, number));
        }
    }

    public override bool Multiplies(int columns) => Order is null && GroupProducts.Takes(this, columns);

    public override void Multiply4(byte* rows, long stride, int columns, float* x, float* result)
    {
        if (Bits == 4)
        {
            GroupProducts.Multiply4(this, new HalfReader(this), rows, stride, columns, x, result);
        }
        else
        {
            GroupProducts.Multiply4(this, new ByteReader(this), rows, stride, columns, x, result);
        }
    }

    public override bool TakesPlanes(int columns) =>
        Bits == 4 && Order is null && columns % PlaneRows.Columns == 0 && (Group is WholeRow or PlaneRows.Columns / 2 || Group % PlaneRows.Columns == 0);

    public override void MultiplyPlanes4(byte* rows, long stride, int columns, byte* planes, float* result)
    {
        PlaneMultiplier a = new(planes), b = a, c = a, d = a;
        ReadForPlanes(rows, rows + stride, columns, 0, columns, ref a, ref b);
        ReadForPlanes(rows + (2 * stride), rows + (3 * stride), columns, 0, columns, ref c, ref d);
        PlainLane.Sum4(a.Sum, b.Sum, c.Sum, d.Sum).Store(result);
    }

    public override void UnpackForPlanes(byte* row, int columns, int first, int count, byte* to)
    {
        PlaneWriter writer = new(to), same = writer;
        ReadForPlanes(row, row, columns, first, count, ref writer, ref same);
    }

    // Of two rows, which take planes from the first cache where one would from the second. A group has half of a vector's columns, or all.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void ReadForPlanes<TTaker>(byte* row, byte* other, int columns, int first, int count, ref TTaker taker, ref TTaker ofOther)
        where TTaker : struct, IPlaneTaker
    {
        var (a, b, groups, number, apart) = (taker, ofOther, (int)Groups(columns), first / Group, other - row);
        byte* codes = row + (first / 2), tail = row + CodeBytes(columns);
        for (int at = first, end = first + count; at < end; number++)
        {
            var next = Group < PlaneRows.Columns ? number + 1 : number;
            var (scales, offsets) = Factors(tail, number, next, groups);
            var (itsScales, itsOffsets) = Factors(tail + apart, number, next, groups);
            number = next;
            for (var last = Math.Min(end, (number + 1L) * Group); at < last; at += PlaneRows.Columns, codes += PlaneRows.Columns / 2)
            {
                Give(codes, scales, offsets, ref a);
                Give(codes + apart, itsScales, itsOffsets, ref b);
            }
        }

        (taker, ofOther) = (a, b);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        static void Give(byte* codes, Vector256<float> scales, Vector256<float> offsets, ref TTaker to)
        {
            var both = Vector256.Load(codes);
            Vector256<byte> even = Codes.Bits(both, 0, 15), odd = Codes.Bits(both, 4, 15);
            to.Take(Avx2.UnpackLow(even, odd), Avx2.UnpackHigh(even, odd), scales, offsets);
        }
    }

    private (Vector256<float> Scales, Vector256<float> Offsets) Factors(byte* tail, int number, int next, int groups)
    {
        float low = Scale(tail, scale, number), high = Scale(tail, scale, next);
        return (Both(low, high), Both(-Zero(tail, number, groups) * low, -Zero(tail, next, groups) * high));

        static Vector256<float> Both(float low, float high) => Vector256.Create(Vector128.Create(low), Vector128.Create(high));
    }

    protected override long TailBytes(long groups) => groups * (DataTypes.Size(scale) + (zeros ? 1 : 0));

    protected override void UnpackGroup(byte* codes, byte* tail, int number, int groups, float* to, int count)
    {
        var (factor, zero, whole) = (Scale(tail, scale, number), Zero(tail, number, groups), count - (count % Lanes));
        if (Bits == 4)
        {
            GroupProducts.Unpack(new HalfReader(this), codes, Bits, tail, number, groups, to, whole);
        }
        else
        {
            GroupProducts.Unpack(new ByteReader(this), codes, Bits, tail, number, groups, to, whole);
        }

        for (var i = whole; i < count; i++)
        {
            to[i] = ((Bits == 4 ? Nibble(codes, i) : codes[i]) - zero) * factor;
        }
    }

    private int Zero(byte* tail, int number, int groups) => zeros ? tail[(groups * _scaleBytes) + number] : 1 << (Bits - 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private float Factor(byte* tail, int number, int groups, out Vector512<float> zero)
    {
        zero = Vector512.Create((float)Zero(tail, number, groups));
        return Scale(tail, scale, number);
    }

    // Of four bits there are sixteen numbers, which are looked up.
    private readonly struct HalfReader(IntegerPacking packing) : IGroupReader
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Begin(byte* tail, int number, int groups, out Vector512<float> more)
        {
            var factor = Vector512.Create(packing.Factor(tail, number, groups, out more));
            return Avx512F.IsSupported ? (Codes.Steps(0) - more) * factor : factor;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Next(byte* codes, Vector512<float> with, Vector512<float> more) =>
            Avx512F.IsSupported ? GroupProducts.LookUp(codes, with) : (Codes.Numbers(Sixteen(codes)) - more) * with;
    }

    private readonly struct ByteReader(IntegerPacking packing) : IGroupReader
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Begin(byte* tail, int number, int groups, out Vector512<float> more) => Vector512.Create(packing.Factor(tail, number, groups, out more));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Vector512<float> Next(byte* codes, Vector512<float> with, Vector512<float> more) => (Codes.Numbers(Vector128.Load(codes)) - more) * with;
    }
}
