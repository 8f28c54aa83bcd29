using HeadInfer.Text;

namespace HeadInfer.Runtime;

/// <summary>What to generate and when to stop.</summary>
/// <example>
/// <code>
/// using HeadInfer.Runtime;
/// using HeadInfer.Text;
///
/// await using var model = await HeadInferModel.LoadAsync("path/to/a/model");
/// using var session = model.CreateSession();
/// var options = new GenerationOptions { MaxTokens = 200, Constraint = OutputConstraint.Json() };
/// await foreach (var step in session.GenerateAsync(model.Tokenizer.Encode("A colour as JSON: "), options))
/// {
///     Console.Write(step.Text);
/// }
/// </code>
/// </example>
public sealed record GenerationOptions
{
    /// <summary>Tokens to generate at most. Room for them is reserved before the request begins. Null lets it go on to the end of the context, as long as there is room. Default: 512.</summary>
    public int? MaxTokens { get; init; } = 512;

    /// <summary>Requests with a higher one go first. Default: 0.</summary>
    public int Priority { get; init; }

    /// <summary>When the first token must be there at the latest; a request that is not so far then ends with a <see cref="TimeoutException"/>. Default: never.</summary>
    public DateTimeOffset? Deadline { get; init; }

    /// <summary>How tokens are chosen. Default: greedy.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Texts that end the generation; they are not part of it.</summary>
    public IReadOnlyList<string> StopSequences { get; init; } = [];

    /// <summary>Tokens that end the generation. Default: those of the model's configuration.</summary>
    public IReadOnlyList<int>? StopTokens { get; init; }

    /// <summary>The form that the text must have. Default: none.</summary>
    public OutputConstraint? Constraint { get; init; }

    /// <summary>Special tokens that are shown as text where they come, such as one that begins a call. Default: none.</summary>
    public IReadOnlyList<string> ShownTokens { get; init; } = [];

    /// <exception cref="ArgumentException">A property is out of range; the message names it.</exception>
    internal void Validate()
    {
        Sampling.Validate();
        if (MaxTokens is < 1)
        {
            throw new ArgumentOutOfRangeException(nameof(MaxTokens), MaxTokens, "GenerationOptions.MaxTokens must be at least 1.");
        }

        if (StopSequences.Any(string.IsNullOrEmpty))
        {
            throw new ArgumentException("GenerationOptions.StopSequences has an empty text, which would stop at once.", nameof(StopSequences));
        }
    }
}

/// <summary>Why a generation ended.</summary>
public enum FinishReason
{
    /// <summary>A stop token or a stop sequence came.</summary>
    Stop,

    /// <summary>
    /// <see cref="GenerationOptions.MaxTokens"/> were generated, or the context is full. A text with a constraint is
    /// whole all the same, unless they are too few for the shortest; it is shorter than it might have been. A call of a
    /// function is cut off.
    /// </summary>
    Length,
}

/// <summary>One step of a generation.</summary>
/// <param name="TokenId">The token; the last step's is not part of the session.</param>
/// <param name="Text">Text that became complete with it; may be empty.</param>
/// <param name="FinishReason">Why the generation ended, on the last step.</param>
public readonly record struct GenerationStep(int TokenId, string Text, FinishReason? FinishReason = null);
