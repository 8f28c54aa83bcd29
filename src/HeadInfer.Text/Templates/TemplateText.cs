namespace HeadInfer.Text.Templates;

/// <summary>Text that remembers which parts of it a chat template wrote, and which came from messages.</summary>
/// <param name="text">the whole text</param>
/// <param name="trustedRanges">the parts that may stand for special tokens: in order, apart from each other, none empty</param>
/// <remarks>
/// Operations that keep the order of characters keep the memory of them. The others give up trust unless all of the text
/// had it: what a user wrote can then never close a turn, whatever a template does with it.
/// </remarks>
internal sealed class TemplateText(string text, IReadOnlyList<(int Start, int Length)> trustedRanges)
{
    private bool? _hasSurrogates;

    public static TemplateText Empty { get; } = Trusted("");

    public string Text => text;

    public IReadOnlyList<(int Start, int Length)> TrustedRanges => trustedRanges;

    public int Length => text.Length;

    public bool IsTrusted => text.Length == 0 || trustedRanges is [(0, var length)] && length == text.Length;

    /// <summary>Whether some characters may take two places, so that places are not those of Python.</summary>
    public bool HasSurrogates => _hasSurrogates ??= text.AsSpan().ContainsAnyInRange('\ud800', '\udfff');

    /// <summary>Text that a template wrote.</summary>
    public static TemplateText Trusted(string text) => new(text, text.Length > 0 ? [(0, text.Length)] : []);

    /// <summary>Text from a user, a document or a tool.</summary>
    public static TemplateText Data(string text) => new(text, []);

    /// <summary>Text made of this one in a way that mixes its characters.</summary>
    public TemplateText With(string text) => IsTrusted ? Trusted(text) : Data(text);

    public TemplateText Substring(int start, int length)
    {
        if (length == text.Length)
        {
            return this;
        }

        if (IsTrusted || trustedRanges.Count == 0)
        {
            return With(text.Substring(start, length));
        }

        var ranges = new List<(int, int)>();
        for (var i = FirstRangeAfter(start); i < trustedRanges.Count && trustedRanges[i].Start < start + length; i++)
        {
            var (first, count) = trustedRanges[i];
            var (from, to) = (Math.Max(first, start), Math.Min(first + count, start + length));
            ranges.Add((from - start, to - from));
        }

        return new TemplateText(text.Substring(start, length), ranges);
    }

    /// <summary>How many trusted ranges a part has at most; what remembering them costs.</summary>
    public int RangesIn(int start, int length) => FirstRangeAfter(start + length) - FirstRangeAfter(start) + 1;

    public override string ToString() => text;

    // The first range that ends after a place.
    private int FirstRangeAfter(int place)
    {
        var (low, high) = (0, trustedRanges.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = trustedRanges[middle] is var (start, length) && start + length > place ? (low, middle) : (middle + 1, high);
        }

        return low;
    }
}

/// <summary>Gathers <see cref="TemplateText"/> in order, in time that grows with its length.</summary>
/// <param name="budget">what the text's memory is counted by; null for nothing</param>
internal sealed class TemplateTextBuilder(WorkBudget? budget = null)
{
    private readonly StringBuilder _text = new();
    private readonly List<(int Start, int Length)> _trusted = [];

    public int Length => _text.Length;

    public TemplateTextBuilder Append(TemplateText text)
    {
        budget?.Hold((2L * text.Length) + (8L * text.TrustedRanges.Count));
        foreach (var (start, length) in text.TrustedRanges)
        {
            var at = _text.Length + start;
            if (_trusted.Count > 0 && _trusted[^1] is var last && last.Start + last.Length == at)
            {
                _trusted[^1] = (last.Start, last.Length + length); // so that a special token may be written in two steps
            }
            else
            {
                _trusted.Add((at, length));
            }
        }

        _text.Append(text.Text);
        return this;
    }

    /// <summary>The text. The builder is done with.</summary>
    public TemplateText Build()
    {
        // What it was gathered in is no longer counted: the copy takes its place.
        var size = (2L * _text.Length) + (8L * _trusted.Count);
        budget?.Hold(size + 64);
        budget?.Release(size);
        return new(_text.ToString(), [.. _trusted]);
    }
}
