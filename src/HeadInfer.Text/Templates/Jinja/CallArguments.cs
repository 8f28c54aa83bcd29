namespace HeadInfer.Text.Templates.Jinja;

/// <summary>The values of a call's arguments.</summary>
/// <param name="Positional">those without names</param>
/// <param name="Named">those with names</param>
/// <param name="At">where the call is</param>
/// <param name="Budget">counts what the call costs</param>
internal sealed record CallArguments(IReadOnlyList<object?> Positional, IReadOnlyDictionary<string, object?> Named, Position At, WorkBudget Budget)
{
    private static readonly Dictionary<string, object?> NoNames = [];

    public int Count => Positional.Count;

    public static CallArguments None(Position at, WorkBudget budget) => new([], NoNames, at, budget);

    /// <summary>An argument by its place or its name.</summary>
    public object? Get(int place, string name, object? fallback = null) =>
        place < Positional.Count ? Positional[place] : Named.TryGetValue(name, out var value) ? value : fallback;

    public bool Has(int place, string name) => place < Positional.Count || Named.ContainsKey(name);

    public bool IsTrue(int place, string name) => Values.IsTrue(Get(place, name, false));

    public TemplateText TextOf(int place, string name, string? fallback = null) => Get(place, name) switch
    {
        TemplateText text => text,
        null when fallback is not null && !Has(place, name) => TemplateText.Trusted(fallback),
        var other => throw At.Error($"'{name}' must be a string, not {Values.Kind(other)}."),
    };

    public string Text(int place, string name, string? fallback = null) => TextOf(place, name, fallback).Text;

    public long Int(int place, string name, long fallback) => Get(place, name, fallback) switch
    {
        long number => number,
        bool flag => flag ? 1 : 0,
        System.Numerics.BigInteger huge => huge.Sign < 0 ? long.MinValue : long.MaxValue, // no text or list is as long
        var other => throw At.Error($"'{name}' must be a whole number, not {Values.Kind(other)}."),
    };

    /// <summary>The same call without its first argument.</summary>
    public CallArguments Rest() => this with { Positional = [.. Positional.Skip(1)] };
}
