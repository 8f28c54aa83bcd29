using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>What lists tell of a model's weights.</summary>
public sealed class WeightsLabelTests
{
    [Theory]
    [InlineData("gguf/llama-q4_K_M", "Q4_K_M")]
    [InlineData("gguf/llama-q2_K", "Q2_K")]
    [InlineData("models/llama3", "F32")]
    [InlineData("models/q-awq", "int4")]
    [InlineData("models/q-gptq-act-order", "int4")]
    public void Parameters_are_those_of_the_shape_and_the_type_is_the_files(string name, string type)
    {
        var folder = Path.Combine(Fixtures.Root, name);
        var path = name.StartsWith("gguf", StringComparison.Ordinal) ? Path.Combine(folder, "model.gguf") : folder;
        var config = ModelFolder.Configure(path, null, null);
        var shape = new ShapeCheckpoint("x", config, new DensePacking(ScalarType.BFloat16));
        Assert.Equal(new WeightsLabel(shape.Tensors.Values.Sum(t => t.Rows * t.Columns), type), WeightsLabel.Of(path, config));
    }
}
