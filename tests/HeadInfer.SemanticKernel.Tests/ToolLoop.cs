using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using HeadInfer.SemanticKernel.ToolCalls;
using HeadInfer.Text;
using HeadInfer.Text.Templates;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>How a loop of calls went with one template.</summary>
/// <param name="Calls">how much the template lets an answer have: thoughts, text, one or two calls</param>
/// <param name="Continued">answers of the loop after which only what was new was read</param>
/// <param name="Answers">all of these</param>
/// <param name="Next">whether that is so for another question after the loop</param>
/// <param name="Reasons">why it is not, as it was logged</param>
internal sealed record LoopResult(string Calls, int Continued, int Answers, bool Next, IReadOnlyList<string> Reasons)
{
    public bool GoesOn => Continued == Answers;

    public override string ToString() => $"{Calls}: {Continued} of {Answers}, {(Next ? "and a next question" : "and no next question")}; {string.Join("; ", Reasons)}";
}

/// <summary>A conversation of twelve answers, and one to another question, through a client like those on the wire, which sends back text and calls and no thoughts.</summary>
/// <param name="tokenizer">one that has the template's markers</param>
/// <param name="template">the template</param>
internal sealed partial class ToolLoop(Tokenizer tokenizer, ChatTemplate template)
{
    private const int Turns = 12;

    private static readonly AIFunction Now = AIFunctionFactory.Create((string place, int days, bool exact) => "12:00", "now", "Tells the time");

    private static readonly ChatTool[] Offered = [new(Now.Name, Now.Description, Now.JsonSchema)];

    private readonly IToolCallFormat _format = ToolCallFormats.Of(template.Source);
    private readonly ThoughtTags _tags = ThoughtTags.Of(template.Source);
    private readonly Random _random = new(1);

    // As the folder of such a model would say it.
    private readonly List<int> _end = [.. ((int?[])[template.EndOfTurn(tokenizer), tokenizer.AddedToken("</s>"), .. ToolCallFormats.Of(template.Source).Stops.Select(tokenizer.AddedToken)]).OfType<int>().Distinct()];

    /// <summary>Whether a template takes a conversation at all: some want roles that nobody has.</summary>
    public static bool IsTaken(ChatTemplate template)
    {
        try
        {
            return template.Render([new("system", "Be brief."), new("user", "Go")]).Contains("Go", StringComparison.Ordinal);
        }
        catch (ChatTemplateException)
        {
            return false;
        }
    }

    public async Task<LoopResult> RunAsync()
    {
        using var logs = new LogRecords();
        using var factory = LoggerFactory.Create(b => b.AddProvider(logs));
        var engine = new TokenEngine(tokenizer, template, _end);
        using var client = new HeadInferChatClient(engine, loggerFactory: factory);
        List<ChatMessage> messages = [new(ChatRole.System, "Be brief."), new(ChatRole.User, "Go <|im_end|> on")];
        var shapes = Shapes().First(s => s is null || IsWritten(s.Value));
        var options = shapes is { Calls: > 0 } ? new ChatOptions { Tools = [Now] } : new ChatOptions();
        List<ChatTurn> turns = [.. ChatRequest.Conversation(messages, null, null).Turns];
        var (ends, continued) = (new List<IReadOnlyList<int>>(), 0);
        var next = false;
        for (var i = 0; i <= Turns; i++)
        {
            // Every other answer has as many calls as the template takes, the last one has none.
            var shape = shapes is null ? new Shape(0, false, false) : i >= Turns - 1 ? shapes.Value with { Calls = 0, Thinks = shapes.Value.Thinks && shapes.Value.Calls > 0 } : i % 2 == 1 && shapes.Value.Calls == 2 ? shapes.Value with { Calls = 1 } : shapes.Value;
            var answer = Answer(i, shape);
            var written = Written(turns, answer) ?? (_tags.IsOpenedBy(Render(turns, Tools(shapes)).Text) ? $"Hm.\n{_tags.End}\n\n" : "") + answer.Content;
            engine.Next = Cut(Spaced(written));
            var response = await client.GetResponseAsync(messages, options);
            if (i > 0)
            {
                next = engine.Prompts[^1].Take(ends[^1].Count).SequenceEqual(ends[^1]);
                continued += next && i < Turns ? 1 : 0;
            }

            ends.Add([.. engine.Prompts[^1], .. engine.Next]);
            Assert.Equal(shape.Calls, response.Messages[0].Contents.OfType<FunctionCallContent>().Count());

            // What goes over the wire and comes back.
            List<AIContent> contents = response.Text.Length > 0 ? [new TextContent(response.Text)] : [];
            contents.AddRange(response.Messages[0].Contents.OfType<FunctionCallContent>().Select(c => new FunctionCallContent(c.CallId, c.Name, JsonSerializer.Deserialize<Dictionary<string, object?>>(JsonSerializer.Serialize(c.Arguments)))));
            messages.Add(new ChatMessage(ChatRole.Assistant, contents));
            messages.AddRange(contents.OfType<FunctionCallContent>().Select(c => new ChatMessage(ChatRole.Tool, [new FunctionResultContent(c.CallId, "12:00 in " + c.Arguments!["place"])])));
            if (shape.Calls == 0)
            {
                messages.Add(new ChatMessage(ChatRole.User, $"And {i}?"));
            }

            turns = [.. ChatRequest.Conversation(messages, null, null).Turns];
            for (var t = 0; t < turns.Count && shape.Thinks; t++)
            {
                turns[t] = turns[t].ToolCalls.Count > 0 ? turns[t] with { Reasoning = "I think." } : turns[t];
            }
        }

        return new LoopResult(shapes?.ToString() ?? "text", continued, Turns - 1, next, [.. logs.All.Where(l => l.Id == 18).Select(l => l.Text)]);
    }

