using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace HeadInfer.SemanticKernel;

/// <summary>Says whether the models that <see cref="HeadInferWarmupExtensions.AddHeadInferWarmup"/> loads can answer.</summary>
/// <remarks>
/// Register it by <c>services.AddHealthChecks().AddCheck&lt;HeadInferHealthCheck&gt;("headinfer")</c>. It is healthy once all of
/// them are loaded. Until then, and if one cannot be loaded, it has the registration's failure status (default: unhealthy),
/// with the reason. Its data have the state of each model by its key; <c>headinfer</c> is the one without a key.
/// </remarks>
/// <param name="services">the container</param>
public sealed class HeadInferHealthCheck(IServiceProvider services) : IHealthCheck
{
    /// <inheritdoc/>
    /// <exception cref="InvalidOperationException">No model is loaded at start.</exception>
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(context);
        var models = services.GetServices<ModelWarmup>().DistinctBy(m => m.Name).Select(m => (m.Name, m.State, Text: m.ToString())).ToList();
        if (models.Count == 0)
        {
            throw new InvalidOperationException("No model is loaded at start, so nothing can be said of its health. Call AddHeadInferWarmup where the model is registered.");
        }

        var missing = models.Where(m => !m.State.IsReady).ToList();
        return Task.FromResult(new HealthCheckResult(
            missing.Count == 0 ? HealthStatus.Healthy : context.Registration.FailureStatus,
            string.Join(" ", (missing.Count == 0 ? models : missing).Select(m => m.Text)),
            missing.Select(m => m.State.Failure).FirstOrDefault(f => f is not null),
            models.ToDictionary(m => m.Name, object (m) => m.State.ToString())));
    }
}
