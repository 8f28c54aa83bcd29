namespace HeadInfer.SemanticKernel;

/// <summary>What a request may ask of this client beyond what every chat client knows.</summary>
public static class HeadInferChatOptionsExtensions
{
    internal const string CacheKeyName = "cache_key", ContinueName = "continue_final_message";

    /// <summary>Has somebody told how far the reading of this request's prompt is, some times a second.</summary>
    /// <remarks>It leaves no trace in what is serialised: caches find the same answer with it and without. An answer from a cache reads nothing, and tells nothing.</remarks>
    /// <param name="options">the request's options, which are changed</param>
    /// <param name="progress">who is told</param>
    public static ChatOptions WithPrefillProgress(this ChatOptions options, IProgress<PrefillProgress> progress)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(progress);
        options.RawRepresentationFactory = new ProgressFactory(progress, options.RawRepresentationFactory).Make;
        return options;
    }

    /// <summary>Sets what the runtime's own options have beyond those of every chat client, such as <see cref="GenerationOptions.Priority"/> and <see cref="GenerationOptions.Deadline"/>.</summary>
    /// <remarks>
    /// Like <see cref="WithPrefillProgress"/> it leaves no trace in what is serialised. What <see cref="ChatOptions"/> say of themselves, such as a temperature, wins.
    /// <code>
    /// var options = new ChatOptions().WithGeneration(g =&gt; g with { Priority = 1, Deadline = DateTimeOffset.UtcNow.AddSeconds(30) });
    /// </code>
    /// </remarks>
    /// <param name="options">the request's options, which are changed</param>
    /// <param name="change">gives the changed options; it is given the client's own, by which an answer is as long as there is room for</param>
    public static ChatOptions WithGeneration(this ChatOptions options, Func<GenerationOptions, GenerationOptions> change)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(change);
        var inner = options.RawRepresentationFactory;
        options.RawRepresentationFactory = client => (inner?.Invoke(client), client) switch
        {
            (WithProgress earlier, HeadInferChatClient) => earlier with { Raw = After(earlier.Raw) },
            (var raw, HeadInferChatClient) => After(raw),
            var (raw, _) => raw,
        };
        return options;
        object? After(object? raw) => raw switch
        {
            GenerationOptions given => change(given),
            Func<GenerationOptions, GenerationOptions> earlier => (GenerationOptions g) => change(earlier(g)),
            null => change,
            var other => other, // is refused
        };
    }

    /// <summary>Names the caller of this request. Callers with different keys share nothing that was read, and find none of each other's answers.</summary>
    /// <remarks>
    /// Unlike <see cref="WithPrefillProgress"/> it is part of what is serialised (<c>AdditionalProperties["cache_key"]</c>), so that a cache before
    /// this client keeps callers apart too. Other middleware may write it into logs and traces: give a name or a hash, not a secret.
    /// </remarks>
    /// <param name="options">the request's options, which are changed</param>
    /// <param name="key">the key; requests without one share an empty one</param>
    public static ChatOptions WithCacheKey(this ChatOptions options, string key)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(key);
        (options.AdditionalProperties ??= [])[CacheKeyName] = key;
        return options;
    }

    /// <summary>Has the model go on with the last message, which must be the assistant's and text. The answer is what follows that text.</summary>
    /// <remarks>
    /// It is refused where that cannot be: with JSON output or a required call, which would have to begin with the answer, and for models
    /// whose template opens thoughts or a channel before an answer. White space at the message's end is read as it stands.
    /// </remarks>
    /// <param name="options">the request's options, which are changed</param>
    public static ChatOptions WithContinuedMessage(this ChatOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (options.AdditionalProperties ??= [])[ContinueName] = true;
        return options;
    }

    /// <summary>Whether the last message is to be continued.</summary>
    internal static bool ContinuesMessage(this ChatOptions? options) =>
        options?.AdditionalProperties?.GetValueOrDefault(ContinueName) is true or JsonElement { ValueKind: JsonValueKind.True };

    /// <summary>The caller's key; empty if none is given.</summary>
    /// <exception cref="ArgumentException">It is no text.</exception>
    internal static string CacheKey(this ChatOptions? options) => options?.AdditionalProperties?.GetValueOrDefault(CacheKeyName) switch
    {
        null => "",
        string key => key,
        JsonElement { ValueKind: JsonValueKind.String } key => key.GetString()!,
        var other => throw new ArgumentException($"ChatOptions.AdditionalProperties[\"{CacheKeyName}\"] is {other.GetType().Name}, and must be a text."),
    };

    /// <summary>What the options' own factory makes for this client, and who is told of the reading.</summary>
    internal static (object? Raw, IProgress<PrefillProgress>? Progress) Made(this ChatOptions? options, HeadInferChatClient client)
    {
        var made = options?.RawRepresentationFactory?.Invoke(client);
        return made is WithProgress both ? (both.Raw, both.Progress) : (made, null);
    }

    // AdditionalProperties would be the natural place, but caches serialise them for their keys. The factory is never
    // serialised, is copied with the options, and wrappers of it call it. Other clients are shown what there was without it.
    private sealed class ProgressFactory(IProgress<PrefillProgress> progress, Func<IChatClient, object?>? inner)
    {
        public object? Make(IChatClient client) => (inner?.Invoke(client), client) switch
        {
            (WithProgress earlier, HeadInferChatClient) => earlier with { Progress = progress },
            (var raw, HeadInferChatClient) => new WithProgress(raw, progress),
            var (raw, _) => raw,
        };
    }

    private sealed record WithProgress(object? Raw, IProgress<PrefillProgress> Progress);
}
