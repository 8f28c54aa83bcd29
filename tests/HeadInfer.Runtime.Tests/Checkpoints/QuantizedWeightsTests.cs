using System.Text.Json;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Every layout of quantized weights against its definition, to the bit.</summary>
public sealed class QuantizedWeightsTests() : NativeTest(ComputeDevice.Cpu)
{
    public static TheoryData<string> Layouts() => [.. QuantizedLayouts.All().Select(l => l.Name)];

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Weights_are_those_of_the_definition(string name)
    {
        var layout = QuantizedLayouts.All().Single(l => l.Name == name);
        using var folder = new ScratchFolder();
        using var checkpoint = Open(folder, layout);
        Assert.Equal([QuantizedLayout.Weight], checkpoint.Names);
        checkpoint.Require(QuantizedLayout.Weight, layout.Shape);
        Assert.Equal(ScalarType.BFloat16, checkpoint.Type);
        using var read = empty(layout.Shape, ScalarType.Float32);
        checkpoint.Read(QuantizedLayout.Weight, read);
        Assert.Equal(layout.Weights, TensorMemory.Span(read).ToArray());
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Rows_are_the_same_however_many_are_read_at_once(string name)
    {
        var layout = QuantizedLayouts.All().Single(l => l.Name == name);
        using var folder = new ScratchFolder();
        using var checkpoint = Open(folder, layout);
        var tensor = checkpoint.Tensors[QuantizedLayout.Weight];
        var row = tensor.Packing.RowBytes(tensor.Columns);
        var whole = new byte[tensor.Length];
        checkpoint.ReadBytes(tensor, 0, whole);
        for (var start = 0L; start < tensor.Rows; start += 3)
        {
            var some = new byte[Math.Min(3, tensor.Rows - start) * row];
            checkpoint.ReadBytes(tensor, start * row, some);
            Assert.Equal(whole.AsSpan((int)(start * row), some.Length).ToArray(), some);
        }

        Assert.True(checkpoint.AreSame(QuantizedLayout.Weight, QuantizedLayout.Weight));
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public unsafe void A_part_of_a_row_is_that_part_of_its_numbers(string name)
    {
        var layout = QuantizedLayouts.All().Single(l => l.Name == name);
        using var folder = new ScratchFolder();
        using var checkpoint = Open(folder, layout);
        var tensor = checkpoint.Tensors[QuantizedLayout.Weight];
        var packing = Assert.IsAssignableFrom<GroupedPacking>(tensor.Packing);
        var columns = (int)tensor.Columns;
        var row = new byte[packing.RowBytes(columns)];
        checkpoint.ReadBytes(tensor, row.Length, row); // the second
        var part = new float[columns];
        fixed (byte* bytes = row)
        fixed (float* to = part)
        {
            for (var first = 0; first < columns; first += 6)
            {
                packing.UnpackPart(bytes, columns, first, Math.Min(6, columns - first), to + first);
            }
        }

        Assert.Equal(layout.Weights[columns..(2 * columns)], part);
    }

    [Fact]
    public void Experts_of_gpt_oss_are_read_from_a_published_layout()
    {
        var path = Path.GetDirectoryName(Fixtures.Shared("fixtures", "families", "models", "q-mxfp4-gpt-oss", "model.safetensors"));
        Assert.SkipWhen(path is null, "the larger collection of fixtures is not here");
        const string stem = "model.layers.0.mlp.experts.gate_up_proj";
        using var json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(path, "config.json")));
        using var checkpoint = Checkpoint.Open(path, QuantizationConfig.Read(new ConfigReader(json.RootElement, Path.Combine(path, "config.json"))));
        using var stored = SafetensorsFile.Open(Path.Combine(path, "model.safetensors"));
        byte[] Bytes(string name)
        {
            var bytes = new byte[stored.Entries[name].Length];
            stored.Read(stored.Entries[name], 0, bytes);
            return bytes;
        }

        var (blocks, scales) = (Bytes(stem + "_blocks"), Bytes(stem + "_scales"));
        using var read = empty([4, 128, 64], ScalarType.Float32);
        checkpoint.Read(stem + ".weight", read);
        Assert.Equal(Enumerable.Range(0, 4 * 128 * 64).Select(i => (float)(QuantizedLayouts.E2M1((blocks[i / 2] >> (i % 2 * 4)) & 15) * Math.Pow(2, scales[i / 32] - 127))), TensorMemory.Span(read).ToArray());
        Assert.DoesNotContain(checkpoint.Names, Quantization.IsPart);
    }

    private static Checkpoint Open(ScratchFolder folder, QuantizedLayout layout)
    {
        File.WriteAllBytes(folder.File("model.safetensors"), layout.File);
        using var json = JsonDocument.Parse($$"""{"quantization_config": {{layout.Config}}}""");
        return Checkpoint.Open(folder.Path, QuantizationConfig.Read(new ConfigReader(json.RootElement, folder.File("config.json"))));
    }
}
