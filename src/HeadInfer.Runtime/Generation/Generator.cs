using HeadInfer.Text;
using HeadInfer.Text.Constraints;

namespace HeadInfer.Runtime.Generation;

/// <summary>Makes the next step of an answer out of logits.</summary>
internal interface IGenerator
{
    /// <summary>The next step; one with a reason is the last.</summary>
    /// <param name="logits">[vocabulary] after the last token of the context, changed</param>
    /// <param name="context">all tokens of the sequence so far</param>
    GenerationStep Next(Span<float> logits, IReadOnlyList<int> context);
}

/// <summary>Turns logits into steps: samples, decodes, and knows when to stop.</summary>
/// <param name="options">What to generate.</param>
/// <param name="tokenizer">Decodes; null where only tokens are wanted.</param>
/// <param name="stopTokens">Tokens that end the generation.</param>
/// <param name="maxTokens">Tokens at most, the context's end counted in.</param>
internal sealed class Generator(GenerationOptions options, Tokenizer? tokenizer, IReadOnlyCollection<int> stopTokens, int maxTokens) : IGenerator
{
    private readonly Sampler _sampler = new(options.Sampling);
    private readonly StopMatcher _stops = new(options.StopSequences);
    private readonly TokenStream? _text = tokenizer is null ? null : new TokenStream(tokenizer).Show(options.ShownTokens.Select(tokenizer.AddedToken).OfType<int>());
    private readonly ConstrainedText? _constrained = options.Constraint?.Begin(TokenTrie.Of(tokenizer!));
    private int _generated;

    /// <inheritdoc/>
    public GenerationStep Next(Span<float> logits, IReadOnlyList<int> context)
    {
        _constrained?.Mask(logits, maxTokens - _generated, stopTokens);
        var token = _sampler.Next(logits, context);
        if (stopTokens.Contains(token))
        {
            return new GenerationStep(token, End(""), Ended);
        }

        _constrained?.Advance(token);

        // Models pad their vocabulary beyond the tokenizer's; such a token stands for no text.
        var (text, stopped) = _stops.Append(token < tokenizer?.VocabularySize ? _text!.Append(token) : "");
        if (stopped)
        {
            return new GenerationStep(token, text, FinishReason.Stop);
        }

        _generated++;
        if (_constrained?.IsComplete == true)
        {
            return new GenerationStep(token, End(text), Ended); // nothing may follow, so nothing is computed to find that out
        }

        return _generated >= maxTokens
            ? new GenerationStep(token, End(text), FinishReason.Length)
            : new GenerationStep(token, text);
    }

    private FinishReason Ended => _constrained?.WasHurried == true ? FinishReason.Length : FinishReason.Stop;

    // What is still held back: bytes of an unfinished character, and text that began like a stop sequence.
    private string End(string text)
    {
        var (last, stopped) = _stops.Append(_text?.Flush() ?? "");
        return text + last + (stopped ? "" : _stops.Flush());
    }
}
