namespace HeadInfer.SemanticKernel;

/// <summary>What the chat client talks to: a model, or a script in the tests.</summary>
internal interface IChatEngine
{
    string ModelId { get; }

    Tokenizer Tokenizer { get; }

    /// <summary>How a conversation is written for the model.</summary>
    ChatTemplate Template { get; }

    IReadOnlyList<int> EndTokens { get; }

    /// <summary>The model's own generation defaults.</summary>
    GenerationOptions Defaults { get; }

    /// <summary>A service that the engine is or has, or null.</summary>
    object? GetService(Type type);

    /// <summary>Reads a prompt, all of it, and generates. Calls are served together.</summary>
    /// <param name="prompt">the whole prompt</param>
    /// <param name="options">what to generate</param>
    /// <param name="key">callers with different keys share nothing that was read</param>
    /// <param name="reused">told once, before the first step, how many tokens of the prompt were known from before, and whether what was known went on otherwise after them</param>
    /// <param name="drafted">told before each step how many tokens of the answer were guessed so far, and how many of these came</param>
    /// <param name="progress">told how far the reading is</param>
    IAsyncEnumerable<GenerationStep> GenerateAsync(IReadOnlyList<int> prompt, GenerationOptions options, string key, Action<int, bool> reused, Action<int, int> drafted, IProgress<PrefillProgress>? progress, CancellationToken cancellationToken);
}
