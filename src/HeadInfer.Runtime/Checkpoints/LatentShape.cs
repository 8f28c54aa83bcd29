namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Latent attention (DeepSeek V2): a token's keys and values are made of few numbers, and so may its queries be.</summary>
/// <remarks>
/// Here heads are kept whole, as of any other model: all that moves heads, attends them and plans for them holds for these.
/// A head's rotated dimensions come first, then those that stand still. Values that are shorter than keys end in zeros.
/// </remarks>
/// <param name="QueryRank">numbers that queries are made of; 0 where they are made of the stream</param>
/// <param name="Rank">numbers that keys and values are made of</param>
/// <param name="Rotated">dimensions of a query and a key that are rotated; those of the key are the same for all heads</param>
/// <param name="Still">dimensions that are not</param>
/// <param name="Values">dimensions of a value</param>
/// <param name="Paired">whether dimensions that are rotated together are neighbours in the checkpoint</param>
internal sealed record LatentShape(int QueryRank, int Rank, int Rotated, int Still, int Values, bool Paired)
{
    /// <summary>Of the norms of what heads are made of, whatever the configuration says of others.</summary>
    public const double NormEpsilon = 1e-6;

    private const int LargestRank = 65_536;

    /// <summary>Dimensions of a head, as it is kept.</summary>
    public int Dim => Math.Max(Scored, Values);

    /// <summary>Dimensions that scores are of.</summary>
    public int Scored => Rotated + Still;

    /// <summary>Numbers that a token's keys and values are made of, the rotated ones last.</summary>
    public int Kept => Rank + Rotated;

    /// <exception cref="CheckpointException">A size is missing or out of range.</exception>
    public static LatentShape Read(ConfigReader json)
    {
        var shape = new LatentShape(
            json.Mentions("q_lora_rank") && !json.Has("q_lora_rank") ? 0 : json.Int("q_lora_rank", least: 0, most: LargestRank),
            json.Int("kv_lora_rank", most: LargestRank), json.Int("qk_rope_head_dim", least: 2, most: 4096), json.Int("qk_nope_head_dim", most: 4096), json.Int("v_head_dim", most: 4096), json.Bool("rope_interleave", true));
        return !json.Bool("attention_bias", false) ? shape
            : throw new UnsupportedModelException($"'{json.Path}': attention_bias is true, which is not supported beside kv_lora_rank.");
    }

    /// <summary>Factor of the scores: it grows with the factor of the configuration's YaRN.</summary>
    /// <param name="chosen">scaling in place of the configuration's, which has no such growth; null takes that</param>
    public double ScaleOf(ConfigReader json, RopeScaling? chosen)
    {
        var growth = chosen is null && RopeConfigReader.Number(json, "mscale_all_dim") is { } scale && RopeConfigReader.Number(json, "factor") is { } factor ? RopeScaling.Magnitude(factor, scale) : 1;
        return growth * growth / Math.Sqrt(Scored);
    }

    /// <summary>Whether a tensor of a layer has rows or columns here that are not stored.</summary>
    /// <param name="name">its name within a layer</param>
    public bool IsFilled(string name) => name switch
    {
        TensorNames.LatentUp => true,
        TensorNames.Query or TensorNames.QueryUp => Dim > Scored,
        TensorNames.AttentionOutput => Dim > Values,
        _ => false,
    };
}
