using System.Globalization;
using System.Text;

namespace HeadInfer.Runtime;

/// <summary>What a model takes on the GPU. None of it grows with the context.</summary>
/// <param name="Budget">What everything may take together.</param>
/// <param name="Libraries">CUDA's context, cuBLAS and cuDNN.</param>
/// <param name="Weights">Weights.</param>
/// <param name="Activations">Activations of a segment and of a chunk.</param>
/// <param name="KvBuffers">Tile ring, and the new rows of two layers on their way to host memory.</param>
/// <param name="Resident">What is left for copies of keys and values: none are needed, each spares the link its rows.</param>
public sealed record GpuPlan(ByteSize Budget, ByteSize Libraries, ByteSize Weights, ByteSize Activations, ByteSize KvBuffers, ByteSize Resident)
{
    /// <summary>Everything but resident copies.</summary>
    public ByteSize Fixed => Libraries + Weights + Activations + KvBuffers;
}

/// <summary>What a model takes, where, and how long a context fits. Prints itself.</summary>
/// <example>
/// <code>
/// using HeadInfer.Runtime;
///
/// await using var model = await HeadInferModel.LoadAsync("path/to/a/model");
/// Console.WriteLine($"{model.Plan.KvPerToken} a token, {model.Plan.LongestContext:N0} tokens fit");
/// </code>
/// </example>
public sealed record MemoryPlan
{
    /// <summary>Host memory that everything there may take together.</summary>
    public required ByteSize HostBudget { get; init; }

    /// <summary>The GPU's part; null on the CPU.</summary>
    public GpuPlan? Gpu { get; init; }

    /// <summary>Weights, as they lie where the model computes.</summary>
    public required ByteSize Weights { get; init; }

    /// <summary>With a GPU the last layers whose weights do not fit it, how many. They lie in host memory and come to the GPU by turns: once a segment of a prompt, and once a token of an answer.</summary>
    public int StreamedLayers { get; init; }

    /// <summary>Host memory of the weights of <see cref="StreamedLayers"/>.</summary>
    public ByteSize HostWeights { get; init; }

    /// <summary>With a GPU host memory of embeddings of which each token reads a row: those that tell layers of a token (Gemma 4). Zero for none; on the CPU they are among <see cref="Weights"/>.</summary>
    public ByteSize HostTables { get; init; }

    /// <summary>Activations of a segment and the tile ring, where the model computes; does not grow with the context.</summary>
    public required ByteSize Workspace { get; init; }

    /// <summary>The process itself in host memory: .NET and libtorch, and CUDA with a GPU.</summary>
    public required ByteSize Process { get; init; }

    /// <summary>Host memory of the KV cache for one token.</summary>
    public required ByteSize KvPerToken { get; init; }

    /// <summary>Memory of the copies of heads that are resident by <see cref="HeadInferOptions.Placement"/>, for one token, where the model computes.</summary>
    public required ByteSize ResidentPerToken { get; init; }

    /// <summary>KV heads, over all layers, by where they are attended.</summary>
    public required IReadOnlyDictionary<HeadPlacement, int> Heads { get; init; }

    /// <summary>Tokens, of all sessions together, whose keys and values have a copy in GPU memory, so that they need not be streamed; 0 on the CPU and where a placement is given.</summary>
    public required int ResidentTokens { get; init; }

    /// <summary>Of a model that is loaded on a GPU, by tokens of a context, the predicted time of a token of one answer; empty where nothing was measured.</summary>
    public IReadOnlyDictionary<int, TimeSpan> DecodeTimes { get; init; } = new Dictionary<int, TimeSpan>();

    /// <summary>With a GPU the share of the heads, 0 to 1, that the CPU attends of tokens without copies; 0 where nothing was measured.</summary>
    public double HostShare { get; init; }

    /// <summary>When the rates were measured that <see cref="HostShare"/> and <see cref="DecodeTimes"/> rest on; null where none are needed. See <see cref="HeadInferOptions.RatesFile"/>.</summary>
    public DateOnly? RatesDate { get; init; }

    /// <summary>Tokens a session may hold, prompt and answer together.</summary>
    public required int MaxContextTokens { get; init; }

    /// <summary>The longest context that also fits the memory, in tokens.</summary>
    public required int LongestContext { get; init; }

    /// <summary>Tokens of a page.</summary>
    public required int PageTokens { get; init; }

    /// <summary>Tokens of a tile of a whole head group.</summary>
    public required int TileTokens { get; init; }

    /// <summary>KV heads of a group at most.</summary>
    public required int HeadGroupSize { get; init; }

    /// <summary>Tokens of a segment.</summary>
    public required int SegmentTokens { get; init; }

    /// <summary>Tokens of a chunk.</summary>
    public required int ChunkTokens { get; init; }

    /// <summary>Element type of weights and activations, such as <c>Float32</c>.</summary>
    public required string ElementType { get; init; }

    /// <summary>Element type of the KV cache, such as <c>BFloat16</c>.</summary>
    public required string KvElementType { get; init; }

    /// <summary>Host memory left for KV caches.</summary>
    public ByteSize KvBudget => Gpu is null ? HostBudget - Weights - Workspace - Process : HostBudget - Process - HostWeights - HostTables;

    /// <summary>The part of <see cref="KvBudget"/> that pages may take; on the CPU resident copies take the rest.</summary>
    internal ByteSize PageBudget => new((long)(KvBudget.Bytes * ((double)((KvPerToken * PageTokens) + StateSize).Bytes / KvFor(PageTokens).Bytes)));

