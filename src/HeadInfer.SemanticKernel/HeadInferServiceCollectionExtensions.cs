using HeadInfer.SemanticKernel;
using Microsoft.Extensions.Configuration;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Registers HeadInfer's chat client.</summary>
/// <remarks>A later registration takes the place of an earlier one with the same key. There is one model to a key, which its services share.</remarks>
/// <example>
/// <code>
/// using HeadInfer.Runtime;
/// using Microsoft.Extensions.AI;
/// using Microsoft.Extensions.DependencyInjection;
///
/// var services = new ServiceCollection();
/// services.AddHeadInferChatClient("path/to/a/model", configure: o =&gt; o.HostMemory = ByteSize.FromGiB(16));
/// await using var provider = services.BuildServiceProvider();
/// Console.WriteLine(await provider.GetRequiredService&lt;IChatClient&gt;().GetResponseAsync("Hello"));
/// </code>
/// </example>
public static class HeadInferChatClientServiceCollectionExtensions
{
    /// <summary>Registers an <see cref="IChatClient"/> over a model folder. The model is loaded when first asked for; the container disposes both.</summary>
    /// <param name="services">where to register</param>
    /// <param name="modelPath">the model folder or GGUF file</param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    /// <param name="configure">sets the model's options, after <c>Configure</c> and before <c>PostConfigure</c></param>
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
        return services.AddHeadInferOptions<HeadInferChatClientOptions>().AddHeadInfer<IChatClient>(serviceId, provider =>
        {
            var options = (serviceId is null ? null : provider.GetKeyedService<HeadInferChatClientOptions>(serviceId))
                ?? provider.GetService<HeadInferChatClientOptions>()
                ?? provider.Options<HeadInferChatClientOptions>(serviceId);
            return new HeadInferChatClient(model ?? provider.HeadInferModel(serviceId), options with { ModelId = options.ModelId ?? serviceId }, provider.GetService<ILoggerFactory>());
        });
    }
}
