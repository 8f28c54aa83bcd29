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

    /// <summary>What each request read.</summary>
    public List<IReadOnlyList<int>> Prompts { get; } = [];

    public object? GetService(Type type) => null;

    public async IAsyncEnumerable<GenerationStep> GenerateAsync(
        IReadOnlyList<int> prompt, GenerationOptions options, string key, Action<int, bool> reused, IProgress<PrefillProgress>? progress, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.Yield();
        Prompts.Add(prompt);
        reused(0, false);
        var stream = new TokenStream(tokenizer).Show(options.ShownTokens.Select(tokenizer.AddedToken).OfType<int>());
        foreach (var token in Next)
        {
            yield return new GenerationStep(token, stream.Append(token));
        }

        yield return new GenerationStep(endTokens[0], stream.Flush(), Runtime.FinishReason.Stop);
    }
}
