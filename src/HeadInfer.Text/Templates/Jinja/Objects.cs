namespace HeadInfer.Text.Templates.Jinja;

/// <summary>A value with members of its own, or one that can be called.</summary>
/// <param name="representation">how it prints</param>
internal abstract class JinjaObject(string representation)
{
    public string Representation => representation;

    public virtual bool IsCallable => true;

    public virtual bool TryGet(string name, out object? value)
    {
        value = null;
        return false;
    }

    public virtual object? Call(CallArguments call) => throw call.At.Error($"{Values.Kind(this)} cannot be called.");
}

/// <summary>Something that can be called.</summary>
internal sealed class JinjaFunction(string representation, Func<CallArguments, object?> function) : JinjaObject(representation)
{
    public override object? Call(CallArguments call) => function(call);
}

/// <summary>What <c>namespace(...)</c> makes: attributes that may be set from inner blocks.</summary>
internal sealed class JinjaNamespace() : JinjaObject("a namespace")
{
    public JinjaDict Attributes { get; } = new();

    public override bool IsCallable => false;

    public override bool TryGet(string name, out object? value) => Attributes.TryGet(name, out value);
}

/// <summary>What <c>cycler(...)</c> makes: goes round its values.</summary>
internal sealed class JinjaCycler(IReadOnlyList<object?> values) : JinjaObject("<jinja2.utils.Cycler object>")
{
    private int _at;

    public override bool IsCallable => false;

    public override bool TryGet(string name, out object? value)
    {
        value = name switch
        {
            "current" => values[_at],
            "next" => new JinjaFunction(name, _ =>
            {
                var current = values[_at];
                _at = (_at + 1) % values.Count;
                return current;
            }),
            "reset" => new JinjaFunction(name, _ =>
            {
                _at = 0;
                return null;
            }),
            _ => null,
        };
        return name is "current" or "next" or "reset";
    }
}

/// <summary>What a loop's body sees as <c>loop</c>: one object, which moves on.</summary>
/// <param name="items">what the loop goes over</param>
/// <param name="depth">how many loops of the same kind are around it</param>
/// <param name="recurse">runs the loop over other items; null if it is not recursive</param>
internal sealed class LoopVariable(JinjaSequence items, int depth, Func<CallArguments, object?>? recurse) : JinjaObject("<LoopContext>")
{
    private CallArguments? _changed;

    public int Index { get; set; }

    public override bool IsCallable => recurse is not null;

    public override object? Call(CallArguments call) => recurse is null ? base.Call(call) : recurse(call);

    public override bool TryGet(string name, out object? value)
    {
        value = name switch
        {
            "index" => Index + 1L,
            "index0" => (long)Index,
            "revindex" => (long)(items.Count - Index),
            "revindex0" => items.Count - Index - 1L,
            "first" => Index == 0,
            "last" => !items.Has(Index + 1),
            "length" => (long)items.Count,
            "depth" => depth + 1L,
            "depth0" => (long)depth,
            "previtem" => Index > 0 ? items[Index - 1] : new Undefined("there is no previous item"),
            "nextitem" => items.Has(Index + 1) ? items[Index + 1] : new Undefined("there is no next item"),
            "cycle" => new JinjaFunction(name, call => call.Count > 0 ? call.Positional[Index % call.Count] : throw call.At.Error("'cycle' needs something to choose from.")),
            "changed" => new JinjaFunction(name, HasChanged),
            _ => this,
        };
        return !ReferenceEquals(value, this);
    }

    private object? HasChanged(CallArguments call)
    {
        var same = _changed is not null && Comparing.AreEqual(new JinjaTuple([.. _changed.Positional]), new JinjaTuple([.. call.Positional]), call.Budget);
        _changed = call;
        return !same;
    }
}
