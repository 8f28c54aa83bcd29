using System.Text;
using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel.ToolCalls;

/// <summary>Parts of an answer: text to show, and calls.</summary>
internal readonly record struct ScannedPart(string Text, ParsedCall? Call);

/// <summary>Tells text from calls while an answer streams in. A beginning of a marker is held back until it is known what it is.</summary>
/// <param name="format">how the model writes calls</param>
/// <param name="tools">the functions that were offered</param>
internal sealed class ToolCallScanner(IToolCallFormat format, IReadOnlyList<ChatTool> tools)
{
    private readonly StringBuilder _pending = new(); // text that may be a marker's beginning, or a call's body
    private bool _inCall;

    /// <summary>Takes the next piece of the answer.</summary>
    public IEnumerable<ScannedPart> Append(string text)
    {
        _pending.Append(text);
        while (true)
        {
            var pending = _pending.ToString();
            if (_inCall)
            {
                if (format.End is null || pending.IndexOf(format.End, StringComparison.Ordinal) is not (>= 0 and var end))
                {
                    yield break;
                }

                Keep(pending[(end + format.End.Length)..]);
                _inCall = false;
                foreach (var call in format.Parse(pending[..end], tools))
                {
                    yield return new ScannedPart("", call);
                }

                continue;
            }

            var start = pending.IndexOf(format.Start, StringComparison.Ordinal);
            if (start >= 0)
            {
                Keep(pending[(start + format.Start.Length)..]);
                _inCall = true;
                if (pending[..start].TrimEnd() is { Length: > 0 } before)
                {
                    yield return new ScannedPart(before, null);
                }

                continue;
            }

            // White space before a marker belongs to it, and so may be held back too.
            var held = Held(pending);
            if (held < pending.Length)
            {
                Keep(pending[^held..]);
                yield return new ScannedPart(pending[..^held], null);
            }

            yield break;
        }
    }

    /// <summary>Ends the answer: what was held back is text, and a call without an end is read as far as it goes.</summary>
    public IEnumerable<ScannedPart> End()
    {
        var rest = _pending.ToString();
        _pending.Clear();
        if (_inCall)
        {
            var calls = format.Parse(rest, tools);
            return calls.Count > 0 ? calls.Select(call => new ScannedPart("", call)) : [new ScannedPart(format.Start + rest, null)];
        }

        return rest.Length > 0 ? [new ScannedPart(rest, null)] : [];
    }

    private void Keep(string text) => _pending.Clear().Append(text);

    // How many characters at the end may be white space before a marker, or the marker's beginning.
    private int Held(string text)
    {
        var held = 0;
        for (var length = Math.Min(format.Start.Length - 1, text.Length); length > 0; length--)
        {
            if (text.EndsWith(format.Start[..length], StringComparison.Ordinal))
            {
                held = length;
                break;
            }
        }

        while (held < text.Length && char.IsWhiteSpace(text[^(held + 1)]))
        {
            held++;
        }

        return held;
    }
}
