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
    private State _state = format.OnlyAtBeginning ? State.Beginning : State.Text;

    private enum State
    {
        /// <summary>Where a call may begin that can begin nowhere else.</summary>
        Beginning,
        Text,

        /// <summary>Text in which no call is looked for.</summary>
        TextAlone,
        Call,
    }

    /// <summary>Takes the next piece of the answer.</summary>
    public IEnumerable<ScannedPart> Append(string text)
    {
        _pending.Append(text);
        while (true)
        {
            var pending = _pending.ToString();
            switch (_state)
            {
                case State.Call:
                    if (EndOf(pending) is not (>= 0 and var end))
                    {
                        yield break;
                    }

                    Keep(pending[(end + format.End!.Length)..], State.Text);
                    foreach (var call in format.Parse(pending[..end], tools))
                    {
                        yield return new ScannedPart("", call);
                    }

                    continue;
                case State.Beginning:
                    if (!Begins(pending))
                    {
                        yield break;
                    }

                    continue;
                case State.TextAlone:
                    Keep("", State.TextAlone);
                    if (pending.Length > 0)
                    {
                        yield return new ScannedPart(pending, null);
                    }

                    yield break;
                default:
                    break;
            }

            var start = pending.IndexOf(format.Start, StringComparison.Ordinal);
            if (start >= 0)
            {
                Keep(pending[(start + format.Start.Length)..], State.Call);
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
                Keep(pending[^held..], State.Text);
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
        if (_state != State.Call)
        {
            return rest.Length > 0 ? [new ScannedPart(rest, null)] : [];
        }

        var calls = format.Parse(rest, tools);
        return calls.Count > 0 ? calls.Select(call => new ScannedPart("", call)) : [new ScannedPart(format.Start + rest, null)];
    }

    // Where a call's end is; an end within one of its texts is none. -1 if it has not come yet.
    private int EndOf(string pending)
    {
        if (format.End is null)
        {
            return -1;
        }

        var end = pending.IndexOf(format.End, StringComparison.Ordinal);
        while (end >= 0 && !format.IsWhole(pending[..end]))
        {
            end = pending.IndexOf(format.End, end + 1, StringComparison.Ordinal);
        }

        return end;
    }

    // Whether it is known by now what the answer begins with.
    private bool Begins(string pending)
    {
        var text = pending.TrimStart();
        if (format.Prefix is { } prefix)
        {
            if (text.Length < prefix.Length && prefix.StartsWith(text, StringComparison.Ordinal))
            {
                return false;
            }

            text = text.StartsWith(prefix, StringComparison.Ordinal) ? text[prefix.Length..].TrimStart() : text;
        }

        if (text.Length < format.Start.Length && format.Start.StartsWith(text, StringComparison.Ordinal))
        {
            return false;
        }

        var isCall = text.StartsWith(format.Start, StringComparison.Ordinal);
        Keep(isCall ? text[format.Start.Length..] : pending, isCall ? State.Call : State.TextAlone);
        return true;
    }

    private void Keep(string text, State state)
    {
        _pending.Clear().Append(text);
        _state = state;
    }

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
