using HeadInfer.Runtime;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>Models that a host loads when it starts, and what its health says meanwhile.</summary>
public sealed class WarmupTests(DemoModel demo) : IClassFixture<DemoModel>, IDisposable
{
    private readonly LogRecords _log = new();

    public void Dispose() => _log.Dispose();

    [Theory]
    [InlineData(null)]
    [InlineData("key")]
    public async Task A_model_is_there_after_the_host_has_loaded_it(string? key)
    {
        using var gate = new ManualResetEventSlim();
        var services = Services().AddHeadInferWarmup(key).AddHeadInferChatClient(DemoModel.Path, key);
        services.AddOptions<HeadInferOptions>(key ?? "").Configure(_ => gate.Wait()); // holds the loading
        await using var provider = services.BuildServiceProvider();
        Assert.Equal(HealthStatus.Unhealthy, (await HealthAsync(provider)).Status);

        var service = await StartAsync(provider);
        var during = await HealthAsync(provider);
        Assert.Equal(HealthStatus.Unhealthy, during.Status);
        Assert.Contains("is being loaded", during.Description, StringComparison.Ordinal);
        gate.Set();
        await service.ExecuteTask!;

        Assert.Contains(_log.All, r => r.Id == 2); // before anybody asks for it
        var after = await HealthAsync(provider);
        Assert.Equal((HealthStatus.Healthy, "is loaded"), (after.Status, after.Data[key ?? "headinfer"]));
        _log.All.Clear();
        var model = provider.GetRequiredKeyedService<IChatClient>(key).GetService<HeadInferModel>()!;
        Assert.DoesNotContain(_log.All, r => r.Id == 1);
        Assert.True(model.Memory.KeptCache > ByteSize.Zero); // it has computed already
    }

