using System.Numerics;
using System.Runtime.InteropServices;

namespace HeadInfer.Runtime.Generation;

/// <summary>Finds the largest logits; of equal ones those with the smallest ids.</summary>
internal sealed class TopTokens(int count)
{
    // The smallest of those kept comes out first, of equals the largest id.
    private readonly PriorityQueue<int, ulong> _kept = new(count);
    private readonly int[] _ids = new int[count];

    /// <summary>The ids of the largest logits, rising. Valid until the next call.</summary>
    /// <param name="logits">[vocabulary] more than are kept, all of them numbers</param>
    public ReadOnlySpan<int> Find(ReadOnlySpan<float> logits)
    {
        _kept.Clear();
        for (var id = 0; id < count; id++)
        {
            _kept.Enqueue(id, Rank(logits[id], id));
        }

        // Ids rise, so that an equal logit never takes the place of one that is kept.
        var least = Least(logits);
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(logits[count..]);
        for (var i = 0; i < vectors.Length; i++)
        {
            if (Vector.GreaterThanAny(vectors[i], new Vector<float>(least)))
            {
                var first = count + (i * Vector<float>.Count);
                least = Offer(logits, first, first + Vector<float>.Count, least);
            }
        }

        Offer(logits, count + (vectors.Length * Vector<float>.Count), logits.Length, least);
        for (var i = 0; i < count; i++)
        {
            _ids[i] = _kept.Dequeue();
        }

        Array.Sort(_ids);
        return _ids;
    }

    private float Offer(ReadOnlySpan<float> logits, int from, int to, float least)
    {
        for (var id = from; id < to; id++)
        {
            if (logits[id] > least)
            {
                _kept.DequeueEnqueue(id, Rank(logits[id], id));
                least = Least(logits);
            }
        }

        return least;
    }

    private float Least(ReadOnlySpan<float> logits) => logits[_kept.Peek()];

    // Rises with the logit, and falls with the id.
    private static ulong Rank(float logit, int id)
    {
        var bits = BitConverter.SingleToInt32Bits(logit + 0f); // the zeros are equal
        var rising = (uint)(bits ^ ((bits >> 31) | int.MinValue));
        return ((ulong)rising << 32) | ~(uint)id;
    }
}
