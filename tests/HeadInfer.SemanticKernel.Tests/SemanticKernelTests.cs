using System.ComponentModel;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using HeadInfer.Runtime;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;
using Microsoft.SemanticKernel.Connectors.OpenAI;
using Microsoft.SemanticKernel.TextGeneration;

namespace HeadInfer.SemanticKernel.Tests;

public sealed class SemanticKernelTests(DemoModel demo) : IClassFixture<DemoModel>
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_kernel_calls_its_plugins_function_and_answers(bool streaming)
    {
        var plugin = new Weather();
        var builder = Kernel.CreateBuilder().AddHeadInferChatCompletion(demo.Model);
        builder.Plugins.AddFromObject(plugin, "weather");
        builder.Plugins.AddFromObject(new Clock(), "clock");
        var kernel = builder.Build();
        var chat = kernel.GetRequiredService<IChatCompletionService>();
        var settings = new HeadInferPromptExecutionSettings { FunctionChoiceBehavior = FunctionChoiceBehavior.Auto(), Temperature = 0 };
        var history = new ChatHistory("What is the weather in Oslo?", AuthorRole.User);
        string answer;
        if (streaming)
        {
            answer = string.Concat(await chat.GetStreamingChatMessageContentsAsync(history, settings, kernel).Select(c => c.Content).ToListAsync());
        }
        else
        {
            answer = (await chat.GetChatMessageContentAsync(history, settings, kernel)).Content!;
        }

        Assert.Equal(["Oslo"], plugin.Asked);
        Assert.NotEmpty(answer);
    }

    [Fact]
    public async Task The_container_owns_what_it_makes_of_a_path_and_nothing_else()
    {
        HeadInferModel own;
        var services = new ServiceCollection();
        services.AddHeadInferChatCompletion(DemoModel.Path, "demo", o => o.MaxContextTokens = 2000);
        services.AddHeadInferTextGeneration(DemoModel.Path, "demo");
        services.AddHeadInferChatClient(demo.Model, "given");
        await using (var provider = services.BuildServiceProvider())
        {
            own = provider.GetRequiredKeyedService<HeadInferModel>("demo");
            Assert.Equal(2000, own.Plan.MaxContextTokens);
            Assert.Same(own, provider.GetRequiredKeyedService<IChatClient>("demo").GetService<HeadInferModel>());
            Assert.NotNull(provider.GetRequiredKeyedService<IChatCompletionService>("demo"));
            Assert.NotNull(provider.GetRequiredKeyedService<ITextGenerationService>("demo"));
            Assert.Same(demo.Model, provider.GetRequiredKeyedService<IChatClient>("given").GetService<HeadInferModel>());
            Assert.NotEmpty((await provider.GetRequiredKeyedService<IChatClient>("given").GetResponseAsync("Hello")).Text);
        }

        Assert.Throws<ObjectDisposedException>(() => own.CreateSession());
        demo.Model.CreateSession().Dispose();
    }

    [Fact]
    public async Task Two_kernels_share_one_model_of_the_container()
    {
        var answers = new List<string>();
        for (var i = 0; i < 2; i++)
        {
            var builder = Kernel.CreateBuilder();
            builder.Services.AddSingleton(_ => demo.Model);
            var kernel = builder.AddHeadInferChatCompletion().Build();
            answers.Add((await kernel.InvokePromptAsync<string>($"The access code for the old harbor is otter-{i}5.\n\nWhat is the access code for the old harbor?"))!);
        }

        Assert.Equal(["The access code for the old harbor is otter-05.", "The access code for the old harbor is otter-15."], answers);
    }

    [Fact]
    public void A_model_that_is_nowhere_is_named()
    {
        var kernel = Kernel.CreateBuilder().AddHeadInferChatCompletion(serviceId: "absent").Build();
        var error = Assert.Throws<InvalidOperationException>(() => kernel.GetRequiredService<IChatClient>("absent"));
        Assert.Contains("'absent'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_configuration_section_names_the_model_and_its_options()
    {
        IConfiguration Section(params (string Key, string Value)[] values) => new ConfigurationBuilder()
            .AddInMemoryCollection(values.Select(v => new KeyValuePair<string, string?>("HeadInfer:" + v.Key, v.Value))).Build().GetSection("HeadInfer");

        var services = new ServiceCollection().AddHeadInferChatCompletion(Section(("ModelPath", DemoModel.Path), ("HostMemory", "3GiB"), ("MaxContextTokens", "1500"), ("Device", "cpu")), "configured");
        await using var provider = services.BuildServiceProvider();
        var plan = provider.GetRequiredKeyedService<HeadInferModel>("configured").Plan;
        Assert.Equal((1500, ByteSize.FromGiB(3)), (plan.MaxContextTokens, plan.HostBudget));
        Assert.NotNull(provider.GetRequiredKeyedService<IChatCompletionService>("configured"));
        foreach (var (key, value) in ((string, string)[])[("ModlPath", "x"), ("Device", "abacus"), ("HostMemory", "much"), ("Threads", "two"), ("Thread", "2")])
        {
            (string, string)[] settings = key == "ModlPath" ? [(key, value)] : [("ModelPath", "x"), (key, value)];
            var error = Assert.Throws<InvalidOperationException>(() => new ServiceCollection().AddHeadInferChatClient(Section(settings)));
            Assert.Contains(key == "ModlPath" ? "ModelPath" : $"HeadInfer:{key}", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Telemetry_tells_what_was_read_and_what_was_known()
    {
        var seen = new Dictionary<string, double>(StringComparer.Ordinal);
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, l) =>
            {
                if (instrument.Meter.Name == HeadInferTelemetry.Name)
                {
                    l.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, state) => seen[instrument.Name] = seen.GetValueOrDefault(instrument.Name) + value);
        listener.SetMeasurementEventCallback<double>((instrument, value, tags, state) => seen[instrument.Name] = value);
        listener.Start();
        var activities = new List<Activity>();
        using var activityListener = new ActivityListener { ShouldListenTo = s => s.Name == HeadInferTelemetry.Name, Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData, ActivityStopped = activities.Add };
        ActivitySource.AddActivityListener(activityListener);
        demo.Model.ClearCache();
        using var client = new HeadInferChatClient(demo.Model, "demo");
        var first = await client.GetResponseAsync("Hello");
        var second = await client.GetResponseAsync("Hello");
        Assert.Equal(first.Usage!.InputTokenCount + second.Usage!.InputTokenCount - second.Usage.CachedInputTokenCount, (long)seen["headinfer.prefill.tokens"]);
        Assert.Equal(second.Usage.CachedInputTokenCount, (long)seen["headinfer.prefill.cached_tokens"]);
        Assert.True(seen["headinfer.prefill.duration"] > 0);
        Assert.True(seen["headinfer.decode.rate"] > 0);
        Assert.Equal([0, (int)second.Usage.CachedInputTokenCount!.Value], activities.Select(a => (int)a.GetTagItem("headinfer.cached_tokens")!));
    }

    [Fact]
    public async Task Text_generation_continues_the_text_as_it_stands()
    {
        var service = new HeadInferTextGenerationService(demo.Model);
        const string prompt = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"; // here these are words
        var contents = await service.GetTextContentsAsync(prompt, new PromptExecutionSettings { ExtensionData = new Dictionary<string, object> { ["max_tokens"] = 4 } });
        var usage = Assert.IsType<UsageDetails>(Assert.Single(contents).Metadata!["Usage"]);
        Assert.Equal(4, usage.OutputTokenCount);
        Assert.Equal(demo.Model.Tokenizer.Encode(prompt).Count, usage.InputTokenCount); // as special tokens they would be fewer
        Assert.NotEqual(demo.Model.Tokenizer.Encode(prompt, parseSpecial: true).Count, usage.InputTokenCount);
        await Assert.ThrowsAsync<ArgumentException>(() => service.GetTextContentsAsync(""));
        var json = await service.GetTextContentsAsync(prompt, new HeadInferPromptExecutionSettings { ResponseFormat = "json_object", MaxTokens = 40 });
        System.Text.Json.JsonDocument.Parse(json[0].Text!).Dispose();
        await Assert.ThrowsAsync<NotSupportedException>(() => service.GetTextContentsAsync(prompt, new HeadInferPromptExecutionSettings { ShowReasoning = true }));
        var calls = await Assert.ThrowsAsync<NotSupportedException>(() => service.GetTextContentsAsync(prompt, new PromptExecutionSettings { FunctionChoiceBehavior = FunctionChoiceBehavior.Auto() }));
        Assert.Contains("FunctionChoiceBehavior", calls.Message, StringComparison.Ordinal);
        var other = await Assert.ThrowsAsync<NotSupportedException>(() => service.GetTextContentsAsync(prompt, new PromptExecutionSettings { ModelId = "another" }));
        Assert.Contains("'another'", other.Message, StringComparison.Ordinal);
        Assert.NotEmpty(await service.GetTextContentsAsync(prompt, new HeadInferPromptExecutionSettings { ModelId = demo.Model.Name, FunctionChoiceBehavior = FunctionChoiceBehavior.None(), MaxTokens = 2 }));
    }

    [Fact]
    public void Settings_survive_a_round_trip_a_freeze_and_a_copy()
    {
        var behavior = FunctionChoiceBehavior.Auto();
        var foreign = new PromptExecutionSettings
        {
            FunctionChoiceBehavior = behavior,
            ExtensionData = new Dictionary<string, object> { ["temperature"] = 0.3, ["top_k"] = "9", ["seed"] = 5, ["max_tokens"] = 42, ["stop_sequences"] = new[] { "END" } },
        };
        var settings = HeadInferPromptExecutionSettings.FromExecutionSettings(foreign);
        Assert.Equal((0.3f, 9, 5L, 42), (settings.Temperature!.Value, settings.TopK!.Value, settings.Seed!.Value, settings.MaxTokens!.Value));
        Assert.Equal(["END"], settings.StopSequences);
        Assert.Same(behavior, settings.FunctionChoiceBehavior);
        settings.Freeze();
        Assert.Throws<InvalidOperationException>(() => settings.Temperature = 1);
        var copy = (HeadInferPromptExecutionSettings)settings.Clone();
        copy.Temperature = 1;
        Assert.Equal(42, copy.MaxTokens);
        Assert.Same(settings, HeadInferPromptExecutionSettings.FromExecutionSettings(settings));
    }

    [Fact]
    public async Task Settings_of_another_connector_are_taken()
    {
        var engine = new ScriptedEngine(demo.Model, "The answer.");
        var chat = new HeadInferChatClient(engine).AsChatCompletionService();
        var settings = new OpenAIPromptExecutionSettings { Temperature = 0.3, TopP = 0.7, MaxTokens = 42, Seed = 5, StopSequences = ["END"], FrequencyPenalty = 0.2, FunctionChoiceBehavior = FunctionChoiceBehavior.None() };
        Assert.Equal("The answer.", (await chat.GetChatMessageContentAsync("Go", settings)).Content);
        var used = Assert.Single(engine.Options);
        Assert.Equal((42, 0.3f, 0.7f, 0.2f, 5), ((int)used.MaxTokens!, (float)used.Sampling.Temperature, (float)used.Sampling.TopP, (float)used.Sampling.FrequencyPenalty, (int)used.Sampling.Seed!));
        Assert.Equal(["END"], used.StopSequences);
        var ours = HeadInferPromptExecutionSettings.FromExecutionSettings(settings);
        Assert.Equal((0.3f, 0.7f, 42, 5L), (ours.Temperature, ours.TopP, ours.MaxTokens, ours.Seed));
        Assert.Same(settings.FunctionChoiceBehavior, ours.FunctionChoiceBehavior);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Settings_say_who_is_told_of_the_reading(bool chat)
    {
        var builder = Kernel.CreateBuilder();
        var kernel = (chat ? builder.AddHeadInferChatCompletion(demo.Model) : builder.AddHeadInferTextGeneration(demo.Model)).Build();
        demo.Model.ClearCache();
        var (own, others) = (new Seen(), new Seen());
        var settings = new HeadInferPromptExecutionSettings { MaxTokens = 2, PrefillProgress = own };
        var copy = (HeadInferPromptExecutionSettings)settings.Clone();
        copy.PrefillProgress = others;
        settings.Freeze();
        Assert.Throws<InvalidOperationException>(() => settings.PrefillProgress = others);
        Assert.DoesNotContain("rogress", System.Text.Json.JsonSerializer.Serialize(settings), StringComparison.Ordinal);

        var usage = (UsageDetails)(await kernel.InvokePromptAsync("Hello", new KernelArguments(settings))).Metadata!["Usage"]!;
        Assert.Equal((0, 1.0), (own.All[0].Fraction, own.All[^1].Fraction));
        Assert.All(own.All.Where(p => p.Tokens > 0), p => Assert.Equal(usage.InputTokenCount, p.Tokens));
        Assert.Empty(others.All);
        await kernel.InvokePromptAsync("Hello", new KernelArguments(copy));
        Assert.NotEmpty(others.All);
    }

    private sealed class Seen : IProgress<PrefillProgress>
    {
        public List<PrefillProgress> All { get; } = [];

        public void Report(PrefillProgress value) => All.Add(value);
    }

    private sealed class Weather
    {
        public List<string> Asked { get; } = [];

        [KernelFunction("get_weather"), Description("Gets the weather of a city")]
        public string Get([Description("Name of the city")] string city)
        {
            Asked.Add(city);
            return "17 degrees";
        }
    }

    private sealed class Clock
    {
        [KernelFunction("get_time"), Description("Gets the time")]
        public static string Get() => "12:00";
    }
}
