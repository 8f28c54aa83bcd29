using HeadInfer.Text;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>Stop sequences end what a model says, not what it thinks or calls.</summary>
public sealed class StopSequenceTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private static readonly ChatTemplate Thinking = new("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n{# </think> #}", new Dictionary<string, object?>(), TimeProvider.System);

    [Theory]
    [InlineData("<think>a END b</think>Yes. END No.", "a END b", "Yes. ")]
    [InlineData("<think>a</think>END", "a", "")]
    [InlineData("<think>a</think>Yes. EN", "a", "Yes. EN")]
    [InlineData("Yes.END<think>a</think>", "", "Yes.")]
    [InlineData("<think>a</think>Yes. END <think>b</think>No.", "a", "Yes. ")]
    public async Task They_end_what_is_said(string answer, string thoughts, string said)
    {
        foreach (var piece in (int[])[1, 2, 3, 100])
        {
            var engine = new ScriptedEngine(demo.Model, answer) { Piece = piece, Template = Thinking };
            using var client = new HeadInferChatClient(engine);
            var response = await client.GetResponseAsync("Go", new ChatOptions { StopSequences = ["END"], Reasoning = new ReasoningOptions { Output = ReasoningOutput.Full } });
            Assert.Equal((thoughts, said), (string.Concat(response.Messages[0].Contents.OfType<TextReasoningContent>().Select(r => r.Text)), response.Text));
            Assert.Equal(ChatFinishReason.Stop, response.FinishReason);
            Assert.Empty(engine.Options[0].StopSequences);
        }
    }

    [Fact]
    public async Task A_call_that_has_one_is_whole()
    {
        var engine = new ScriptedEngine(demo.Model, "Wait E<tool_call>\n{\"name\": \"f\", \"arguments\": {\"path\": \"END\"}}\n</tool_call> So END");
        using var client = new HeadInferChatClient(engine);
        var response = await client.GetResponseAsync("Go", new ChatOptions { StopSequences = ["END", "<|im_end|>"], Tools = [AIFunctionFactory.Create((string path) => path, "f")] });
        var contents = response.Messages[0].Contents;
        Assert.Equal("END", Assert.Single(contents.OfType<FunctionCallContent>()).Arguments!["path"]!.ToString());
        Assert.Equal(["Wait E", " So "], contents.OfType<TextContent>().Select(t => t.Text));
        Assert.Equal(["<|im_end|>"], engine.Options[0].StopSequences); // a token, which is never text
    }

    [Fact]
    public async Task A_conversation_goes_on_after_one()
    {
        var tokenizer = demo.Model.Tokenizer;
        var engine = new TokenEngine(tokenizer, Thinking, demo.Model.EndTokens) { Next = tokenizer.Encode("The end of it. STOP") };
        using var client = new HeadInferChatClient(engine);
        List<ChatMessage> history = [new(ChatRole.User, "Go")];
        var options = new ChatOptions { StopSequences = [" STOP"] };
        var first = await client.GetResponseAsync(history, options);
        Assert.Equal("The end of it.", first.Text);
        await client.GetResponseAsync([.. history, .. first.Messages, new(ChatRole.User, "On")], options);
        var kept = tokenizer.Encode("The end of it.");
        Assert.Equal([.. engine.Prompts[0], .. kept], engine.Prompts[1].Take(engine.Prompts[0].Count + kept.Count));
    }
}
