using HeadInfer.Runtime;
using HeadInfer.SemanticKernel;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;
using Microsoft.SemanticKernel.TextGeneration;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Registers HeadInfer's chat client.</summary>
public static class HeadInferChatClientServiceCollectionExtensions
{
    /// <summary>Registers an <see cref="IChatClient"/> over a model folder. The model is loaded when first asked for; the container disposes both.</summary>
    /// <param name="services">where to register</param>
    /// <param name="modelPath">the model folder</param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    /// <param name="configure">sets the model's options</param>
    public static IServiceCollection AddHeadInferChatClient(this IServiceCollection services, string modelPath, string? serviceId = null, Action<HeadInferOptions>? configure = null) =>
        services.AddHeadInferModel(modelPath, serviceId, configure).AddHeadInferChatClient(model: null, serviceId);

    /// <summary>Registers an <see cref="IChatClient"/> over the model that a configuration section names.</summary>
    /// <param name="services">where to register</param>
    /// <param name="section">has <c>ModelPath</c>, and properties of <see cref="HeadInferOptions"/> by their names, such as <c>"GpuMemory": "24GiB"</c></param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    /// <exception cref="InvalidOperationException">The section has no model path, or a key or value that is not known.</exception>
    public static IServiceCollection AddHeadInferChatClient(this IServiceCollection services, IConfiguration section, string? serviceId = null)
    {
        var (path, configure) = HeadInferConfiguration.Read(section);
        return services.AddHeadInferChatClient(path, serviceId, configure);
    }

    /// <summary>Registers an <see cref="IChatClient"/> over a loaded model.</summary>
    /// <param name="services">where to register</param>
    /// <param name="model">the model, which stays the caller's; null takes the container's, by <paramref name="serviceId"/> and else without</param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    public static IServiceCollection AddHeadInferChatClient(this IServiceCollection services, HeadInferModel? model = null, string? serviceId = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        return services.AddHeadInfer<IChatClient>(serviceId, provider =>
        {
            var options = (serviceId is null ? null : provider.GetKeyedService<HeadInferChatClientOptions>(serviceId)) ?? provider.GetService<HeadInferChatClientOptions>() ?? new HeadInferChatClientOptions();
            return new HeadInferChatClient(model ?? provider.HeadInferModel(serviceId), options with { ModelId = options.ModelId ?? serviceId }, provider.GetService<ILoggerFactory>());
        });
    }
}

/// <summary>What the registrations share.</summary>
internal static class HeadInferRegistration
{
    public static IServiceCollection AddHeadInferModel(this IServiceCollection services, string modelPath, string? serviceId, Action<HeadInferOptions>? configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(modelPath);
        if (services.Any(s => s.ServiceType == typeof(HeadInferModel) && Equals(s.ServiceKey, serviceId)))
        {
            return services; // chat, text generation and others share one model
        }

        return services.AddHeadInfer(serviceId, _ =>
        {
            var options = new HeadInferOptions();
            configure?.Invoke(options);
            return HeadInfer.Runtime.HeadInferModel.LoadAsync(modelPath, options).GetAwaiter().GetResult();
        });
    }

    public static IServiceCollection AddHeadInfer<T>(this IServiceCollection services, string? serviceId, Func<IServiceProvider, T> make)
        where T : class =>
        serviceId is null ? services.AddSingleton(make) : services.AddKeyedSingleton(serviceId, (provider, _) => make(provider));

    public static HeadInferModel HeadInferModel(this IServiceProvider provider, string? serviceId) =>
        (serviceId is null ? null : provider.GetKeyedService<HeadInferModel>(serviceId))
        ?? provider.GetService<HeadInferModel>()
        ?? throw new InvalidOperationException($"The container has no HeadInferModel{(serviceId is null ? "" : $" with the key '{serviceId}', nor one without a key")}. Register one, or name a model folder.");

    /// <summary>The chat client under a kernel's function invocation. The adapter disposes nothing, so the client is the container's own.</summary>
    public static IServiceCollection AddChatCompletion(this IServiceCollection services, string? serviceId) =>
        services.AddHeadInfer(serviceId, provider =>
        {
            var client = serviceId is null ? provider.GetRequiredService<IChatClient>() : provider.GetRequiredKeyedService<IChatClient>(serviceId);
            return client.AsBuilder().UseKernelFunctionInvocation().Build(provider).AsChatCompletionService(provider);
        });

    public static IServiceCollection AddTextGeneration(this IServiceCollection services, HeadInferModel? model, string? serviceId) =>
        services.AddHeadInfer<ITextGenerationService>(serviceId, provider => new HeadInferTextGenerationService(model ?? provider.HeadInferModel(serviceId), serviceId, provider.GetService<ILoggerFactory>()));
}
