using System.Globalization;
using System.Text;

namespace HeadInfer.Runtime;

/// <summary>What a model takes, where, and how long a context fits. Prints itself.</summary>
public sealed record MemoryPlan
{
    /// <summary>Host memory that everything may take together.</summary>
    public required ByteSize HostBudget { get; init; }

    /// <summary>Weights, in the type they are computed in.</summary>
    public required ByteSize Weights { get; init; }

    /// <summary>Activations of a segment and the tile ring; does not grow with the context.</summary>
    public required ByteSize Workspace { get; init; }

    /// <summary>The process itself: .NET and libtorch.</summary>
    public required ByteSize Process { get; init; }

    /// <summary>Host memory of the KV cache for one token.</summary>
    public required ByteSize KvPerToken { get; init; }

    /// <summary>Memory of the resident heads' copies for one token, growing room counted in; on the CPU it is host memory.</summary>
    public required ByteSize ResidentPerToken { get; init; }

    /// <summary>KV heads, over all layers, by where they are attended.</summary>
    public required IReadOnlyDictionary<HeadPlacement, int> Heads { get; init; }

    /// <summary>Tokens a session may hold, prompt and answer together.</summary>
    public required int MaxContextTokens { get; init; }

    /// <summary>The longest context that also fits the memory, in tokens.</summary>
    public required int LongestContext { get; init; }

    /// <summary>Tokens of a page.</summary>
    public required int PageTokens { get; init; }

    /// <summary>Tokens of a tile.</summary>
    public required int TileTokens { get; init; }

    /// <summary>KV heads of a group at most.</summary>
    public required int HeadGroupSize { get; init; }

    /// <summary>Tokens of a segment.</summary>
    public required int SegmentTokens { get; init; }

    /// <summary>Tokens of a chunk.</summary>
    public required int ChunkTokens { get; init; }

    /// <summary>Element type of weights and KV cache, such as <c>Float32</c>.</summary>
    public required string ElementType { get; init; }

    /// <summary>Host memory left for KV caches.</summary>
    public ByteSize KvBudget => HostBudget - Weights - Workspace - Process;

    /// <summary>The part of <see cref="KvBudget"/> that pages may take; resident copies take the rest.</summary>
    internal ByteSize PageBudget => new((long)(KvBudget.Bytes * ((double)KvPerToken.Bytes / (KvPerToken + ResidentPerToken).Bytes)));

    /// <summary>Host memory of a context of so many tokens, resident copies counted in.</summary>
    public ByteSize KvFor(int tokens) => (KvPerToken + ResidentPerToken) * ((tokens + PageTokens - 1L) / PageTokens * PageTokens);

    /// <summary>Refuses a context that is longer than the model or the memory allows.</summary>
    /// <param name="tokens">prompt and answer together</param>
    /// <exception cref="ContextLengthException">It is longer than <see cref="MaxContextTokens"/>.</exception>
    /// <exception cref="MemoryBudgetException">It does not fit <see cref="KvBudget"/>.</exception>
    public void EnsureFits(long tokens)
    {
        if (tokens > MaxContextTokens)
        {
            throw new ContextLengthException(string.Create(CultureInfo.InvariantCulture,
                $"{tokens:N0} tokens (prompt and answer) are more than the {MaxContextTokens:N0} that a session of this model may hold. Shorten the prompt, ask for fewer tokens, or raise HeadInferOptions.MaxContextTokens beyond what the model was made for."));
        }

        if (tokens > LongestContext)
        {
            throw new MemoryBudgetException(string.Create(CultureInfo.InvariantCulture,
                $"{tokens:N0} tokens need {KvFor((int)tokens)} of KV cache; {KvBudget} of the {HostBudget} are left for it, enough for {LongestContext:N0} tokens. Raise HeadInferOptions.HostMemory or shorten the prompt."));
        }
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        var text = new StringBuilder();
        void Line(string what, FormattableString value) =>
            text.Append(CultureInfo.InvariantCulture, $"{what,-18}").AppendLine(value.ToString(CultureInfo.InvariantCulture));

        Line("host memory", $"{HostBudget}");
        Line("  weights", $"{Weights} ({ElementType})");
        Line("  workspace", $"{Workspace} (segment {SegmentTokens:N0}, chunk {ChunkTokens:N0}, tile {TileTokens:N0} tokens of {HeadGroupSize} heads)");
        Line("  process", $"{Process}");
        Line("  KV cache", $"{KvBudget} left, {KvPerToken} a token in pages of {PageTokens:N0}");
        Line("KV heads", $"{string.Join(", ", Heads.OrderBy(h => h.Key).Select(h => $"{h.Value} {h.Key.ToString().ToLowerInvariant()}"))}");
        Line("longest context", $"{LongestContext:N0} tokens (model: {MaxContextTokens:N0})");
        return text.ToString().TrimEnd();
    }
}
