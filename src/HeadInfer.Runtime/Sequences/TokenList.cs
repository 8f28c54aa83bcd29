using System.Collections;

namespace HeadInfer.Runtime.Sequences;

/// <summary>Tokens that are changed by one thread at a time, and may be read by any other meanwhile.</summary>
/// <remarks>
/// The array is in place before the count that needs it, and is never replaced by a shorter one. So whoever reads the count
/// first finds as many tokens. Where tokens were cut off and others follow, a reader under way may see some of these.
/// </remarks>
internal sealed class TokenList : IReadOnlyList<int>
{
    private volatile int[] _tokens = [];
    private volatile int _count;

    public int Count => _count;

    public int this[int index] => (uint)index < (uint)_count ? _tokens[index] : throw new ArgumentOutOfRangeException(nameof(index));

    /// <summary>The tokens from one on.</summary>
    public ReadOnlySpan<int> From(int start)
    {
        var count = _count;
        return _tokens.AsSpan(0, count)[Math.Min(start, count)..];
    }

    public void Append(ReadOnlySpan<int> tokens)
    {
        var (count, array) = (_count, _tokens);
        if (array.Length - count < tokens.Length)
        {
            Array.Resize(ref array, Math.Max(count + tokens.Length, array.Length * 2));
        }

        tokens.CopyTo(array.AsSpan(count));
        _tokens = array;
        _count = count + tokens.Length;
    }

    /// <summary>Forgets the tokens from <paramref name="length"/> on.</summary>
    public void Truncate(int length) => _count = Math.Min(_count, length);

    public IEnumerator<int> GetEnumerator()
    {
        for (var i = 0; i < _count; i++)
        {
            yield return _tokens[i];
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
