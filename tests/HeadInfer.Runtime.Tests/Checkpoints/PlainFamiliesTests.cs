using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Plain loops beside the references of transformers.</summary>
public abstract class PlainFamiliesTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : PlainFamiliesTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : PlainFamiliesTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData("cohere2")]
    [InlineData("gemma2")]
    [InlineData("glm4")]
    [InlineData("glm4-moe")]
    [InlineData("granite")]
    [InlineData("olmo3")]
    [InlineData("qwen2")]
    [InlineData("qwen3-moe")]
    public void Plain_loops_give_the_references(string name)
    {
        var folder = Fixtures.Model(name);
        var (input, expected) = ModelReference.ReadLogits(folder);
        using var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
        var tensors = file.Entries.Values.ToDictionary(e => e.Name, e => GgufConversion.Read(file, e), StringComparer.Ordinal);
        var plain = new PlainGrouped(JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!, tensors).Logits(input);
        Assert.True(PlainComparison.Worst(plain, expected.Chunk(320)) < ModelReference.Tolerance);
    }
}
