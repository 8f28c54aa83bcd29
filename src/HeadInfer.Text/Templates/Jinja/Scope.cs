namespace HeadInfer.Text.Templates.Jinja;

/// <summary>The variables of a block; those of the blocks around it can be read but not changed.</summary>
internal sealed class Scope(Scope? outer)
{
    private const long Size = 400; // about, with a few variables

    private Dictionary<string, object?>? _variables;

    /// <summary>Whether a macro still reads it after its block.</summary>
    public bool IsKept { get; private set; }

    public object? Get(string name)
    {
        for (var scope = this; scope is not null; scope = scope.Outer)
        {
            if (scope._variables is { } variables && variables.TryGetValue(name, out var value))
            {
                return value;
            }
        }

        return new Undefined(name);
    }

    public void Set(string name, object? value) => (_variables ??= new Dictionary<string, object?>(StringComparer.Ordinal))[name] = value;

    public void Clear() => _variables?.Clear();

    /// <summary>Keeps it and those around it.</summary>
    public Scope Keep(WorkBudget budget)
    {
        for (var scope = this; scope is { IsKept: false }; scope = scope.Outer)
        {
            budget.Hold(Size);
            scope.IsKept = true;
        }

        return this;
    }

    private Scope? Outer => outer;
}
