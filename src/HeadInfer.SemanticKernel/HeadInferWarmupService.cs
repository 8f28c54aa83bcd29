using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Abstractions;

namespace HeadInfer.SemanticKernel;

/// <summary>Loads models while the host goes on starting, so that its health can be asked meanwhile. One after another: each may take all of the disk.</summary>
internal sealed class HeadInferWarmupService(IServiceProvider services) : BackgroundService
{
    // Loading blocks the thread that resolves the model, so it gets one of the pool's.
    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.Run(() => WarmAsync(stoppingToken), CancellationToken.None);

    private async Task WarmAsync(CancellationToken stopping)
    {
        ILogger logger = services.GetService<ILogger<HeadInferModel>>() ?? NullLogger<HeadInferModel>.Instance;
        foreach (var warmup in services.GetServices<ModelWarmup>())
        {
            try
            {
                stopping.ThrowIfCancellationRequested();
                var model = services.HeadInferModel(warmup.ServiceId);
                warmup.State = WarmupState.Ready; // what the first pass meets, a full queue say, keeps no other from being answered
                await PassAsync(model, stopping).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return; // the host stops
            }
            catch (Exception e) when (warmup.State.IsReady)
            {
                HeadInferLog.NotWarm(logger, e, warmup.Name);
            }
            catch (Exception e)
            {
                warmup.State = new WarmupState(IsReady: false, e);
                HeadInferLog.NotLoaded(logger, e, warmup.Name);
            }
        }
    }

    // The first pass compiles and sets up much that later ones find. Under a key of its own nobody meets what it read.
    private static async Task PassAsync(HeadInferModel model, CancellationToken stopping)
    {
        using var session = model.CreateSession(nameof(HeadInferWarmupService));
        await foreach (var _ in session.GenerateAsync(model.Tokenizer.Encode("Hello", cancellationToken: stopping), new GenerationOptions { MaxTokens = 2 }, cancellationToken: stopping).ConfigureAwait(false))
        {
        }
    }
}
