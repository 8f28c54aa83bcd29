using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Llama 4 beside a part that sees, and what its small reference model is too short for.</summary>
public abstract class Llama4Tests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : Llama4Tests(ComputeDevice.Cpu);

    public sealed class OnCuda() : Llama4Tests(ComputeDevice.Cuda);

    private static string Folder => Fixtures.Model("llama4");

    [Fact]
    public async Task Beside_a_part_that_sees_the_text_is_the_reference()
    {
        using var folder = new ScratchFolder(Folder);
        var weights = folder.File("model.safetensors");
        SafetensorsEdit.Add(weights, "vision_model.class_embedding", "model.norm.weight", _ => { });
        SafetensorsEdit.Add(weights, "multi_modal_projector.linear_1.weight", "lm_head.weight", _ => { });
        SafetensorsEdit.Header(weights, header =>
        {
            foreach (var name in header.Select(t => t.Key).Where(n => n.StartsWith("model.", StringComparison.Ordinal) || n == "lm_head.weight").ToList())
            {
                var tensor = header[name]!;
                header.Remove(name);
                header[$"language_model.{name}"] = tensor;
            }
        });
        var text = JsonNode.Parse(File.ReadAllText(folder.File("config.json")))!.AsObject();
        text.Remove("architectures");
        text.Remove("layer_types"); // the first configurations have neither
        text.Remove("moe_layers");
        File.WriteAllText(folder.File("config.json"), new JsonObject { ["architectures"] = new JsonArray("Llama4ForConditionalGeneration"), ["model_type"] = "llama4", ["vision_config"] = new JsonObject(), ["text_config"] = text }.ToJsonString());
        var (ok, figure) = await ModelReference.CheckAsync(folder.Path, ModelReference.On(ModelReference.Layouts.Single(l => l.Name == "odd-mixed").Options, Device));
        Assert.True(ok, figure);
    }

    // llama.cpp's src/models/llama4.cpp: chunks, and by what queries grow, are in no file. So the folder has those of all published models.
    [Fact]
    public async Task A_converted_folder_is_the_folders_model()
    {
        using ScratchFolder folder = new(Folder), converted = new();
        folder.Edit("config.json", "\"attention_chunk_size\": 32", "\"attention_chunk_size\": 8192");
        GgufConversion.Of(folder.Path, architecture: "llama4").Write(converted.File("m.gguf"));
        int[] tokens = [.. Enumerable.Range(0, 100).Select(i => ((i * 53) + 7) % 320)];
        var (expected, answer) = await Run(folder.Path, tokens);
        var warnings = new List<string>();
        var (got, same) = await Run(converted.File("m.gguf"), tokens, warnings.Add);
        Assert.Empty(warnings);
        Assert.Equal(answer, same);
        Assert.True(expected.Zip(got, Worst).Max() < 1e-5);
        var (ofFolder, ofFile) = (ModelConfig.Load(folder.Path), ModelConfig.Load(converted.File("m.gguf")));
        Assert.Equal(ofFolder.Windows, ofFile.Windows);
        Assert.Equal(ofFolder.ExpertLayers.Order(), ofFile.ExpertLayers.Order());
        Assert.Equal((ofFolder.QueryGrowth, ofFolder.Routing, ofFolder.QkNorm, ofFolder.SharedExpertSize, ofFolder.IntermediateSize), (ofFile.QueryGrowth, ofFile.Routing, ofFile.QkNorm, ofFile.SharedExpertSize, ofFile.IntermediateSize));

        // Maverick's heads have no norms, and what has no chunks is another model.
        GgufConversion.Of(folder.Path, architecture: "llama4").Without("llama4.expert_count").With("llama4.expert_count", 128).Write(converted.File("maverick.gguf"));
        Assert.Equal(HeadNorm.None, ModelConfig.Load(converted.File("maverick.gguf")).QkNorm);
        GgufConversion.Of(folder.Path, architecture: "llama4").With("llama4.attention.sliding_window", 0).Write(converted.File("whole.gguf"));
        Assert.Contains("without chunks", Assert.Throws<UnsupportedModelException>(() => ModelConfig.Load(converted.File("whole.gguf"))).Message, StringComparison.Ordinal);
    }

    // The last layer does not rotate, and its queries change nothing but the logits of their own tokens. So growth of a length is a factor of its query matrix.
    [Fact]
    public async Task Queries_of_layers_that_do_not_rotate_grow_with_whole_lengths()
    {
        const int length = 40;
        const double scale = 3;
        using ScratchFolder tuned = new(Folder), scaled = new(Folder), plain = new(Folder);
        tuned.Edit("config.json", "\"floor_scale\": 8192", $"\"floor_scale\": {length}");
        tuned.Edit("config.json", "\"attn_scale\": 0.1", $"\"attn_scale\": {scale}");
        plain.Edit("config.json", "\"attn_temperature_tuning\": true", "\"attn_temperature_tuning\": false");
        const string query = "model.layers.3.self_attn.q_proj.weight";
        var factor = (float)(1 + (scale * Math.Log(2)));
        SafetensorsEdit.Add(scaled.File("model.safetensors"), "scaled", query, values => Array.ForEach([.. Enumerable.Range(0, values.Length)], i => values[i] *= factor));
        SafetensorsEdit.Header(scaled.File("model.safetensors"), header =>
        {
            var its = header["scaled"]!.DeepClone();
            header.Remove("scaled");
            header[query] = its;
        });

        int[] tokens = [.. Enumerable.Range(0, (2 * length) - 1).Select(i => ((i * 53) + 7) % 320)];
        var (ofTuned, answer) = await Run(tuned.Path, tokens);
        var (ofScaled, same) = await Run(scaled.Path, tokens);
        var (ofPlain, _) = await Run(plain.Path, tokens);
        for (var position = 0; position < tokens.Length; position++)
        {
            var (expected, other) = position < length - 1 ? (ofPlain, ofScaled) : (ofScaled, ofPlain); // positions are counted from 1
            Assert.True(Worst(ofTuned[position], expected[position]) < 1e-4, $"{position}: off by {Worst(ofTuned[position], expected[position])}");
            Assert.True(position == 0 || Worst(ofTuned[position], other[position]) > 1e-4, $"{position} shows nothing");
        }

        Assert.Equal(same, answer); // of steps, all within the second length
    }

    // Logits of a prompt, and what follows its first 45 tokens.
    private async Task<(IReadOnlyList<float[]> Logits, List<int> Answer)> Run(string folder, int[] tokens, Action<string>? warn = null)
    {
        await using var model = await Load(folder, new HeadInferOptions { SegmentTokens = 17, PageTokens = 8, Warning = warn });
        using var session = model.CreateSession();
        var logits = await session.LogitsAsync(tokens);
        session.Truncate(0);
        var answer = new List<int>();
        await foreach (var step in session.GenerateAsync(tokens[..45], new GenerationOptions { MaxTokens = 30, StopTokens = [] }))
        {
            answer.Add(step.TokenId);
        }

        return ([.. logits], answer);
    }

    private static float Worst(float[] a, float[] b) => a.Zip(b, (x, y) => Math.Abs(x - y)).Max();
}
