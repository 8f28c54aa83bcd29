using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>Published models by their shapes alone.</summary>
internal static class Shapes
{
    private static readonly Dictionary<string, string> Configs = new(StringComparer.Ordinal)
    {
        ["llama-3-8b"] = """
            {"architectures": ["LlamaForCausalLM"], "vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 8192,
             "rope_theta": 500000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": false}
            """,
        ["llama-3-70b"] = """
            {"architectures": ["LlamaForCausalLM"], "vocab_size": 128256, "hidden_size": 8192, "num_hidden_layers": 80,
             "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672, "max_position_embeddings": 8192,
             "rope_theta": 500000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": false}
            """,
        ["qwen2.5-7b"] = """
            {"architectures": ["Qwen2ForCausalLM"], "vocab_size": 152064, "hidden_size": 3584, "num_hidden_layers": 28,
             "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "max_position_embeddings": 32768,
             "rope_theta": 1000000.0, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false}
            """,
        ["mistral-7b"] = """
            {"architectures": ["MistralForCausalLM"], "vocab_size": 32000, "hidden_size": 4096, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 32768,
             "rope_theta": 10000.0, "rms_norm_eps": 1e-05, "hidden_act": "silu", "sliding_window": 4096, "tie_word_embeddings": false}
            """,
        ["gemma-2-9b"] = """
            {"architectures": ["Gemma2ForCausalLM"], "vocab_size": 256000, "hidden_size": 3584, "num_hidden_layers": 42,
             "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "intermediate_size": 14336,
             "max_position_embeddings": 8192, "rope_theta": 10000.0, "rms_norm_eps": 1e-06, "hidden_activation": "gelu_pytorch_tanh",
             "sliding_window": 4096, "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
            """,
    };

    public static IEnumerable<string> Names => Configs.Keys;

    /// <summary>The shape of a name, of a model folder or GGUF file, or of a config.json alone.</summary>
    public static ModelConfig Config(string name) => Configs.TryGetValue(name, out var text) ? ModelConfigReader.Parse(text, name)
        : File.Exists(name) && !GgufFile.IsNamed(name) ? ModelConfigReader.Parse(File.ReadAllText(name), name, warn: Console.Error.WriteLine)
        : Path.Exists(name) ? ModelConfig.Load(name)
        : throw new FormatException($"There is no shape '{name}', nor a config.json or a model folder of that name; the shapes are {string.Join(", ", Names)}.");

    /// <summary>Elements of all weights.</summary>
    public static long Elements(ModelConfig config)
    {
        using var count = new CountingWeights();
        DecoderWeights.Read(config, count, device: null);
        return count.Elements;
    }

    private sealed class CountingWeights : IWeightSource
    {
        private readonly Tensor _nothing = empty(0).DetachFromDisposeScope();

        public long Elements { get; private set; }

        public ScalarType Type => ScalarType.BFloat16;

        public Linear Linear(IReadOnlyList<string> names, IReadOnlyList<long> rows, long columns, bool bias = false)
        {
            Elements += rows.Sum() * (columns + (bias ? 1 : 0));
            return new UnreadLinear();
        }

        public Tensor Vector(string name, long size, double offset = 0)
        {
            Elements += size;
            return _nothing;
        }

        public void Dispose() => _nothing.Dispose();
    }
}
