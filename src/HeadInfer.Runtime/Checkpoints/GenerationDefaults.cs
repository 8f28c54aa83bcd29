using System.Text.Json;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Reads a <c>generation_config.json</c>.</summary>
internal static class GenerationDefaults
{
    // What is not followed, and the value that changes nothing. Those of beams and of groups of them mean nothing without beams.
    private static readonly (string Name, double Neutral)[] Numbers =
    [
        ("num_beams", 1), ("penalty_alpha", 0), ("no_repeat_ngram_size", 0), ("encoder_no_repeat_ngram_size", 0), ("encoder_repetition_penalty", 1),
        ("guidance_scale", 1), ("min_length", 0), ("min_new_tokens", 0), ("max_new_tokens", double.NaN), ("max_time", double.NaN),
    ];

    private static readonly (string Name, double Neutral)[] SamplingNumbers =
        [("typical_p", 1), ("epsilon_cutoff", 0), ("eta_cutoff", 0), ("top_h", double.NaN)];

    private static readonly string[] Others =
    [
        "bad_words_ids", "force_words_ids", "constraints", "sequence_bias", "forced_bos_token_id", "forced_eos_token_id", "forced_decoder_ids",
        "suppress_tokens", "begin_suppress_tokens", "exponential_decay_length_penalty", "dola_layers", "watermarking_config", "token_healing",
    ];

    /// <param name="file">its path; it need not be there</param>
    /// <param name="warn">told of each field that is not followed and would change the output</param>
    /// <exception cref="CheckpointException">It is not JSON, or has values out of range.</exception>
    public static (GenerationOptions Defaults, int[] EndTokens) Read(string file, ModelConfig config, Action<string>? warn)
    {
        if (!File.Exists(file))
        {
            return (new GenerationOptions(), []);
        }

        try
        {
            using var document = ConfigReader.Parse(file);
            return Read(new ConfigReader(document.RootElement, file, warn), config);
        }
        catch (Exception e) when (e is JsonException or IOException or InvalidOperationException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"'{file}' cannot be read: {e.Message}", e);
        }
    }

    /// <exception cref="CheckpointException">Values are out of range.</exception>
    public static (GenerationOptions Defaults, int[] EndTokens) Read(ConfigReader json, ModelConfig config)
    {
        try
        {
            var greedy = !json.Bool("do_sample", false) || (json.Has("temperature") && json.Number("temperature") == 0);
            var sampling = greedy ? new SamplingOptions() : new SamplingOptions
            {
                Temperature = json.Positive("temperature", 1),
                TopK = json.Has("top_k") && json.Int("top_k", least: -1) is > 0 and var k ? k : null,
                TopP = json.Positive("top_p", 1),
                MinP = json.Has("min_p") ? json.Number("min_p") : 0,
            };
            var defaults = new GenerationOptions
            {
                Sampling = sampling with { RepetitionPenalty = json.Positive("repetition_penalty", 1) },
                StopSequences = json.IsText("stop_strings") ? [json.Text("stop_strings")!] : json.Texts("stop_strings"),
            };
            defaults.Validate();
            WarnOfOthers(json, config, greedy);
            return (defaults, json.Ints("eos_token_id"));
        }
        catch (ArgumentException e)
        {
            throw new CheckpointException($"'{json.Path}' cannot be read: {e.Message}", e);
        }
    }

    private static void WarnOfOthers(ConfigReader json, ModelConfig config, bool greedy)
    {
        var numbers = Numbers.Concat(greedy ? [] : SamplingNumbers).Where(f => json.Has(f.Name) && json.Raw(f.Name) is not "false" && !(json.IsNumber(f.Name) && json.Number(f.Name) == f.Neutral));
        var others = Others.Where(n => json.Has(n) && json.Raw(n) is not ("false" or "[]" or "{}"));
        var length = json.IsNumber("max_length") && json.Number("max_length") is > 20 and var most && most < config.MaxPositions ? ["max_length"] : Array.Empty<string>(); // 20 is transformers' own default
        foreach (var name in numbers.Select(f => f.Name).Concat(others).Concat(length))
        {
            json.Warn($"{name} is {json.Raw(name)}, which is not followed{(name.StartsWith("max_", StringComparison.Ordinal) ? "; GenerationOptions.MaxTokens alone ends an answer" : "")}.");
        }
    }
}