    // The richest answers first; null is text that the template does not write behind its prompt.
    private static IEnumerable<Shape?> Shapes()
    {
        foreach (var calls in (int[])[2, 1, 0])
        {
            foreach (var (thinks, speaks) in ((bool, bool)[])[(true, true), (true, false), (false, true), (false, false)])
            {
                if (calls > 0 || speaks)
                {
                    yield return new Shape(calls, thinks, speaks);
                }
            }
        }

        yield return null;
    }

    private static ChatTurn Answer(int number, Shape shape) => new("assistant", shape.Speaks || shape.Calls == 0 ? $"I look {number}." : "")
    {
        Reasoning = shape.Thinks ? $"I think." : null,
        ToolCalls = [.. Enumerable.Range(0, shape.Calls).Select(c => new ChatToolCall($"call{number:D4}{c}", "now", $$"""{"place":"Oslo {{c}}","days":{{number}},"exact":true}"""))],
    };

    private static ChatTool[]? Tools(Shape? shape) => shape is { Calls: > 0 } ? Offered : null;

    // Whether the template writes such answers, also one behind another: DeepSeek R1's writes the second calls of a conversation in another form.
    private bool IsWritten(Shape shape)
    {
        var (first, second) = (Answer(0, shape), Answer(1, shape with { Calls = Math.Min(shape.Calls, 1) }));
        IReadOnlyList<ChatTurn> turns = [new("system", "Be brief."), new("user", "Go")];
        return Written(turns, first) is not null && (shape.Calls == 0 || Written([.. turns, first, .. Results(first)], second) is not null);
    }

    private TemplateText Render(IReadOnlyList<ChatTurn> turns, ChatTool[]? tools) => template.RenderTurns(
        new WrittenCalls(template, _format, _tags, ToolCallFormats.IsSaid(template.Source, null)).In(new Conversation(turns, [], tools)), tools, null, default);

    private static IEnumerable<ChatTurn> Results(ChatTurn answer) => answer.ToolCalls.Select(c => new ChatTurn("tool", "12:00") { ToolCallId = c.Id, Name = c.Name });

    // How the template writes an answer behind its prompt; null if it writes it otherwise than it can be read.
    private string? Written(IReadOnlyList<ChatTurn> turns, ChatTurn answer)
    {
        try
        {
            IReadOnlyList<ChatTurn> after = [.. turns, answer, .. Results(answer), .. answer.ToolCalls.Count == 0 ? (ChatTurn[])[new("user", "And?")] : []];
            var tools = answer.ToolCalls.Count > 0 || turns.Any(t => t.ToolCalls.Count > 0) ? Offered : null;
            var (prompt, text) = (Render(turns, tools), Render(after, tools));
            if (!text.Text.StartsWith(prompt.Text, StringComparison.Ordinal))
            {
                return null;
            }

            var content = text.Text.IndexOf(answer.Content, prompt.Length, StringComparison.Ordinal);
            if ((tokenizer.Find(text, prompt.Length, _end) ?? (content < 0 ? null : content + answer.Content.Length)) is not { } end)
            {
                return null;
            }

            var written = text.Text[prompt.Length..end];
            var stream = new TokenStream(tokenizer).Show(_tags.Markers.Concat(_format.Markers).Select(tokenizer.AddedToken).OfType<int>());
            var shown = string.Concat(tokenizer.Encode(text.Substring(prompt.Length, end - prompt.Length), continues: true).Select(stream.Append));
            var said = Said.Of(shown, new AnswerReader(_format, Offered, int.MaxValue, _tags, _tags.IsOpenedBy(prompt.Text), showThoughts: true));
            return said.Equals(Said.Of(answer)) ? written : null;
        }
        catch (ChatTemplateException)
        {
            return null;
        }
    }

    // Models put other spaces than templates into what they call.
    private static string Spaced(string text) => text
        .Replace("\": ", "\" :  ", StringComparison.Ordinal).Replace(", \"", ",\"", StringComparison.Ordinal)
        .Replace("</parameter>\n<parameter", "</parameter>\n\n<parameter", StringComparison.Ordinal).Replace("</arg_value><arg_key>", "</arg_value>\n<arg_key>", StringComparison.Ordinal);

    // The text in other tokens than the tokenizer's: a few characters at a time. Markers stay whole.
    private List<int> Cut(string text)
    {
        var tokens = new List<int>();
        foreach (var part in Marker().Split(text))
        {
            if (tokenizer.AddedToken(part) is { } marker)
            {
                tokens.Add(marker);
                continue;
            }

            for (var (at, length) = (0, 0); at < part.Length; at += length)
            {
                length = Math.Min(_random.Next(1, 5), part.Length - at);
                tokens.AddRange(tokenizer.Encode(part.Substring(at, length)));
            }
        }

        return tokens;
    }

    [GeneratedRegex(LoopTemplates.MarkerShape)]
    private static partial Regex Marker();

    /// <summary>What an answer has.</summary>
    private readonly record struct Shape(int Calls, bool Thinks, bool Speaks)
    {
        public override string ToString() => string.Join('+', ((string?[])[Thinks ? "thoughts" : null, Speaks ? "text" : null, Calls > 0 ? $"{Calls} calls" : null]).OfType<string>());
    }
}
