using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.AI;

namespace HeadInfer.Benchmarks;

/// <summary>One request to the chat client.</summary>
/// <param name="Agent">whose it is</param>
/// <param name="Messages">the conversation so far</param>
/// <param name="Usage">tokens of the prompt, those of it that were known, and tokens of the answer</param>
/// <param name="FirstToken">time from the request to the answer's first token</param>
/// <param name="CalledTool">whether the answer is a call</param>
internal sealed record AgentCall(int Agent, IReadOnlyList<ChatMessage> Messages, UsageDetails Usage, TimeSpan FirstToken, bool CalledTool)
{
    public long Prompt => Usage.InputTokenCount ?? 0;

    public long Read => Prompt - (Usage.CachedInputTokenCount ?? 0);
}

/// <summary>All requests of a run, in the order in which they ended.</summary>
internal sealed record AgentRun(TimeSpan Wall, IReadOnlyList<AgentCall> Calls)
{
    public long Asked => Calls.Sum(c => c.Prompt);

    public long Read => Calls.Sum(c => c.Read);

    public override string ToString()
    {
        var first = Calls.Select(c => c.FirstToken.TotalSeconds).Order().ToList();
        return string.Create(CultureInfo.InvariantCulture, $"""
            requests          {Calls.Count}, {Calls.Count(c => c.CalledTool)} of them answered by a call; {Calls.Sum(c => c.Usage.OutputTokenCount ?? 0):N0} tokens of answers
            tokens asked      {Asked:N0}
            tokens read       {Read:N0}
            wall time         {Wall.TotalSeconds:F1} s
            first token       median {first[first.Count / 2]:F3} s, worst {first[^1]:F3} s
            """);
    }
}

/// <summary>Agents that hold conversations about documents, some of them about the same one, and call tools.</summary>
/// <remarks>
/// It knows the interface of chat clients alone, so it measures any of them, and any version of ours. Clients keep nothing
/// between calls: each request brings the whole conversation.
/// </remarks>
/// <param name="documents">what is talked about; agents share them in turn</param>
internal sealed class AgentWorkload(IReadOnlyList<string> documents)
{
    private const int Agents = 8;
    private const int Turns = 10;
    private const int AnswerTokens = 32;
    private const int CallTokens = 128;
    private const int WeatherEvery = 3;

    private static readonly string[] Cities = ["Oslo", "Bergen", "Lisbon", "Vienna", "Cairo", "Quito", "Hanoi", "Turin", "Perth", "Lagos"];

    /// <summary>Functions that every agent may call.</summary>
    public static IReadOnlyList<AIFunction> Tools { get; } =
    [
        AIFunctionFactory.Create((string city) => $"It is {city.Length + 10} degrees in {city}.", "get_weather", "Gets the current weather for a city."),
        AIFunctionFactory.Create((string city) => $"It is {city.Length} o'clock in {city}.", "get_time", "Gets the local time of a city."),
    ];

    private static readonly ChatOptions Options = new() { Temperature = 0, MaxOutputTokens = AnswerTokens, Tools = [.. Tools] };

    // A model this small would rather quote, so it is told which function to call. A call ends by itself; the limit is for its shortest form.
    private static readonly ChatOptions CallOptions = new() { Temperature = 0, MaxOutputTokens = CallTokens, Tools = [.. Tools], ToolMode = ChatToolMode.RequireSpecific("get_weather") };

    /// <summary>As many pieces of a text as asked for, one after the other, each of so many characters.</summary>
    public static List<string> Pieces(string text, int pieces, int characters) =>
        [.. Enumerable.Range(0, pieces).Select(i => text.Substring(i * (text.Length / pieces), characters))];

    /// <summary>Runs all turns of all agents: one request at a time, agent by agent, or every agent at once.</summary>
    public async Task<AgentRun> RunAsync(IChatClient client, bool concurrent)
    {
        var calls = new List<AgentCall>();
        var agents = Enumerable.Range(0, Agents).Select(i => new Agent(i, documents[i % documents.Count], new Recorder(client, i, calls))).ToList();
        var clock = Stopwatch.StartNew();
        if (concurrent)
        {
            await Task.WhenAll(agents.Select(agent => Task.Run(async () =>
            {
                for (var turn = 0; turn < Turns; turn++)
                {
                    await agent.TakeTurnAsync(turn).ConfigureAwait(false);
                }
            }))).ConfigureAwait(false);
        }
        else
        {
            for (var turn = 0; turn < Turns; turn++)
            {
                foreach (var agent in agents)
                {
                    await agent.TakeTurnAsync(turn).ConfigureAwait(false);
                }
            }
        }

        return new AgentRun(clock.Elapsed, calls);
    }

    /// <summary>One conversation: mostly passages of its document, and every third turn the weather.</summary>
    private sealed class Agent(int number, string document, Recorder recorder)
    {
        private readonly string[] _sentences = document.Split(". ")[1..^1];
        private readonly List<ChatMessage> _messages = [];
        private readonly FunctionInvokingChatClient _client = new(recorder);

        public async Task TakeTurnAsync(int turn)
        {
            _messages.Add(new ChatMessage(ChatRole.User, turn == 0 ? $"{document}\n\n{Question(turn)}" : Question(turn)));
            var updates = new List<ChatResponseUpdate>();
            await foreach (var update in _client.GetStreamingResponseAsync(_messages, AsksForWeather(turn) ? CallOptions : Options).ConfigureAwait(false))
            {
                updates.Add(update);
            }

            _messages.AddMessages(updates);
        }

        private static bool AsksForWeather(int turn) => turn % WeatherEvery == WeatherEvery - 1;

        private string Question(int turn)
        {
            if (AsksForWeather(turn))
            {
                return $"What is the weather in {Cities[(number + turn) % Cities.Length]}?";
            }

            var words = _sentences[((number * 31) + (turn * 7)) % _sentences.Length].Split(' ');
            return $"Quote the passage that begins with \"{string.Join(' ', words.Take(4))}\".";
        }
    }

    /// <summary>Notes every request that goes to the model.</summary>
    private sealed class Recorder(IChatClient client, int agent, List<AgentCall> calls) : DelegatingChatClient(client)
    {
        public override async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            var (asked, clock, first, called) = (messages.ToList(), Stopwatch.StartNew(), (TimeSpan?)null, false);
            await foreach (var update in base.GetStreamingResponseAsync(asked, options, cancellationToken).ConfigureAwait(false))
            {
                first ??= clock.Elapsed;
                called |= update.Contents.OfType<FunctionCallContent>().Any();
                if (update.Contents.OfType<UsageContent>().FirstOrDefault() is { } usage)
                {
                    // A call is shown when it is whole, so the first update may come late: the client knows when the first token came.
                    var decode = update.AdditionalProperties?.TryGetValue("decode_seconds", out double seconds) == true ? TimeSpan.FromSeconds(seconds) : clock.Elapsed - first.Value;
                    lock (calls)
                    {
                        calls.Add(new AgentCall(agent, asked, usage.Details, clock.Elapsed - decode, called));
                    }
                }

                yield return update;
            }
        }
    }
}
