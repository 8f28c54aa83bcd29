namespace HeadInfer.Tool.Serving;

/// <summary>A response that a request may go on from.</summary>
/// <param name="Messages">the conversation up to it, its answer included</param>
/// <param name="Items">what the answer has said, by the ids of the items</param>
internal sealed record KeptResponse(string Caller, string Id, IReadOnlyList<ChatMessage> Messages, IReadOnlyDictionary<string, AIContent> Items);

/// <summary>The last responses of all callers, in memory: a request that names one brings only what is new. Safe for concurrent use.</summary>
/// <param name="most">responses at most; those that were not wanted for the longest time make room</param>
/// <param name="mostText">characters of all of them at most</param>
internal sealed class ResponseStore(int most = 256, long mostText = 64 << 20)
{
    private readonly LinkedList<KeptResponse> _recent = []; // the last one wanted first
    private readonly Dictionary<ChatMessage, int> _uses = []; // a response shares the messages of the one that it went on from
    private readonly Lock _gate = new();
    private long _text;

    /// <summary>A response; null if it is not remembered.</summary>
    public KeptResponse? Find(string caller, string id) => Find(r => r.Caller == caller && r.Id == id);

    /// <summary>An item of a response; null if it is not remembered.</summary>
    public AIContent? FindItem(string caller, string id) => Find(r => r.Caller == caller && r.Items.ContainsKey(id))?.Items[id];

    public void Keep(KeptResponse response)
    {
        lock (_gate)
        {
            _recent.AddFirst(response);
            Count(response, 1);
            while (_recent.Count > most || _text > mostText)
            {
                Count(_recent.Last!.Value, -1);
                _recent.RemoveLast();
            }
        }
    }

    private void Count(KeptResponse response, int by)
    {
        foreach (var message in response.Messages)
        {
            var before = _uses.GetValueOrDefault(message);
            if (before == 0 || before + by == 0)
            {
                _text += by * message.Contents.Sum(Characters);
            }

            _uses[message] = before + by;
            if (before + by == 0)
            {
                _uses.Remove(message);
            }
        }
    }

    private static long Characters(AIContent content) => content switch
    {
        TextContent text => text.Text.Length,
        FunctionCallContent call => call.Name.Length + Answers.Call(call, null).Function.Arguments.Length,
        FunctionResultContent { Result: string result } => result.Length,
        _ => 0,
    };

    private KeptResponse? Find(Func<KeptResponse, bool> isWanted)
    {
        lock (_gate)
        {
            if (_recent.FirstOrDefault(isWanted) is not { } found)
            {
                return null;
            }

            _recent.Remove(found);
            _recent.AddFirst(found);
            return found;
        }
    }
}
