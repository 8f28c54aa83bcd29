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
    private CallMarks _marks = format.Marks[0]; // of the call that is being read
    private bool _isCall; // whether it is certain that it is one
    private string _space = ""; // white space before it, which is text if the call is

    private enum State
    {
        /// <summary>Where a call may begin that can begin nowhere else.</summary>
        Beginning,
        Text,

        /// <summary>Text in which no call is looked for.</summary>
        TextAlone,
        Call,

        /// <summary>After a call without the usual start, where the usual end may follow all the same.</summary>
        StrayEnd,
    }

    /// <summary>Takes the next piece of the answer.</summary>
    public IEnumerable<ScannedPart> Append(string text)
    {
        _pending.Append(text);
        if (_isCall && !MayEnd(text.Length))
        {
            yield break; // long calls are not searched again with every piece
        }

        while (true)
        {
            var pending = _pending.ToString();
            switch (_state)
            {
                case State.Call when IsText(pending):
                    Keep(pending, format.OnlyAtBeginning ? State.TextAlone : State.Text);
                    yield return new ScannedPart(_space + _marks.Start, null);
                    continue;
                case State.Call:
                    if (EndOf(pending) is not (>= 0 and var end))
                    {
                        yield break;
                    }

                    Keep(pending[(end + _marks.End!.Length)..], _marks.StartIsPart ? State.StrayEnd : State.Text);
                    foreach (var part in Calls(pending[..end], _marks.End))
                    {
                        yield return part;
                    }

                    continue;
                case State.StrayEnd:
                    var (rest, usual) = (pending.TrimStart(), format.Marks[0].End!);
                    if (rest.Length < usual.Length && usual.StartsWith(rest, StringComparison.Ordinal))
                    {
                        yield break;
                    }

                    Keep(rest.StartsWith(usual, StringComparison.Ordinal) ? rest[usual.Length..] : pending, State.Text);
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

            if (FirstStart(pending) is { } found)
            {
                _marks = found.Marks;
                Keep(pending[(found.At + _marks.Start.Length)..], State.Call);
                var before = pending[..found.At].TrimEnd();
                _space = pending[before.Length..found.At];
                if (before.Length > 0)
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
    /// <param name="cut">whether the limit ended it: then a call is whole only if its arguments show their own end</param>
    public IEnumerable<ScannedPart> End(bool cut = false)
    {
        var rest = _pending.ToString();
        _pending.Clear();
        return _state == State.Call ? Calls(rest, "").ToList() is [.., { Call: { Error: null } last }] calls && cut && !EndsItself(rest, last) ? [.. calls[..^1], new ScannedPart("", last.CutOff(rest))] : Calls(rest, "")
            : rest.Length > 0 && !(_state == State.StrayEnd && string.IsNullOrWhiteSpace(rest)) ? [new ScannedPart(rest, null)]
            : [];
    }

    // JSON does, with tags around it or without. What is said behind calls that have no tags takes nothing from their arguments.
    private bool EndsItself(string body, ParsedCall call) => body.AsSpan().TrimEnd() is [.., '}' or '`'] or [.., '}', ']'] || format.CallsShowTheirEnd || (_marks.End is null && call.Arguments is { Count: > 0 });

    // What stands between a start and an end: calls, or text after all.
    private IEnumerable<ScannedPart> Calls(string body, string end)
    {
        var calls = format.Parse(_marks.StartIsPart ? _marks.Start + body : body, tools);
        return calls.Count > 0 ? calls.Select(call => new ScannedPart("", call)) : [new ScannedPart(_space + _marks.Start + body + end, null)];
    }

    private (int At, CallMarks Marks)? FirstStart(string pending)
    {
        (int At, CallMarks Marks)? first = null;
        foreach (var marks in format.Marks)
        {
            if (pending.IndexOf(marks.Start, StringComparison.Ordinal) is >= 0 and var at && (first is null || at < first.Value.At))
            {
                first = (at, marks);
            }
        }

        return first;
    }

    // Where a call's end is; an end within one of its texts is none. -1 if it has not come yet.
    private int EndOf(string pending)
    {
        if (_marks.End is null)
        {
            return -1;
        }

        var end = pending.IndexOf(_marks.End, StringComparison.Ordinal);
        while (end >= 0 && !format.IsWhole(pending[..end]))
        {
            var (next, start) = (pending.IndexOf(_marks.End, end + 1, StringComparison.Ordinal), pending.IndexOf(_marks.Start, end, StringComparison.Ordinal));
            if (start >= 0 && (next < 0 || start < next))
            {
                break; // a text that was never closed, or another call would be taken for a part of it
            }

            end = next;
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

        if (text.Length < _marks.Start.Length && _marks.Start.StartsWith(text, StringComparison.Ordinal))
        {
            return false;
        }

        var isCall = text.StartsWith(_marks.Start, StringComparison.Ordinal);
        Keep(isCall ? text[_marks.Start.Length..] : pending, isCall ? State.Call : State.TextAlone);
        return true;
    }

    private void Keep(string text, State state)
    {
        _pending.Clear().Append(text);
        (_state, _isCall) = (state, false);
    }

    // Whether what began like a call is known to be none.
    private bool IsText(string pending)
    {
        var isCall = _isCall || !_marks.StartIsPart ? true : format.IsCall(_marks.Start + pending, tools);
        _isCall = isCall == true;
        return isCall == false;
    }

    // Whether a call's end may have come with the last characters.
    private bool MayEnd(int characters)
    {
        var length = Math.Min(_pending.Length, characters + (_marks.End?.Length ?? 0));
        return _marks.End is { } end && _pending.ToString(_pending.Length - length, length).Contains(end, StringComparison.Ordinal);
    }

    // How many characters at the end may be white space before a marker, or the marker's beginning.
    private int Held(string text)
    {
        var held = StopMatcher.Held(text, [.. format.Marks.Select(m => m.Start)]);
        while (held < text.Length && char.IsWhiteSpace(text[^(held + 1)]))
        {
            held++;
        }

        return held;
    }
}
