using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Planning;

/// <summary>Predicted times beside measured ones, and beside sums by hand.</summary>
public sealed class SpeedForecastTests
{
    private const double Within = 0.25;

    private static readonly ModelConfig Llama = Parse("LlamaForCausalLM", vocabulary: 128_256, hidden: 4096, layers: 32, heads: 32, kvHeads: 8, intermediate: 14_336);

    // Tokens of context, bits of a weight, what of host memory and link is used, and milliseconds a token: one H200 held to 24 GiB
    // with 16 cores, by docs/performance.md and the changes that brought packed weights.
    [Theory]
    [InlineData(1, 16, null, false, 4.6)]
    [InlineData(8, 16, null, false, 5.2)]
    [InlineData(32, 16, null, false, 6.1)]
    [InlineData(128, 16, null, false, 103)]
    [InlineData(128, 16, 0.0, false, 211)]
    [InlineData(128, 16, null, true, 143)]
    [InlineData(512, 16, null, false, 490)]
    [InlineData(1, 4.5, null, false, 2.6)]
    [InlineData(128, 4.5, null, false, 8.1)]
    public void A_token_on_an_H200_takes_about_what_was_measured(int thousands, double bits, double? hostShare, bool stream, double milliseconds)
    {
        var speed = new SpeedForecast(Llama, Plan(Llama, bits, stream), Machine.Of("H200"), hostShare);
        Assert.InRange(1000 * speed.Token(thousands << 10), milliseconds * (1 - Within), milliseconds * (1 + Within));
    }

    [Theory]
    [InlineData("llama", 32, 27_547)]
    [InlineData("llama", 64, 20_034)]
    [InlineData("llama", 128, 12_771)]
    [InlineData("llama", 256, 7_457)]
    [InlineData("qwen", 32, 32_847)]
    [InlineData("mistral", 32, 35_062)]
    [InlineData("gemma", 8, 24_390)]
    public void A_prompt_on_an_H200_is_read_about_as_fast_as_was_measured(string name, int thousands, double tokensPerSecond)
    {
        var config = name switch
        {
            "qwen" => Parse("Qwen2ForCausalLM", vocabulary: 152_064, hidden: 3584, layers: 28, heads: 28, kvHeads: 4, intermediate: 18_944),
            "mistral" => Parse("MistralForCausalLM", vocabulary: 32_000, hidden: 4096, layers: 32, heads: 32, kvHeads: 8, intermediate: 14_336, ", \"sliding_window\": 4096"),
            "gemma" => Parse("Gemma2ForCausalLM", vocabulary: 256_000, hidden: 3584, layers: 42, heads: 16, kvHeads: 8, intermediate: 14_336,
                ", \"head_dim\": 256, \"hidden_activation\": \"gelu_pytorch_tanh\", \"sliding_window\": 4096, \"query_pre_attn_scalar\": 256, \"attn_logit_softcapping\": 50.0, \"final_logit_softcapping\": 30.0"),
            _ => Llama,
        };
        var speed = new SpeedForecast(config, Plan(config, 16, stream: true), Machine.Of("h200"));
        Assert.InRange((thousands << 10) / speed.FirstToken(thousands << 10), tokensPerSecond * (1 - Within), tokensPerSecond * (1 + Within));
    }

    // 0.5B parameters at 1K tokens on two cores that read 61 GB/s and multiply 228 Gflop/s in float32, by docs/performance.md.
    [Theory]
    [InlineData(32, 50.5)]
    [InlineData(16, 30.5)]
    [InlineData(8.5, 22.7)]
    [InlineData(4.5, 20.1)]
    public void A_token_on_a_CPU_takes_about_what_was_measured(double bits, double milliseconds)
    {
        var config = Parse("Qwen2ForCausalLM", vocabulary: 151_936, hidden: 896, layers: 24, heads: 14, kvHeads: 2, intermediate: 4864, tied: true);
        var plan = MemoryPlanner.Plan(config, Needs(config, bits), ScalarType.Float32, new HeadInferOptions(), new MemoryBudget(ByteSize.FromGiB(16)));
        var speed = new SpeedForecast(config, plan, Machine.Of("none") with { Product = 228e9, Host = 61e9 });
        Assert.InRange(1000 * speed.Token(1024), milliseconds * (1 - Within), milliseconds * (1 + Within));
    }

