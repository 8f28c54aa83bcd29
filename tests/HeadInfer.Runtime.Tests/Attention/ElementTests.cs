using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Numbers of 16 bits are widened exactly and narrowed as libtorch does it.</summary>
public sealed unsafe class ElementTests() : NativeTest(ComputeDevice.Cpu)
{
    [Fact]
    public void All_numbers_of_16_bits_are_widened_exactly()
    {
        var all = Enumerable.Range(0, 1 << 16).Select(bits => (ushort)bits).ToArray();
        var halves = all.Select(bits => (float)BitConverter.UInt16BitsToHalf(bits)).ToArray();
        var uppers = all.Select(bits => BitConverter.UInt32BitsToSingle((uint)bits << 16)).ToArray();
        fixed (ushort* source = all)
        {
            Assert.Equal(halves, Loaded<WideLane, Float16>((Float16*)source, all.Length));
            Assert.Equal(halves, Loaded<PlainLane, Float16>((Float16*)source, all.Length));
            Assert.Equal(uppers, Loaded<WideLane, BFloat16>((BFloat16*)source, all.Length));
            Assert.Equal(uppers, Loaded<PlainLane, BFloat16>((BFloat16*)source, all.Length));
            for (var i = 0; i < all.Length; i++)
            {
                Assert.Equal((halves[i], uppers[i]), (Float16.Widen(((Float16*)source)[i]), BFloat16.Widen(((BFloat16*)source)[i])));
            }
        }
    }

    [Fact]
    public void Numbers_are_narrowed_as_libtorch_does_it()
    {
        // Those between two neighbours of 16 bits, on either side of the middle and on it, and whatever bits there may be.
        var random = new Random(3);
        var values = Enumerable.Range(0, 200_000).Select(i => BitConverter.UInt32BitsToSingle(i % 4 == 3 ? (uint)random.NextInt64(1L << 32)
            : ((uint)random.Next(1 << 16) << 16) + (uint)(0x8000 + (i % 4) - 1))).ToArray();
        Assert.Equal(Bits(tensor(values).to(ScalarType.BFloat16).to(ScalarType.Float32)), values.Select(v => Bits(BFloat16.Widen(BFloat16.Narrow(v)))));
        Assert.Equal(Bits(tensor(values).to(ScalarType.Float16).to(ScalarType.Float32)), values.Select(v => Bits(Float16.Widen(Float16.Narrow(v)))));
        Assert.Equal(values.Select(Bits), values.Select(v => Bits(Float32.Widen(Float32.Narrow(v)))));
    }

    [Fact]
    public void Powers_of_e_are_right_to_a_few_units_in_the_last_place()
    {
        var values = Enumerable.Range(0, 100_000).Select(i => -87f * i / 100_000).Append(0).Append(-1000).Append(float.NegativeInfinity).Append(float.NaN).ToArray();
        for (var i = 0; i < values.Length; i++)
        {
            var (wide, plain) = (Exp<WideLane>(values[i]), Exp<PlainLane>(values[i]));
            var expected = Math.Exp(values[i]);
            Assert.True(float.IsNaN(values[i]) ? float.IsNaN(wide) : Math.Abs(wide - expected) <= (3e-7 * expected) + 1.5e-38, $"{values[i]}: {wide} for {expected}");
            Assert.Equal(Bits(wide), Bits(plain));
        }
    }

    private static float Exp<TLane>(float value)
        where TLane : struct, ILane<TLane>
    {
        var result = stackalloc float[TLane.Count];
        LaneMath.Exp(TLane.All(value)).Store(result);
        return result[0];
    }

    private static float[] Loaded<TLane, TElement>(TElement* source, int count)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var result = new float[count];
        fixed (float* target = result)
        {
            for (var i = 0; i < count; i += TLane.Count)
            {
                TElement.Load<TLane>(source + i).Store(target + i);
            }
        }

        return result;
    }

    // What is no number counts as one and the same.
    private static uint Bits(float value) => float.IsNaN(value) ? uint.MaxValue : BitConverter.SingleToUInt32Bits(value);

    private static IEnumerable<uint> Bits(Tensor values) => values.data<float>().ToArray().Select(Bits);
}
