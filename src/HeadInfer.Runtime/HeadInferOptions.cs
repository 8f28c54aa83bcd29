namespace HeadInfer.Runtime;

/// <summary>How a model is loaded and run. Every property left null is planned from the model and the machine.</summary>
public sealed record HeadInferOptions
{
    /// <summary>Host memory that weights, workspace and KV cache may take together. Default: nine tenths of what is free.</summary>
    public ByteSize? HostMemory { get; init; }

    /// <summary>Tokens a session may hold. Default: what the model was made for; more is allowed and is the caller's risk.</summary>
    public int? MaxContextTokens { get; init; }

    /// <summary>Tokens of a page of the KV cache. Default: 256.</summary>
    public int? PageTokens { get; init; }

    /// <summary>Tokens that are streamed to the device at once. Default: 2,048.</summary>
    public int? TileTokens { get; init; }

    /// <summary>KV heads of a layer that move and attend together. Default: all.</summary>
    public int? HeadGroupSize { get; init; }

    /// <summary>Tokens that a layer processes before the next layer starts, during prefill. Default: as many as the workspace holds.</summary>
    public int? SegmentTokens { get; init; }

    /// <summary>Tokens that go through the linear layers at once. Default: 256.</summary>
    public int? ChunkTokens { get; init; }

    /// <summary>Where each head is attended. Default on the CPU: <see cref="HeadPlacement.Host"/>.</summary>
    public Func<HeadKey, HeadPlacement>? Placement { get; init; }

    /// <summary>Threads that compute for this model. Default: one a core, or what another model of the process was given before.</summary>
    public int? Threads { get; init; }

    /// <summary>
    /// Leaves out the cap of attention scores that Gemma 2 was trained with, as transformers' default (SDPA) attention
    /// does. Default: false; the cap is kept, as its authors and transformers' eager attention have it.
    /// </summary>
    public bool IgnoreAttentionSoftCap { get; init; }

    /// <summary>Checks every property once.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A property is out of range; the message names it.</exception>
    internal void Validate()
    {
        Check(nameof(MaxContextTokens), MaxContextTokens, 1 << 30);
        Check(nameof(PageTokens), PageTokens, 1 << 20);
        Check(nameof(TileTokens), TileTokens, 1 << 24);
        Check(nameof(HeadGroupSize), HeadGroupSize, 1 << 16);
        Check(nameof(SegmentTokens), SegmentTokens, 1 << 24);
        Check(nameof(ChunkTokens), ChunkTokens, 1 << 24);
        Check(nameof(Threads), Threads, 4096);
        if (HostMemory is { Bytes: <= 0 })
        {
            throw new ArgumentOutOfRangeException(nameof(HostMemory), HostMemory, "HeadInferOptions.HostMemory must be more than nothing.");
        }
    }

    private static void Check(string name, int? value, int most)
    {
        if (value is { } number && (number < 1 || number > most))
        {
            throw new ArgumentOutOfRangeException(name, number, $"HeadInferOptions.{name} must be from 1 to {most}.");
        }
    }
}
