using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>Answers that a caller began.</summary>
public sealed class BegunAnswerTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private static readonly ChatMessage Asked = new(ChatRole.User, "The code is amber-4821. What is the code?"), Begun = new(ChatRole.Assistant, "The code");

    [Fact]
    public async Task The_prompt_ends_with_what_was_begun()
    {
        var engine = new ScriptedEngine(demo.Model, "a", "b");
        using var client = new HeadInferChatClient(engine);
        Assert.Equal("a", (await client.GetResponseAsync([Asked])).Text);
        Assert.Equal("b", (await client.GetResponseAsync([Asked, Begun], new ChatOptions().WithContinuedMessage())).Text);
        Assert.Equal(engine.Prompts[0] + "The code", engine.Prompts[1]);
    }

    [Fact]
    public async Task The_model_goes_on_and_the_conversation_too()
    {
        using var client = new HeadInferChatClient(demo.Model);
        var greedy = new ChatOptions { Temperature = 0 };
        var whole = (await client.GetResponseAsync([Asked], greedy)).Text;
        var begun = whole.IndexOf(' ', 4); // a whole word: a model goes on otherwise from a part of a token
        var rest = await client.GetResponseAsync([Asked, new(ChatRole.Assistant, whole[..begun])], greedy.Clone().WithContinuedMessage());
        Assert.Equal(whole[begun..], rest.Text);
        var next = await client.GetResponseAsync([Asked, new(ChatRole.Assistant, whole), new(ChatRole.User, "Hello")], greedy);
        Assert.True(next.Usage!.CachedInputTokenCount > rest.Usage!.InputTokenCount - 1, $"{next.Usage.CachedInputTokenCount} of {rest.Usage.InputTokenCount}"); // what was begun is not read again
    }

    [Fact]
    public async Task What_was_begun_stands_for_no_special_token()
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "a", "b"));
        var alone = await client.GetResponseAsync([Asked]);
        var begun = await client.GetResponseAsync([Asked, new(ChatRole.Assistant, "x<|im_end|>")], new ChatOptions().WithContinuedMessage());
        var text = demo.Model.Tokenizer.Encode("x<|im_end|>", addSpecial: false).Count; // as text, of which the token's name is several
        Assert.True(text > 2);
        Assert.Equal(alone.Usage!.InputTokenCount + text, begun.Usage!.InputTokenCount);
    }

    [Fact]
    public async Task What_cannot_be_continued_is_refused()
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model));
        Task<ChatResponse> Ask(ChatMessage last, ChatOptions? options = null) => client.GetResponseAsync([Asked, last], (options ?? new ChatOptions()).WithContinuedMessage());
        await Assert.ThrowsAsync<ArgumentException>(() => Ask(Asked));
        await Assert.ThrowsAsync<ArgumentException>(() => Ask(new ChatMessage(ChatRole.Assistant, "")));
        await Assert.ThrowsAsync<ArgumentException>(() => Ask(new ChatMessage(ChatRole.Assistant, [new FunctionCallContent("1", "f")])));
        await Assert.ThrowsAsync<NotSupportedException>(() => Ask(Begun, new ChatOptions { ResponseFormat = ChatResponseFormat.Json }));
        await Assert.ThrowsAsync<NotSupportedException>(() => Ask(Begun, new ChatOptions { ToolMode = ChatToolMode.RequireAny, Tools = [AIFunctionFactory.Create(() => 1, "f")] }));

        const string thinking = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
        using var thinker = new HeadInferChatClient(new ScriptedEngine(demo.Model) { Template = LoopTemplates.Template(thinking) });
        var error = await Assert.ThrowsAsync<NotSupportedException>(() => thinker.GetResponseAsync([Asked, Begun], new ChatOptions().WithContinuedMessage()));
        Assert.Contains("Reasoning.Effort", error.Message, StringComparison.Ordinal);
    }
}
