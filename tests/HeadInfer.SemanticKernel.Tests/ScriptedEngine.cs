using System.Runtime.CompilerServices;
using HeadInfer.Runtime;
using HeadInfer.Text;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>An engine that answers by a script, a few characters at a time, and remembers what it was asked. <c>$result</c> in an answer is the last result of a function that the prompt has.</summary>
internal sealed class ScriptedEngine(HeadInferModel words, params string[] answers) : IChatEngine
{
    private int _asked;

    /// <summary>Characters of a step.</summary>
    public int Piece { get; init; } = 3;

    public List<string> Prompts { get; } = [];

    public List<GenerationOptions> Options { get; } = [];

    public List<string> Keys { get; } = [];

    public string ModelId => "scripted";

    public Tokenizer Tokenizer => words.Tokenizer;

    public ChatTemplate Template { get; init; } = words.ChatTemplate!;

    public IReadOnlyList<int> EndTokens { get; init; } = words.EndTokens;

    public GenerationOptions Defaults { get; init; } = new();

    /// <summary>Why the answers end.</summary>
    public Runtime.FinishReason Reason { get; init; } = Runtime.FinishReason.Stop;

    public object? GetService(Type type) => null;

    public async IAsyncEnumerable<GenerationStep> GenerateAsync(
        IReadOnlyList<int> prompt, GenerationOptions options, string key, Action<int, bool> reused, Action<int, int> drafted, IProgress<PrefillProgress>? progress, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.Yield();
        Prompts.Add(Tokenizer.Decode(prompt, skipSpecial: false));
        Options.Add(options);
        Keys.Add(key);
        reused(0, false);
        var answer = answers[_asked++].Replace("$result", Prompts[^1].Split("<tool_response>\n")[^1].Split("\n</tool_response>")[0], StringComparison.Ordinal);
        for (var at = 0; at < answer.Length; at += Piece)
        {
            cancellationToken.ThrowIfCancellationRequested();
            yield return new GenerationStep(1, answer.Substring(at, Math.Min(Piece, answer.Length - at)));
        }

        yield return new GenerationStep(0, "", Reason);
    }
}
