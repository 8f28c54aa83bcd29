using Microsoft.Extensions.AI;

#pragma warning disable MEAI001 // reducers of conversations are experimental in the framework

namespace HeadInfer.SemanticKernel.Tests.Suite;

/// <summary>Conversations and tools that are made fewer before the client sees them.</summary>
public abstract partial class ChatClientSuite
{
    private const string Summarizes = "It does not summarise.";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_summary_takes_the_place_of_older_messages(bool streaming)
    {
        TooHardForTheDemoModel(Summarizes);
        using var counting = new Counting(Client("Bob is an engineer who builds tools for schools.", "Bob, an engineer."));
        using var client = counting.AsBuilder().UseChatReducer(new SummarizingChatReducer(counting, targetCount: 2, threshold: 0)).Build();
        List<ChatMessage> messages = [.. Turns("I am Bob, an engineer.", "Nice to meet you, Bob!", "We build tools for schools.", "That sounds useful.", "We began last year.", "So it is young.", "Who was named?")];
        var text = streaming ? string.Concat(await client.GetStreamingResponseAsync(messages).Select(u => u.Text).ToListAsync()) : (await client.GetResponseAsync(messages)).Text;
        Assert.Equal("Bob, an engineer.", text);
        Assert.Equal(2, counting.Requests);
        Assert.Equal(["Bob is an engineer who builds tools for schools.", "So it is young.", "Who was named?"], counting.All[1].Messages.Select(m => m.Text));
        Assert.Equal(ChatRole.Assistant, counting.All[1].Messages[0].Role);
    }

    [Fact]
    public async Task A_summary_keeps_what_the_threshold_leaves()
    {
        TooHardForTheDemoModel(Summarizes);
        using var counting = new Counting(Client("Alice likes to hike.", "You are Alice."));
        using var client = counting.AsBuilder().UseChatReducer(new SummarizingChatReducer(counting, targetCount: 2, threshold: 1)).Build();
        await client.GetResponseAsync(Turns("I am Alice, and I hike.", "Where?", "On the coast.", "Which part?", "I walked the north of it.", "It has fine views.", "Who am I?"));
        Assert.Equal(["Alice likes to hike.", "I walked the north of it.", "It has fine views.", "Who am I?"], counting.All[1].Messages.Select(m => m.Text));
    }

    [Fact]
    public async Task A_summary_keeps_the_system_message()
    {
        TooHardForTheDemoModel(Summarizes);
        using var counting = new Counting(Client("The weather was asked for.", "Four, matey."));
        using var client = counting.AsBuilder().UseChatReducer(new SummarizingChatReducer(counting, targetCount: 2, threshold: 0)).Build();
        await client.GetResponseAsync([new ChatMessage(ChatRole.System, "Speak as a pirate."), .. Turns("How is the weather?", "Fair, matey.", "And tomorrow?", "Clouds, arr.", "Do I need a coat?", "Aye.", "What is 2 + 2?")]);
        Assert.Equal([ChatRole.System, ChatRole.Assistant, ChatRole.Assistant, ChatRole.User], counting.All[1].Messages.Select(m => m.Role));
        Assert.Equal("Speak as a pirate.", counting.All[1].Messages[0].Text);
    }

    [Fact]
    public async Task A_summary_goes_with_functions()
    {
        TooHardForTheDemoModel(Summarizes);
        var tool = AIFunctionFactory.Create((string city) => city == "Miami" ? "28 degrees" : "15 degrees", "get_weather");
        using var counting = new Counting(Client("Seattle and Miami were asked for.", Call("get_weather", "{\"city\": \"Miami\"}"), "Miami has $result."));
        using var client = counting.AsBuilder().UseChatReducer(new SummarizingChatReducer(counting, targetCount: 2, threshold: 0)).UseFunctionInvocation().Build();
        var response = await client.GetResponseAsync(Turns("The weather in Seattle?", "I look.", "And in Miami?", "I look there too.", "Which is better?"), new ChatOptions { Tools = [tool] });
        Assert.Equal("Miami has 28 degrees.", response.Text);
        Assert.Equal(["Seattle and Miami were asked for.", "I look there too.", "Which is better?"], counting.All[1].Messages.Select(m => m.Text));
    }

    [Fact]
    public async Task A_summary_may_have_a_prompt_of_its_own()
    {
        TooHardForTheDemoModel(Summarizes);
        using var counting = new Counting(Client("3 cats, 2 dogs, 200 a month.", "5 pets."));
        using var client = counting.AsBuilder().UseChatReducer(new SummarizingChatReducer(counting, targetCount: 2, threshold: 0) { SummarizationPrompt = "Name the numbers." }).Build();
        await client.GetResponseAsync(Turns("I have 3 cats and 2 dogs.", "Lively!", "I spend 200 a month on them.", "They are worth it.", "How many pets are they?"));
        Assert.Contains(counting.All[0].Messages, m => m.Text == "Name the numbers.");
        Assert.Equal("3 cats, 2 dogs, 200 a month.", counting.All[1].Messages[0].Text);
    }

    [Fact]
    public async Task A_tool_that_is_taken_away_is_not_called_again()
    {
        var calls = 0;
        var tool = AIFunctionFactory.Create(() => ++calls, "get_status", "Returns the current state.");
        using var counting = new Counting(Client(Call("get_status", "{}"), "The result is $result.", "I could not find it."));
        var requests = 0;
        using var client = counting.AsBuilder().ConfigureOptions(o => o.Tools = requests++ == 0 ? o.Tools : []).UseFunctionInvocation().Build();
        var history = Turns("What is the current status?").ToList();
        history.AddMessages(await client.GetResponseAsync(history, new ChatOptions { Tools = [tool], ToolMode = ChatToolMode.RequireAny }));
        Assert.Equal(1, calls);
        history.Add(new ChatMessage(ChatRole.User, "And what is it now?"));
        await client.GetResponseAsync(history, new ChatOptions { Tools = [tool] });
        Assert.Equal(1, calls);
        Assert.Empty(counting.All[^1].Options!.Tools!);
    }

    private static IEnumerable<ChatMessage> Turns(params string[] texts) => texts.Select((t, i) => new ChatMessage(i % 2 == 0 ? ChatRole.User : ChatRole.Assistant, t));
}
