using System.Runtime.CompilerServices;
using HeadInfer.Runtime;
using HeadInfer.Text;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>An engine that answers with tokens that a test gives, as a model would: the last one ends the answer and is no text.</summary>
internal sealed class TokenEngine(Tokenizer tokenizer, ChatTemplate template, IReadOnlyList<int> endTokens) : IChatEngine
{
    public string ModelId => "tokens";

    public Tokenizer Tokenizer => tokenizer;

    public ChatTemplate Template => template;

    public IReadOnlyList<int> EndTokens => endTokens;

    public GenerationOptions Defaults { get; } = new();

    /// <summary>What is generated next, without its end.</summary>
    public IReadOnlyList<int> Next { get; set; } = [];

    /// <summary>Why the answer ends. Where it is a limit, no other token ends it.</summary>
    public Runtime.FinishReason Reason { get; set; } = Runtime.FinishReason.Stop;

    /// <summary>Characters that are told: a stop sequence follows; null tells all of them.</summary>
    public int? Shown { get; set; }

    /// <summary>What each request read.</summary>
    public List<IReadOnlyList<int>> Prompts { get; } = [];

    /// <summary>Their options.</summary>
    public List<GenerationOptions> Options { get; } = [];

    /// <summary>What was generated for each of them.</summary>
    public List<IReadOnlyList<int>> Generated { get; } = [];

    /// <summary>The cache keys of the requests.</summary>
    public List<string> Keys { get; } = [];

    public object? GetService(Type type) => null;

    public async IAsyncEnumerable<GenerationStep> GenerateAsync(
        IReadOnlyList<int> prompt, GenerationOptions options, string key, Action<int, bool> reused, Action<int, int> drafted, IProgress<PrefillProgress>? progress, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.Yield();
        Prompts.Add(prompt);
        Options.Add(options);
        Generated.Add(Next);
        Keys.Add(key);
        reused(0, false);
        var (stream, left) = (new TokenStream(tokenizer).Show(options.ShownTokens.Select(tokenizer.AddedToken).OfType<int>()), Shown ?? int.MaxValue);
        for (var i = 0; i < Next.Count; i++)
        {
            var text = stream.Append(Next[i]);
            text = text[..Math.Min(text.Length, left)];
            left -= text.Length;
            yield return new GenerationStep(Next[i], text, i == Next.Count - 1 && (Reason == Runtime.FinishReason.Length || Shown is not null) ? Reason : null);
        }

        if (Reason != Runtime.FinishReason.Length && Shown is null)
        {
            yield return new GenerationStep(endTokens[0], stream.Flush(), Reason);
        }
    }
}
