using HeadInfer.Runtime;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>What becomes of the options of a request.</summary>
public sealed class ChatOptionsTests(DemoModel demo) : IClassFixture<DemoModel>
{
    [Fact]
    public async Task Every_sampling_option_reaches_the_engine()
    {
        var engine = new ScriptedEngine(demo.Model, "x", "y") { Defaults = new GenerationOptions { MaxTokens = 77, Sampling = new SamplingOptions { Temperature = 0.6, TopK = 20 } } };
        using var client = new HeadInferChatClient(engine);
        await client.GetResponseAsync("Go", new ChatOptions { Temperature = 0.5f, TopP = 0.9f, TopK = 7, Seed = 11, MaxOutputTokens = 5, FrequencyPenalty = 0.1f, PresencePenalty = 0.2f, StopSequences = ["END"], ModelId = "scripted" });
        var options = engine.Options[0];
        Assert.Equal((0.5, 7, 11L, 5), (options.Sampling.Temperature, options.Sampling.TopK!.Value, options.Sampling.Seed!.Value, options.MaxTokens));
        Assert.Equal((0.9, 0.1, 0.2), (Math.Round(options.Sampling.TopP, 5), Math.Round(options.Sampling.FrequencyPenalty, 5), Math.Round(options.Sampling.PresencePenalty, 5)));
        Assert.Equal(["END"], options.StopSequences);
        await client.GetResponseAsync("Go");
        Assert.Equal((0.6, 20, 77), (engine.Options[1].Sampling.Temperature, engine.Options[1].Sampling.TopK!.Value, engine.Options[1].MaxTokens));
    }

    [Fact]
    public async Task What_stands_for_no_choice_or_for_all_tokens_is_taken()
    {
        var engine = new ScriptedEngine(demo.Model, "x", "y") { Defaults = new GenerationOptions { Sampling = new SamplingOptions { TopK = 20 } } };
        using var client = new HeadInferChatClient(engine);
        await client.GetResponseAsync("Go", new ChatOptions { TopP = 0, TopK = 0 });
        await client.GetResponseAsync("Go", new ChatOptions { TopK = -1 });
        Assert.InRange(engine.Options[0].Sampling.TopP, double.Epsilon, 1e-9);
        Assert.All(engine.Options, o => Assert.Null(o.Sampling.TopK));
    }

    public static TheoryData<string, ChatOptions> Wrong() => new()
    {
        { "ChatOptions.Temperature must be from 0 to 100", new ChatOptions { Temperature = -1 } },
        { "ChatOptions.TopP must be from 0 to 1", new ChatOptions { TopP = 1.5f } },
        { "ChatOptions.TopK must be at least -1", new ChatOptions { TopK = -2 } },
        { "ChatOptions.MaxOutputTokens must be at least 1", new ChatOptions { MaxOutputTokens = 0 } },
        { "ChatOptions.FrequencyPenalty must be from -100 to 100", new ChatOptions { FrequencyPenalty = float.NaN } },
        { "ChatOptions.PresencePenalty must be from -100 to 100", new ChatOptions { PresencePenalty = 200 } },
        { "ChatOptions.AdditionalProperties[\"min_p\"] must be from 0 to 1", new ChatOptions { AdditionalProperties = new() { ["min_p"] = 2 } } },
        { "ChatOptions.AdditionalProperties[\"repetition_penalty\"] must be from 0.001 to 1000", new ChatOptions { AdditionalProperties = new() { ["repetition_penalty"] = 0 } } },
        { "ChatOptions.StopSequences|empty", new ChatOptions { StopSequences = ["END", ""] } },
        { "ChatOptions.StopSequences|empty", new ChatOptions { StopSequences = [null!] } },
    };

    [Theory]
    [MemberData(nameof(Wrong), DisableDiscoveryEnumeration = true)]
    public async Task A_value_out_of_range_is_named(string said, ChatOptions options)
    {
        foreach (IList<AITool>? tools in (IList<AITool>?[])[null, [AIFunctionFactory.Create(() => 1, "f")]])
        {
            options.Tools = tools;
            using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "x"));
            var error = await Assert.ThrowsAnyAsync<ArgumentException>(() => client.GetResponseAsync("Go", options));
            Assert.All(said.Split('|'), s => Assert.Contains(s, error.Message, StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task The_runtimes_own_options_are_set_beside_the_clients_defaults()
    {
        var engine = new ScriptedEngine(demo.Model, "a", "b", "c") { Defaults = new GenerationOptions { MaxTokens = null, Sampling = new SamplingOptions { Temperature = 0.6 } } };
        using var client = new HeadInferChatClient(engine);
        var (told, at) = (new List<PrefillProgress>(), DateTimeOffset.UtcNow.AddHours(1));
        await client.GetResponseAsync("Go", new ChatOptions { Temperature = 0.2f }.WithGeneration(g => g with { Priority = 3, Deadline = at }));
        Assert.Equal((3, at, null, 0.2), (engine.Options[0].Priority, engine.Options[0].Deadline, engine.Options[0].MaxTokens, Math.Round(engine.Options[0].Sampling.Temperature, 5)));
        var progress = new Progress<PrefillProgress>(told.Add);
        var both = new ChatOptions().WithGeneration(g => g with { Priority = 1 }).WithPrefillProgress(progress).WithGeneration(g => g with { Priority = g.Priority + 1 });
        await client.GetResponseAsync("Go", both);
        Assert.Equal((2, 0.6), (engine.Options[1].Priority, engine.Options[1].Sampling.Temperature));
        Assert.Same(progress, both.Made(client).Progress);
        var given = new ChatOptions { RawRepresentationFactory = _ => new GenerationOptions { MaxTokens = 9 } }.WithGeneration(g => g with { Priority = 5 });
        await client.GetResponseAsync("Go", given);
        Assert.Equal((5, 9), (engine.Options[2].Priority, engine.Options[2].MaxTokens));
        using var other = new HeadInferChatClient(engine).AsBuilder().UseFunctionInvocation().Build();
        Assert.IsType<GenerationOptions>(given.RawRepresentationFactory!(other)); // what others are shown
    }

    public static TheoryData<string, ChatOptions> Refused() => new()
    {
        { "ModelId", new ChatOptions { ModelId = "another" } },
        { "ConversationId", new ChatOptions { ConversationId = "1" } },
        { "Reasoning.Effort", new ChatOptions { Reasoning = new ReasoningOptions { Effort = ReasoningEffort.Low } } },
        { "Reasoning.Output", new ChatOptions { Reasoning = new ReasoningOptions { Output = ReasoningOutput.Summary } } },
        { "RawRepresentationFactory", new ChatOptions { RawRepresentationFactory = _ => "a string" } },
        { "HostedWebSearchTool", new ChatOptions { Tools = [new HostedWebSearchTool()] } },
    };

    [Theory]
    [MemberData(nameof(Refused), DisableDiscoveryEnumeration = true)]
    public async Task What_cannot_be_honoured_is_refused_by_name(string name, ChatOptions options)
    {
        using var client = new HeadInferChatClient(new ScriptedEngine(demo.Model, "x"));
        var error = await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync("Go", options));
        Assert.Contains(name, error.Message, StringComparison.Ordinal);
    }
}