    [Fact]
    public async Task A_model_that_cannot_be_loaded_is_named_and_the_next_request_tries_again()
    {
        var folder = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        var services = Services().AddHeadInferChatClient(folder, "one").AddHeadInferChatClient(demo.Model, "two").AddKeyedSingleton("two", demo.Model);
        await using var provider = services.AddHeadInferWarmup("one").AddHeadInferWarmup("two").BuildServiceProvider();
        await (await StartAsync(provider)).ExecuteTask!;

        var failed = await HealthAsync(provider);
        Assert.Equal(HealthStatus.Unhealthy, failed.Status);
        Assert.StartsWith("The model with the key 'one' could not be loaded: ", failed.Description, StringComparison.Ordinal);
        Assert.Contains(folder, failed.Description, StringComparison.Ordinal);
        Assert.IsType<CheckpointException>(failed.Exception);
        Assert.Equal("is loaded", failed.Data["two"]);
        var record = Assert.Single(_log.All, r => r.Level == LogLevel.Error);
        Assert.Equal((6, true), (record.Id, record.Text.Contains("'one'", StringComparison.Ordinal)));

        Directory.CreateDirectory(folder);
        try
        {
            foreach (var file in Directory.EnumerateFiles(DemoModel.Path))
            {
                File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
            }

            provider.GetRequiredKeyedService<IChatClient>("one");
            Assert.Equal(HealthStatus.Healthy, (await HealthAsync(provider)).Status);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task A_model_whose_first_pass_fails_is_loaded_all_the_same()
    {
        await using var model = await HeadInferModel.LoadAsync(DemoModel.Path, new HeadInferOptions { MaxQueuedRequests = 1 });
        using var gate = new ManualResetEventSlim();
        var busy = model.Hold(gate);
        using var session = model.CreateSession();
        await using var waiting = session.GenerateAsync(model.Tokenizer.Encode("Hello"), new GenerationOptions { MaxTokens = 1 }).GetAsyncEnumerator();
        var queued = waiting.MoveNextAsync();
        await using var provider = Services().AddSingleton(model).AddHeadInferWarmup().BuildServiceProvider();
        await (await StartAsync(provider)).ExecuteTask!;
        var health = await HealthAsync(provider);
        gate.Set();
        await busy;
        Assert.True(await queued);
        Assert.Equal(HealthStatus.Healthy, health.Status);
        Assert.Equal((7, LogLevel.Warning), Assert.Single(_log.All, r => r.Level >= LogLevel.Warning) is var record ? (record.Id, record.Level) : default);
    }

    [Fact]
    public async Task A_key_without_a_model_is_ready_when_the_model_without_a_key_is()
    {
        var fails = true;
        var services = Services().AddHeadInferChatClient(DemoModel.Path).AddHeadInferChatClient("no-such-folder", "own").AddHeadInferWarmup("key").AddHeadInferWarmup("own");
        services.Configure<HeadInferOptions>(o => o.PageTokens = fails ? 0 : o.PageTokens);
        await using var provider = services.BuildServiceProvider();
        await (await StartAsync(provider)).ExecuteTask!;
        Assert.StartsWith("could not be loaded", (string)(await HealthAsync(provider)).Data["key"], StringComparison.Ordinal);
        fails = false;
        provider.GetRequiredService<Microsoft.Extensions.Options.IOptionsMonitorCache<HeadInferOptions>>().Clear();
        provider.GetRequiredService<IChatClient>();
        var health = await HealthAsync(provider);
        Assert.Equal("is loaded", health.Data["key"]);
        Assert.StartsWith("could not be loaded", (string)health.Data["own"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_registrations_failure_status_is_kept()
    {
        var services = new ServiceCollection().AddLogging().AddHeadInferChatClient("no-such-folder").AddHeadInferWarmup();
        services.AddHealthChecks().AddCheck<HeadInferHealthCheck>("headinfer", HealthStatus.Degraded);
        await using var provider = services.BuildServiceProvider();
        await (await StartAsync(provider)).ExecuteTask!;
        var health = await HealthAsync(provider);
        Assert.Equal(HealthStatus.Degraded, health.Status);
        Assert.Contains("no-such-folder", health.Description, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_host_that_stops_ends_the_loading()
    {
        using var stopping = new CancellationTokenSource();
        using var reached = new ManualResetEventSlim();
        var services = Services().AddHeadInferChatClient(DemoModel.Path).AddHeadInferWarmup().AddSingleton<IHostApplicationLifetime>(new Lifetime(stopping.Token));
        services.Configure<HeadInferOptions>(_ =>
        {
            reached.Set();
            stopping.Token.WaitHandle.WaitOne();
        });
        await using var provider = services.BuildServiceProvider();
        var service = await StartAsync(provider);
        reached.Wait();
        await stopping.CancelAsync();
        await service.StopAsync(CancellationToken.None);
        Assert.True(service.ExecuteTask!.IsCompletedSuccessfully);
        Assert.DoesNotContain(_log.All, r => r.Id is 2 or 6);
    }

    [Fact]
    public async Task Health_without_a_warmup_says_what_to_call()
    {
        await using var provider = Services().AddHeadInferChatClient(demo.Model).BuildServiceProvider();
        var health = await HealthAsync(provider);
        Assert.Equal(HealthStatus.Unhealthy, health.Status);
        Assert.Contains("AddHeadInferWarmup", health.Description, StringComparison.Ordinal);
    }

    private static async Task<BackgroundService> StartAsync(IServiceProvider provider)
    {
        var service = Assert.Single(provider.GetServices<IHostedService>().OfType<BackgroundService>());
        await service.StartAsync(CancellationToken.None);
        return service;
    }

    private static async Task<HealthReportEntry> HealthAsync(IServiceProvider provider) =>
        (await provider.GetRequiredService<HealthCheckService>().CheckHealthAsync()).Entries["headinfer"];

    private IServiceCollection Services()
    {
        var services = new ServiceCollection().AddLogging(b => b.AddProvider(_log));
        services.AddHealthChecks().AddCheck<HeadInferHealthCheck>("headinfer");
        return services;
    }

    private sealed class Lifetime(CancellationToken stopping) : IHostApplicationLifetime
    {
        public CancellationToken ApplicationStarted => CancellationToken.None;

        public CancellationToken ApplicationStopping => stopping;

        public CancellationToken ApplicationStopped => CancellationToken.None;

        public void StopApplication()
        {
        }
    }
}