    /// <summary>What resident copies may take; more than one longest context, in whole pages, would be of little use.</summary>
    internal ByteSize ResidentBudget => Gpu is null ? KvBudget - PageBudget : new(Math.Min((Gpu.Resident - WindowBudget).Bytes, KvPerToken.Bytes * (MaxContextTokens + (2L * PageTokens))));

    /// <summary>Of the GPU's room for copies what those of windowed layers may take.</summary>
    internal ByteSize WindowBudget { get; init; }

    /// <summary>Tokens of which windowed layers' copies fit that.</summary>
    internal int WindowTokens { get; init; }

    /// <summary>Whether a step streams nothing, however long its context.</summary>
    internal bool CopiesAll => ResidentTokens >= LongestContext || (WindowTokens > 0 && ResidentTokens == 0);

    /// <summary>Host memory that the model is sure to be able to take: with the longest context. Further sessions take what is left then.</summary>
    internal ByteSize HostPromise => HostBudget - KvBudget + KvFor(LongestContext);

    /// <summary>What layers without keys and values remember of a sequence; zero where there are none. A page keeps it once in host memory.</summary>
    public ByteSize StateSize { get; init; }

    /// <summary>Requests that may be read and answered at once, where layers have states: these lie where the model computes.</summary>
    internal int MostStates { get; init; }

    /// <summary>What of <see cref="Weights"/> a token of an answer reads.</summary>
    internal ByteSize ReadPerToken { get; init; }

    /// <summary>What of <see cref="HostWeights"/> a token of an answer reads.</summary>
    internal ByteSize ComingPerToken { get; init; }

    /// <summary>Whether some weights lie packed.</summary>
    internal bool ArePacked { get; init; }

    private ByteSize HostPerToken => Gpu is null ? KvPerToken + ResidentPerToken : KvPerToken;

    /// <summary>What <see cref="DecodeTimes"/> are from.</summary>
    internal Planning.DecodeForecast? Forecast { get; init; }

    /// <summary>Tokens of the contexts for which times are predicted; the last is the longest.</summary>
    internal IEnumerable<int> ForecastContexts => ((int[])[1 << 10, 8 << 10, 32 << 10, 128 << 10]).Where(tokens => tokens < LongestContext).Append(LongestContext);

    /// <summary>The plan with what was measured when its model was loaded.</summary>
    internal MemoryPlan WithForecast(Checkpoints.ModelConfig config, Planning.DecodeForecast forecast) => this with
    {
        Forecast = forecast,
        HostShare = forecast.HostShare,
        DecodeTimes = ForecastContexts.ToDictionary(tokens => tokens, tokens => TimeSpan.FromSeconds(forecast.Seconds(config, this, tokens))),
    };

    /// <summary>Host memory of a context of so many tokens, on the CPU with its resident copies.</summary>
    public ByteSize KvFor(int tokens) => ((HostPerToken * PageTokens) + StateSize) * ((tokens + PageTokens - 1L) / PageTokens);

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

        if (Gpu is not null)
        {
            Line("GPU memory", $"{Gpu.Budget}");
            Line("  weights", $"{Gpu.Weights} (computed in {ElementType}){(StreamedLayers > 0 ? string.Create(CultureInfo.InvariantCulture, $"; the last {StreamedLayers} layers come by turns") : "")}");
            Line("  libraries", $"{Gpu.Libraries}");
            Line("  activations", $"{Gpu.Activations} (segment {SegmentTokens:N0}, chunk {ChunkTokens:N0} tokens)");
            Line("  KV buffers", $"{Gpu.KvBuffers} (tile {TileTokens:N0} tokens of {HeadGroupSize} heads, and new rows)");
            Line("  resident copies", $"{Gpu.Resident} left{(ResidentTokens > 0 ? string.Create(CultureInfo.InvariantCulture, $", of {ResidentTokens:N0} tokens") : "")}");
            Line("host memory", $"{HostBudget}");
            if (StreamedLayers > 0)
            {
                Line("  weights", $"{HostWeights} of {StreamedLayers} layers");
            }

            if (HostTables > ByteSize.Zero)
            {
                Line("  embedding", $"{HostTables}, of which a token reads a row");
            }
        }
        else
        {
            Line("host memory", $"{HostBudget}");
            Line("  weights", $"{Weights} (computed in {ElementType})");
            Line("  workspace", $"{Workspace} (segment {SegmentTokens:N0}, chunk {ChunkTokens:N0}, tile {TileTokens:N0} tokens of {HeadGroupSize} heads)");
        }

        Line("  process", $"{Process}");
        Line("  KV cache", $"{KvBudget} left, {KvPerToken} a token ({KvElementType}) in pages of {PageTokens:N0}{(StateSize > ByteSize.Zero ? $", {StateSize} of states a page" : "")}");
        Line("KV heads", $"{string.Join(", ", Heads.OrderBy(h => h.Key).Select(h => $"{h.Value} {h.Key.ToString().ToLowerInvariant()}"))}");
        if (DecodeTimes.Count > 0)
        {
            var times = DecodeTimes.OrderBy(t => t.Key).Select(t => string.Create(CultureInfo.InvariantCulture, $"{t.Value.TotalMilliseconds:0.#} ms at {t.Key:N0}"));
            Line("a token predicted", $"{string.Join(", ", times)} tokens{(HostShare > 0 ? string.Create(CultureInfo.InvariantCulture, $"; the CPU attends {100 * HostShare:0}% of what has no copy, by rates of {RatesDate:yyyy-MM-dd}") : "")}");
        }

        Line("longest context", $"{LongestContext:N0} tokens, {KvFor(LongestContext)} of KV cache (model: {MaxContextTokens:N0})");
        return text.ToString().TrimEnd();
    }
}
