using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace HeadInfer.SemanticKernel.Tests;

public sealed class ReasoningTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private static readonly AIFunction Now = AIFunctionFactory.Create(() => "12:00", "now", "Tells the time");

    [Theory]
    [InlineData("<think>a</think>\n\nYes.", "a", "Yes.")]
    [InlineData("[THINK]a[/THINK]Yes.", "a", "Yes.")]
    [InlineData("<|channel>thought\na<channel|>Yes.", "\na", "Yes.")]
    [InlineData("<think>a</think>\n<think>b</think>Yes.", "ab", "Yes.")]
    [InlineData("<think>a</think>Yes.\n<think>b</think>\nNo.", "ab", "Yes.\n\nNo.")]
    [InlineData("<think>a [/THINK] b</think>Yes.", "a [/THINK] b", "Yes.")]
    [InlineData("<think>a</think>It writes `<think>` and `</think>`.", "a", "It writes `<think>` and `</think>`.")]
    [InlineData("<think>a</think>Yes. <think> is a word.", "a", "Yes. <think> is a word.")]
    [InlineData("Yes. <think>a</think>", "", "Yes. <think>a</think>")]
    [InlineData("<seed:think>a</seed:think>Yes.", "a", "Yes.")]
    [InlineData("<|START_THINKING|>a<|END_THINKING|>Yes.", "a", "Yes.")]
    [InlineData("<think>a", "a", "")]
    [InlineData("[THIN", "", "[THIN")]
    public void Thoughts_are_told_from_what_is_said(string answer, string thoughts, string said) => AssertScans(ThoughtTags.Usual, answer, thoughts, said);

    [Theory]
    [InlineData("<think>a</think><response>Yes.</response>", "a", "Yes.")]
    [InlineData("<think>a</think>\n\n<response>\nYes.</response>\n", "a", "Yes.")]
    [InlineData("<think>a</think><response>A </response> b.</response>", "a", "A </response> b.")]
    [InlineData("<think>a</think><response>A <response> b.", "a", "A <response> b.")]
    [InlineData("<think>a</think><response>Yes.</resp", "a", "Yes.</resp")]
    [InlineData("<think>a</think>Yes <response>No</response>", "a", "Yes <response>No</response>")]
    [InlineData("<think>a</think><resp", "a", "<resp")]
    [InlineData("<think>a</think><respite>", "a", "<respite>")]
    [InlineData("<think>a</think><response></response>", "a", "")]
    [InlineData("<think>a</think><response>Write <think> before thoughts.</response>\n", "a", "Write <think> before thoughts.")]
    [InlineData("<response>Yes.</response>", "", "<response>Yes.</response>")]
    [InlineData("<|START_RESPONSE|>Yes.<|END_RESPONSE|>", "", "<|START_RESPONSE|>Yes.<|END_RESPONSE|>")]
    public void Tags_around_what_is_said_after_thoughts_are_taken_away(string answer, string thoughts, string said)
    {
        // What Granite 3.3 is asked for.
        var tags = ThoughtTags.Of("Write your thoughts between <think></think> and write your response between <response></response>.");
        AssertScans(tags, answer, thoughts, said);
        AssertScans(ThoughtTags.Of("<think></think>"), answer, thoughts, answer[(answer.LastIndexOf("</think>", StringComparison.Ordinal) is >= 0 and var end ? end + 8 : 0)..].TrimStart());
    }

    [Theory]
    [InlineData("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>", "a", "Yes.")]
    [InlineData("<|START_RESPONSE|>Yes.<|END_RESPONSE|>", "", "Yes.")]
    [InlineData("Yes. <|START_RESPONSE|>", "", "Yes. <|START_RESPONSE|>")]
    public void Tags_of_Command_are_markers_and_need_no_thoughts_before_them(string answer, string thoughts, string said) =>
        AssertScans(ThoughtTags.Of("<|START_THINKING|>{{ m.thinking }}<|END_THINKING|><|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|>"), answer, thoughts, said);

    [Theory]
    [InlineData("hm</think>Yes.", "hm", "Yes.")]
    [InlineData("\n<think>hm</think>Yes.", "hm", "Yes.")]
    public void Thoughts_that_the_prompt_opened_go_on(string answer, string thoughts, string said)
    {
        var scanner = new ReasoningScanner(ThoughtTags.Usual);
        var parts = answer.Chunk(2).SelectMany(c => scanner.Append(new string(c))).ToList();
        Assert.Equal((thoughts, said), (string.Concat(parts.Where(p => p.IsReasoning).Select(p => p.Text)), string.Concat(parts.Where(p => !p.IsReasoning).Select(p => p.Text))));
    }

    [Theory]
    [InlineData("{{ '<seed:think>' }}{# </seed:think> #}", "</seed:think>")]
    [InlineData("<|START_THINKING|>{{ x }}<|END_THINKING|>", "<|END_THINKING|>")]
    [InlineData("<think>{{ x }}</think>", "</think>")]
    public void The_template_shows_what_thoughts_stand_between(string template, string end) => Assert.Equal(end, ThoughtTags.Of(template).End);

    [Theory]
    [InlineData(ReasoningOutput.None, 1)]
    [InlineData(ReasoningOutput.Full, 0)]
    public async Task A_limit_within_hidden_thoughts_is_logged(ReasoningOutput output, int times)
    {
        using var logs = new LogRecords();
        using var factory = LoggerFactory.Create(b => b.AddProvider(logs));
        foreach (var (answer, reason, expected) in ((string, Runtime.FinishReason, int)[])[("<think>hm", Runtime.FinishReason.Length, times), ("<think>hm</think>Ye", Runtime.FinishReason.Length, times), ("<think>hm", Runtime.FinishReason.Stop, times)])
        {
            using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, answer) { Reason = reason }, loggerFactory: factory);
            await client.GetResponseAsync("Go", new ChatOptions { Reasoning = new ReasoningOptions { Output = output } });
            Assert.Equal(expected, logs.All.Count(r => r is { Id: 20, Level: LogLevel.Warning }));
        }
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData("true", true)]
    [InlineData(false, false)]
    [InlineData(null, false)]
    public async Task A_further_property_shows_thoughts_too(object? value, bool shown)
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "<think>hm</think>Yes."));
        foreach (var given in (object?[])[value, System.Text.Json.JsonSerializer.SerializeToElement(value)])
        {
            using var next = new HeadInferChatClient(new ScriptedEngine(demo.Model, "<think>hm</think>Yes."));
            var response = await next.GetResponseAsync("Go", new ChatOptions { AdditionalProperties = new() { ["show_reasoning"] = given } });
            Assert.Equal(shown, response.Messages[0].Contents.OfType<TextReasoningContent>().Any());
        }

        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync("Go", new ChatOptions { AdditionalProperties = new() { ["show_reasoning"] = "some" } }));
    }

    [Theory]
    [InlineData("{% if not thinking is defined %}{% set thinking = false %}{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}<a>{% if thinking %}<think>{% else %}</think>{% endif %}", "<a><think>", "<a></think>")]
    [InlineData("{% for m in messages %}{{ m.content }}{% endfor %}<a>{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}", "<a>", "<a><think></think>")]
    [InlineData("{% set reasoning = reasoning if reasoning is not undefined else true %}{% for m in messages %}{{ m.content }}{% endfor %}<a>{% if not reasoning %}<no>{% endif %}", "<a>", "<a><no>")]
    [InlineData("{% for m in messages %}{{ m.content }}{% endfor %}<a>{% if thinking_budget is defined %}{{ thinking_budget }}{% endif %}", "<a>16384", "<a>0")]
    [InlineData("{% set own = namespace(enable_thinking=true) %}{% for m in messages %}{{ m.content }}{% endfor %}<a>{% if own.enable_thinking %}<think>{% endif %}", null, null)]
    [InlineData("{% for m in messages %}{{ m.content }}{{ m.thinking }}{{ m.reasoning }}{{ m.thinking_budget }}{% endfor %}<a>", null, null)]
    public async Task Effort_turns_the_switch_that_the_template_has(string source, string? on, string? off)
    {
        var engine = new ScriptedEngine(demo.Model, "x", "x") { Template = new ChatTemplate(source, new Dictionary<string, object?>(), TimeProvider.System) };
        using var client = new HeadInferChatClient(engine);
        foreach (var (effort, end) in ((ReasoningEffort, string?)[])[(ReasoningEffort.High, on), (ReasoningEffort.None, off)])
        {
            var options = new ChatOptions { Reasoning = new ReasoningOptions { Effort = effort } };
            if (end is null)
            {
                await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync("Go", options));
                continue;
            }

            await client.GetResponseAsync("Go", options);
            Assert.EndsWith("Go" + end, engine.Prompts[^1], StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(ReasoningEffort.Low, "1024")]
    [InlineData(ReasoningEffort.Medium, "4096")]
    [InlineData(ReasoningEffort.ExtraHigh, "all")]
    public void A_budget_of_thoughts_goes_by_effort(ReasoningEffort effort, string budget)
    {
        var template = new ChatTemplate("{{ messages[0].content }}{{ thinking_budget | default('all') }}", new Dictionary<string, object?>(), TimeProvider.System);
        Assert.Equal("Go" + budget, template.Render([new("user", "Go")], variables: ChatRequest.Variables(new ChatOptions { Reasoning = new ReasoningOptions { Effort = effort } }, template)));
    }

    [Fact]
    public void Command_A_Reasoning_has_a_switch()
    {
        foreach (var (_, source) in LoopTemplates.Published().Where(t => t.Name.Contains("command-a-reasoning", StringComparison.Ordinal)))
        {
            var template = LoopTemplates.Template(source);
            Assert.Equal(new KeyValuePair<string, object?>("reasoning", false), Assert.Single(ChatRequest.Variables(new ChatOptions { Reasoning = new ReasoningOptions { Effort = ReasoningEffort.None } }, template)!));
        }
    }

    [Fact]
    public void An_effort_that_the_template_does_not_know_is_refused_by_name()
    {
        var template = new ChatTemplate("{{ messages[0].content }}{{ reasoning_effort }}", new Dictionary<string, object?>(), TimeProvider.System);
        var error = Assert.Throws<NotSupportedException>(() => ChatRequest.Variables(new ChatOptions { Reasoning = new ReasoningOptions { Effort = ReasoningEffort.ExtraHigh } }, template));
        Assert.Contains("'ExtraHigh'", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("x<seed:think>", true)]
    [InlineData("x<seed:think><seed:cot_budget_reflect>", true)]
    [InlineData("x<seed:cot_budget_reflect>", false)]
    public void Seeds_thoughts_are_opened_with_a_remark_about_their_budget(string prompt, bool opened) =>
        Assert.Equal(opened, ThoughtTags.Of("<seed:think></seed:think>").IsOpenedBy(prompt));

    [Fact]
    public async Task A_call_inside_thoughts_that_never_close_is_made()
    {
        const string call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
        var options = new ChatOptions { Tools = [Now] };
        async Task<ChatResponse> Answer(string answer)
        {
            using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, answer));
            return await client.GetResponseAsync("Go", options);
        }

        var open = await Answer("<think>I need the time.\n" + call);
        Assert.Equal("now", Assert.Single(open.Messages[0].Contents.OfType<FunctionCallContent>()).Name);
        Assert.Equal(ChatFinishReason.ToolCalls, open.FinishReason);
        Assert.Equal("Noon.", (await Answer("<think>Should I " + call + "?</think>Noon.")).Text);
        Assert.Empty((await Answer("<think>Should I " + call + "?</think>Noon.")).Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Empty((await Answer("<think>A <tool_call> begins")).Messages[0].Contents.OfType<FunctionCallContent>());
        Assert.Empty((await Answer("<think>" + call.Replace("now", "later", StringComparison.Ordinal))).Messages[0].Contents.OfType<FunctionCallContent>());
    }

    [Theory]
    [InlineData(ReasoningOutput.None)]
    [InlineData(ReasoningOutput.Full)]
    public async Task Thoughts_are_kept_within_a_loop_of_calls_and_dropped_after_it(ReasoningOutput output)
    {
        var template = new ChatTemplate(
            "{% for m in messages %}{% if m.role == 'assistant' %}<assistant><think>{{ m.reasoning_content }}</think>{{ m.content }}{% for c in m.tool_calls %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}<assistant>",
            new Dictionary<string, object?>(),
            TimeProvider.System);
        var engine = new ScriptedEngine(demo.Model, "<think>I need the time.</think>\n<tool_call>\n{\"name\": \"now\"}\n</tool_call>", "<think>It is noon.</think>Noon.", "Bye.") { Template = template };
        using var client = new HeadInferChatClient(engine).AsBuilder().UseFunctionInvocation().Build();
        var options = new ChatOptions { Tools = [Now], Reasoning = new ReasoningOptions { Output = output } };
        List<ChatMessage> history = [new(ChatRole.User, "Go")];
        var first = await client.GetResponseAsync(history, options);
        Assert.Equal("Noon.", first.Text);
        Assert.Equal(output == ReasoningOutput.Full, first.Messages.SelectMany(m => m.Contents).OfType<TextReasoningContent>().Any());
        Assert.EndsWith("<user>Go<assistant><think>I need the time.</think><tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call><tool>12:00<assistant>", engine.Prompts[1], StringComparison.Ordinal);
        await client.GetResponseAsync([.. history, .. first.Messages, new(ChatRole.User, "Thanks")], options);
        Assert.DoesNotContain("I need the time.", engine.Prompts[2], StringComparison.Ordinal);
    }

    private static void AssertScans(ThoughtTags tags, string answer, string thoughts, string said)
    {
        foreach (var piece in (int[])[1, 2, 3, 7, 1000])
        {
            var scanner = tags.Scanner(opened: false);
            var parts = answer.Chunk(piece).SelectMany(c => scanner.Append(new string(c))).ToList();
            parts.AddRange(scanner.Finish());
            Assert.Equal((thoughts, said), (string.Concat(parts.Where(p => p.IsReasoning).Select(p => p.Text)), string.Concat(parts.Where(p => !p.IsReasoning).Select(p => p.Text))));
        }
    }
}
