using HeadInfer.Runtime;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>An engine that computes nothing, so that requests wait.</summary>
internal static class HeldEngine
{
    /// <summary>Holds a model's engine. It stands when this returns.</summary>
    /// <param name="model">the model</param>
    /// <param name="gate">lets it go on</param>
    /// <returns>done when it goes on</returns>
    public static Task Hold(this HeadInferModel model, ManualResetEventSlim gate)
    {
        var stands = new TaskCompletionSource();
        var held = model.Thread.RunAsync(() =>
        {
            stands.SetResult();
            gate.Wait();
        });
        stands.Task.Wait();
        return held;
    }
}
