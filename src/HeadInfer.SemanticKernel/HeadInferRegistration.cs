using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;
using Microsoft.SemanticKernel.TextGeneration;

namespace HeadInfer.SemanticKernel;

/// <summary>What the registrations share.</summary>
internal static class HeadInferRegistration
{
    public static IServiceCollection AddHeadInferModel(this IServiceCollection services, string modelPath, string? serviceId, Action<HeadInferOptions>? configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(modelPath);
        services.AddHeadInferOptions<HeadInferOptions>();

        // Chat, text generation and others share one model, so each registers it: the container takes the last.
        return services.AddSingleton(new ModelFolderOf(serviceId, modelPath, configure)).AddHeadInfer(serviceId, provider => Load(provider, modelPath, serviceId));
    }

    public static IServiceCollection AddHeadInferOptions<T>(this IServiceCollection services)
        where T : class, new()
    {
        services.AddOptions().TryAddTransient<IOptionsFactory<T>, HeadInferOptionsFactory<T>>();
        return services;
    }

    public static IServiceCollection AddHeadInfer<T>(this IServiceCollection services, string? serviceId, Func<IServiceProvider, T> make)
        where T : class =>
        serviceId is null ? services.AddSingleton(make) : services.AddKeyedSingleton(serviceId, (provider, _) => make(provider));

    public static T Options<T>(this IServiceProvider provider, string? serviceId)
        where T : class =>
        provider.GetRequiredService<IOptionsMonitor<T>>().Get(serviceId);

    public static HeadInferModel HeadInferModel(this IServiceProvider provider, string? serviceId) =>
        (serviceId is null ? null : provider.GetKeyedService<HeadInferModel>(serviceId))
        ?? provider.GetService<HeadInferModel>()
        ?? throw new InvalidOperationException($"The container has no HeadInferModel{(serviceId is null ? "" : $" with the key '{serviceId}', nor one without a key")}. Register one, or name a model folder.");

    /// <summary>The chat client under a kernel's function invocation. The adapter disposes nothing, so the client is the container's own.</summary>
    public static IServiceCollection AddChatCompletion(this IServiceCollection services, string? serviceId) =>
        services.AddHeadInfer(serviceId, provider =>
        {
            var client = serviceId is null ? provider.GetRequiredService<IChatClient>() : provider.GetRequiredKeyedService<IChatClient>(serviceId);
            return client.AsBuilder().Use(inner => new CutCallsAsText(inner)).UseKernelFunctionInvocation().Build(provider).AsChatCompletionService(provider);
        });

    public static IServiceCollection AddTextGeneration(this IServiceCollection services, HeadInferModel? model, string? serviceId) =>
        services.AddHeadInfer<ITextGenerationService>(serviceId, provider => new HeadInferTextGenerationService(model ?? provider.HeadInferModel(serviceId), serviceId, provider.GetService<ILoggerFactory>()));

    /// <summary>The same options, with warnings to the log as well.</summary>
    internal static HeadInferOptions WithLog(HeadInferOptions options, ILogger logger) =>
        options with { Warning = options.Warning + (warning => HeadInferLog.Warned(logger, warning)) };

    private static HeadInferModel Load(IServiceProvider provider, string modelPath, string? serviceId)
    {
        ILogger logger = provider.GetService<ILogger<HeadInferModel>>() ?? NullLogger<HeadInferModel>.Instance;
        var others = provider.GetServices<ModelFolderOf>().Where(f => f.ServiceId == serviceId && f.Path != modelPath).Select(f => f.Path).Distinct().ToList();
        if (others.Count > 0)
        {
            HeadInferLog.Replaced(logger, serviceId is null ? "without a key" : $"with the key '{serviceId}'", modelPath, string.Join(", ", others));
        }

        var options = WithLog(provider.Options<HeadInferOptions>(serviceId), logger);
        var clock = Stopwatch.StartNew();
        HeadInferLog.Loading(logger, modelPath);
        var stopping = provider.GetService<IHostApplicationLifetime>()?.ApplicationStopping ?? CancellationToken.None;
        var model = Runtime.HeadInferModel.LoadAsync(modelPath, options, cancellationToken: stopping).GetAwaiter().GetResult();
        HeadInferLog.Loaded(logger, model.Name, clock.Elapsed.TotalSeconds, model.Device);
        HeadInferLog.Planned(logger, model.Name, model.Plan.ToString());
        foreach (var warmup in provider.GetServices<ModelWarmup>().Where(w => w.ServiceId == serviceId || (serviceId is null && !provider.HasModel(w.ServiceId))))
        {
            warmup.State = WarmupState.Ready;
        }

        return model;
    }

    // Otherwise the model without a key stands for it.
    private static bool HasModel(this IServiceProvider provider, string? serviceId) =>
        provider.GetService<IServiceProviderIsKeyedService>()?.IsKeyedService(typeof(HeadInferModel), serviceId) == true;
}
