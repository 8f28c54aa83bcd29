using HeadInfer.Runtime.Compute;
using System.Numerics;
using System.Runtime.InteropServices;

namespace HeadInfer.Runtime.Generation;

/// <summary>Draws from the heaviest tokens that together reach a share of all weight.</summary>
/// <remarks>
/// Tokens are ordered by falling weight, of equals by id, but only as far as needed. Each is put into a bin by its weight.
/// Only two bins are sorted: the one in which the nucleus ends and the one into which the draw falls.
/// </remarks>
internal sealed class Nucleus(double share)
{
    // A bin's number is a weight's exponent and the first bits of its mantissa: there are 64 for each power of two.
    private const int BinShift = 17, Bins = (0x3F800000 >> BinShift) + 1; // the largest weight is 1

    private readonly double[] _sums = new double[Bins];
    private readonly List<ulong> _bin = []; // one bin's weights and indices

    /// <summary>The index of the token at a point of the nucleus.</summary>
    /// <param name="weights">from 0 to 1; one at least is 1</param>
    /// <param name="sums">[blocks] of the weights</param>
    /// <param name="total">the sum of all</param>
    /// <param name="point">from 0 to 1, but not 1: how much of the nucleus' weight lies before</param>
    public int Draw(ReadOnlySpan<float> weights, ReadOnlySpan<double> sums, double total, double point)
    {
        // All weights below this are together less than what the nucleus leaves out. So none of them is in it.
        var least = MathF.BitDecrement((float)((1 - share) * total / weights.Length));
        Fill(weights, least);

        // The nucleus ends with the first token that reaches the share; the draw takes the first that exceeds its point.
        var last = Find(weights, sums, Math.BitDecrement(share * total), BinOf(least));
        return Find(weights, sums, point * last.Sum, last.Bin).Index;
    }

    private void Fill(ReadOnlySpan<float> weights, float least)
    {
        _sums.AsSpan(BinOf(least)).Clear();
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(weights);
        for (var i = 0; i < vectors.Length; i++)
        {
            if (Vector.GreaterThanOrEqualAny(vectors[i], new Vector<float>(least)))
            {
                Add(weights.Slice(i * Vector<float>.Count, Vector<float>.Count), least);
            }
        }

        Add(weights[(vectors.Length * Vector<float>.Count)..], least);
    }

    private void Add(ReadOnlySpan<float> weights, float least)
    {
        foreach (var weight in weights)
        {
            if (weight >= least)
            {
                _sums[BinOf(weight)] += weight;
            }
        }
    }

    // The first token, by falling weight, with which the sum exceeds a limit; if none does by a rounding, the last of the lowest bin.
    private (int Index, double Sum, int Bin) Find(ReadOnlySpan<float> weights, ReadOnlySpan<double> sums, double limit, int lowest)
    {
        while (_sums[lowest] == 0)
        {
            lowest++;
        }

        var (bin, sum) = (Bins - 1, 0.0);
        while (bin > lowest && sum + _sums[bin] <= limit)
        {
            sum += _sums[bin--];
        }

        Sort(weights, sums, bin);
        var index = 0;
        foreach (var key in _bin)
        {
            index = (int)(uint)key;
            sum += BitConverter.UInt32BitsToSingle(~(uint)(key >> 32));
            if (sum > limit)
            {
                break;
            }
        }

        return (index, sum, bin);
    }

    // Rising keys are falling weights, and of equal ones rising indices.
    private void Sort(ReadOnlySpan<float> weights, ReadOnlySpan<double> sums, int bin)
    {
        _bin.Clear();
        var (from, to) = (BitConverter.Int32BitsToSingle(bin << BinShift), BitConverter.Int32BitsToSingle((bin + 1) << BinShift));
        for (var block = 0; block < sums.Length; block++)
        {
            if (sums[block] >= from)
            {
                Gather(weights, LogitVectors.RangeOf(block, weights.Length), bin, from, to);
            }
        }

        _bin.Sort();
    }

    private void Gather(ReadOnlySpan<float> weights, Range block, int bin, float from, float to)
    {
        var (start, length) = block.GetOffsetAndLength(weights.Length);
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(weights[block]);
        for (var i = 0; i < vectors.Length; i++)
        {
            var within = Vector.GreaterThanOrEqual(vectors[i], new Vector<float>(from)) & Vector.LessThan(vectors[i], new Vector<float>(to));
            if (within != Vector<int>.Zero)
            {
                Gather(weights, start + (i * Vector<float>.Count), Vector<float>.Count, bin);
            }
        }

        var done = vectors.Length * Vector<float>.Count;
        Gather(weights, start + done, length - done, bin);
    }

    private void Gather(ReadOnlySpan<float> weights, int from, int count, int bin)
    {
        for (var i = from; i < from + count; i++)
        {
            if (BinOf(weights[i]) == bin)
            {
                _bin.Add(((ulong)~BitConverter.SingleToUInt32Bits(weights[i]) << 32) | (uint)i);
            }
        }
    }

    private static int BinOf(float weight) => BitConverter.SingleToInt32Bits(weight) >> BinShift;
}
