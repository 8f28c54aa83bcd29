using System.Text;

namespace HeadInfer.Runtime.Text;

/// <summary>Text that remembers which parts of it a chat template wrote, and which came from messages.</summary>
/// <param name="Text">The whole text.</param>
/// <param name="TrustedRanges">The parts that may stand for special tokens: in order, apart from each other, none empty.</param>
/// <remarks>
/// Operations that keep the order of characters keep the memory of them. The others give up trust unless all of the text
/// had it: what a user wrote can then never close a turn, whatever a template does with it.
/// </remarks>
internal sealed record TemplateText(string Text, IReadOnlyList<(int Start, int Length)> TrustedRanges)
{
    public static TemplateText Empty { get; } = Trusted("");

    public int Length => Text.Length;

    public bool IsTrusted => Text.Length == 0 || TrustedRanges is [(0, var length)] && length == Text.Length;

    /// <summary>Text that a template wrote.</summary>
    public static TemplateText Trusted(string text) => new(text, text.Length > 0 ? [(0, text.Length)] : []);

    /// <summary>Text from a user, a document or a tool.</summary>
    public static TemplateText Data(string text) => new(text, []);

    /// <summary>Text made of this one in a way that mixes its characters.</summary>
    public TemplateText With(string text) => IsTrusted ? Trusted(text) : Data(text);

    public TemplateText Substring(int start, int length)
    {
        var ranges = new List<(int, int)>();
        foreach (var (first, count) in TrustedRanges)
        {
            var (from, to) = (Math.Max(first, start), Math.Min(first + count, start + length));
            if (from < to)
            {
                ranges.Add((from - start, to - from));
            }
        }

        return new TemplateText(Text.Substring(start, length), ranges);
    }

    public TemplateText Trim(char[]? characters, bool start = true, bool end = true)
    {
        bool Drops(char c) => characters is null ? char.IsWhiteSpace(c) : characters.Contains(c);
        var (from, to) = (0, Text.Length);
        while (start && from < to && Drops(Text[from]))
        {
            from++;
        }

        while (end && to > from && Drops(Text[to - 1]))
        {
            to--;
        }

        return Substring(from, to - from);
    }

    public override string ToString() => Text;
}

/// <summary>Gathers <see cref="TemplateText"/> in order, in time that grows with its length.</summary>
internal sealed class TemplateTextBuilder
{
    private const int MaxLength = 1 << 26;

    private readonly StringBuilder _text = new();
    private readonly List<(int Start, int Length)> _trusted = [];

    public int Length => _text.Length;

    public TemplateTextBuilder Append(TemplateText text)
    {
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

        if (_text.Length + (long)text.Length > MaxLength)
        {
            throw new ChatTemplateException($"A chat template makes a text of more than {MaxLength:N0} characters.");
        }

        _text.Append(text.Text);
        return this;
    }

    public TemplateText Build() => new(_text.ToString(), [.. _trusted]);
}
