using System.Text;

namespace HeadInfer.SemanticKernel;

/// <summary>Tells what a model thinks, between <c>&lt;think&gt;</c> and <c>&lt;/think&gt;</c> at the beginning of its answer, from what it says.</summary>
/// <param name="begun">whether the prompt has opened the thinking already, as some templates do</param>
internal sealed class ReasoningScanner(bool begun)
{
    public const string Start = "<think>";
    public const string End = "</think>";

    private readonly StringBuilder _pending = new();
    private State _state = begun ? State.Thinking : State.Beginning;

    private enum State
    {
        /// <summary>Nothing but white space, or a beginning of the marker.</summary>
        Beginning,
        Thinking,

        /// <summary>White space after the thinking, which is not part of the answer.</summary>
        Between,
        Saying,
    }

    /// <summary>Takes the next piece of the answer.</summary>
    public IEnumerable<(string Text, bool IsReasoning)> Append(string text)
    {
        _pending.Append(text);
        if (_state == State.Beginning)
        {
            var start = _pending.ToString().TrimStart();
            if (start.StartsWith(Start, StringComparison.Ordinal))
            {
                _pending.Clear().Append(start[Start.Length..]);
                _state = State.Thinking;
            }
            else if (!Start.StartsWith(start, StringComparison.Ordinal))
            {
                _state = State.Saying;
            }
        }

        if (_state == State.Thinking)
        {
            var pending = _pending.ToString();
            var end = pending.IndexOf(End, StringComparison.Ordinal);
            var thought = end >= 0 ? end : pending.Length - Held(pending);
            if (thought > 0)
            {
                yield return (pending[..thought], true);
            }

            _pending.Clear().Append(pending.AsSpan(end >= 0 ? end + End.Length : thought));
            _state = end >= 0 ? State.Between : _state;
        }

        if (_state == State.Between && _pending.ToString().TrimStart() is { Length: > 0 } said)
        {
            _pending.Clear().Append(said);
            _state = State.Saying;
        }

        if (_state == State.Saying && _pending.Length > 0)
        {
            yield return (_pending.ToString(), false);
            _pending.Clear();
        }
    }

    /// <summary>Ends the answer: what was held back is what it seemed to be.</summary>
    public IEnumerable<(string Text, bool IsReasoning)> Finish() =>
        _pending.Length > 0 && _state != State.Between ? [(_pending.ToString(), _state == State.Thinking)] : [];

    // Characters at the end that may be the marker's beginning.
    private static int Held(string text)
    {
        for (var length = Math.Min(End.Length - 1, text.Length); length > 0; length--)
        {
            if (text.EndsWith(End[..length], StringComparison.Ordinal))
            {
                return length;
            }
        }

        return 0;
    }
}
