using HeadInfer.Runtime;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;
using Microsoft.SemanticKernel.TextGeneration;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>What the container is told, and what it makes of it.</summary>
public sealed class RegistrationTests(DemoModel demo) : IClassFixture<DemoModel>
{
    [Theory]
    [InlineData(null)]
    [InlineData("key")]
    public async Task The_last_registration_wins(string? key)
    {
        var log = new LogRecords();
        var services = new ServiceCollection().AddLogging(b => b.AddProvider(log));
        services.AddHeadInferChatCompletion("no-such-folder", key, o => o.MaxContextTokens = 1000);
        services.AddHeadInferChatClient(DemoModel.Path, key, o => o.MaxContextTokens = 2000);
        services.AddHeadInferTextGeneration(DemoModel.Path, key);
        await using (var provider = services.BuildServiceProvider())
        {
            var model = provider.GetKeyedService<HeadInferModel>(key)!;
            Assert.Equal(2000, model.Plan.MaxContextTokens);
            Assert.Same(model, provider.GetKeyedService<IChatClient>(key)!.GetService<HeadInferModel>());
            var replaced = Assert.Single(log.All, r => r.Id == 5);
            Assert.Equal(LogLevel.Warning, replaced.Level);
            Assert.Contains("no-such-folder", replaced.Text, StringComparison.Ordinal);
        }

        services.AddHeadInferChatClient(demo.Model, key);
        await using var other = services.BuildServiceProvider();
        Assert.Same(demo.Model, other.GetKeyedService<IChatClient>(key)!.GetService<HeadInferModel>());
    }

    [Fact]
    public async Task What_a_registration_sets_is_its_own_models_alone()
    {
        var services = new ServiceCollection();
        services.AddHeadInferChatClient("no-such-folder", configure: o => (o.ChatTemplate, o.MaxContextTokens) = ("A", 1000));
        services.AddHeadInferChatClient(DemoModel.Path, configure: o => o.SegmentTokens = 512);
        services.AddHeadInferTextGeneration(Section(("ModelPath", DemoModel.Path), ("PageTokens", "64")));
        services.AddHeadInferChatClient(DemoModel.Path, "key", o => o.MaxContextTokens = 1500);
        await using var provider = services.BuildServiceProvider();
        var (unkeyed, keyed) = (provider.GetRequiredService<HeadInferModel>(), provider.GetRequiredKeyedService<HeadInferModel>("key"));
        Assert.Equal(demo.Model.ChatTemplate!.Source, unkeyed.ChatTemplate!.Source);
        Assert.Equal((demo.Model.Plan.MaxContextTokens, 512, 64), (unkeyed.Plan.MaxContextTokens, unkeyed.Plan.SegmentTokens, unkeyed.Plan.PageTokens));
        Assert.Equal((1500, demo.Model.Plan.SegmentTokens, demo.Model.Plan.PageTokens), (keyed.Plan.MaxContextTokens, keyed.Plan.SegmentTokens, keyed.Plan.PageTokens));
    }

