using System.Buffers.Binary;
using System.Text.Json.Nodes;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>A checkpoint that shows another's tensors otherwise tells faults as the other does.</summary>
public sealed class CheckpointViewTests
{
    private const string Norm = "model.norm.weight";

    public static TheoryData<string, Type> Views() => new()
    {
        { "glm4", typeof(PairedHeads) }, { "gpt-oss", typeof(StackedExperts) }, { "gemma4", typeof(SharedKeys) }, { "qwen3.5", typeof(SplitRows) }, { "deepseek-v3", typeof(LatentHeads) },
    };

    [Theory]
    [MemberData(nameof(Views))]
    public void What_is_lacking_is_told_with_the_reason_that_its_files_show(string name, Type view)
    {
        using var folder = Edited(name, header =>
        {
            header["model.layers.0.mlp.down_proj.qweight"] = header[Norm]!.DeepClone();
            header.Remove(Norm);
        });
        using var checkpoint = Open(folder, view);
        var error = Assert.Throws<UnsupportedModelException>(() => checkpoint.Require("model.layers.0.other.weight", [1]));
        Assert.Contains("no configuration says how", error.Message, StringComparison.Ordinal);
        Assert.Contains("lacks 'model.layers.0.other.weight'", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Views))]
    public void A_type_that_weights_do_not_have_is_told_as_of_quantized_weights(string name, Type view)
    {
        long[] shape = [];
        using var folder = Edited(name, header =>
        {
            shape = [(long)header[Norm]!["data_offsets"]![1]! - (long)header[Norm]!["data_offsets"]![0]!];
            (header[Norm]!["dtype"], header[Norm]!["shape"]) = ("I8", new JsonArray(shape[0]));
        });
        using var checkpoint = Open(folder, view);
        Assert.Contains("no configuration says how", Assert.Throws<UnsupportedModelException>(() => checkpoint.Require(Norm, shape)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Views))]
    public void A_wrong_shape_is_told_with_the_file_where_one_has_the_tensor(string name, Type view)
    {
        using var folder = Edited(name, _ => { });
        using var checkpoint = Open(folder, view);
        using var stored = Checkpoint.Open(folder.Path);
        Assert.All(checkpoint.Names, tensor => Assert.Contains(
            stored.Has(tensor) ? folder.File("model.safetensors") : folder.Path, Assert.Throws<CheckpointException>(() => checkpoint.Require(tensor, [1, 1, 1])).Message, StringComparison.Ordinal));
    }

    private static Checkpoint Open(ScratchFolder folder, Type view)
    {
        var checkpoint = Checkpoint.Open(folder.Path, ModelConfig.Load(folder.Path));
        Assert.IsType(view, checkpoint);
        return checkpoint;
    }

    // A model's folder with another header of its weights.
    private static ScratchFolder Edited(string name, Action<JsonObject> edit)
    {
        var (folder, source) = (new ScratchFolder(), name == "gpt-oss" ? Fixtures.Model("q-mxfp4-gpt-oss") : Fixtures.Model(name));
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(source, "config.json")))!.AsObject();
        config.Remove("quantization_config");
        File.WriteAllText(folder.File("config.json"), config.ToJsonString());
        var file = File.ReadAllBytes(Path.Combine(source, "model.safetensors"));
        var length = (int)BinaryPrimitives.ReadInt64LittleEndian(file);
        var header = JsonNode.Parse(file.AsSpan(8, length))!.AsObject();
        foreach (var part in header.Select(t => t.Key).Where(Quantization.IsPart).ToList())
        {
            header.Remove(part);
        }

        edit(header);
        var json = System.Text.Encoding.UTF8.GetBytes(header.ToJsonString());
        var size = new byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(size, json.Length);
        File.WriteAllBytes(folder.File("model.safetensors"), [.. size, .. json, .. file[(8 + length)..]]);
        return folder;
    }
}
