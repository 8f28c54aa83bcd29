using HeadInfer.SemanticKernel;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace Microsoft.SemanticKernel;

/// <summary>Registers HeadInfer's services for kernels, on a kernel's builder or on a collection of services.</summary>
/// <remarks>
/// A later registration takes the place of an earlier one with the same key. There is one model to a key, which its services
/// share. A kernel that was built from a builder disposes nothing: dispose its services, which own the model, by
/// <c>((IDisposable)kernel.Services).Dispose()</c>.
/// </remarks>
/// <example>
/// <code>
/// using Microsoft.SemanticKernel;
///
/// var kernel = Kernel.CreateBuilder().AddHeadInferChatCompletion("path/to/a/model").Build();
/// using var services = (IDisposable)kernel.Services; // frees the model at the end
/// Console.WriteLine(await kernel.InvokePromptAsync&lt;string&gt;("Hello"));
/// </code>
/// </example>
public static class HeadInferKernelExtensions
{
    /// <summary>Registers chat completion, and the chat client below it, over a model folder. The model is loaded when first asked for, and belongs to the container.</summary>
    /// <param name="builder">the kernel's builder</param>
    /// <param name="modelPath">the model folder or GGUF file</param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    /// <param name="configure">sets the model's options, after <c>Configure</c> and before <c>PostConfigure</c></param>
    public static IKernelBuilder AddHeadInferChatCompletion(this IKernelBuilder builder, string modelPath, string? serviceId = null, Action<HeadInferOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddHeadInferChatCompletion(modelPath, serviceId, configure);
        return builder;
    }