    [Fact]
    public async Task Options_are_configured_as_everywhere_with_a_key_and_without()
    {
        var settings = Section(("HostMemory", "3GiB"), ("Device", "Cpu"), ("PageTokens", "128"));
        var services = new ServiceCollection();
        services.AddHeadInferChatClient(DemoModel.Path, "one", o => o.SegmentTokens = 512);
        services.AddHeadInferChatClient(DemoModel.Path);
        services.Configure<HeadInferOptions>(o => (o.HostMemory, o.Device, o.PageTokens, o.MaxContextTokens) = (
            settings.GetValue<ByteSize>("HostMemory"), settings.GetValue<ComputeDevice>("Device"), settings.GetValue<int>("PageTokens"), 1000));
        services.Configure<HeadInferOptions>("one", o => o.MaxContextTokens = 1500);
        services.Configure<HeadInferChatClientOptions>("one", o => o.Conversations = 1);
        await using var provider = services.BuildServiceProvider();
        var one = provider.GetRequiredKeyedService<HeadInferModel>("one").Plan;
        Assert.Equal((ByteSize.FromGiB(3), 128, 1500, 512), (one.HostBudget, one.PageTokens, one.MaxContextTokens, one.SegmentTokens));
        Assert.Equal((ByteSize.FromGiB(3), 1000), (provider.GetRequiredService<HeadInferModel>().Plan.HostBudget, provider.GetRequiredService<HeadInferModel>().Plan.MaxContextTokens));
        Assert.NotNull((await provider.GetRequiredKeyedService<IChatClient>("one").GetResponseAsync("Hello")).ConversationId);
        Assert.Null((await provider.GetRequiredService<IChatClient>().GetResponseAsync("Hello")).ConversationId);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("key")]
    public async Task What_comes_after_all_configuring_sees_what_the_registration_set(string? key)
    {
        var services = new ServiceCollection();
        services.AddHeadInferChatClient("no-such-folder", key, o => o.PageTokens = 7);
        services.AddHeadInferChatClient(DemoModel.Path, key, o => o.MaxContextTokens = 1500);
        services.Configure<HeadInferOptions>(o => o.MaxContextTokens = 1000);
        services.PostConfigure<HeadInferOptions>(key, o => o.MaxContextTokens += 100);
        services.PostConfigure<HeadInferOptions>(o => o.SegmentTokens = o.PageTokens ?? 512);
        var accepts = true;
        services.AddOptions<HeadInferOptions>(key).Validate(o => accepts && o.MaxContextTokens == 1600, "not 1600");
        await using (var provider = services.BuildServiceProvider())
        {
            var plan = provider.GetKeyedService<HeadInferModel>(key)!.Plan;
            Assert.Equal((1600, 512), (plan.MaxContextTokens, plan.SegmentTokens));
        }

        accepts = false;
        await using var refusing = services.BuildServiceProvider();
        Assert.Contains("not 1600", Assert.Throws<Microsoft.Extensions.Options.OptionsValidationException>(() => refusing.GetKeyedService<HeadInferModel>(key)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Binding_reads_amounts_of_memory_and_names_what_is_none()
    {
        var options = Section(("GpuMemory", "24GiB"), ("ResidentMemory", "0")).Get<HeadInferOptions>()!;
        Assert.Equal((ByteSize.FromGiB(24), ByteSize.Zero), (options.GpuMemory, options.ResidentMemory));
        var error = Assert.Throws<InvalidOperationException>(() => Section(("GpuMemory", "much")).Get<HeadInferOptions>());
        Assert.Contains("HeadInfer:GpuMemory", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_option_that_can_be_text_is_read_from_a_section()
    {
        // A value for each type: an option of a new type fails here until it is thought of.
        var texts = new Dictionary<Type, (string Text, object Value)>
        {
            [typeof(int)] = ("7", 7), [typeof(bool)] = ("true", true), [typeof(string)] = ("{{ text }}", "{{ text }}"), [typeof(ByteSize)] = ("1.5GiB", ByteSize.FromGiB(1.5)),
            [typeof(ComputeDevice)] = ("CPU", ComputeDevice.Cpu), [typeof(ComputeType)] = ("bfloat16", ComputeType.BFloat16), [typeof(FusedAttention)] = ("CuDnn", FusedAttention.CuDnn),
        };
        var simple = typeof(HeadInferOptions).GetProperties().Where(p => p.CanWrite && texts.ContainsKey(TypeOf(p))).ToList();
        Assert.True(simple.Count >= 16);
        var (path, configure) = HeadInferConfiguration.Read(Section([("ModelPath", "folder"), .. simple.Select(p => (p.Name, texts[TypeOf(p)].Text))]));
        var options = new HeadInferOptions();
        configure(options);
        Assert.Equal("folder", path);
        Assert.All(simple, p => Assert.Equal(texts[TypeOf(p)].Value, p.GetValue(options)));
        static Type TypeOf(System.Reflection.PropertyInfo property) => Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
    }

    [Theory]
    [InlineData("Placement", "Host")]
    [InlineData("Warning", "x")]
    [InlineData("Thread", "2")]
    [InlineData("Threads", "two")]
    [InlineData("Threads", "99999999999")]
    [InlineData("Threads", "")]
    [InlineData("Threads:Most", "2")]
    [InlineData("Device", "abacus")]
    [InlineData("Device", "1")]
    [InlineData("Device", "Cpu, Cuda")]
    [InlineData("HostMemory", "-1GiB")]
    [InlineData("IgnoreAttentionSoftCap", "perhaps")]
    public void A_wrong_setting_is_named(string key, string value)
    {
        var section = Section(("ModelPath", "folder"), (key, value));
        Action[] registrations =
        [
            () => new ServiceCollection().AddHeadInferChatClient(section), () => new ServiceCollection().AddHeadInferTextGeneration(section, "key"),
            () => Kernel.CreateBuilder().AddHeadInferChatCompletion(section), () => Kernel.CreateBuilder().AddHeadInferChatClient(section), () => Kernel.CreateBuilder().AddHeadInferTextGeneration(section),
        ];
        Assert.All(registrations, r => Assert.Contains($"HeadInfer:{key.Split(':')[0]}", Assert.Throws<InvalidOperationException>(r).Message, StringComparison.Ordinal));
    }

    [Fact]
    public void A_setting_with_parts_sets_an_object()
    {
        var options = new Outer();
        Section(("Inner:Factor", "2.5"), ("Inner:Kind", "cuda")).GetChildren().ToList().ForEach(s => HeadInferConfiguration.Set(options, s));
        Assert.Equal(new Inner { Factor = 2.5, Kind = ComputeDevice.Cuda }, options.Inner);
        foreach (var (key, value, part) in ((string, string, string)[])[("Inner", "2.5", "Factor, Kind"), ("Inner:Faktor", "2.5", "HeadInfer:Inner:Faktor"), ("Inner:Factor", "2,5x", "HeadInfer:Inner:Factor"), ("List:0", "1", "HeadInfer:List")])
        {
            var error = Assert.Throws<InvalidOperationException>(() => Section((key, value)).GetChildren().ToList().ForEach(s => HeadInferConfiguration.Set(options, s)));
            Assert.Contains(part, error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_value_out_of_range_is_named_when_the_model_is_loaded()
    {
        await using var provider = new ServiceCollection().AddHeadInferChatClient(Section(("ModelPath", DemoModel.Path), ("PageTokens", "0"))).BuildServiceProvider();
        Assert.Contains("HeadInferOptions.PageTokens", Assert.Throws<ArgumentOutOfRangeException>(() => provider.GetRequiredService<IChatClient>()).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Each_service_can_be_had_over_each_source_on_a_builder_and_on_services(bool onBuilder)
    {
        var section = Section(("ModelPath", DemoModel.Path));
        Action<IKernelBuilder>[] all = onBuilder
            ?
            [
                b => b.AddHeadInferChatCompletion(DemoModel.Path).AddHeadInferTextGeneration(DemoModel.Path), b => b.AddHeadInferChatClient(DemoModel.Path),
                b => b.AddHeadInferChatCompletion(demo.Model).AddHeadInferTextGeneration(demo.Model), b => b.AddHeadInferChatClient(demo.Model),
                b => b.AddHeadInferChatCompletion(section).AddHeadInferTextGeneration(section), b => b.AddHeadInferChatClient(section),
            ]
            :
            [
                b => b.Services.AddHeadInferChatCompletion(DemoModel.Path).AddHeadInferTextGeneration(DemoModel.Path), b => b.Services.AddHeadInferChatClient(DemoModel.Path),
                b => b.Services.AddHeadInferChatCompletion(demo.Model).AddHeadInferTextGeneration(demo.Model), b => b.Services.AddHeadInferChatClient(demo.Model),
                b => b.Services.AddHeadInferChatCompletion(section).AddHeadInferTextGeneration(section), b => b.Services.AddHeadInferChatClient(section),
            ];
        for (var i = 0; i < all.Length; i++)
        {
            var builder = Kernel.CreateBuilder();
            all[i](builder);
            var kernel = builder.Build();
            using var owner = (IDisposable)kernel.Services;
            Assert.NotNull(kernel.Services.GetService<IChatClient>());
            Assert.Equal(i % 2 == 0, kernel.Services.GetService<IChatCompletionService>() is not null);
            Assert.Equal(i % 2 == 0, kernel.Services.GetService<ITextGenerationService>() is not null);
        }
    }

    [Fact]
    public void A_kernels_services_dispose_the_model_that_it_loaded()
    {
        var kernel = Kernel.CreateBuilder().AddHeadInferChatCompletion(DemoModel.Path).Build();
        var model = kernel.GetRequiredService<IChatClient>().GetService<HeadInferModel>()!;
        ((IDisposable)kernel.Services).Dispose();
        Assert.Throws<ObjectDisposedException>(() => model.CreateSession());
    }

    [Theory]
    [InlineData("my-model", "my-model")]
    [InlineData("models--acme--tiny-7B/snapshots/0123abcd", "acme/tiny-7B")]
    [InlineData("models--tiny/snapshots/0123abcd/", "tiny")]
    public async Task A_models_default_name_is_its_folders(string folder, string name)
    {
        var root = Directory.CreateTempSubdirectory();
        try
        {
            var path = Path.Combine(root.FullName, folder);
            Directory.CreateDirectory(path);
            foreach (var file in Directory.EnumerateFiles(DemoModel.Path))
            {
                File.Copy(file, Path.Combine(path, Path.GetFileName(file)));
            }

            await using var provider = new ServiceCollection().AddHeadInferChatClient(path).AddHeadInferTextGeneration(path).BuildServiceProvider();
            var client = provider.GetRequiredService<IChatClient>();
            Assert.Equal(name, client.GetService<HeadInferModel>()!.Name);
            Assert.Equal(name, client.GetService<ChatClientMetadata>()!.DefaultModelId);
            Assert.Equal(name, provider.GetRequiredService<ITextGenerationService>().Attributes["ModelId"]);
            Assert.Equal(name, (await client.GetResponseAsync("Hello", new ChatOptions { MaxOutputTokens = 1, ModelId = name })).ModelId);
        }
        finally
        {
            root.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Loading_plan_warnings_reading_and_what_is_forgotten_are_logged()
    {
        var log = new LogRecords();
        var services = new ServiceCollection().AddLogging(b => b.AddProvider(log).SetMinimumLevel(LogLevel.Debug)).AddHeadInferChatClient(DemoModel.Path, configure: o => o.KeptMemory = ByteSize.Zero);
        await using var provider = services.BuildServiceProvider();
        var client = provider.GetRequiredService<IChatClient>();
        var loading = log.All.Where(r => r.Category == typeof(HeadInferModel).FullName).ToList();
        Assert.Equal([1, 2, 3], loading.Select(r => r.Id));
        Assert.All(loading, r => Assert.Equal(LogLevel.Information, r.Level));
        Assert.Contains(client.GetService<HeadInferModel>()!.Plan.ToString(), loading[2].Text, StringComparison.Ordinal);

        log.All.Clear();
        await client.GetResponseAsync("The access code for the old harbor is amber-4821.\n\nWhat is the access code for the old harbor?");
        await client.GetResponseAsync("Hello");
        Assert.Equal([10, 11, 13, 12, 10, 11, 13], log.All.Select(r => r.Id));
        Assert.Equal(LogLevel.Information, log.All[3].Level);
        Assert.Matches(@"Forgot .* MiB of what earlier requests read", log.All[3].Text);
    }

    [Fact]
    public void Warnings_of_the_runtime_reach_the_log_and_who_else_was_named()
    {
        var (log, told) = (new LogRecords(), new List<string>());
        using var factory = LoggerFactory.Create(b => b.AddProvider(log));
        HeadInferRegistration.WithLog(new HeadInferOptions { Warning = told.Add }, factory.CreateLogger<HeadInferModel>()).Warning!("memory cannot be pinned");
        var record = Assert.Single(log.All);
        Assert.Equal((LogLevel.Warning, 4, "memory cannot be pinned"), (record.Level, record.Id, record.Text));
        Assert.Equal(["memory cannot be pinned"], told);
    }

    private sealed record Inner
    {
        public double? Factor { get; init; }

        public ComputeDevice Kind { get; init; }
    }

    private sealed class Outer
    {
        public Inner? Inner { get; set; }

        public IReadOnlyList<int>? List { get; set; }
    }

    private static IConfigurationSection Section(params (string Key, string Value)[] values) => new ConfigurationBuilder()
        .AddInMemoryCollection(values.Select(v => new KeyValuePair<string, string?>("HeadInfer:" + v.Key, v.Value))).Build().GetSection("HeadInfer");
}
