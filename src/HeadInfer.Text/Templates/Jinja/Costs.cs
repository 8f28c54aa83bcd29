namespace HeadInfer.Text.Templates.Jinja;

/// <summary>What a template's operations cost, so that all of them are counted alike.</summary>
internal static class Costs
{
    /// <summary>Steps and bytes that any template may take.</summary>
    private const long BaseSteps = 800_000;

    private const long BaseBytes = 48L << 20;

    /// <summary>The budget of a rendering, which grows with the conversation.</summary>
    /// <param name="characters">of all text of the conversation</param>
    /// <param name="items">of all its lists and dictionaries</param>
    /// <param name="refuse">makes the error, from what ran out</param>
    /// <param name="cancellationToken">ends the rendering</param>
    public static WorkBudget Budget(long characters, long items, Func<string, long, Exception> refuse, CancellationToken cancellationToken) =>
        new(BaseSteps + (8 * characters) + (70 * items), BaseBytes + (64 * characters) + (128 * items), refuse, cancellationToken);

    /// <summary>Counts a text before it is made.</summary>
    public static void HoldText(this WorkBudget budget, long characters) => budget.Hold(64 + (2 * characters));

    /// <summary>Counts a list before it is made.</summary>
    public static void HoldItems(this WorkBudget budget, long items) => budget.Hold(64 + (8 * items));

    /// <summary>Counts characters that are compared or copied many at once.</summary>
    public static void Scan(this WorkBudget budget, long characters) => budget.Spend(characters >> 5);

    /// <summary>Counts characters that are looked at one by one.</summary>
    public static void Walk(this WorkBudget budget, long characters) => budget.Spend(characters >> 3);

    /// <summary>A part of a text, counted.</summary>
    public static TemplateText Part(this WorkBudget budget, TemplateText text, int start, int length)
    {
        if (length != text.Length)
        {
            budget.Hold(64 + (2L * length) + (8L * text.RangesIn(start, length)));
        }

        return text.Substring(start, length);
    }

    /// <summary>Texts one behind the other, counted.</summary>
    public static TemplateText Join(this WorkBudget budget, params IEnumerable<TemplateText> parts)
    {
        var result = new TemplateTextBuilder(budget);
        foreach (var part in parts)
        {
            result.Append(part);
        }

        return result.Build();
    }
}
