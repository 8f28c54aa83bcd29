using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Sessions;

/// <summary>Where a layer's weights lie between its turns changes no bit of what is computed.</summary>
public abstract class StreamedLayersTests(ComputeDevice device) : NativeTest(device)
{
    private static readonly HeadInferOptions Odd = new() { PageTokens = 8, TileTokens = 16, SegmentTokens = 32, ChunkTokens = 16, HeadGroupSize = 1, Placement = _ => HeadPlacement.Streamed };

    public sealed class OnCpu() : StreamedLayersTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : StreamedLayersTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData("llama3")]
    [InlineData("qwen2")]      // has biases
    [InlineData("qwen3-moe")]
    [InlineData("gemma2")]     // four layers
    [InlineData("nemotron-h-moe")] // layers of one part
    [InlineData("falcon-h1")]
    [InlineData("lfm2-bias")]
    [InlineData("apertus")] // numbers of activations
    [InlineData("gguf/llama-q4_K_M/model.gguf")]
    public async Task Logits_and_tokens_are_those_of_weights_that_stay(string name)
    {
        var path = name.Contains('/', StringComparison.Ordinal) ? Path.Combine(Fixtures.Root, name) : Fixtures.Model(name);
        foreach (var type in (ComputeType?[])(Device == ComputeDevice.Cuda ? [ComputeType.Float32, ComputeType.BFloat16] : [null]))
        {
            var expected = await Run(path, streamed: 0, type);
            foreach (var streamed in (int[])[1, 2, 3, 4])
            {
                var got = await Run(path, streamed, type);
                Assert.Equal(expected.Tokens, got.Tokens);
                Assert.Equal(expected.Logits, got.Logits);
            }
        }
    }

    // Layers take turns in two slots. Without waits a product is of the weights before. A prompt of one segment needs no copies else.
    [Fact]
    public async Task A_wait_that_is_missing_shows()
    {
        Assert.SkipWhen(Device == ComputeDevice.Cuda, "a GPU's queues cannot be told to ignore waits");
        int[] prompt = [1, 2, 3, 4, 5];
        async Task<float[]> Logits(int streamed, Func<Compute.Device> on)
        {
            await using var model = await StreamedModel.LoadAsync(Fixtures.Model("llama3"), Odd with { Device = Device }, streamed, on);
            using var session = model.CreateSession();
            return [.. (await session.LogitsAsync(prompt)).SelectMany(l => l)];
        }

        var expected = await Logits(streamed: 0, () => new LateDevice(0, TimeSpan.Zero));
        for (var attempt = 0; attempt < 20; attempt++)
        {
            Assert.Equal(expected, await Logits(streamed: 3, () => new LateDevice(attempt, TimeSpan.FromMilliseconds(5))));
            var careless = await Logits(streamed: 3, () => new LateDevice(attempt, TimeSpan.FromMilliseconds(5 * (attempt + 1))) { IgnoreWaits = true }); // a busy machine computes late too
            if (!expected.SequenceEqual(careless))
            {
                return;
            }
        }

        Assert.Fail("without waits nothing is wrong either: the case shows nothing");
    }

    private async Task<(List<int> Tokens, float[] Logits)> Run(string path, int streamed, ComputeType? type)
    {
        var options = Odd with { Device = Device, ComputeType = type };
        await using var model = await StreamedModel.LoadAsync(path, options, streamed, () => Device == ComputeDevice.Cuda ? NewDevice() : new LateDevice(streamed, TimeSpan.FromMilliseconds(1)) { OverwritesPinned = true });
        using var session = model.CreateSession();
        int[] prompt = [.. Enumerable.Range(0, 60).Select(i => (i * 7) % 300)];
        var logits = await session.LogitsAsync(prompt);
        session.Truncate(0);
        var tokens = new List<int>();
        await foreach (var step in session.GenerateAsync(prompt, new GenerationOptions { MaxTokens = 12, StopTokens = [] }))
        {
            tokens.Add(step.TokenId);
        }

        return (tokens, [.. logits.SelectMany(l => l)]);
    }
}
