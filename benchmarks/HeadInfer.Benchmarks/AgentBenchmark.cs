using System.Globalization;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;

namespace HeadInfer.Benchmarks;

/// <summary>How much of what agents ask is read, beside the fewest tokens that could be.</summary>
internal static class AgentBenchmark
{
    private const double MostRatio = 1.02;
    private const int Documents = 3;
    private const int DocumentCharacters = 30_000; // about 8K tokens of the demo model

    public static async Task<int> RunAsync(Options options)
    {
        var services = new ServiceCollection();
        services.AddHeadInferChatClient(options.Text("--model", "models/headinfer-demo"), configure: o => o.Device = ComputeDevice.Cpu);
        await using var provider = services.BuildServiceProvider();
        var client = provider.GetRequiredService<IChatClient>();
        var text = File.ReadAllText(Path.Combine(options.Text("--fixtures", "tests/fixtures"), "books", "acts.txt"));
        var workload = new AgentWorkload(AgentWorkload.Pieces(text, Documents, DocumentCharacters));
        await client.GetResponseAsync("Hello", new ChatOptions { MaxOutputTokens = 2 }).ConfigureAwait(false); // loads the model

        var run = await workload.RunAsync(client, options.Has("--concurrent")).ConfigureAwait(false);
        var fewest = Fewest(run, client.GetService<HeadInferModel>()!);
        var ratio = (double)run.Read / fewest;
        Console.WriteLine(run);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"fewest possible   {fewest:N0}: every distinct token once, and the last one of each prompt"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"ratio             {ratio:F4}"));
        if (options.Has("--check") && ratio > MostRatio)
        {
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{ratio:F4} times the fewest tokens were read, and {MostRatio} are allowed."));
            return 1;
        }

        return 0;
    }

    /// <summary>
    /// Tokens that have to be read. A token after a given beginning is read once, if it was not generated. The last token of
    /// a prompt is computed in any case, because its logits are wanted.
    /// </summary>
    private static long Fewest(AgentRun run, HeadInferModel model)
    {
        var (known, fewest) = (new Trie(), 0L);
        var prompts = run.Calls.Select(c => Encode(c, model)).ToList();
        for (var i = 0; i < prompts.Count; i++)
        {
            var call = run.Calls[i];
            fewest += Math.Max(1, known.Add(prompts[i]));

            // What was generated comes back in the agent's next prompt. The last token of an answer was not computed, unless the client broke it off behind a call.
            var next = Enumerable.Range(i + 1, prompts.Count - i - 1).FirstOrDefault(n => run.Calls[n].Agent == call.Agent, -1);
            if (next >= 0 && prompts[next].AsSpan().StartsWith(prompts[i]))
            {
                var generated = (int)(call.Usage.OutputTokenCount ?? 0) - (call.CalledTool ? 0 : 1);
                known.Add(prompts[next].AsSpan(0, Math.Min(prompts[next].Length, prompts[i].Length + generated)));
            }
        }

        return fewest;
    }

    // The client's own prompt, told over by the parts that are public.
    private static int[] Encode(AgentCall call, HeadInferModel model)
    {
        var tokens = model.ChatTemplate!.Encode(call.Messages.SelectMany(Turns), model.Tokenizer, [.. AgentWorkload.Tools.Select(t => new ChatTool(t.Name, t.Description, t.JsonSchema))]);
        return tokens.Count == call.Prompt ? [.. tokens] : throw new InvalidOperationException($"The client counted {call.Prompt:N0} tokens of a prompt that has {tokens.Count:N0} here.");
    }

    private static IEnumerable<ChatTurn> Turns(ChatMessage message)
    {
        var calls = message.Contents.OfType<FunctionCallContent>().ToList();
        var results = message.Contents.OfType<FunctionResultContent>().ToList();
        return results.Count > 0
            ? results.Select(r => new ChatTurn("tool", r.Result?.ToString() ?? "") { ToolCallId = r.CallId })
            : [new ChatTurn(message.Role.Value, message.Text) { ToolCalls = [.. calls.Select(c => new ChatToolCall(c.CallId, c.Name, JsonSerializer.Serialize(c.Arguments, AIJsonUtilities.DefaultOptions)))] }];
    }

    /// <summary>Beginnings of token sequences.</summary>
    private sealed class Trie
    {
        private readonly Dictionary<(int Node, int Token), int> _next = [];

        /// <summary>Adds a sequence and all its beginnings.</summary>
        /// <returns>how many of them are new</returns>
        public int Add(ReadOnlySpan<int> tokens)
        {
            var (node, before) = (0, _next.Count);
            foreach (var token in tokens)
            {
                ref var next = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(_next, (node, token), out var exists);
                node = exists ? next : next = _next.Count;
            }

            return _next.Count - before;
        }
    }
}
