using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Weights;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Models whose last layers come to the device by turns, whether they would fit it or not. They have no tokenizer.</summary>
internal static class StreamedModel
{
    /// <param name="path">the model</param>
    /// <param name="options">of the model</param>
    /// <param name="streamed">the last layers, how many of them; all if there are fewer</param>
    /// <param name="device">opens what computes, on the engine's thread</param>
    public static Task<HeadInferModel> LoadAsync(string path, HeadInferOptions options, int streamed, Func<Compute.Device> device) => Task.Run(() =>
    {
        LibTorch.EnsureLoaded();
        var read = ModelConfig.Load(path);
        using var checkpoint = Checkpoint.Open(path, read);
        var config = DecoderWeights.Untie(read, checkpoint);
        using var check = new WeightCheck(checkpoint);
        DecoderWeights.Read(config, check, device: null);
        return ModelLoading.Create(
            config,
            checkpoint.Tensors.Values.Sum(t => t.Length),
            checkpoint.Type,
            (type, on) =>
            {
                var needs = check.NeedsOn(on, type);
                return new CheckpointWeights(checkpoint, type, on, needs, Math.Min(streamed, needs.Layers.Count));
            },
            options,
            _ => device());
    });
}
