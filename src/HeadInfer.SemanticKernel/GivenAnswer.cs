namespace HeadInfer.SemanticKernel;

/// <summary>An answer while it is given: what the model generates, and what the caller is shown of it.</summary>
internal sealed class GivenAnswer
{
    private readonly StringBuilder _text = new();
    private readonly List<string> _callIds = [];

    /// <summary>Everything that was generated.</summary>
    public List<int> Tokens { get; } = [];

    /// <summary>Characters of its text, without a stop sequence.</summary>
    public int Characters { get; private set; }

    /// <summary>Why it ended; null as long as it has not.</summary>
    public FinishReason? Reason { get; private set; }

    /// <summary>What names the answer when it comes back.</summary>
    public Digest Identity => Digest.OfAnswer(_callIds, _text.ToString());

    public void Add(GenerationStep step)
    {
        Tokens.Add(step.TokenId);
        Characters += step.Text.Length;
        Reason = step.FinishReason;
    }

    /// <summary>Takes a stop sequence, and what came after it, from the answer's text.</summary>
    public void Drop(int characters) => Characters -= characters;

    public void Add(AIContent content)
    {
        _text.Append((content as TextContent)?.Text);
        if (content is FunctionCallContent call)
        {
            _callIds.Add(call.CallId);
        }
    }
}
