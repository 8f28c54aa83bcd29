using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HeadInfer.Runtime.Compute;

/// <summary>Makes numbers of the codes of a group.</summary>
internal unsafe interface IGroupReader
{
    /// <summary>What numbers of a group are made with.</summary>
    /// <param name="tail">what lies behind the row's codes</param>
    /// <param name="number">of the group</param>
    /// <param name="groups">of the row</param>
    /// <param name="more">what else they are made with</param>
    Vector512<float> Begin(byte* tail, int number, int groups, out Vector512<float> more);

    /// <summary>Sixteen of the group's numbers.</summary>
    /// <param name="codes">the first of them</param>
    /// <param name="with">what <see cref="Begin"/> returned</param>
    /// <param name="more">and gave</param>
    Vector512<float> Next(byte* codes, Vector512<float> with, Vector512<float> more);
}

/// <summary>Products of a vector and rows in groups, whose numbers are made in registers.</summary>
internal static unsafe class GroupProducts
{
    private const int Step = 128; // columns of a row that are multiplied before those of the next: more of them would wait for each other

    // Of four bits in a word.
    private static Vector512<uint> Places => Vector512.Create(0u, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);

    private static Vector512<uint> Words => Vector512.Create(Vector256<uint>.Zero, Vector256<uint>.One);

    /// <summary>As <see cref="Packing.Multiply4"/> says.</summary>
    /// <param name="packing">of the rows</param>
    /// <param name="reader">of its groups</param>
    /// <param name="rows">bytes of the first</param>
    /// <param name="stride">bytes from one to the next</param>
    /// <param name="columns">numbers of a row</param>
    /// <param name="x">[columns]</param>
    /// <param name="result">[4], written</param>
    public static void Multiply4<TReader>(GroupedPacking packing, TReader reader, byte* rows, long stride, int columns, float* x, float* result)
        where TReader : struct, IGroupReader
    {
        if (Vector512.IsHardwareAccelerated)
        {
            NumberMultiplier a = new(x), b = a, c = a, d = a;
            Multiply4(packing, reader, rows, stride, columns, ref a, ref b, ref c, ref d);
            WideLane.Sum4(a.Sum, b.Sum, c.Sum, d.Sum).Store(result);
        }
        else
        {
            NarrowMultiplier a = new(x), b = a, c = a, d = a;
            Multiply4(packing, reader, rows, stride, columns, ref a, ref b, ref c, ref d);
            PlainLane.Sum4(a.Sum, b.Sum, c.Sum, d.Sum).Store(result);
        }
    }

    /// <summary>Whether rows of so many numbers are multiplied so: whole lanes, all of one group.</summary>
    public static bool Takes(GroupedPacking packing, int columns) => Avx2.IsSupported && columns % GroupedPacking.Lanes == 0 && (packing.Group == GroupedPacking.WholeRow || packing.Group % GroupedPacking.Lanes == 0);

    /// <summary>Sixteen codes of four bits, as a table of sixteen numbers says.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LookUp(byte* codes, Vector512<float> table)
    {
        var words = Avx512F.PermuteVar16x32(Vector512.Create(Unsafe.ReadUnaligned<ulong>(codes)).AsUInt32(), Words);
        return Codes.LookUp(table, Avx512F.ShiftRightLogicalVariable(words, Places).AsInt32());
    }

    /// <summary>Gives on some numbers of a group, in sixteens.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Unpack<TReader>(TReader reader, byte* codes, int bits, byte* tail, int number, int groups, float* to, int count)
        where TReader : struct, IGroupReader
    {
        var with = reader.Begin(tail, number, groups, out var more);
        for (var i = 0; i < count; i += GroupedPacking.Lanes)
        {
            reader.Next(codes + (i * bits / 8), with, more).Store(to + i);
        }
    }

    private static void Multiply4<TReader, TTaker>(GroupedPacking packing, TReader reader, byte* rows, long stride, int columns, ref TTaker a, ref TTaker b, ref TTaker c, ref TTaker d)
        where TReader : struct, IGroupReader
        where TTaker : struct, INumberTaker
    {
        var (group, groups, tail, lane) = (packing.Group, (int)packing.Groups(columns), packing.CodeBytes(columns), GroupedPacking.Lanes * packing.Bits / 8);
        byte* r1 = rows + stride, r2 = r1 + stride, r3 = r2 + stride;
        for (var at = 0; at < columns; at += Step)
        {
            var (number, codes, count) = (at / group, (long)at / GroupedPacking.Lanes * lane, Math.Min(columns - at, Step));
            var left = (int)Math.Min(((number + 1L) * group) - at, count); // of the first group
            Read(reader, rows + codes, rows + tail, number, groups, count, left, group, lane, ref a);
            Read(reader, r1 + codes, r1 + tail, number, groups, count, left, group, lane, ref b);
            Read(reader, r2 + codes, r2 + tail, number, groups, count, left, group, lane, ref c);
            Read(reader, r3 + codes, r3 + tail, number, groups, count, left, group, lane, ref d);
        }
    }

    // Four of it inlined would have no registers.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Read<TReader, TTaker>(TReader reader, byte* codes, byte* tail, int number, int groups, int count, int left, int group, int lane, ref TTaker taker)
        where TReader : struct, IGroupReader
        where TTaker : struct, INumberTaker
    {
        for (var to = taker; ; number++, left = Math.Min(group, count))
        {
            var with = reader.Begin(tail, number, groups, out var more);
            for (var end = codes + (left / GroupedPacking.Lanes * lane); codes < end; codes += lane)
            {
                to.Take(reader.Next(codes, with, more));
            }

            count -= left;
            if (count == 0)
            {
                taker = to;
                return;
            }
        }
    }
}
