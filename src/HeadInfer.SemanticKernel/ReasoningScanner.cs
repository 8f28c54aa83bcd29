namespace HeadInfer.SemanticKernel;

/// <summary>Tells what a model thinks from what it says. Thoughts begin an answer; once there were some, more may come later.</summary>
/// <param name="begun">what the prompt has opened already, as some templates do; null if nothing</param>
/// <param name="response">what is taken from around all that is said behind thoughts; null if nothing</param>
internal sealed class ReasoningScanner(ThoughtTags? begun, (string Start, string End)? response = null) : IThoughtScanner
{
    private readonly StringBuilder _pending = new();
    private ThoughtTags? _tags = begun; // of the thoughts that came last
    private char? _last; // of what was said
    private string? _close; // what ends the response that is open; null if none is
    private State _state = begun is null ? State.Beginning : State.Opening;

    private enum State
    {
        /// <summary>Nothing but white space, or a beginning of a tag.</summary>
        Beginning,

        /// <summary>As before, within thoughts: some models open them again.</summary>
        Opening,
        Thinking,

        /// <summary>White space after thoughts that nothing was said before, which is not part of the answer.</summary>
        Between,
        Saying,
    }

    public bool IsThinking => _state is State.Opening or State.Thinking;

    public IEnumerable<(string Text, bool IsReasoning)> Append(string text)
    {
        _pending.Append(text);
        while (true)
        {
            var pending = _pending.ToString();
            switch (_state)
            {
                case State.Beginning or State.Between or State.Opening:
                    if (!Begins(pending))
                    {
                        yield break;
                    }

                    break;
                case State.Thinking:
                    var end = pending.IndexOf(_tags!.End, StringComparison.Ordinal);
                    var thought = end >= 0 ? end : pending.Length - StopMatcher.Held(pending, _tags.End);
                    Keep(pending[(end >= 0 ? end + _tags.End.Length : thought)..], end < 0 ? State.Thinking : _last is null ? State.Between : State.Saying);
                    if (thought > 0)
                    {
                        yield return (pending[..thought], true);
                    }

                    if (end < 0)
                    {
                        yield break;
                    }

                    break;
                default:
                    var start = Start(pending);
                    var close = start < 0 ? -1 : pending.IndexOf(_tags!.End, start, StringComparison.Ordinal);
                    var said = start >= 0 ? start : pending.Length - Math.Max(_tags is null ? 0 : StopMatcher.Held(pending, _tags.Start), Closing(pending));
                    _last = said > 0 ? pending[said - 1] : _last;
                    Keep(pending[(close >= 0 ? close + _tags!.End.Length : said)..], State.Saying);
                    if (said > 0)
                    {
                        yield return (pending[..said], false);
                    }

                    if (close < 0)
                    {
                        yield break;
                    }

                    yield return (pending[(start + _tags!.Start.Length)..close], true);
                    break;
            }
        }
    }

    public IEnumerable<(string Text, bool IsReasoning)> Finish()
    {
        var rest = _state == State.Between ? _pending.ToString().TrimStart() : _pending.ToString();
        rest = ClosesResponse(rest) ? rest.TrimEnd()[..^_close!.Length].TrimEnd() : rest;
        return rest.Length > 0 ? [(rest, IsThinking)] : [];
    }

    // Whether it is known by now what comes first: thoughts, or something else.
    private bool Begins(string pending)
    {
        var text = pending.TrimStart();
        if (ThoughtTags.All.FirstOrDefault(t => text.StartsWith(t.Start, StringComparison.Ordinal)) is { } tags && (_state != State.Opening || tags.Start == _tags!.Start))
        {
            _tags = tags;
            Keep(text[tags.Start.Length..], State.Thinking);
            return true;
        }

        var opens = Response();
        if (opens is { } around && text.StartsWith(around.Start, StringComparison.Ordinal))
        {
            _close = around.End;
            Keep(text[around.Start.Length..], State.Between);
            return true;
        }

        if (ThoughtTags.All.Select(t => t.Start).Append(opens?.Start ?? "").Any(s => s.StartsWith(text, StringComparison.Ordinal)))
        {
            return false;
        }

        Keep(_state == State.Between ? text : pending, _state == State.Opening ? State.Thinking : State.Saying);
        return true;
    }

    // The response that may begin here. One that begins with a word in angles, and without thoughts, is what somebody asked for.
    private (string Start, string End)? Response() => _close is null && (_state == State.Between || (_state == State.Beginning && response?.Start[1] == '|')) ? response : null;

    // Characters at the end that may close the response: only white space follows it.
    private int Closing(string pending) => _close is null ? 0
        : ClosesResponse(pending) ? pending.Length - pending.TrimEnd().Length + _close.Length
        : StopMatcher.Held(pending, _close);

    private bool ClosesResponse(string pending) => _close is not null && pending.AsSpan().TrimEnd().EndsWith(_close);

    // Where thoughts may begin once more: they do if they end. A tag in quotes is spoken of.
    private int Start(string pending)
    {
        var start = _tags is null ? -1 : pending.IndexOf(_tags.Start, StringComparison.Ordinal);
        while (start >= 0 && (start > 0 ? pending[start - 1] : _last) is '`' or '"' or '\'')
        {
            start = pending.IndexOf(_tags!.Start, start + 1, StringComparison.Ordinal);
        }

        return start;
    }

    private void Keep(string text, State state)
    {
        _pending.Clear().Append(text);
        _state = state;
    }
}
