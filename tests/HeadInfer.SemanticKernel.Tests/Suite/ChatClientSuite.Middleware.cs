using System.Diagnostics;
using System.Text.RegularExpressions;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace HeadInfer.SemanticKernel.Tests.Suite;

/// <summary>Caches, logs and traces of the framework above the client.</summary>
public abstract partial class ChatClientSuite
{
    // The original lets the model pick a number. Ours is greedy by its own defaults, so the temperature is said.
    [Fact]
    public async Task Without_a_cache_sampled_answers_vary()
    {
        var client = Client("One thing.", "Another.");
        var options = new ChatOptions { Temperature = 2, MaxOutputTokens = 30 };
        async Task<string> AskAsync() => (await client.GetResponseAsync($"{Harbor} {Tower}\n\n{AskHarbor}", options)).Text;
        var (first, other) = (await AskAsync(), await AskAsync());
        for (var more = 0; other == first && more < 20; more++) // a model that is sure says the same now and then
        {
            other = await AskAsync();
        }

        Assert.NotEqual(first, other);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_cache_answers_the_same_question(bool streaming)
    {
        using var counting = new Counting(Client(Harbor, Tower));
        using var client = counting.AsBuilder().UseDistributedCache(Cache()).Build();
        var first = await TextAsync(client, $"{Harbor} {Tower}\n\n{AskHarbor}", null, streaming);
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(first, await TextAsync(client, $"{Harbor} {Tower}\n\n{AskHarbor}", null, streaming));
        }

        Assert.Equal(1, counting.Requests);
        Assert.NotEqual(first, await TextAsync(client, $"{Harbor} {Tower}\n\n{AskTower}", null, streaming));
        Assert.Equal(2, counting.Requests);
    }

    [Theory]
    [InlineData("above", false, 1, 2)] // the cache has the whole loop
    [InlineData("below", false, 2, 2)] // the function is called again, and what it says is known
    [InlineData("below", true, 2, 3)] // what it says is new, so the second answer is
    public async Task A_cache_stands_above_or_below_function_invocation(string cache, bool changes, int calls, int requests)
    {
        var called = 0;
        var tool = AIFunctionFactory.Create(() => $"{(++called == 1 || !changes ? 81 : 82)} degrees", "get_status", "Returns the current state.");
        using var counting = new Counting(Client([Call("get_status", "{}"), "The result is $result.", .. requests == 3 ? ["The result is $result."] : Array.Empty<string>()]));
        var builder = counting.AsBuilder().ConfigureOptions(o => o.Tools = [tool]);
        using var client = (cache == "above" ? builder.UseDistributedCache(Cache()).UseFunctionInvocation() : builder.UseFunctionInvocation().UseDistributedCache(Cache())).Build();
        Assert.Contains("81", (await client.GetResponseAsync("What is the current status?")).Text, StringComparison.Ordinal);
        Assert.Equal((1, 2), (called, counting.Requests));
        Assert.Contains(changes ? "82" : "81", (await client.GetResponseAsync("What is the current status?")).Text, StringComparison.Ordinal);
        Assert.Equal((calls, requests), (called, counting.Requests));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_log_has_the_question_and_the_answer(bool streaming)
    {
        using var log = new Messages();
        using var factory = LoggerFactory.Create(b => b.AddProvider(log).SetMinimumLevel(LogLevel.Trace));
        using var client = Client(Harbor).AsBuilder().UseLogging(factory).Build();
        await TextAsync(client, $"{Harbor}\n\n{AskHarbor}", null, streaming);
        Assert.Contains(AskHarbor, log.All[0], StringComparison.Ordinal);
        Assert.Equal(Harbor, string.Concat(log.All.Skip(1).SelectMany(m => Regex.Matches(m, "\"text\": \"([^\"]*)\"")).Select(m => m.Groups[1].Value)));
        Assert.True(streaming || log.All.Count == 2);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_log_has_calls_and_their_results(bool streaming)
    {
        using var log = new Messages();
        using var factory = LoggerFactory.Create(b => b.AddProvider(log).SetMinimumLevel(LogLevel.Trace));
        using var client = Client(Call("get_status", "{}"), "The result is $result.").AsBuilder().UseFunctionInvocation().UseLogging(factory).Build();
        await TextAsync(client, "What is the current status?", new ChatOptions { Tools = [AIFunctionFactory.Create(() => 4217, "get_status", "Returns the current state.")] }, streaming);
        Assert.Contains(log.All, m => m.Contains("What is the current status?", StringComparison.Ordinal));
        Assert.Contains(log.All, m => m.Contains("\"name\": \"get_status\"", StringComparison.Ordinal));
        Assert.Contains(log.All, m => m.Contains("\"result\": 4217", StringComparison.Ordinal));
        Assert.True(streaming || log.All.Count == 4);
    }

    // The original wants a server's address and port too. The model is in the process, so there is none.
    [Fact]
    public async Task A_trace_has_the_request_and_its_usage()
    {
        var (source, activities) = (Guid.NewGuid().ToString(), new List<Activity>());
        using var listener = new ActivityListener { ShouldListenTo = s => s.Name == source, Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData, ActivityStopped = activities.Add };
        ActivitySource.AddActivityListener(listener);
        using var client = Client(Harbor).AsBuilder().UseOpenTelemetry(sourceName: source).Build();
        var response = await client.GetResponseAsync($"{Harbor}\n\n{AskHarbor}");
        var activity = Assert.Single(activities);
        Assert.StartsWith("chat", activity.DisplayName, StringComparison.Ordinal);
        Assert.Equal(HeadInferChatClient.ProviderName, activity.GetTagItem("gen_ai.provider.name"));
        Assert.Null(activity.GetTagItem("server.address"));
        Assert.False(string.IsNullOrEmpty(activity.Id));
        Assert.Equal((response.Usage!.InputTokenCount, response.Usage.OutputTokenCount), ((int)activity.GetTagItem("gen_ai.usage.input_tokens")!, (int)activity.GetTagItem("gen_ai.usage.output_tokens")!));
        Assert.True(activity.Duration > TimeSpan.Zero);
    }

    /// <summary>What the framework logs.</summary>
    private sealed class Messages : ILoggerProvider, ILogger
    {
        public List<string> All { get; } = [];

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => All.Add(formatter(state, exception));

        public void Dispose()
        {
        }
    }
}
