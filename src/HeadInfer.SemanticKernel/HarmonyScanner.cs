using System.Text.RegularExpressions;
using HeadInfer.SemanticKernel.ToolCalls;

namespace HeadInfer.SemanticKernel;

/// <summary>gpt-oss: an answer is one or more messages, each with a channel. Thoughts are those of one channel.</summary>
internal sealed record HarmonyTags() : ThoughtTags("<|channel|>analysis<|message|>", "<|end|>")
{
    public static HarmonyTags Instance { get; } = new();

    public override string Between => "<|start|>assistant";

    public override string Said => "<|channel|>final<|message|>";

    protected override IEnumerable<string> OwnMarkers => ["<|start|>", "<|constrain|>", "<|call|>", "<|return|>"];

    public static bool IsIn(string template) => template.Contains("<|channel|>", StringComparison.Ordinal) && template.Contains("<|message|>", StringComparison.Ordinal);

    public override IThoughtScanner Scanner(bool opened) => new HarmonyScanner(opened);
}

/// <summary>
/// Takes gpt-oss' messages apart: those of the analysis channel are thoughts, those to a function are given on in one form,
/// for <see cref="HarmonyFormat"/> to read, and all others are text without their headers.
/// </summary>
/// <param name="opened">whether the prompt has begun a message of thoughts</param>
internal sealed partial class HarmonyScanner(bool opened) : IThoughtScanner
{
    private const string Start = "<|start|>", Channel = "<|channel|>", Message = "<|message|>", Recipients = "to=";

    // What begins as a header may without a marker, and goes on longer than this, is text.
    private const int LongestRecipient = 200;

    // A message may be left without its end; then the next one's header ends it.
    private static readonly string[] Ends = ["<|end|>", HarmonyFormat.End, "<|return|>", Start, Channel];

    // What a header begins with. The role stands in the prompt before the first one.
    private static readonly string[] Openings = [Start, Channel, Message, Recipients];

    private readonly StringBuilder _pending = new();
    private State _state = opened ? State.Thinking : State.Between;
    private string _function = ""; // that is called
    private bool _thought, _said; // whether there was some before
    private bool _begins; // whether nothing of the message was given on yet

    private enum State
    {
        /// <summary>Before a message.</summary>
        Between,
        Header,
        Thinking,
        Saying,
        Calling,
    }

    public bool IsThinking => _state == State.Thinking;

    public IEnumerable<(string Text, bool IsReasoning)> Append(string text)
    {
        _pending.Append(text);
        if (_state == State.Calling && !Tail(text.Length + Message.Length).Contains("|>", StringComparison.Ordinal))
        {
            yield break; // long calls are not searched again with every piece
        }

        while (true)
        {
            var pending = _pending.ToString();
            switch (_state)
            {
                case State.Between:
                    var begun = pending.TrimStart();
                    if (Openings.Any(o => begun.Length < o.Length && o.StartsWith(begun, StringComparison.Ordinal)))
                    {
                        yield break;
                    }

                    Keep(begun, Openings.Any(o => begun.StartsWith(o, StringComparison.Ordinal)) ? State.Header : State.Saying);
                    break;
                case State.Header:
                    var body = pending.IndexOf(Message, StringComparison.Ordinal);
                    if (body < 0 && !IsText(pending))
                    {
                        yield break;
                    }

                    Keep(body < 0 ? pending : pending[(body + Message.Length)..], body < 0 ? State.Saying : StateOf(pending[..body]));
                    break;
                case State.Calling:
                    if (EndOfCall(pending, out var rest) is not (>= 0 and var last))
                    {
                        yield break;
                    }

                    Keep(pending[rest..], State.Between);
                    yield return (Call(Message + pending[..last] + HarmonyFormat.End), false);
                    break;
                default:
                    var end = StopMatcher.First(pending, Ends, out var marker);
                    var part = pending[..(end >= 0 ? end : pending.Length - StopMatcher.Held(pending, Ends))];
                    var isThought = IsThinking;
                    Keep(pending[(part.Length + (end < 0 ? 0 : Consumed(marker)))..], end < 0 ? _state : State.Between);
                    if (part.Length > 0)
                    {
                        yield return (Joined(part, isThought), isThought);
                    }

                    if (end < 0)
                    {
                        yield break;
                    }

                    break;
            }
        }
    }

    public IEnumerable<(string Text, bool IsReasoning)> Finish()
    {
        var pending = _pending.ToString();
        return _state switch
        {
            State.Calling => [(Call(Message + pending), false)],
            State.Header => StateOf(pending) == State.Calling ? [(Call(""), false)] : [], // a header alone says nothing
            State.Between => pending.AsSpan().IsWhiteSpace() ? [] : [(pending, false)],
            _ => pending.Length > 0 ? [(Joined(pending, IsThinking), IsThinking)] : [],
        };
    }

    private static bool IsText(string header) =>
        header.StartsWith(Recipients, StringComparison.Ordinal) && (header.Length > LongestRecipient || header.AsSpan().TrimEnd().Contains('\n'));

    // A message to a function is a call, whatever its channel.
    private State StateOf(string header)
    {
        if (Recipient().Match(header) is { Success: true } recipient)
        {
            _function = recipient.Groups["name"].Value;
            return State.Calling;
        }

        return header[(header.LastIndexOf(Channel, StringComparison.Ordinal) + Channel.Length)..].TrimStart().StartsWith("analysis", StringComparison.Ordinal)
            && header.Contains(Channel, StringComparison.Ordinal) ? State.Thinking : State.Saying;
    }

    private string Call(string body) => HarmonyFormat.Start + _function + body;

    // Messages of one kind are told apart by an empty line.
    private string Joined(string part, bool isThought)
    {
        ref var before = ref isThought ? ref _thought : ref _said;
        var joined = before && _begins ? "\n\n" + part : part;
        (before, _begins) = (true, false);
        return joined;
    }

    // An end within an argument's text is none.
    private static int EndOfCall(string pending, out int rest)
    {
        for (var from = 0; StopMatcher.First(pending[from..], Ends, out var marker) is >= 0 and var at; from += at + marker.Length)
        {
            var end = from + at;
            if (string.IsNullOrWhiteSpace(pending[..end]) || JsonCalls.IsWhole(pending[..end]))
            {
                rest = end + Consumed(marker);
                return end;
            }
        }

        rest = 0;
        return -1;
    }

    private static int Consumed(string end) => end is Start or Channel ? 0 : end.Length;

    private void Keep(string text, State state)
    {
        _pending.Clear().Append(text);
        (_state, _begins) = (state, _begins || state != _state);
    }

    private string Tail(int characters) => _pending.ToString(Math.Max(0, _pending.Length - characters), Math.Min(_pending.Length, characters));

    [GeneratedRegex(@"(^|\s|>)to=(functions\.)?(?<name>[^\s<]*)", RegexOptions.CultureInvariant)]
    private static partial Regex Recipient();
}
