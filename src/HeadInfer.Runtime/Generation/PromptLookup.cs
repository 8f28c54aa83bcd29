using System.Numerics;

namespace HeadInfer.Runtime.Generation;

/// <summary>Tokens that may come next.</summary>
/// <param name="Tokens">in their order; valid until the next ones are proposed</param>
/// <param name="Likelihood">how often such a token was right where those before it were, 0 to 1</param>
internal readonly record struct Draft(ReadOnlyMemory<int> Tokens, double Likelihood);

/// <summary>Guesses what comes next: what followed where the last tokens stood before. One for each generation.</summary>
/// <remarks>
/// Answers quote: a document, an earlier answer, themselves. Of the places that end as the text does now, the one that agrees
/// furthest backwards is taken, of equals the latest. Looked at are the place where the last guess has gone on, and some of the
/// latest that agree in many tokens, and in few. A token costs the same however long the text is, and takes 20 to 40 bytes.
/// </remarks>
internal sealed class PromptLookup
{
    /// <summary>Tokens proposed at once.</summary>
    public const int Most = 15;

    // Tokens that must agree; those by which a place is found among many; those compared; places looked at.
    private const int Few = 3, Many = 8, Compared = 32, Looked = 16;

    private const int AtOnce = 1 << 16; // tokens that are taken in between two steps: some milliseconds, in which all answers wait

    private readonly double[] _likelihoods = [0.3, 0.5, 0.7, 0.9]; // by how many tokens agree: 3, 4 and more, 8 and more, 16 and more
    private readonly int[] _draft = new int[Most];
    private readonly Places _few = new(Few), _many = new(Many);
    private int[] _tokens = [];
    private int _count;
    private (int Place, int At, int Count, int Kind) _last; // the last draft: behind which place it stood, for which position it was meant

    /// <param name="context">all tokens of the sequence so far; from call to call it grows</param>
    /// <param name="next">the token after them</param>
    /// <param name="most">tokens wanted at most</param>
    public Draft Propose(IReadOnlyList<int> context, int next, int most)
    {
        if (context.Count >= _tokens.Length)
        {
            Grow(context.Count + 1);
        }

        for (int i = _count, end = Math.Min(context.Count, _count + AtOnce); i < end; i++)
        {
            Add(context[i]);
        }

        if (_count < context.Count)
        {
            return default; // a long text is not known yet
        }

        if (_count == context.Count)
        {
            Add(next);
        }

        Learn();
        var (place, agreeing) = Find();
        var count = place < 0 ? 0 : Math.Min(most, Most);
        for (var i = 0; i < count; i++)
        {
            var from = place + 1 + i;
            _draft[i] = from < _count ? _tokens[from] : _draft[from - _count]; // a text that repeats itself goes on doing so
        }

        _last = (place, _count, count, agreeing >= 2 * Many ? 3 : agreeing >= Many ? 2 : agreeing > Few ? 1 : 0);
        return new Draft(_draft.AsMemory(0, count), _likelihoods[_last.Kind]);
    }

    // Whether the last draft's tokens have come. Only those count that followed right ones.
    private void Learn()
    {
        for (var i = 0; i < _last.Count && _last.At + i < _count; i++)
        {
            var isRight = _draft[i] == _tokens[_last.At + i];
            _likelihoods[_last.Kind] += ((isRight ? 1 : 0) - _likelihoods[_last.Kind]) / 8;
            if (!isRight)
            {
                break;
            }
        }
    }

    private void Add(int token)
    {
        _tokens[_count] = token;
        _few.Add(_tokens, _count);
        _many.Add(_tokens, _count++);
    }

    // Places move, so all tokens are taken in again.
    private void Grow(int least)
    {
        (_tokens, _count) = (new int[BitOperations.RoundUpToPowerOf2((uint)Math.Max(1024, least))], 0);
        _few.Clear(_tokens.Length);
        _many.Clear(_tokens.Length);
    }

    // The place that agrees furthest with the end, and in how many tokens; -1 if none does in a few.
    private (int Place, int Agreeing) Find()
    {
        var best = (Place: -1, Agreeing: Few - 1);
        void Look(int place)
        {
            if (place >= 0 && Agreeing(place) is var agreeing && (agreeing > best.Agreeing || (agreeing == best.Agreeing && place > best.Place && best.Place >= 0)))
            {
                best = (place, agreeing);
            }
        }

        if (_last.Count > 0)
        {
            Look(_last.Place + _count - _last.At);
        }

        foreach (var places in (Places[])[_many, _few])
        {
            for (var (place, i) = (places.Before(_count - 1), 0); place >= 0 && i < Looked; place = places.Before(place), i++)
            {
                Look(place);
            }
        }

        return best;
    }

    private int Agreeing(int place)
    {
        var count = 0;
        for (; count < Compared && count <= place && _tokens[place - count] == _tokens[_count - 1 - count]; count++)
        {
        }

        return count;
    }

    /// <summary>Places by the hash of some tokens that end there.</summary>
    private sealed class Places(int tokens)
    {
        private int[] _before = []; // [place] the one before of the same hash, or -1
        private int[] _last = [];   // [hash] the last one, or -1

        public void Clear(int size)
        {
            (_before, _last) = (new int[size], new int[size]);
            Array.Fill(_last, -1);
        }

        public void Add(int[] text, int place)
        {
            if (place + 1 < tokens)
            {
                _before[place] = -1;
                return;
            }

            var hash = 0UL;
            for (var i = place - tokens + 1; i <= place; i++)
            {
                hash = (hash + (uint)text[i] + 1) * 0x9E3779B97F4A7C15;
            }

            ref var last = ref _last[(int)(hash >> 32) & (_last.Length - 1)];
            (_before[place], last) = (last, place);
        }

        public int Before(int place) => _before[place];
    }
}
