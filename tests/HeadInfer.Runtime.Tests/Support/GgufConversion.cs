using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using HeadInfer.Runtime.Checkpoints;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Converts a model folder of the fixtures into GGUF, as published converters do it: names, order of rows, norms, experts and keys.</summary>
internal static partial class GgufConversion
{
    private static readonly Dictionary<string, string> Architectures = new()
    {
        ["LlamaForCausalLM"] = "llama", ["MistralForCausalLM"] = "llama", ["Qwen2ForCausalLM"] = "qwen2", ["Qwen3ForCausalLM"] = "qwen3",
        ["Qwen2MoeForCausalLM"] = "qwen2moe", ["GemmaForCausalLM"] = "gemma", ["OlmoeForCausalLM"] = "olmoe", ["MiniMaxM2ForCausalLM"] = "minimax-m2", ["Dots1ForCausalLM"] = "dots1", ["Ernie4_5ForCausalLM"] = "ernie4_5", ["Ernie4_5_MoeForCausalLM"] = "ernie4_5-moe", ["CohereForCausalLM"] = "command-r", ["InternLM2ForCausalLM"] = "internlm2", ["ArceeForCausalLM"] = "arcee", ["NemotronForCausalLM"] = "nemotron", ["ApertusForCausalLM"] = "apertus", ["Starcoder2ForCausalLM"] = "starcoder2", ["InternLM3ForCausalLM"] = "llama", ["HunYuanDenseV1ForCausalLM"] = "hunyuan-dense", ["HunYuanMoEV1ForCausalLM"] = "hunyuan-moe",
        ["Qwen3MoeForCausalLM"] = "qwen3moe", ["Gemma2ForCausalLM"] = "gemma2", ["Gemma3ForCausalLM"] = "gemma3", ["Gemma4ForCausalLM"] = GgufGemma4.Architecture, ["Phi3ForCausalLM"] = "phi3",
        ["Olmo2ForCausalLM"] = "olmo2", ["Olmo3ForCausalLM"] = "olmo2", ["Exaone4ForCausalLM"] = "exaone4", ["SeedOssForCausalLM"] = "seed_oss",
        ["MixtralForCausalLM"] = "llama", ["Glm4MoeForCausalLM"] = "glm4moe", ["Qwen3NextForCausalLM"] = "qwen3next", ["Qwen3_5ForCausalLM"] = "qwen35", ["Qwen3_5MoeForCausalLM"] = "qwen35moe", ["Glm4ForCausalLM"] = "glm4", ["Cohere2ForCausalLM"] = "cohere2", ["DeepseekV3ForCausalLM"] = "deepseek2", ["DeepseekV2ForCausalLM"] = "deepseek2",
        ["GptOssForCausalLM"] = "gpt-oss", ["GraniteForCausalLM"] = "granite", ["SmolLM3ForCausalLM"] = "smollm3", ["Ministral3ForCausalLM"] = "mistral3",
    };

