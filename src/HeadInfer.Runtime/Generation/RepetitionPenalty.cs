using System.Numerics;
using System.Runtime.InteropServices;

namespace HeadInfer.Runtime.Generation;

/// <summary>Makes tokens of the context less likely. Each is read once, however many steps follow.</summary>
internal sealed class RepetitionPenalty(float penalty)
{
    private int[] _seen = []; // [vocabulary] all bits set for a token that the context has
    private int _read;

    /// <param name="logits">[vocabulary], changed</param>
    /// <param name="context">goes on where the one before ended; a shorter one is read anew</param>
    public void Apply(Span<float> logits, IReadOnlyList<int> context)
    {
        Read(context, logits.Length);
        var vectors = MemoryMarshal.Cast<float, Vector<float>>(logits);
        var masks = MemoryMarshal.Cast<int, Vector<int>>(_seen);
        for (var i = 0; i < vectors.Length; i++)
        {
            var logit = vectors[i];
            var penalized = Vector.ConditionalSelect(Vector.GreaterThan(logit, Vector<float>.Zero), logit / penalty, logit * penalty);
            vectors[i] = Vector.ConditionalSelect(masks[i], penalized, logit);
        }

        for (var token = vectors.Length * Vector<float>.Count; token < logits.Length; token++)
        {
            if (_seen[token] != 0)
            {
                logits[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
            }
        }
    }

    private void Read(IReadOnlyList<int> context, int vocabulary)
    {
        if (context.Count < _read || _seen.Length != vocabulary)
        {
            (_seen, _read) = (new int[vocabulary], 0);
        }

        for (; _read < context.Count; _read++)
        {
            _seen[context[_read]] = -1;
        }
    }
}