    /// <summary>Registers chat completion, and the chat client below it, over a loaded model.</summary>
    /// <param name="builder">the kernel's builder</param>
    /// <param name="model">the model, which stays the caller's; null takes the container's, by <paramref name="serviceId"/> and else without</param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    public static IKernelBuilder AddHeadInferChatCompletion(this IKernelBuilder builder, HeadInferModel? model = null, string? serviceId = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddHeadInferChatCompletion(model, serviceId);
        return builder;
    }

    /// <summary>Registers chat completion, and the chat client below it, over the model that a configuration section names.</summary>
    /// <param name="builder">the kernel's builder</param>
    /// <param name="section">has <c>ModelPath</c>, and properties of <see cref="HeadInferOptions"/> by their names, such as <c>"GpuMemory": "24GiB"</c></param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    /// <exception cref="InvalidOperationException">The section has no model path, or a key or value that is not known.</exception>
    public static IKernelBuilder AddHeadInferChatCompletion(this IKernelBuilder builder, IConfiguration section, string? serviceId = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddHeadInferChatCompletion(section, serviceId);
        return builder;
    }

    /// <inheritdoc cref="AddHeadInferChatCompletion(IKernelBuilder, string, string?, Action{HeadInferOptions}?)"/>
    /// <param name="services">where to register</param>
    public static IServiceCollection AddHeadInferChatCompletion(this IServiceCollection services, string modelPath, string? serviceId = null, Action<HeadInferOptions>? configure = null) =>
        services.AddHeadInferChatClient(modelPath, serviceId, configure).AddChatCompletion(serviceId);

    /// <inheritdoc cref="AddHeadInferChatCompletion(IKernelBuilder, HeadInferModel?, string?)"/>
    /// <param name="services">where to register</param>
    public static IServiceCollection AddHeadInferChatCompletion(this IServiceCollection services, HeadInferModel? model = null, string? serviceId = null) =>
        services.AddHeadInferChatClient(model, serviceId).AddChatCompletion(serviceId);

    /// <inheritdoc cref="AddHeadInferChatCompletion(IKernelBuilder, IConfiguration, string?)"/>
    /// <param name="services">where to register</param>
    public static IServiceCollection AddHeadInferChatCompletion(this IServiceCollection services, IConfiguration section, string? serviceId = null) =>
        services.AddHeadInferChatClient(section, serviceId).AddChatCompletion(serviceId);

    /// <inheritdoc cref="HeadInferChatClientServiceCollectionExtensions.AddHeadInferChatClient(IServiceCollection, string, string?, Action{HeadInferOptions}?)"/>
    /// <param name="builder">the kernel's builder</param>
    public static IKernelBuilder AddHeadInferChatClient(this IKernelBuilder builder, string modelPath, string? serviceId = null, Action<HeadInferOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddHeadInferChatClient(modelPath, serviceId, configure);
        return builder;
    }

    /// <inheritdoc cref="HeadInferChatClientServiceCollectionExtensions.AddHeadInferChatClient(IServiceCollection, HeadInferModel?, string?)"/>
    /// <param name="builder">the kernel's builder</param>
    public static IKernelBuilder AddHeadInferChatClient(this IKernelBuilder builder, HeadInferModel? model = null, string? serviceId = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddHeadInferChatClient(model, serviceId);
        return builder;
    }

    /// <inheritdoc cref="HeadInferChatClientServiceCollectionExtensions.AddHeadInferChatClient(IServiceCollection, IConfiguration, string?)"/>
    /// <param name="builder">the kernel's builder</param>
    public static IKernelBuilder AddHeadInferChatClient(this IKernelBuilder builder, IConfiguration section, string? serviceId = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddHeadInferChatClient(section, serviceId);
        return builder;
    }

    /// <summary>Registers text generation without a chat template, over a model folder. The model is loaded when first asked for, and belongs to the container. A kernel prefers it to chat where a prompt could go to either.</summary>
    /// <param name="builder">the kernel's builder</param>
    /// <param name="modelPath">the model folder or GGUF file</param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    /// <param name="configure">sets the model's options, after <c>Configure</c> and before <c>PostConfigure</c></param>
    public static IKernelBuilder AddHeadInferTextGeneration(this IKernelBuilder builder, string modelPath, string? serviceId = null, Action<HeadInferOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddHeadInferTextGeneration(modelPath, serviceId, configure);
        return builder;
    }

    /// <summary>Registers text generation without a chat template, over a loaded model. A kernel prefers it to chat where a prompt could go to either.</summary>
    /// <param name="builder">the kernel's builder</param>
    /// <param name="model">the model, which stays the caller's; null takes the container's, by <paramref name="serviceId"/> and else without</param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    public static IKernelBuilder AddHeadInferTextGeneration(this IKernelBuilder builder, HeadInferModel? model = null, string? serviceId = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddHeadInferTextGeneration(model, serviceId);
        return builder;
    }

    /// <summary>Registers text generation without a chat template, over the model that a configuration section names. A kernel prefers it to chat where a prompt could go to either.</summary>
    /// <param name="builder">the kernel's builder</param>
    /// <param name="section">has <c>ModelPath</c>, and properties of <see cref="HeadInferOptions"/> by their names, such as <c>"GpuMemory": "24GiB"</c></param>
    /// <param name="serviceId">key of the services; null registers them without one</param>
    /// <exception cref="InvalidOperationException">The section has no model path, or a key or value that is not known.</exception>
    public static IKernelBuilder AddHeadInferTextGeneration(this IKernelBuilder builder, IConfiguration section, string? serviceId = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddHeadInferTextGeneration(section, serviceId);
        return builder;
    }

    /// <inheritdoc cref="AddHeadInferTextGeneration(IKernelBuilder, string, string?, Action{HeadInferOptions}?)"/>
    /// <param name="services">where to register</param>
    public static IServiceCollection AddHeadInferTextGeneration(this IServiceCollection services, string modelPath, string? serviceId = null, Action<HeadInferOptions>? configure = null) =>
        services.AddHeadInferModel(modelPath, serviceId, configure).AddTextGeneration(model: null, serviceId);

    /// <inheritdoc cref="AddHeadInferTextGeneration(IKernelBuilder, HeadInferModel?, string?)"/>
    /// <param name="services">where to register</param>
    public static IServiceCollection AddHeadInferTextGeneration(this IServiceCollection services, HeadInferModel? model = null, string? serviceId = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        return services.AddTextGeneration(model, serviceId);
    }

    /// <inheritdoc cref="AddHeadInferTextGeneration(IKernelBuilder, IConfiguration, string?)"/>
    /// <param name="services">where to register</param>
    public static IServiceCollection AddHeadInferTextGeneration(this IServiceCollection services, IConfiguration section, string? serviceId = null)
    {
        var (path, configure) = HeadInferConfiguration.Read(section);
        return services.AddHeadInferTextGeneration(path, serviceId, configure);
    }
}
