using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Tests.Support;
using HeadInfer.Text;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Files with bytes changed: each loads, or fails with a typed error.</summary>
/// <remarks>The tests' time limit is what finds a hang.</remarks>
public sealed class ByteFlipTests
{
    private const int Runs = 2000;

    private static string Tokenizers => Path.Combine(Fixtures.Root, "tokenizers");

    [Fact]
    public void Safetensors_load_or_fail_with_a_typed_error()
    {
        var bytes = File.ReadAllBytes(Path.Combine(Fixtures.Model("qwen3-moe"), "model.safetensors"));
        var header = 8 + (int)BitConverter.ToInt64(bytes);
        Flip(bytes, header, "model.safetensors", seed: 31, folder =>
        {
            using var file = SafetensorsFile.Open(folder.File("model.safetensors"));
            return file.Entries.Count;
        });
    }

    [Fact]
    public void Configurations_load_or_fail_with_a_typed_error()
    {
        var models = Directory.GetDirectories(Path.Combine(Fixtures.Root, "models")).Order(StringComparer.Ordinal).ToList();
        foreach (var (model, i) in models.Select((m, i) => (m, i)))
        {
            var bytes = File.ReadAllBytes(Path.Combine(model, "config.json"));
            Flip(bytes, bytes.Length, "config.json", seed: 32 + i, folder => ModelConfig.Load(folder.Path), Runs / models.Count);
        }
    }

    [Fact]
    public void Tokenizer_files_load_or_fail_with_a_typed_error()
    {
        foreach (var (style, i) in Directory.GetDirectories(Tokenizers).Order(StringComparer.Ordinal).Select((s, i) => (s, i)))
        {
            var bytes = Small(Path.Combine(style, "tokenizer.json"));
            Flip(bytes, bytes.Length, "tokenizer.json", seed: 42 + i, UseTokenizer, Runs / 4);
        }
    }

    [Fact]
    public void Sentencepiece_models_load_or_fail_with_a_typed_error()
    {
        (string, float, int)[] pieces =
        [
            ("<unk>", 0, SentencePieceWriter.Unknown), ("<s>", 0, SentencePieceWriter.Control), ("</s>", 0, SentencePieceWriter.Control), ("<|im_end|>", 0, SentencePieceWriter.UserDefined),
            .. Enumerable.Range(0, 256).Select(b => ($"<0x{b:X2}>", 0f, SentencePieceWriter.Byte)),
            .. "\u2581abcdefghijklmnopqrstuvwxyz".Select((c, i) => (c.ToString(), -100f - i, SentencePieceWriter.Normal)),
            .. ((string[])["he", "th", "the", "\u2581the", "sh", "ip", "ship", "\u2581s"]).Select((t, i) => (t, -1f - i, SentencePieceWriter.Normal)),
        ];
        var bytes = SentencePieceWriter.Write(pieces);
        Flip(bytes, bytes.Length, "tokenizer.model", seed: 51, UseTokenizer);
    }

    [Fact]
    public void Tekken_files_load_or_fail_with_a_typed_error()
    {
        var bytes = System.Text.Encoding.UTF8.GetBytes(TekkenWriter.Small().ToJsonString());
        Flip(bytes, bytes.Length, "tekken.json", seed: 55, UseTokenizer);
    }

    // One layout of each format.
    [Theory]
    [InlineData("awq 24x64")]
    [InlineData("gptq 3 bits 32x96 act v1")]
    [InlineData("packed 4 bits 20x64 zeros words act True")]
    [InlineData("int8 3 groups, per row True")]
    [InlineData("fp8 40x72 by 16x32 F32")]
    [InlineData("modelopt fp4 groups of 16")]
    [InlineData("compressed-tensors fp4 groups of 16")]
    [InlineData("mxfp4 experts")]
    public void Quantized_weights_load_or_fail_with_a_typed_error(string name)
    {
        var layout = QuantizedLayouts.All().Single(l => l.Name == name);
        var config = System.Text.Encoding.UTF8.GetBytes($$"""{"quantization_config": {{layout.Config}}}""");
        object Load(ScratchFolder folder)
        {
            using var json = ConfigReader.Parse(folder.File("config.json"));
            using var checkpoint = Checkpoint.Open(folder.Path, QuantizationConfig.Read(new ConfigReader(json.RootElement, folder.File("config.json"))));
            checkpoint.Require(QuantizedLayout.Weight, layout.Shape);
            var tensor = checkpoint.Tensors[QuantizedLayout.Weight];
            var (bytes, numbers) = (new byte[tensor.Length], new float[layout.Weights.Length]);
            checkpoint.ReadBytes(tensor, 0, bytes);
            tensor.Packing.Unpack(bytes, (int)tensor.Columns, numbers);
            return numbers;
        }

        Flip(layout.File, layout.File.Length, "model.safetensors", seed: 61, folder =>
        {
            File.WriteAllBytes(folder.File("config.json"), config);
            return Load(folder);
        });
        Flip(config, config.Length, "config.json", seed: 62, folder =>
        {
            File.WriteAllBytes(folder.File("model.safetensors"), layout.File);
            try
            {
                return Load(folder);
            }
            catch (Exception e) when (e is System.Text.Json.JsonException or InvalidOperationException)
            {
                throw new CheckpointException(e.Message); // as whoever reads the config.json of a model does
            }
        });
    }

    private static object UseTokenizer(ScratchFolder folder)
    {
        var tokenizer = Tokenizer.Load(folder.Path);
        return tokenizer.Decode(tokenizer.Encode("The ship e\u0301 <|im_end|> 你好 123\n", parseSpecial: true, addSpecial: true), skipSpecial: false);
    }

    // The steps around the model are what a flip can hurt: of the vocabulary and its merges a part is enough.
    private static byte[] Small(string path)
    {
        var json = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllBytes(path))!;
        var model = json["model"]!;
        model["vocab"] = new System.Text.Json.Nodes.JsonObject(model["vocab"]!.AsObject().Where(p => p.Value!.GetValue<int>() < 300).Select(p => KeyValuePair.Create(p.Key, p.Value?.DeepClone())));
        model["merges"] = new System.Text.Json.Nodes.JsonArray();
        return System.Text.Encoding.UTF8.GetBytes(json.ToJsonString());
    }

    private static void Flip(byte[] bytes, int within, string name, int seed, Func<ScratchFolder, object> load, int runs = Runs)
    {
        using var folder = new ScratchFolder();
        var random = new Random(seed);
        var loaded = 0;
        for (var run = 0; run < runs; run++)
        {
            var changed = bytes.ToArray();
            for (var flips = random.Next(1, 4); flips > 0; flips--)
            {
                var at = random.Next(within);
                changed[at] = (byte)(random.Next(3) switch { 0 => changed[at] ^ (1 << random.Next(8)), 1 => random.Next(256), _ => "0123456789-+.eE\"[]{},:\\ntu"[random.Next(26)] });
            }

            File.WriteAllBytes(folder.File(name), changed);
            try
            {
                load(folder);
                loaded++;
            }
            catch (HeadInferException e)
            {
                Assert.NotEmpty(e.Message);
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                Assert.Fail($"run {run} of seed {seed}: {e}");
            }
        }

        Assert.InRange(loaded, 1, runs - 1); // else the flips show nothing
    }
}
