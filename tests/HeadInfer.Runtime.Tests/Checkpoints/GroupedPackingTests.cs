using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>What rows of codes with scales are, byte by byte.</summary>
public sealed class GroupedPackingTests
{
    [Fact]
    public void Integers_are_less_their_zero_and_times_their_scale()
    {
        var packing = new IntegerPacking(4, group: 2, ScalarType.Float16, zeros: true);
        byte[] row = [0x21, 0x0f, .. BitConverter.GetBytes((Half)0.5f), .. BitConverter.GetBytes((Half)2f), 3, 8]; // codes 1, 2, 15 and then what fills the byte
        Assert.Equal(16, packing.RowBytes(3));
        Assert.Equal([-1f, -0.5f, 14f], Unpack(packing, row, 3));
        Assert.Equal([-1f, 14f, -0.5f], Unpack(new IntegerPacking(4, group: 2, ScalarType.Float16, zeros: true) { Order = [0, 2, 1] }, row, 3));
        Assert.Equal([-254f, 0f, 254f], Unpack(new IntegerPacking(8, GroupedPacking.WholeRow, ScalarType.Float32, zeros: false), [1, 128, 255, .. BitConverter.GetBytes(2f)], 3));
    }

    [Fact]
    public void Floats_are_times_their_scales()
    {
        Assert.Equal([3f, -3f, 896f], Unpack(new Float8Packing(2, ScalarType.BFloat16), [0x3c, 0xbc, 0x7e, 0, 0x40, 0, 0x40], 3)); // 1.5, -1.5 and 448, all times 2
        byte[] codes = [.. Enumerable.Repeat((byte)0x71, 8)]; // 0.5 and 6
        Assert.Equal([1f, 12f], Unpack(Float4Packing.Nv, [.. codes, 0x40, .. BitConverter.GetBytes(1f)], 16)[..2]);
        Assert.Equal([0.125f, 1.5f], Unpack(Float4Packing.Mx, [.. codes, .. codes, 125], 32)[30..]);
    }

    [Fact]
    public void Codes_of_small_floats_are_those_of_their_definitions()
    {
        Assert.Equal(Enumerable.Range(0, 16).Select(c => (float)QuantizedLayouts.E2M1(c)), SmallFloats.E2M1);
        Assert.Equal(Enumerable.Range(0, 256).Select(c => (float)QuantizedLayouts.E4M3(c)), SmallFloats.E4M3);
        Assert.Equal(Enumerable.Range(0, 255).Select(e => (float)Math.Pow(2, e - 127)), Enumerable.Range(0, 255).Select(e => SmallFloats.Power((byte)e)));
    }

    [Fact]
    public void Every_code_stands_for_the_same_alone_and_among_many()
    {
        byte[] all = [.. Enumerable.Range(0, 256).Select(i => (byte)i)], halves = [.. Enumerable.Range(0, 256).Select(i => (byte)(i | (i << 4)))];
        var scale = BitConverter.GetBytes(0.37f);
        Assert.Equal(SmallFloats.E4M3.Select(v => v * 0.37f), Unpack(new Float8Packing(GroupedPacking.WholeRow, ScalarType.Float32), [.. all, .. scale], 256));
        Assert.Equal(all.Select(v => (v - 77) * 0.37f), Unpack(new IntegerPacking(8, GroupedPacking.WholeRow, ScalarType.Float32, zeros: true), [.. all, .. scale, 77], 256));
        Assert.Equal(halves.SelectMany(b => new[] { ((b & 15) - 5) * 0.37f, ((b >> 4) - 5) * 0.37f }), Unpack(new IntegerPacking(4, GroupedPacking.WholeRow, ScalarType.Float32, zeros: true), [.. halves, .. scale, 5], 512));
        foreach (byte power in (byte[])[0, 1, 127, 254])
        {
            Assert.Equal(all[..16].SelectMany(b => new[] { (float)(QuantizedLayouts.E2M1(b & 15) * Math.Pow(2, power - 127)), (float)(QuantizedLayouts.E2M1(b >> 4) * Math.Pow(2, power - 127)) }), Unpack(Float4Packing.Mx, [.. all[..16], power], 32));
        }
    }

    private static float[] Unpack(GroupedPacking packing, byte[] row, int columns)
    {
        var numbers = new float[columns];
        Array.Resize(ref row, (int)packing.RowBytes(columns));
        packing.Unpack(row, columns, numbers);
        return numbers;
    }
}
