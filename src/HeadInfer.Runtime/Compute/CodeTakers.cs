using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HeadInfer.Runtime.Compute;

/// <summary>Takes the codes of a row in their order, with what makes numbers of them.</summary>
/// <remarks>Scales and offsets are vectors of one number: that is read into all lanes from memory, while lanes wait for one in a register.</remarks>
internal interface ICodeTaker
{
    /// <summary>Sixteen codes.</summary>
    void Take(Vector128<byte> codes, Vector512<float> scale, Vector512<float> offset);

    /// <summary>Sixteen signed codes.</summary>
    void Take(Vector128<sbyte> codes, Vector512<float> scale);

    /// <summary>Codes of four bits: the lower halves of sixteen bytes, then the upper ones.</summary>
    /// <param name="bytes">which</param>
    /// <param name="scale">of all</param>
    /// <param name="zero">the code of zero</param>
    void TakeHalves(Vector128<byte> bytes, Vector512<float> scale, int zero);

    /// <summary>The same, of numbers that have an offset.</summary>
    void TakeHalves(Vector128<byte> bytes, Vector512<float> scale, Vector512<float> offset);

    /// <summary>The same, of numbers from a table.</summary>
    void TakeHalves(Vector128<byte> bytes, Vector512<float> scale, Vector128<sbyte> table);

    /// <summary>Codes of four bits: the lower halves of two times sixteen bytes, then the upper ones.</summary>
    void TakeHalves(Vector128<byte> first, Vector128<byte> second, Vector512<float> lowScale, Vector512<float> lowOffset, Vector512<float> highScale, Vector512<float> highOffset);
}

/// <summary>Takes numbers of a row in their order, sixteen at a time.</summary>
internal interface INumberTaker
{
    void Take(Vector512<float> numbers);
}

/// <summary>Writes numbers down.</summary>
/// <param name="to">written</param>
internal unsafe struct NumberWriter(float* to) : INumberTaker
{
    private float* _to = to;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector512<float> numbers)
    {
        numbers.Store(_to);
        _to += Vector512<float>.Count;
    }
}

/// <summary>Multiplies numbers by those of a vector, and sums the products as <see cref="InnerProducts"/> does.</summary>
/// <param name="x">the vector</param>
/// <param name="sum">of the products before</param>
internal unsafe struct NumberMultiplier(float* x, Vector512<float> sum = default) : INumberTaker
{
    private float* _x = x;
    private Vector512<float> _sum = sum;

    public readonly WideLane Sum => new(_sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector512<float> numbers)
    {
        _sum = Vector512.FusedMultiplyAdd(numbers, Vector512.Load(_x), _sum);
        _x += Vector512<float>.Count;
    }
}

/// <summary>The same in lanes of 256 bits.</summary>
/// <param name="x">the vector</param>
internal unsafe struct NarrowMultiplier(float* x) : INumberTaker
{
    private float* _x = x;
    private Vector256<float> _sum;

    public readonly PlainLane Sum => new(_sum.AsVector());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector512<float> numbers)
    {
        _sum = Vector256.FusedMultiplyAdd(numbers.GetLower(), Vector256.Load(_x), _sum);
        _sum = Vector256.FusedMultiplyAdd(numbers.GetUpper(), Vector256.Load(_x + Vector256<float>.Count), _sum);
        _x += Vector512<float>.Count;
    }
}

