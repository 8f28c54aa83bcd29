using System.Text;
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

    /// <summary>Whether it needs the best token alone.</summary>
    bool TakesBest => false;

    /// <summary>The next step, where it needs the best token alone.</summary>
    /// <param name="best">after the last token of the context</param>
    GenerationStep Next(int best, float logit) => throw new NotSupportedException();

    /// <summary>Guesses what comes after a step's token, so that several tokens may be computed at once. Changes nothing of what comes.</summary>
    /// <param name="context">all tokens of the sequence so far</param>
    /// <param name="next">the step's token, which is to follow them</param>
    /// <param name="most">tokens wanted at most</param>
    Draft Propose(IReadOnlyList<int> context, int next, int most);
}

/// <summary>Turns logits into steps: samples, decodes, and knows when to stop.</summary>
/// <param name="options">What to generate.</param>
/// <param name="tokenizer">Decodes; null where only tokens are wanted.</param>
/// <param name="stopTokens">Tokens that end the generation.</param>
/// <param name="maxTokens">Tokens at most, the context's end counted in.</param>
internal sealed class Generator(GenerationOptions options, Tokenizer? tokenizer, IReadOnlyCollection<int> stopTokens, int maxTokens) : IGenerator
{
    private const int MostForced = 64; // bytes
    private const double LikelihoodOfForced = 0.9;

    private readonly Sampler _sampler = new(options.Sampling);
    private readonly StopMatcher _stops = new([.. options.StopSequences]);
    private readonly TokenStream? _text = tokenizer is null ? null : new TokenStream(tokenizer).Show(options.ShownTokens.Select(tokenizer.AddedToken).OfType<int>());
    private readonly ConstrainedText? _constrained = options.Constraint?.Begin(TokenTrie.Of(tokenizer!));
    private readonly PromptLookup _lookup = new();
    private int _generated;

    /// <inheritdoc/>
    public GenerationStep Next(Span<float> logits, IReadOnlyList<int> context)
    {
        _sampler.Penalize(logits, context);
        _constrained?.Mask(logits, maxTokens - _generated, stopTokens);
        return After(_sampler.Choose(logits));
    }

    /// <inheritdoc/>
    public bool TakesBest => _constrained is null && _sampler.TakesBest;

    /// <inheritdoc/>
    public GenerationStep Next(int best, float logit) => After(_sampler.Next(best, logit));

    private GenerationStep After(int token)
    {
        if (stopTokens.Contains(token))
        {
            return new GenerationStep(token, End(""), Ended);
        }

        _constrained?.Advance(token);

        // Models pad their vocabulary beyond the tokenizer's; such a token stands for no text.
        var text = _stops.Append(token < tokenizer?.VocabularySize ? _text!.Append(token) : "");
        if (_stops.IsStopped)
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

    /// <inheritdoc/>
    public Draft Propose(IReadOnlyList<int> context, int next, int most)
    {
        most = Math.Min(most, maxTokens - _generated - 1); // the last token of an answer is not computed
        return most < 1 ? default : Forced(most) is { Tokens.Length: > 0 } forced ? forced : _lookup.Propose(context, next, most);
    }

    // What the form demands, as its text is usually written in tokens. Only the tokens are a guess: there may be others for it.
    private Draft Forced(int most)
    {
        if (_constrained?.Forced(MostForced) is not { Length: > 0 } bytes)
        {
            return default;
        }

        try
        {
            // Some tokenizers write a beginning otherwise, or leave spaces out.
            int[] tokens = [.. tokenizer!.Encode(Encoding.UTF8.GetString(bytes)).Take(most)];
            return tokens.Length > 0 && bytes.AsSpan().StartsWith(tokenizer.Bytes(tokens[0]).Span) ? new Draft(tokens, LikelihoodOfForced) : default;
        }
        catch (TokenizerException)
        {
            return default; // it is a guess only: the answer needs no text encoded
        }
    }

    private FinishReason Ended => _constrained?.WasHurried == true ? FinishReason.Length : FinishReason.Stop;

    // What is still held back: bytes of an unfinished character, and text that began like a stop sequence.
    private string End(string text) => text + _stops.Append(_text?.Flush() ?? "") + _stops.Flush();
}
