using System.Text.Json;
using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Folders of quantized weights: published ones by their references, and those that contradict themselves by what they say.</summary>
public sealed class QuantizedFilesTests() : NativeTest(ComputeDevice.Cpu)
{
    private const string File = "model.safetensors";

    [Theory]
    [InlineData("q-awq")]
    [InlineData("q-ct-fp8-channel")]
    [InlineData("q-ct-int4")]
    [InlineData("q-ct-int8-channel")]
    [InlineData("q-fp8-block")]
    [InlineData("q-gptq")]
    [InlineData("q-gptq-act-order")]
    [InlineData("q-nvfp4")]
    public async Task Published_layouts_give_the_logits_of_the_reference(string name)
    {
        var config = Fixtures.Shared("fixtures", "families", "models", name, "config.json");
        Assert.SkipWhen(config is null, "the larger collection of fixtures is not here");
        var (ok, figure) = await ModelReference.CheckAsync(Path.GetDirectoryName(config)!, ModelReference.On(ModelReference.Layouts.Single(l => l.Name == "odd-mixed").Options, Device));
        Assert.True(ok, figure);
    }

    // As Qwen3-VL's folders of FP8 have them: [experts, inputs, outputs], and a scale for each block.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Experts_of_eight_bits_in_one_tensor_are_named(bool isTold)
    {
        const string stack = "model.layers.0.mlp.experts.gate_up_proj";
        using var folder = new ScratchFolder(Fixtures.Model("qwen3-moe"));
        SafetensorsEdit.Header(folder.File(File), header =>
        {
            void Move(string from, string to, string type, params int[] shape)
            {
                var tensor = header[from]!.DeepClone();
                (tensor["dtype"], tensor["shape"]) = (type, new JsonArray([.. shape.Select(d => (JsonNode)d)]));
                header.Remove(from);
                header[to] = tensor;
            }

            Move("model.layers.0.mlp.gate.weight", stack, "F8_E4M3", 6, 64, 4);
            Move("model.layers.0.self_attn.q_norm.weight", $"{stack}_scale_inv", "F32", 16, 1, 1);
        });
        if (isTold)
        {
            folder.Edit("config.json", "\"model_type\"", "\"quantization_config\": {\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", \"activation_scheme\": \"dynamic\", \"weight_block_size\": [128, 128]}, \"model_type\"");
        }

        var error = await Assert.ThrowsAsync<UnsupportedModelException>(() => HeadInferModel.LoadAsync(folder.Path));
        Assert.Contains($"one tensor of the type F8_E4M3 ('{stack}'), which is not read", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("awq 24x64", "m.scales", null, "lacks the tensor 'm.scales'")]
    [InlineData("awq 24x64", "m.qzeros", null, "lacks the tensor 'm.qzeros'")]
    [InlineData("awq 24x64", "m.qweight", null, "belongs to no weight")]
    [InlineData("awq 24x64", "m.scales", """{"dtype": "I16"}""", "has the type I16; it must be F32 or F16 or BF16")]
    [InlineData("awq 24x64", "m.scales", """{"shape": [24, 2]}""", "'m.qzeros' has 48 bits for each of 2 outputs")]
    [InlineData("awq 24x64", "m.qweight", """{"shape": [32, 6]}""", "'m.qweight' has shape [32, 6]")]
    [InlineData("awq 24x64", "m.qweight", """{"shape": [192]}""", "must have two dimensions")]
    [InlineData("gptq 4 bits 32x96 act v1", "m.g_idx", """{"shape": [48, 2]}""", "it must be [96]")]
    [InlineData("gptq 4 bits 32x96 act v1", "m.g_idx", """{"dtype": "F32"}""", "it must be I32")]
    [InlineData("gptq 4 bits 32x96 act v1", "m.g_idx", """{"data_offsets": [0, 384]}""", "overlap")]
    [InlineData("packed 4 bits 20x64 zeros words act False", "m.weight_shape", null, "lacks the tensor 'm.weight_shape'")]
    [InlineData("packed 4 bits 20x64 zeros words act False", "m.weight_packed", """{"shape": [40, 4]}""", "has 40 rows of 4 words")]
    [InlineData("packed 4 bits 20x64 zeros words act False", "m.weight_zero_point", """{"shape": [4, 3]}""", "it must be [3, 4]")]
    [InlineData("packed 4 bits 20x64 zeros none act False", "m.weight_scale", """{"shape": [2, 20]}""", "it must be [20, 20]")]
    [InlineData("int8 3 groups, per row True", "m.weight_scale", """{"shape": [3, 12]}""", "it must be [12, 12]")]
    [InlineData("int8 3 groups, per row True", "m.weight_zero_point", """{"shape": [36, 1]}""", "it must be [12, 3]")]
    [InlineData("fp8 40x72 by 16x32 F32", "m.weight_scale_inv", null, "lacks the tensor 'm.weight_scale'")]
    [InlineData("fp8 40x72 by 16x32 F32", "m.weight_scale_inv", """{"shape": [1, 9]}""", "it must be [40, 9]")]
    [InlineData("fp8 40x72 by 16x32 F32", "m.weight", """{"dtype": "BOOL"}""", "belongs to no weight")]
    [InlineData("modelopt fp4 groups of 16", "m.weight_scale_2", null, "lacks the tensor 'm.weight_scale_2'")]
    [InlineData("modelopt fp4 groups of 16", "m.weight_scale", """{"dtype": "I8"}""", "it must be F8_E4M3 or U8")]
    [InlineData("modelopt fp4 groups of 16", "m.weight_scale", """{"dtype": "U8"}""", "it must be [12, 3]")]
    [InlineData("mxfp4 experts", "m_blocks", """{"shape": [3, 6, 4, 8]}""", "it must be [experts, outputs, blocks, 16]")]
    [InlineData("mxfp4 experts", "m_scales", """{"shape": [3, 2, 6]}""", "it must be [3, 6, 2]")]
    [InlineData("mxfp4 experts", "m_scales", null, "lacks the tensor 'm_scales'")]
    public void Tensors_that_contradict_each_other_are_named(string layout, string tensor, string? change, string says)
    {
        var error = Fails(layout, header =>
        {
            if (change is null)
            {
                header.Remove(tensor);
                return;
            }

            foreach (var (field, value) in JsonNode.Parse(change)!.AsObject())
            {
                header[tensor]![field] = value!.DeepClone();
            }
        });
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("awq 24x64", "\"group_size\": 32", "\"group_size\": 64", "has 2 groups for 64 columns, and")]
    [InlineData("awq 8x40", "\"group_size\": -1", "\"group_size\": 20", "has 1 groups for 40 columns, and")]
    [InlineData("gptq 4 bits 32x96 act v1", "\"bits\": 4", "\"bits\": 8", "has 4 bits for each of 32 outputs, and")]
    [InlineData("gptq 3 bits 32x96 act v1", "\"group_size\": 32", "\"group_size\": 40", "puts another number of columns into groups than 40 into each of 3")]
    [InlineData("packed 8 bits 20x64 zeros none act False", "\"num_bits\": 8", "\"num_bits\": 4", "says 4 bits")]
    [InlineData("packed 4 bits 20x64 zeros none act False", ", \"group_size\": 32", "", "says groups of no size")]
    [InlineData("fp8 40x72 by 16x32 F32", "[16, 32]", "[16, 16]", "it must be [40, 3]")]
    [InlineData("fp8 40x72 by 16x32 F32", "fp8", "awq\", \"group_size\": 32, \"was\": \"", "it must be [40, 3]")]
    public void A_configuration_that_contradicts_the_tensors_is_named(string layout, string old, string changed, string says)
    {
        var error = Fails(layout, _ => { }, config => config.Replace(old, changed, StringComparison.Ordinal));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_weight_in_two_layouts_is_refused()
    {
        var error = Fails("awq 24x64", header => header["m.weight"] = JsonNode.Parse("""{"dtype": "BF16", "shape": [0, 64], "data_offsets": [0, 0]}"""));
        Assert.Contains("by itself and quantized", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_is_cut_short_is_refused()
    {
        using var folder = new ScratchFolder(Fixtures.Model("q-awq"));
        var bytes = System.IO.File.ReadAllBytes(folder.File(File));
        System.IO.File.WriteAllBytes(folder.File(File), bytes[..^1000]);
        Assert.Contains("truncated", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
        System.IO.File.WriteAllBytes(folder.File(File), bytes);
        Assert.SkipWhen(OperatingSystem.IsWindows(), Fixtures.OpenFilesStay);
        var shorten = new Direct<LoadProgress>(_ => System.IO.File.WriteAllBytes(folder.File(File), bytes[..^1000]));
        Assert.Contains("while it was read", (await Assert.ThrowsAsync<CheckpointException>(() => HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { Device = Device }, shorten))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Scales_of_cached_keys_and_of_activations_are_left_aside()
    {
        using var folder = new ScratchFolder(Fixtures.Model("q-awq"));
        SafetensorsEdit.Header(folder.File(File), header =>
        {
            foreach (var name in (string[])["k_proj.k_scale", "v_proj.v_scale", "k_scale", "q_proj.input_scale"])
            {
                header["model.layers.0.self_attn." + name] = JsonNode.Parse("""{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}""");
            }
        });
        await using var model = await HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { Device = Device });
        Assert.Equal(2, model.Config.Layers);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task A_bias_that_the_model_has_no_place_for_is_nothing_if_it_is_zero(float value)
    {
        using var folder = new ScratchFolder(Fixtures.Model("q-gptq-act-order"));
        SafetensorsEdit.Add(folder.File(File), "model.layers.1.mlp.up_proj.bias", "model.norm.weight", values => Array.Fill(values, value), [256]);
        var load = HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { Device = Device });
        if (value == 0)
        {
            await (await load).DisposeAsync();
        }
        else
        {
            Assert.Contains("up_proj.bias", (await Assert.ThrowsAsync<CheckpointException>(() => load)).Message, StringComparison.Ordinal);
        }
    }

    private static CheckpointException Fails(string name, Action<JsonObject> edit, Func<string, string>? configure = null)
    {
        var layout = QuantizedLayouts.All().Single(l => l.Name == name);
        using var folder = new ScratchFolder();
        System.IO.File.WriteAllBytes(folder.File(File), layout.File);
        SafetensorsEdit.Header(folder.File(File), edit);
        var text = configure?.Invoke(layout.Config) ?? layout.Config;
        Assert.False(configure is not null && text == layout.Config);
        using var json = JsonDocument.Parse($$"""{"quantization_config": {{text}}}""");
        return Assert.Throws<CheckpointException>(() => Checkpoint.Open(folder.Path, QuantizationConfig.Read(new ConfigReader(json.RootElement, folder.File("config.json")))));
    }
}
