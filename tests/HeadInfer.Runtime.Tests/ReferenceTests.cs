using HeadInfer.Reference;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests;

/// <summary>Every family against transformers' logits and greedy tokens, in one piece and in odd ones.</summary>
public abstract class ReferenceTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : ReferenceTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : ReferenceTests(ComputeDevice.Cuda);

    public static TheoryData<string, string> ModelCases() => ModelCases([.. ModelReference.Layouts.Select(l => l.Name)]);

    /// <summary>Every model of the fixtures in some layouts.</summary>
    internal static TheoryData<string, string> ModelCases(params IReadOnlyList<string> layouts)
    {
        var cases = new TheoryData<string, string>();
        foreach (var folder in Directory.GetDirectories(Path.Combine(Fixtures.Root, "models")).Order(StringComparer.Ordinal))
        {
            foreach (var layout in layouts)
            {
                cases.Add(Path.GetFileName(folder), layout);
            }
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(ModelCases))]
    public async Task Logits_and_greedy_tokens_are_the_reference(string model, string layout)
    {
        var (ok, figure) = await ModelReference.CheckAsync(Fixtures.Model(model), ModelReference.On(ModelReference.Layouts.Single(l => l.Name == layout).Options, Device));
        Assert.True(ok, figure);
    }

    [Theory]
    [InlineData("exaone4")]
    [InlineData("gpt-oss")] // experts in one tensor, transposed
    [InlineData("gemma3-vision")]
    [InlineData("mixtral")]
    [InlineData("olmo2")]
    [InlineData("qwen3-vl")]
    [InlineData("seed-oss")]
    public async Task Families_of_the_larger_collection_are_the_reference(string model)
    {
        var file = Fixtures.Shared("fixtures", "families", "models", model, "model.safetensors");
        Assert.SkipWhen(file is null, "the larger collection of fixtures is not here");
        foreach (var layout in ModelReference.Layouts)
        {
            var (ok, figure) = await ModelReference.CheckAsync(Path.GetDirectoryName(file)!, ModelReference.On(layout.Options, Device));
            Assert.True(ok, $"{layout.Name}: {figure}");
        }
    }

    public static TheoryData<string> Tokenizers() => [.. Directory.GetDirectories(Path.Combine(Fixtures.Root, "tokenizers")).Select(d => Path.GetFileName(d)).Order(StringComparer.Ordinal)];

    public static TheoryData<string> Models() => [.. Directory.GetDirectories(Path.Combine(Fixtures.Root, "models")).Select(d => Path.GetFileName(d)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Tokenizers))]
    public void Tokenizer_gives_the_golden_ids(string name)
    {
        var (ok, figure) = TokenizerReference.Check(Path.Combine(Fixtures.Root, "tokenizers", name));
        Assert.True(ok, figure);
    }

    [Fact]
    public async Task A_wrong_reference_fails()
    {
        using var folder = new ScratchFolder(Fixtures.Model("llama3"));
        folder.Edit("config.json", "\"rope_theta\": 500000.0", "\"rope_theta\": 400000.0");
        var (ok, _) = await ModelReference.CheckAsync(folder.Path, ModelReference.On(new HeadInferOptions(), Device));
        Assert.False(ok);
        var (withoutCap, _) = await ModelReference.CheckAsync(Fixtures.Model("gemma2"), ModelReference.On(new HeadInferOptions { IgnoreAttentionSoftCap = true }, Device));
        Assert.False(withoutCap);
    }

    [Theory]
    [MemberData(nameof(Models))]
    public async Task Tiled_attention_gives_the_logits_of_dense_attention(string name)
    {
        int[] tokens = [.. Enumerable.Range(0, 120).Select(i => ((i * 53) + 7) % 320)];
        await using var model = await Load(Fixtures.Model(name), ModelReference.Layouts.Single(l => l.Name == "odd-mixed").Options);
        using var session = model.CreateSession();
        var tiled = await session.LogitsAsync(tokens);
        var dense = await model.Thread.RunAsync(() => DenseSequence.Logits(model, tokens, model.Config.AttentionSoftCap));
        var worst = tiled.SelectMany(row => row).Zip(dense, (a, b) => Math.Abs(a - b)).Max();
        Assert.Equal(120 * model.Config.VocabularySize, dense.Length);
        Assert.True(worst < 1e-4, $"off by {worst}");
    }

    [Theory]
    [MemberData(nameof(Models))]
    public async Task In_bfloat16_tiled_attention_loses_no_more_than_dense_attention_in_float64(string name)
    {
        // Both run the same bfloat16 model; only attention differs. Errors are of all logits, against transformers' in float32.
        Assert.SkipWhen(Device == ComputeDevice.Cpu, "the CPU computes in float32");
        var (tokens, expected) = ModelReference.ReadLogits(Fixtures.Model(name));
        var options = ModelReference.Layouts.Single(l => l.Name == "odd-mixed").Options with { ComputeType = ComputeType.BFloat16 };
        await using var model = await Load(Fixtures.Model(name), options);
        using var session = model.CreateSession();
        var tiled = (await session.LogitsAsync(tokens)).SelectMany(row => row).ToArray();
        var dense = await model.Thread.RunAsync(() => DenseSequence.Logits(model, tokens, model.Config.AttentionSoftCap));
        var (ofTiled, ofDense) = (Error(tiled, expected), Error(dense, expected));
        TestContext.Current.TestOutputHelper?.WriteLine($"{name}: tiled {ofTiled:0.0000}, dense {ofDense:0.0000}");
        Assert.True(ofTiled <= (1.25 * ofDense) + 1e-3, $"tiled {ofTiled}, dense {ofDense}");
    }

    [Fact]
    public async Task An_architecture_that_is_not_supported_is_one_line_and_no_failure()
    {
        using var folder = new ScratchFolder();
        Directory.CreateDirectory(folder.File("models/odd"));
        foreach (var file in Directory.GetFiles(Fixtures.Model("llama3")))
        {
            File.Copy(file, folder.File(Path.Combine("models/odd", Path.GetFileName(file))));
        }

        folder.Edit("models/odd/config.json", "LlamaForCausalLM", "MambaForCausalLM");
        var results = await ReferenceCases.RunAsync(folder.Path).ToListAsync();
        Assert.StartsWith("unsupported odd: ", Assert.Single(results).ToString(), StringComparison.Ordinal);
        File.WriteAllText(folder.File("models/odd/config.json"), "{");
        Assert.All(await ReferenceCases.RunAsync(folder.Path).ToListAsync(), r => Assert.StartsWith("FAIL odd/", r.ToString(), StringComparison.Ordinal));
        Assert.Equal(Outcome.Fail, Assert.Single(await ReferenceCases.RunAsync(folder.File("none")).ToListAsync()).Outcome);
    }

    // The norm of the difference over the norm of what is expected.
    private static double Error(float[] got, float[] expected) =>
        Math.Sqrt(got.Zip(expected, (a, b) => Math.Pow((double)a - b, 2)).Sum() / expected.Sum(x => (double)x * x));

    [Fact]
    public async Task Old_and_new_form_of_rope_give_the_same_model()
    {
        using var folder = new ScratchFolder(Fixtures.Model("llama3"));
        var config = File.ReadAllText(folder.File("config.json"));
        var start = config.IndexOf("\"rope_parameters\"", StringComparison.Ordinal);
        var end = config.IndexOf('}', start);
        var old = "\"rope_theta\": 500000.0, \"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64";
        File.WriteAllText(folder.File("config.json"), config[..start] + old + config[end..]);
        var (ok, figure) = await ModelReference.CheckAsync(folder.Path, ModelReference.On(new HeadInferOptions(), Device));
        Assert.True(ok, figure);
    }
}
