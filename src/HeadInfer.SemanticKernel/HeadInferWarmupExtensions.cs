using HeadInfer.SemanticKernel;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Loads models when a host starts.</summary>
public static class HeadInferWarmupExtensions
{
    /// <summary>Loads the model of a key when the host starts, instead of at its first request. Call it once for each key.</summary>
    /// <remarks>
    /// The host starts meanwhile. Requests that come before the model is there wait for it. A failure is logged, and the next
    /// request tries again. <see cref="HeadInferHealthCheck"/> tells how far it is. A host that stops ends the loading.
    /// </remarks>
    /// <param name="services">where the model is registered, before or after</param>
    /// <param name="serviceId">key of the model; null is the one without a key</param>
    public static IServiceCollection AddHeadInferWarmup(this IServiceCollection services, string? serviceId = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        return services.AddSingleton(_ => new ModelWarmup(serviceId)).AddHostedService<HeadInferWarmupService>();
    }
}