    private static readonly (string From, string To)[] Names =
    [
        ("model.layers.", "blk."), ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output"), ("input_layernorm", "attn_norm"),
        ("self_attn.qkv_proj", "attn_qkv"), ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_a_proj", "attn_q_a"), ("self_attn.q_a_layernorm", "attn_q_a_norm"), ("self_attn.q_b_proj", "attn_q_b"), ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"), ("self_attn.kv_a_layernorm", "attn_kv_a_norm"), ("self_attn.kv_b_proj", "attn_kv_b"),
        ("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm"), ("mlp.gate_up_proj", "ffn_up"), ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"), ("mlp.gate.e_score_correction_bias", "exp_probs_b.bias"), ("mlp.gate.", "ffn_gate_inp."), ("mlp.router.", "ffn_gate_inp."),
        ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"), ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"), ("mlp.shared_experts.up_proj", "ffn_up_shexp"), ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
        ("self_attn.sinks", "attn_sinks.weight"), ("pre_feedforward_layernorm", "ffn_norm"), ("post_self_attn_layernorm", "post_attention_norm"), ("post_mlp_layernorm", "post_ffw_norm"), ("post_feedforward_layernorm", "post_ffw_norm"),
    ];

    // Those that llama.cpp's conversion/llama.py converts, and it permutes what is rotated.
    private static readonly string[] Permuted = ["llama", "granite", "smollm3", "mistral3", "internlm2", "arcee"];

    private static readonly string[] DeltaNets = ["qwen3next", "qwen35", "qwen35moe"];

    // What llama.cpp's gguf-py/gguf/tensor_mapping.py calls the norm after attention, whatever it is for: its architecture has no other name for it.
    private static readonly string[] NormsAfterAttention = ["gemma2", "gemma3", GgufGemma4.Architecture, "gpt-oss", "olmo2", "exaone4", "seed_oss", "glm4moe", .. DeltaNets];

    static GgufConversion() => HeadInfer.Runtime.Compute.LibTorch.EnsureLoaded();

    private static bool IsEarlyGemma(string name) => name is "gemma2" or "gemma3";

    /// <summary>Whether a folder's model is converted: GGUF files of its architecture are read, and converters take weights that are not quantized.</summary>
    public static bool Takes(string folder)
    {
        var config = ModelConfig.Load(folder);
        return (config.Quantization is null || config.Architecture == "GptOssForCausalLM") && !File.ReadAllText(Path.Combine(folder, "config.json")).Contains("text_config", StringComparison.Ordinal) && Architectures.ContainsKey(config.Architecture);
    }

    /// <summary>What the file would have.</summary>
    /// <param name="folder">the model folder</param>
    /// <param name="of">which tensors; null for all</param>
    /// <param name="stacks">whether the experts of a layer are one tensor, as in all but the first files of Mixtral</param>
    /// <param name="apart">whether what makes keys and values of latent attention are two tensors, as in all but the first files of DeepSeek</param>
    /// <param name="architecture">its name in the file; null for the family's</param>
    public static GgufWriter Of(string folder, Func<string, bool>? of = null, bool stacks = true, bool apart = true, string? architecture = null)
    {
        var json = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!;
        var config = ModelConfig.Load(folder);
        var name = architecture ?? Architectures[config.Architecture];
        var writer = Keys(new GgufWriter(), name, config, json, apart);
        using var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
        var tensors = file.Entries.Values.OrderBy(e => e.Name, StringComparer.Ordinal).Where(e => !GgufExperts.Are(e.Name) && !TensorNames.IsOfGuessing(e.Name)).Select(e => (Name: TensorNames.Canonical(e.Name), e.Shape, Data: Read(file, e))).SelectMany(t => config.Family.GroupedQkv && t.Name.EndsWith("qkv_proj.weight", StringComparison.Ordinal) ? Groups(t.Name, t.Data, config) : [t]).ToList();
        foreach (var entry in file.Entries.Values.Where(e => GgufExperts.Are(e.Name)))
        {
            GgufExperts.Add(file, entry, (tensor, shape, type, data) => writer.Tensor(tensor, shape, type, data));
        }

        // conversion/llama.py
        foreach (var group in tensors.Where(t => t.Name.Contains("act_fn.", StringComparison.Ordinal)).GroupBy(t => t.Name.Split('.')[^1]))
        {
            writer.With($"xielu.{group.Key}", group.Select(t => t.Data.Single()).ToArray());
        }

        tensors.RemoveAll(t => t.Name.Contains("act_fn.", StringComparison.Ordinal));
        foreach (var group in tensors.Where(t => Expert().IsMatch(t.Name)).GroupBy(t => Expert().Replace(t.Name, "model.layers.$1.ffn_$3_exps")))
        {
            var experts = group.OrderBy(t => int.Parse(Expert().Match(t.Name).Groups[2].Value)).ToList();
            if (!stacks)
            {
                experts.ForEach(e => Add(Expert().Replace(e.Name, "blk.$1.ffn_$3.$2"), e.Shape, e.Data));
                continue;
            }

            Add(Renamed(group.Key, name), [experts.Count, .. experts[0].Shape], [.. experts.SelectMany(e => e.Data)]);
        }

        foreach (var (tensor, shape, data) in tensors.Where(t => GgufDeltaLayers.Has(t.Name)).SelectMany(t => GgufDeltaLayers.Of(t.Name, t.Shape, t.Data, config.Recurrent!, tiles: name != "qwen3next")))
        {
            Add(tensor, shape, data);
        }

        foreach (var (tensor, shape, data) in tensors.Where(t => !Expert().IsMatch(t.Name) && !GgufDeltaLayers.Has(t.Name)))
        {
            var heads = tensor.Contains("q_proj", StringComparison.Ordinal) ? config.Heads : tensor.Contains("k_proj", StringComparison.Ordinal) ? config.KvHeads : 0;
            var changed = Permuted.Contains(name) && heads > 0 ? Neighbours(data, shape, heads)
                : (IsEarlyGemma(name) || name == "gemma" || DeltaNets.Contains(name)) && tensor.Contains("norm", StringComparison.Ordinal) ? Array.ConvertAll(data, x => x + 1)
                : name == "nemotron" && tensor.EndsWith("norm.weight", StringComparison.Ordinal) ? Array.ConvertAll(data, x => x + 1)
                : data;
            if (config.Latent is { } latent && apart && tensor.EndsWith(TensorNames.LatentUp, StringComparison.Ordinal))
            {
                AddApart(Renamed(tensor, name), latent, data);
                continue;
            }

            Add(Renamed(tensor, name), shape, changed);
        }

        for (var layer = config.Layers; layer < config.Layers + config.GuessingLayers && name != "deepseek2"; layer++) // whose converter leaves them out
        {
            Add($"blk.{layer}.nextn.enorm.weight", [1], [1]);
            Add($"blk.{layer}.attn_norm.weight", [1], [1]);
        }

        if (name == GgufGemma4.Architecture)
        {
            var divisors = GgufGemma4.Divisors(config);
            Add("rope_freqs.weight", [divisors.Length], divisors);
        }

        if (config.Rope.Scaling.Kind == RopeKind.Llama3)
        {
            Add("rope_freqs.weight", [config.Rope.RotaryDim / 2], [.. Divisors(config.Rope)]);
        }

        if (config.Rope.Scaling.Kind == RopeKind.Long)
        {
            Add("rope_factors_long.weight", [config.Rope.RotaryDim / 2], [.. config.Rope.LongDivisors!]);
            Add("rope_factors_short.weight", [config.Rope.RotaryDim / 2], [.. config.Rope.FrequencyDivisors!]);
        }

        return writer;

        // conversion/deepseek.py: those of keys lie the other way round.
        void AddApart(string both, LatentShape latent, float[] data)
        {
            using var scope = NewDisposeScope();
            var heads = TorchSharp.torch.tensor(data).view(config.Heads, latent.Still + latent.Values, latent.Rank);
            Add(both.Replace("kv_b", "k_b", StringComparison.Ordinal), [config.Heads, latent.Rank, latent.Still], heads.narrow(1, 0, latent.Still).transpose(1, 2).contiguous().data<float>().ToArray());
            Add(both.Replace("kv_b", "v_b", StringComparison.Ordinal), [config.Heads, latent.Values, latent.Rank], heads.narrow(1, latent.Still, latent.Values).contiguous().data<float>().ToArray());
        }

        void Add(string tensor, long[] shape, float[] data)
        {
            if (of?.Invoke(tensor) ?? true)
            {
                writer.Tensor(tensor, shape, data);
            }
        }
    }

    private static GgufWriter Keys(GgufWriter writer, string name, ModelConfig config, JsonNode json, bool apart)
    {
        writer.With("general.architecture", name).With("general.name", "made by a test")
            .With($"{name}.context_length", (int)json["max_position_embeddings"]!).With($"{name}.embedding_length", config.HiddenSize).With($"{name}.block_count", config.Layers + (name == "deepseek2" ? 0 : config.GuessingLayers))
            .With($"{name}.feed_forward_length", config.IntermediateSize).With($"{name}.attention.head_count", config.Heads).With($"{name}.attention.head_count_kv", config.KvHeads)
            .With($"{name}.attention.layer_norm_{(config.Family.CenteredNorms ? "" : "rms_")}epsilon", (float)config.NormEpsilon).With($"{name}.rope.freq_base", (float)config.Rope.Theta);
        if (name is not ("gpt-oss" or "olmo2" or "olmoe" or "exaone4" or "seed_oss" or "gemma" or "ernie4_5" or "ernie4_5-moe" or "qwen2moe" or "dots1" or "hunyuan-dense" or "hunyuan-moe"))
        {
            writer.With($"{name}.rope.dimension_count", config.Rope.RotaryDim);
        }

        // conversion/base.py
        if (json["rope_parameters"]!["sliding_attention"]?["rope_theta"] is { } local)
        {
            writer.With($"{name}.rope.freq_base_swa", (float)local);
        }

        // conversion/base.py; conversion/granite.py leaves it out.
        if (config.Latent is { } latent)
        {
            // conversion/deepseek.py; its first files had lengths of heads alone.
            var (key, value) = apart ? (latent.Kept, latent.Rank) : (latent.Scored, latent.Values);
            writer.Without($"{name}.attention.head_count_kv").With($"{name}.attention.head_count_kv", apart ? 1 : config.Heads)
                .With($"{name}.attention.q_lora_rank", latent.QueryRank).With($"{name}.attention.kv_lora_rank", latent.Rank).With($"{name}.attention.key_length", key).With($"{name}.attention.value_length", value);
            writer = apart ? writer.With($"{name}.attention.key_length_mla", latent.Scored).With($"{name}.attention.value_length_mla", latent.Values) : writer;
        }
        else if (json["head_dim"] is not null && name != "granite")
        {
            writer.With($"{name}.attention.key_length", config.HeadDim).With($"{name}.attention.value_length", config.HeadDim);
        }

        if (config.Family.Chunked)
        {
            writer.With($"{name}.interleave_moe_layer_step", (int)json["interleave_moe_layer_step"]!); // conversion/llama.py, which does not write chunks
        }
        else if (config.Windows.Any(w => w is not null))
        {
            writer.With($"{name}.attention.sliding_window", config.Windows.OfType<int>().First());
            if (name is "olmo2" or "exaone4")
            {
                writer.With($"{name}.attention.sliding_window_pattern", config.Windows.Select(w => w is not null).ToArray()); // conversion/olmo.py, conversion/exaone.py
            }
        }

        if (config.Experts > 0)
        {
            writer.With($"{name}.expert_count", config.Experts).With($"{name}.expert_used_count", config.ExpertsPerToken);
            if (name is not ("llama" or "olmoe")) // conversion/olmo.py
            {
                writer.With($"{name}.expert_feed_forward_length", config.ExpertIntermediateSize);
            }
        }

        if (config.AttentionSoftCap is { } cap)
        {
            writer.With($"{name}.attn_logit_softcapping", (float)cap).With($"{name}.final_logit_softcapping", (float)config.LogitSoftCap!);
        }

        if (IsEarlyGemma(name))
        {
            writer.With($"{name}.attention.scale", (float)config.AttentionScale);
        }

        // conversion/hunyuan.py
        if (name.StartsWith("hunyuan", StringComparison.Ordinal) && (string?)json["rope_parameters"]!["rope_type"] == "dynamic")
        {
            writer.With($"{name}.rope.scaling.type", "none").With($"{name}.rope.scaling.factor", 1f).With($"{name}.rope.scaling.original_context_length", 262_144);
        }

        writer = name == "nemotron" ? writer.With($"{name}.rope.scaling.type", "none") : writer; // conversion/nemotron.py

        if (name == "hunyuan-moe")
        {
            writer.With($"{name}.expert_shared_feed_forward_length", config.IntermediateSize).With($"{name}.expert_shared_count", (int)json["num_shared_expert"]![0]!);
        }

        // conversion/ernie.py
        if (name == "ernie4_5-moe")
        {
            writer.With($"{name}.interleave_moe_layer_step", (int)json["moe_layer_interval"]!).With($"{name}.expert_shared_feed_forward_length", config.SharedExpertSize);
        }

        // conversion/base.py, conversion/glm.py
        foreach (var (key, field) in ((string, string)[])[("expert_shared_feed_forward_length", "shared_expert_intermediate_size"), ("expert_shared_count", "n_shared_experts"), ("expert_shared_count", "moe_num_shared_experts"), ("leading_dense_block_count", "first_k_dense_replace"), ("leading_dense_block_count", "moe_layer_start_index"), ("expert_group_count", "n_group"), ("expert_group_used_count", "topk_group"), ("nextn_predict_layers", "num_nextn_predict_layers")])
        {
            if (json[field] is { } count && (field != "num_nextn_predict_layers" || name != "deepseek2"))
            {
                writer.With($"{name}.{key}", (int)count);
            }
        }

        if (config.Recurrent is { } delta)
        {
            // conversion/qwen.py
            writer.With($"{name}.ssm.conv_kernel", delta.Taps).With($"{name}.ssm.state_size", delta.KeyDim).With($"{name}.ssm.group_count", delta.KeyHeads)
                .With($"{name}.ssm.time_step_rank", delta.ValueHeads).With($"{name}.ssm.inner_size", delta.Values).With($"{name}.full_attention_interval", 4);
        }

        if (json["rope_parameters"]!["mrope_section"] is { } sections)
        {
            writer.With($"{name}.rope.dimension_sections", sections.AsArray().Select(n => (int)n!).Append(0).ToArray());
        }

        if (name is "glm4moe" or "deepseek2" or "dots1" or "minimax-m2")
        {
            writer.With($"{name}.expert_gating_func", config.Routing.Sigmoid ? 2 : 1);
        }

        if (name is "glm4moe" or "deepseek2" or "dots1")
        {
            writer.With($"{name}.expert_weights_scale", (float)json["routed_scaling_factor"]!).With($"{name}.expert_weights_norm", config.NormalizeExpertWeights);
        }

        // conversion/granite.py, and conversion/command_r.py for cohere2
        foreach (var (key, field) in ((string, string)[])[("attention.scale", "attention_multiplier"), ("embedding_scale", "embedding_multiplier"), ("residual_scale", "residual_multiplier"), ("logit_scale", "logits_scaling"), ("logit_scale", "logit_scale")])
        {
            if (json[field] is { } factor)
            {
                writer.With($"{name}.{key}", (float)factor);
            }
        }

        writer = name == GgufGemma4.Architecture ? GgufGemma4.Keys(writer, config, json) : writer;
        return Scaling(writer, name, json["rope_parameters"]!["full_attention"] ?? json["rope_parameters"]!, (int)json["max_position_embeddings"]!);
    }

    // llama.cpp's conversion/base.py: YaRN's numbers are the configuration's.
    private static GgufWriter Scaling(GgufWriter writer, string name, JsonNode rope, int positions)
    {
        if ((string?)rope["rope_type"] == "longrope")
        {
            // conversion/phi.py, which does not name the method
            var (original, scale) = ((double)rope["original_max_position_embeddings"]!, (double)positions / (double)rope["original_max_position_embeddings"]!);
            return writer.With($"{name}.rope.scaling.original_context_length", (int)original).With($"{name}.rope.scaling.attn_factor", (float)Math.Sqrt(1 + (Math.Log(scale) / Math.Log(original))));
        }

        if ((string?)rope["rope_type"] != "yarn")
        {
            return writer;
        }

        writer.With($"{name}.rope.scaling.type", "yarn").With($"{name}.rope.scaling.factor", (float)rope["factor"]!).With($"{name}.rope.scaling.original_context_length", (int)rope["original_max_position_embeddings"]!);
        foreach (var (key, field) in ((string, string)[])[("yarn_attn_factor", "attention_factor"), ("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")])
        {
            if (rope[field] is { } value)
            {
                writer.With($"{name}.rope.scaling.{key}", (float)value);
            }
        }

        // conversion/deepseek.py
        if (name == "deepseek2")
        {
            return writer.With($"{name}.rope.scaling.yarn_log_multiplier", 0.1f * (float)rope["mscale_all_dim"]!);
        }

        // conversion/mistral3.py
        return name != "mistral3" ? writer : writer.With($"{name}.rope.scaling.yarn_log_multiplier", (float)rope["mscale_all_dim"]!).With($"{name}.attention.temperature_scale", (float)rope["llama_4_scaling_beta"]!);
    }

    private static string Renamed(string tensor, string name)
    {
        tensor = name == GgufGemma4.Architecture ? GgufGemma4.Renamed(tensor) : tensor;
        foreach (var (from, to) in Names)
        {
            tensor = tensor.Replace(from, to, StringComparison.Ordinal);
        }

        return tensor.Replace("post_attention_layernorm", NormsAfterAttention.Contains(name) ? "post_attention_norm" : "ffn_norm", StringComparison.Ordinal);
    }

    // conversion/internlm.py: the queries of a key, that key and its value follow each other.
    private static (string Name, long[] Shape, float[] Data)[] Groups(string name, float[] data, ModelConfig config)
    {
        var (each, heads) = (config.Heads / config.KvHeads, data.Chunk(config.HeadDim * config.HiddenSize).Index().ToList());
        (string, long[], float[]) Of(string part, Func<int, bool> isIts, int count) =>
            (name.Replace("qkv_proj", part, StringComparison.Ordinal), [count * config.HeadDim, config.HiddenSize], [.. heads.Where(h => isIts(h.Index % (each + 2))).SelectMany(h => h.Item)]);
        return [Of("q_proj", i => i < each, config.Heads), Of("k_proj", i => i == each, config.KvHeads), Of("v_proj", i => i > each, config.KvHeads)];
    }

    // Rotary pairs beside each other: of [heads, 2, half, inner] the middle two change places.
    public static float[] Neighbours(float[] data, long[] shape, int heads)
    {
        using var scope = NewDisposeScope();
        return tensor(data).view(heads, 2, shape[0] / heads / 2, -1).transpose(1, 2).contiguous().data<float>().ToArray();
    }

    // What Llama 3.1's converter writes: long wavelengths whole, short ones not at all, and between by a ramp.
    private static IEnumerable<float> Divisors(RopeConfig rope)
    {
        var (scaling, original) = (rope.Scaling, rope.Scaling.OriginalMaxPositions!.Value);
        for (var i = 0; i < rope.RotaryDim / 2; i++)
        {
            var length = 2 * Math.PI * Math.Pow(rope.Theta, 2.0 * i / rope.RotaryDim);
            var smooth = ((original / length) - scaling.LowFrequencyFactor) / (scaling.HighFrequencyFactor - scaling.LowFrequencyFactor);
            yield return length < original / scaling.HighFrequencyFactor ? 1
                : length > original / scaling.LowFrequencyFactor ? (float)scaling.Factor
                : (float)(1 / (((1 - smooth) / scaling.Factor) + smooth));
        }
    }

    /// <summary>The numbers of a tensor in float32 or bfloat16.</summary>
    public static float[] Read(SafetensorsFile file, SafetensorsEntry entry)
    {
        var bytes = ReadBytes(file, entry);
        return entry.Type == ScalarType.BFloat16
            ? Array.ConvertAll(MemoryMarshal.Cast<byte, ushort>(bytes).ToArray(), bits => BitConverter.Int32BitsToSingle(bits << 16))
            : entry.Type == ScalarType.Float32 ? MemoryMarshal.Cast<byte, float>(bytes).ToArray()
            : throw new ArgumentException($"{entry.Name} is of {entry.Type}", nameof(entry));
    }

    public static byte[] ReadBytes(SafetensorsFile file, SafetensorsEntry entry)
    {
        var bytes = new byte[entry.Length];
        file.Read(entry, 0, bytes);
        return bytes;
    }

    [GeneratedRegex(@"^model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.(gate|up|down)_proj")]
    private static partial Regex Expert();
}
