using System.Text.Json;
using HeadInfer.Text;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>Rounds of calls through chat templates of several kinds.</summary>
public sealed class TemplateTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private static readonly AIFunction Now = AIFunctionFactory.Create((string? place = null) => "12:00", "now", "Tells the time");

    [Theory]
    [InlineData("{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}<call {{ c.id }}>{{ c.function | tojson }}{% endfor %}{% elif m.role == 'tool' %}<result {{ m.tool_call_id }}>{{ m.content }}{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}", "{\"name\": \"now\", \"arguments\": {\"place\": \"Oslo\"}}")]
    [InlineData("{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}<call {{ c.id }}>{{ c.function.name + ' ' + c.function.arguments }}{% endfor %}{% elif m.role == 'tool' %}<result {{ m.tool_call_id }}>{{ m.content }}{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}", "now {\"place\": \"Oslo\"}")]
    public async Task The_clients_own_ids_and_arguments_come_back_as_the_template_takes_them(string source, string call)
    {
        const string answer = "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"place\": \"Oslo\"}}\n</tool_call>";
        var engine = new ScriptedEngine(demo.Model, answer, "Noon.") { Template = Template(source) };
        using var client = new HeadInferChatClient(engine).AsBuilder().UseFunctionInvocation().Build();
        var response = await client.GetResponseAsync("Go", new ChatOptions { Tools = [Now] });
        Assert.Equal("Noon.", response.Text);
        var id = response.Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>().Single().CallId;
        Assert.Matches("^[a-z0-9]{9}$", id);
        Assert.Equal($"<user>Go<call {id}>{call}<result {id}>12:00", engine.Prompts[1]);
    }

    [Fact]
    public async Task What_a_template_does_not_take_is_named_before_anything_is_generated()
    {
        var engine = new ScriptedEngine(demo.Model, "x") { Template = Template("{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}{{ m.content }}{% endfor %}") };
        using var client = new HeadInferChatClient(engine);
        List<ChatMessage> messages = [new(ChatRole.User, "Go"), new(ChatRole.Assistant, [new FunctionCallContent("a", "now")]), new(ChatRole.Tool, [new FunctionResultContent("a", "12:00")])];
        var error = await Assert.ThrowsAsync<ChatTemplateException>(() => client.GetResponseAsync(messages));
        Assert.Contains("no tools here", error.Message, StringComparison.Ordinal);
        Assert.Empty(engine.Prompts);
        Assert.Equal("x", (await client.GetResponseAsync("Go")).Text);
    }

    // The call itself may have been dropped from a long conversation.
    [Fact]
    public async Task A_result_without_its_call_has_the_name_of_its_message()
    {
        var engine = new ScriptedEngine(demo.Model, "x") { Template = Template("{% for m in messages %}<{{ m.role }}{% if m.role == 'tool' %} {{ m.name }}{% endif %}>{{ m.content }}{% endfor %}") };
        using var client = new HeadInferChatClient(engine);
        await client.GetResponseAsync([new(ChatRole.User, "Go"), new(ChatRole.Tool, [new FunctionResultContent("c1", "12:00")]) { AuthorName = "now" }, new(ChatRole.User, "So?")]);
        Assert.Contains("<tool now>12:00", engine.Prompts[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"pla", "{\"name\": \"now\", \"arguments\": {\"pla")]
    [InlineData(ToolCallFormat.QwenCoder, "<tool_call>\n<function=now>\n<parameter=place>\nOs", "<parameter=place>\nOs")]
    [InlineData(ToolCallFormat.MistralNames, "[TOOL_CALLS]now[ARGS]{\"pla", "{\"pla")]
    public async Task A_call_that_the_limit_cut_off_can_be_sent_back(ToolCallFormat format, string answer, string shown)
    {
        foreach (var source in (string[])[
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}{% for k, v in c.function.arguments | items %}{{ c.function.name }}{{ k }}={{ v }}{% endfor %}{% endfor %}{% endfor %}",
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}{{ c.function.name + c.function.arguments }}{% endfor %}{% endfor %}"])
        {
            var engine = new ScriptedEngine(demo.Model, answer, "Fine.") { Template = Template(source) };
            using var client = new HeadInferChatClient(engine, new HeadInferChatClientOptions { ToolCallFormat = format });
            List<ChatMessage> messages = [new(ChatRole.User, "Go")];
            var cut = await client.GetResponseAsync(messages, new ChatOptions { Tools = [Now] });
            Assert.NotNull(Assert.Single(cut.Messages[0].Contents.OfType<FunctionCallContent>()).Exception);
            messages.AddRange([.. cut.Messages, new(ChatRole.User, "Go on")]);
            Assert.Equal("Fine.", (await client.GetResponseAsync(messages, new ChatOptions { Tools = [Now] })).Text);
            Assert.Contains(shown, engine.Prompts[1], StringComparison.Ordinal);
            Assert.EndsWith("<user>Go on", engine.Prompts[1], StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_call_that_cannot_be_read_is_answered_and_sent_back()
    {
        var engine = new ScriptedEngine(demo.Model, "<tool_call>\n{\"place\": \"Oslo\"}\n</tool_call>", "Sorry.")
        { Template = Template("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}<{{ c.function.name }}>{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}") };
        using var client = new HeadInferChatClient(engine).AsBuilder().UseFunctionInvocation().Build();
        Assert.Equal("Sorry.", (await client.GetResponseAsync("Go", new ChatOptions { Tools = [Now] })).Text);
        Assert.Contains("<unnamed>{}<tool>", engine.Prompts[1], StringComparison.Ordinal);
    }

    [Fact]
    public void Thousands_of_functions_are_told_apart_and_a_double_is_refused()
    {
        var tools = Enumerable.Range(0, 20_000).Select(i => (AITool)AIFunctionFactory.CreateDeclaration($"f{i}", "", JsonDocument.Parse("{}").RootElement)).ToList();
        Assert.Equal(20_000, ChatRequest.Tools(new ChatOptions { Tools = tools })!.Count);
        tools.Add(tools[17]);
        Assert.Contains("'f17'", Assert.Throws<ArgumentException>(() => ChatRequest.Tools(new ChatOptions { Tools = tools })).Message, StringComparison.Ordinal);
    }

    private static ChatTemplate Template(string source) => new(source, new Dictionary<string, object?>(), TimeProvider.System);
}
