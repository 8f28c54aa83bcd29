namespace HeadInfer.SemanticKernel;

/// <summary>What a model's thoughts stand between.</summary>
/// <param name="Start">how they begin</param>
/// <param name="End">how they end</param>
internal record ThoughtTags(string Start, string End)
{
    /// <summary>Those of models in general.</summary>
    public static ThoughtTags Usual { get; } = new("<think>", "</think>");

    /// <summary>All that may be read in any answer: those of Mistral, Gemma, Seed-OSS and Command are others.</summary>
    public static IReadOnlyList<ThoughtTags> All { get; } = [Usual, new("[THINK]", "[/THINK]"), new("<|channel>thought", "<channel|>"), new("<seed:think>", "</seed:think>") { Remark = "<seed:cot_budget_reflect>" }, new("<|START_THINKING|>", "<|END_THINKING|>")];

    // Granite 3.3 and Command.
    private static readonly (string Start, string End)[] Responses = [("<response>", "</response>"), ("<|START_RESPONSE|>", "<|END_RESPONSE|>")];

    /// <summary>What an answer stands between, behind its thoughts; null if it does not.</summary>
    public (string Start, string End)? Response { get; init; }

    /// <summary>Special tokens that are read as text, whichever of these a model has.</summary>
    public IReadOnlyList<string> Markers => [.. All.Append(this).SelectMany(t => Markup.Markers(t.Start + t.End)).Concat(OwnMarkers).Distinct()];

    /// <summary>What stands between thoughts and all that follows them; "" if white space may.</summary>
    public virtual string Between => "";

    /// <summary>What stands before text; "" if nothing does.</summary>
    public virtual string Said => "";

    /// <summary>Further markers of its own.</summary>
    protected virtual IEnumerable<string> OwnMarkers => [];

    /// <summary>Those that a chat template speaks of.</summary>
    public static ThoughtTags Of(string template) =>
        HarmonyTags.IsIn(template) ? HarmonyTags.Instance : (All.FirstOrDefault(t => template.Contains(t.End, StringComparison.Ordinal)) ?? Usual) with
        {
            Response = Responses.Where(r => template.Contains(r.Start, StringComparison.Ordinal) && template.Contains(r.End, StringComparison.Ordinal)).Cast<(string, string)?>().FirstOrDefault(),
        };

    /// <summary>What a prompt may go on with once it has opened thoughts; null if it ends there.</summary>
    public string? Remark { get; init; }

    /// <summary>Whether a prompt ends with what opens thoughts.</summary>
    public bool IsOpenedBy(string prompt) => prompt.AsSpan().TrimEnd() is var text && (text.EndsWith(Start) || (Remark is not null && text.EndsWith(Start + Remark)));

    /// <summary>Tells thoughts from the rest of an answer.</summary>
    /// <param name="opened">whether the prompt has opened them already, as some templates do</param>
    public virtual IThoughtScanner Scanner(bool opened) => new ReasoningScanner(opened ? this : null, Response);

    /// <summary>The form of thoughts with an answer behind them, once they are opened.</summary>
    public OutputConstraint Before(OutputConstraint answer) =>
        OutputConstraint.Sequence(OutputConstraint.Until(End), Between.Length > 0 ? Markup.Form(Between) : OutputConstraint.Space(), answer);
}

/// <summary>Tells what a model thinks from what it says, while an answer streams in.</summary>
internal interface IThoughtScanner
{
    /// <summary>Whether the answer is within thoughts.</summary>
    bool IsThinking { get; }

    /// <summary>Takes the next piece of the answer.</summary>
    IEnumerable<(string Text, bool IsReasoning)> Append(string text);

    /// <summary>Ends the answer: what was held back is what it seemed to be.</summary>
    IEnumerable<(string Text, bool IsReasoning)> Finish();
}
