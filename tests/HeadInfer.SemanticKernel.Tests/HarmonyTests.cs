using System.Text.Json;
using HeadInfer.SemanticKernel.ToolCalls;
using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging.Abstractions;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>gpt-oss' messages with channels.</summary>
public sealed class HarmonyTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private const string Call = "<|channel|>commentary to=functions.place <|constrain|>json<|message|>{\"count\": 3}";

    private static readonly AIFunction Place = AIFunctionFactory.Create((int count) => $"{count} placed", "place", "Places");

    private static readonly ChatTool[] Tools =
        [new("now", "", default), new("place", "", JsonDocument.Parse("""{"type":"object","required":["count"],"properties":{"count":{"type":"integer"}}}""").RootElement)];

    private static readonly ChatTemplate Template = LoopTemplates.Template(LoopTemplates.Harmony);

    [Theory]
    [InlineData("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>", "Hm.", "Yes.")]
    [InlineData("<|channel|>final<|message|>Yes.", "", "Yes.")]
    [InlineData("<|channel|>final <|constrain|>json<|message|>{\"a\": 1}", "", "{\"a\": 1}")]
    [InlineData("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|>\n<|start|>assistant<|channel|>final<|message|>Yes.", "a\n\nb", "Yes.")]
    [InlineData("<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>final<|message|>Yes.", "", "I look.\n\nYes.")]
    [InlineData("<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>Yes.", "Hm.", "Yes.")]
    [InlineData("<|channel|>analysis<|message|>Is 1 < 2 and <|a|> b?<|end|><|start|>assistant<|channel|>final<|message|>It is <| so |>.", "Is 1 < 2 and <|a|> b?", "It is <| so |>.")]
    [InlineData("<|channel|>analysis<|message|>He said \"no\"<|end|><|start|>assistant<|channel|>final<|message|>No.", "He said \"no\"", "No.")]
    [InlineData("<|channel|>analysis<|message|>Hm", "Hm", "")]
    [InlineData("<|channel|>analysis<|message|>Hm<|en", "Hm<|en", "")]
    [InlineData("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|chan", "Hm.", "")]
    [InlineData("Yes, to=day.", "", "Yes, to=day.")]
    [InlineData("to", "", "to")]
    [InlineData("to=5\nis what it says.", "", "to=5\nis what it says.")]
    [InlineData("<|channel|>final<|message|>Yes.<|end|><|end|>\n<|start|>assistant<|channel|>final<|message|>No.", "", "Yes.\n\nNo.")]
    public void Thoughts_are_told_from_what_is_said(string answer, string thoughts, string said)
    {
        foreach (var piece in (int[])[1, 2, 3, 7, 1000])
        {
            Assert.Equal((thoughts, said), Read(answer, opened: false, piece));
        }

        Assert.Equal(("Hm.", "Yes."), Read("Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.", opened: true, 3));
    }

    [Theory]
    [InlineData("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant" + Call + "<|call|>", "Hm.", "")]
    [InlineData(Call, "", "")]
    [InlineData(Call + "<|end|><|start|>assistant<|channel|>final<|message|>Done.", "", "Done.")]
    [InlineData(" to=functions.place<|channel|>commentary json<|message|>{\"count\": 3}<|call|>", "", "")]
    [InlineData("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.place<|channel|>commentary json<|message|>{\"count\": 3}", "Hm.", "")]
    [InlineData("<|channel|>analysis to=functions.place code<|message|>{\"count\": 3}", "", "")]
    [InlineData("<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=place<|message|>{\"count\": 3}", "", "I look.")]
    public async Task A_message_to_a_function_is_a_call(string answer, string thoughts, string said)
    {
        foreach (var piece in (int[])[1, 5, 1000])
        {
            var engine = new ScriptedEngine(demo.Model, answer) { Template = Template, Piece = piece };
            using var client = new HeadInferChatClient(engine);
            var response = await client.GetResponseAsync("Go", new ChatOptions { Tools = [Place], Reasoning = new ReasoningOptions { Output = ReasoningOutput.Full } });
            var call = Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>());
            Assert.Null(call.Exception);
            Assert.Equal(("place", 3), (call.Name, ((JsonElement)call.Arguments!["count"]!).GetInt32()));
            Assert.Equal((thoughts, said), (string.Concat(response.Messages[0].Contents.OfType<TextReasoningContent>()), response.Text));
            Assert.Equal(ChatFinishReason.ToolCalls, response.FinishReason);
        }
    }

    [Theory]
    [InlineData("<|channel|>commentary to=functions.place <|constrain|>json<|message|>{\"count\": ")]
    [InlineData("<|channel|>commentary to=functions.place <|constrain|>json<|message|>count=3<|call|>")]
    [InlineData("<|channel|>commentary to=functions.pla")]
    public async Task A_call_that_cannot_be_read_carries_its_error(string answer)
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, answer) { Template = Template });
        var response = await client.GetResponseAsync("Go", new ChatOptions { Tools = [Place] });
        Assert.IsType<FormatException>(Assert.Single(response.Messages[0].Contents.OfType<FunctionCallContent>()).Exception);
        Assert.Equal("", response.Text);
    }

    [Fact]
    public async Task Calls_results_and_thoughts_go_back_in_the_models_form()
    {
        var engine = new ScriptedEngine(demo.Model, "<|channel|>analysis<|message|>I must place.<|end|><|start|>assistant" + Call, "<|channel|>final<|message|>Done.", "<|channel|>final<|message|>Bye.") { Template = Template };
        using var client = new HeadInferChatClient(engine).AsBuilder().UseFunctionInvocation().Build();
        var options = new ChatOptions { Tools = [Place] };
        var first = await client.GetResponseAsync("Go", options);
        Assert.Equal("Done.", first.Text);
        Assert.EndsWith(
            "<|start|>user<|message|>Go<|end|><|start|>assistant<|channel|>analysis<|message|>I must place.<|end|><|start|>assistant to=functions.place<|channel|>commentary json<|message|>{\"count\": 3}<|call|>"
            + "<|start|>functions.place to=assistant<|channel|>commentary<|message|>\"3 placed\"<|end|><|start|>assistant",
            engine.Prompts[1],
            StringComparison.Ordinal);
        await client.GetResponseAsync([new(ChatRole.User, "Go"), .. first.Messages, new(ChatRole.User, "Thanks")], options);
        Assert.Contains("<|start|>assistant<|channel|>final<|message|>Done.<|end|><|start|>user<|message|>Thanks<|end|>", engine.Prompts[2], StringComparison.Ordinal);
        Assert.DoesNotContain("I must place.", engine.Prompts[2], StringComparison.Ordinal);
    }

    [Fact]
    public void Text_and_thoughts_beside_a_call_are_both_kept()
    {
        var text = Template.Render([new("user", "Go"), new("assistant", "I look.") { Reasoning = "Hm.", ToolCalls = [new("a", "now", "{}")] }, new("tool", "12:00") { ToolCallId = "a", Name = "now" }], Tools);
        Assert.All((string[])["I look.", "Hm.", "to=functions.now", "12:00"], w => Assert.Contains(w, text, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("<|channel|>analysis<|message|>To functions, to=functions.later<|end|><|start|>assistant<|channel|>final<|message|>Yes.", true)]
    [InlineData("<|channel|>analysis<|message|>A thought that never ends", true)]
    [InlineData("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant" + Call, true)]
    [InlineData(Call + "<|call|>", true)]
    [InlineData("<|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}", true)]
    [InlineData("<|channel|>commentary to=functions.later <|constrain|>json<|message|>{}", false)]
    [InlineData("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.place json<|message|>{\"count\": \"3\"}", false)]
    public void A_call_once_begun_is_held_to_names_and_schemas(string answer, bool allowed) =>
        Assert.Equal(allowed, StructuredOutputTests.Allows(Form(new ChatOptions()), answer));

    [Theory]
    [InlineData(Call, true)]
    [InlineData("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant" + Call, true)]
    [InlineData("<|channel|>final<|message|>No.", false)]
    [InlineData("<|channel|>analysis<|message|>Hm.<|end|>" + Call, false)]
    public void A_required_call_has_the_models_form(string answer, bool allowed) =>
        Assert.Equal(allowed, StructuredOutputTests.Allows(Form(new ChatOptions { ToolMode = ChatToolMode.RequireAny }), answer));

    [Fact]
    public void Json_stands_in_the_final_channel()
    {
        var form = Form(new ChatOptions { ResponseFormat = ChatResponseFormat.Json });
        Assert.True(StructuredOutputTests.Allows(form, "<|channel|>final<|message|>{\"a\": 1}"));
        Assert.True(StructuredOutputTests.Allows(form, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{}"));
        Assert.True(StructuredOutputTests.Allows(form, Call));
        Assert.False(StructuredOutputTests.Allows(form, "{\"a\": 1}"));
    }

    [Fact]
    public void Special_tokens_count_as_their_spelling()
    {
        static string Marked(string text) => System.Text.RegularExpressions.Regex.Replace(text, @"<\|\w+\|>", m => (char)Text.Constraints.TokenTrie.SpecialMark + m.Value);
        bool Allows(string text)
        {
            var frames = Form(new ChatOptions()).Enter();
            foreach (var value in System.Text.Encoding.Latin1.GetBytes(Marked(text)))
            {
                var next = new Text.Constraints.FrameSet();
                frames.Step(value, next);
                frames = next;
            }

            return frames.CanEnd;
        }

        Assert.True(Allows("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant" + Call));
        Assert.False(Allows("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.later <|constrain|>json<|message|>{}"));
    }

    [Fact]
    public async Task The_end_of_a_call_ends_the_answer_and_the_end_of_thoughts_does_not()
    {
        var tokenizer = LoopTemplates.Tokenizer([LoopTemplates.Harmony, "<|constrain|>"]);
        var (end, call, stop) = (tokenizer.AddedToken("<|end|>")!.Value, tokenizer.AddedToken("<|call|>")!.Value, tokenizer.AddedToken("<|return|>")!.Value);
        var engine = new TokenEngine(tokenizer, Template, [stop, end]) { Next = tokenizer.Encode("x") };
        using var client = new HeadInferChatClient(engine);
        await client.GetResponseAsync("Go");
        Assert.Equal([stop, call], engine.Options[0].StopTokens!);
        Assert.All((string[])["<|channel|>", "<|message|>", "<|start|>", "<|end|>"], m => Assert.Contains(m, engine.Options[0].ShownTokens));
    }

    private static OutputConstraint Form(ChatOptions options) => new OutputForm(new HarmonyFormat(), HarmonyTags.Instance, new SchemaForms(NullLogger.Instance))
        .Of(options, Tools, int.MaxValue, thinking: false, mayThink: true, given: null)!;

    private static (string Thoughts, string Said) Read(string answer, bool opened, int piece)
    {
        var scanner = HarmonyTags.Instance.Scanner(opened);
        var parts = answer.Chunk(piece).SelectMany(c => scanner.Append(new string(c))).ToList();
        parts.AddRange(scanner.Finish());
        return (string.Concat(parts.Where(p => p.IsReasoning).Select(p => p.Text)), string.Concat(parts.Where(p => !p.IsReasoning).Select(p => p.Text)));
    }
}