/// <summary>Makes numbers of codes.</summary>
/// <remarks>
/// Of codes of four bits there are sixteen numbers. Where vectors have 512 bits these are made once for a block and then
/// looked up: an instruction for sixteen, which takes bytes whose upper half is not cleared. They are the same to the bit.
/// </remarks>
/// <typeparam name="TNumbers">who takes these</typeparam>
/// <param name="numbers">who takes these</param>
internal struct NumberMaker<TNumbers>(TNumbers numbers) : ICodeTaker
    where TNumbers : struct, INumberTaker
{
    private TNumbers _numbers = numbers;

    public readonly TNumbers Numbers => _numbers;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector128<byte> codes, Vector512<float> scale, Vector512<float> offset) =>
        _numbers.Take(Vector512.FusedMultiplyAdd(Codes.Numbers(codes), scale, offset));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Take(Vector128<sbyte> codes, Vector512<float> scale) => _numbers.Take(Codes.Numbers(codes) * scale);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void TakeHalves(Vector128<byte> bytes, Vector512<float> scale, int zero)
    {
        if (Avx512F.IsSupported)
        {
            LookUp(bytes, Codes.Steps(zero) * scale);
        }
        else
        {
            var signed = Vector128.Create((sbyte)zero);
            Take(Codes.Low(bytes).AsSByte() - signed, scale);
            Take(Codes.High(bytes).AsSByte() - signed, scale);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void TakeHalves(Vector128<byte> bytes, Vector512<float> scale, Vector512<float> offset)
    {
        if (Avx512F.IsSupported)
        {
            LookUp(bytes, Table(scale, offset));
        }
        else
        {
            Take(Codes.Low(bytes), scale, offset);
            Take(Codes.High(bytes), scale, offset);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void TakeHalves(Vector128<byte> bytes, Vector512<float> scale, Vector128<sbyte> table)
    {
        if (Avx512F.IsSupported)
        {
            LookUp(bytes, Codes.Numbers(table) * scale);
        }
        else
        {
            Take(Codes.LookUp(table, Codes.Low(bytes)), scale);
            Take(Codes.LookUp(table, Codes.High(bytes)), scale);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void TakeHalves(Vector128<byte> first, Vector128<byte> second, Vector512<float> lowScale, Vector512<float> lowOffset, Vector512<float> highScale, Vector512<float> highOffset)
    {
        if (Avx512F.IsSupported)
        {
            Vector512<int> words = Codes.Words(first), others = Codes.Words(second);
            Vector512<float> low = Table(lowScale, lowOffset), high = Table(highScale, highOffset);
            _numbers.Take(Codes.LookUp(low, words));
            _numbers.Take(Codes.LookUp(low, others));
            _numbers.Take(Codes.LookUp(high, words >>> 4));
            _numbers.Take(Codes.LookUp(high, others >>> 4));
        }
        else
        {
            var bytes = Vector256.Create(first, second);
            Vector256<byte> low = Codes.Bits(bytes, 0, 15), high = Codes.Bits(bytes, 4, 15);
            Take(low.GetLower(), lowScale, lowOffset);
            Take(low.GetUpper(), lowScale, lowOffset);
            Take(high.GetLower(), highScale, highOffset);
            Take(high.GetUpper(), highScale, highOffset);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Table(Vector512<float> scale, Vector512<float> offset) =>
        Vector512.FusedMultiplyAdd(Codes.Steps(0), scale, offset);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void LookUp(Vector128<byte> bytes, Vector512<float> table)
    {
        var words = Codes.Words(bytes);
        _numbers.Take(Codes.LookUp(table, words));
        _numbers.Take(Codes.LookUp(table, words >>> 4));
    }
}

/// <summary>Keeps codes as they are.</summary>
/// <param name="codes">a byte each, written</param>
/// <param name="scales">[codes / 16], written</param>
/// <param name="offsets">[codes / 16], written</param>
internal unsafe struct CodeTaker(byte* codes, float* scales, float* offsets) : ICodeTaker
{
    private byte* _codes = codes;
    private float* _scales = scales, _offsets = offsets;

    public void Take(Vector128<byte> codes, Vector512<float> scale, Vector512<float> offset)
    {
        codes.Store(_codes);
        (*_scales++, *_offsets++) = (scale.ToScalar(), offset.ToScalar());
        _codes += Vector128<byte>.Count;
    }

    public void Take(Vector128<sbyte> codes, Vector512<float> scale) => Take(codes.AsByte(), scale, Vector512<float>.Zero);

    public void TakeHalves(Vector128<byte> bytes, Vector512<float> scale, int zero) => TakeHalves(bytes, scale, scale * Vector512.Create((float)-zero));

    public void TakeHalves(Vector128<byte> bytes, Vector512<float> scale, Vector512<float> offset)
    {
        Take(Codes.Low(bytes), scale, offset);
        Take(Codes.High(bytes), scale, offset);
    }

    public void TakeHalves(Vector128<byte> bytes, Vector512<float> scale, Vector128<sbyte> table) => TakeHalves(bytes, scale, Vector512<float>.Zero);

    public void TakeHalves(Vector128<byte> first, Vector128<byte> second, Vector512<float> lowScale, Vector512<float> lowOffset, Vector512<float> highScale, Vector512<float> highOffset)
    {
        Take(Codes.Low(first), lowScale, lowOffset);
        Take(Codes.Low(second), lowScale, lowOffset);
        Take(Codes.High(first), highScale, highOffset);
        Take(Codes.High(second), highScale, highOffset);
    }
}

/// <summary>Gives codes on.</summary>
internal static class CodeTakers
{
    /// <summary>Thirty-two codes.</summary>
    /// <param name="taker">of them</param>
    /// <param name="codes">the codes</param>
    /// <param name="scale">of all</param>
    /// <param name="offset">of all</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Put<TTaker>(this ref TTaker taker, Vector256<byte> codes, Vector512<float> scale, Vector512<float> offset)
        where TTaker : struct, ICodeTaker
    {
        taker.Take(codes.GetLower(), scale, offset);
        taker.Take(codes.GetUpper(), scale, offset);
    }

    /// <summary>Thirty-two codes, of which each sixteen have a scale and an offset.</summary>
    /// <param name="taker">of them</param>
    /// <param name="codes">the codes</param>
    /// <param name="scales">[2]</param>
    /// <param name="offsets">[2]</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Put<TTaker>(this ref TTaker taker, Vector256<byte> codes, float* scales, float* offsets)
        where TTaker : struct, ICodeTaker
    {
        taker.Take(codes.GetLower(), Vector512.Create(scales[0]), Vector512.Create(offsets[0]));
        taker.Take(codes.GetUpper(), Vector512.Create(scales[1]), Vector512.Create(offsets[1]));
    }
}