    [Fact]
    public void A_token_of_layers_that_come_by_turns_waits_for_them_on_the_link()
    {
        var machine = Machine.Of("rtx-4070");
        var plan = Plan(Llama, 16, stream: true, gpu: 12);
        Assert.InRange(plan.StreamedLayers, 10, 20);
        var weights = 32 * 2 * 218_103_808.0; // bytes of the layers' matrices
        var output = (2.0 * 128_256 * 4096) + (2 * 65 * 4096);
        Assert.Equal(weights + output, plan.ReadPerToken.Bytes, 1.0);
        var coming = plan.StreamedLayers * weights / 32;
        var expected = (32 * Reach.LayerStart) + ((weights + output - coming) / (504e9 * Reach.GpuReading)) + (coming / (31.5e9 * Reach.Link));
        Assert.Equal(expected, new SpeedForecast(Llama, plan, machine).Decode.Step, 1e-9);
    }

    [Fact]
    public void A_prompt_that_computes_less_than_the_link_brings_waits_for_the_link()
    {
        var machine = Machine.Of("rtx-4070") with { Product = 1e18, Memory = 1e15 };
        var plan = Plan(Llama, 16, stream: true, gpu: 12);
        var (segment, rate) = (plan.SegmentTokens, 31.5e9 * Reach.Link);
        var weights = plan.HostWeights.Bytes / rate;
        Assert.Equal(weights, new SpeedForecast(Llama, plan, machine).FirstToken(segment), 1e-9);
        Assert.Equal((2 * weights) + (131_072.0 * segment / rate), new SpeedForecast(Llama, plan, machine).FirstToken(2 * segment), 1e-9);
    }

    [Fact]
    public void Of_a_mixture_a_token_reads_the_experts_that_are_chosen()
    {
        var config = Parse("Qwen3MoeForCausalLM", vocabulary: 1024, hidden: 256, layers: 2, heads: 4, kvHeads: 2, intermediate: 512,
            ", \"head_dim\": 64, \"moe_intermediate_size\": 128, \"num_experts\": 16, \"num_experts_per_tok\": 2, \"norm_topk_prob\": true");
        var expert = 3L * 256 * 128;
        var needs = new WeightNeeds(new ByteSize(4000), [new(2 * 16 * expert), new(2 * 16 * expert)]) { Unread = new ByteSize(1000) };
        Assert.Equal(3000 + (2 * 2 * 2 * expert), Cost.ReadPerToken(config, needs).Bytes);
        Assert.Equal(2 * 2 * expert, Cost.ReadOfLayers(config, needs, 1).Bytes); // over the link, if the last layer's come by turns
    }

    [Fact]
    public void A_GPU_that_is_not_known_is_refused_with_those_that_are()
    {
        var error = Assert.Throws<ArgumentException>(() => Machine.Of("voodoo-2"));
        Assert.Contains("--gpu", error.Message, StringComparison.Ordinal);
        Assert.All(Machine.Known, m => Assert.Contains(m.Name, error.Message, StringComparison.Ordinal));
    }

    private static MemoryPlan Plan(ModelConfig config, double bits, bool stream, int gpu = 24) => MemoryPlanner.Plan(
        config, Needs(config, bits), ScalarType.BFloat16, new HeadInferOptions { ResidentMemory = stream ? ByteSize.Zero : null, MaxContextTokens = 1 << 20 },
        new MemoryBudget(ByteSize.FromGiB(110), ByteSize.FromGiB(gpu)));

    // Matrices of so many bits a weight, and norms of 16.
    private static WeightNeeds Needs(ModelConfig config, double bits)
    {
        var table = (long)(config.VocabularySize * (double)config.HiddenSize * bits / 8);
        return new WeightNeeds(
            new ByteSize((config.TiedEmbeddings ? table : 2 * table) + (2L * config.HiddenSize * ((2 * config.Layers) + 1))),
            [.. Enumerable.Range(0, config.Layers).Select(layer => new ByteSize((long)(Cost.Elements(config, layer) * bits / 8)))])
        {
            Unread = config.TiedEmbeddings ? ByteSize.Zero : new ByteSize(table),
            ArePacked = bits < 16,
        };
    }

    private static ModelConfig Parse(string architecture, int vocabulary, int hidden, int layers, int heads, int kvHeads, int intermediate, string more = "", bool tied = false) => ModelConfigReader.Parse($$"""
        {"architectures": ["{{architecture}}"], "vocab_size": {{vocabulary}}, "hidden_size": {{hidden}}, "num_hidden_layers": {{layers}},
         "num_attention_heads": {{heads}}, "num_key_value_heads": {{kvHeads}}, "intermediate_size": {{intermediate}}, "max_position_embeddings": 131072,
         "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": {{(tied ? "true" : "false")}}{{more}}}
        """, "config.json");
}
