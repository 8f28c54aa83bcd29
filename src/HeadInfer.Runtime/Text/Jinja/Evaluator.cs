namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>Evaluates expressions in the interpreter's current scope.</summary>
internal sealed class Evaluator(Interpreter interpreter)
{
    /// <summary>The key under which a value that is not only a function keeps the function it is called as.</summary>
    public const string CallKey = "\0call";

    public object? EvaluateIn(Scope scope, Expression expression) => interpreter.Within(scope, () => Evaluate(expression));

    public object? Evaluate(Expression expression)
    {
        interpreter.Charge(1, expression.At);
        return expression switch
        {
            Literal literal => literal.Value,
            Variable variable => interpreter.Scope.Get(variable.Name),
            ListDisplay list => list.Items.Select(Evaluate).ToList(),
            DictDisplay dict => Values.Dict(dict.Items.Select(i => (Key(Evaluate(i.Key), i.Key.At), Evaluate(i.Value)))),
            Member member => GetMember(Evaluate(member.Target), member.Name, member.At),
            Subscript subscript => GetItem(Evaluate(subscript.Target), Evaluate(subscript.Index), subscript.At),
            Slice slice => GetSlice(slice),
            Call call => EvaluateCall(call, null),
            Filter filter => ApplyFilter(filter.Name, Evaluate(filter.Input), filter.Arguments, filter.At),
            Test test => Tests.Apply(test.Name, Evaluate(test.Input), [.. test.Arguments.Positional.Select(Evaluate)], test.At) != test.Negated,
            Unary unary => Operators.Unary(unary.Operator, Evaluate(unary.Operand), unary.At),
            Binary { Operator: "and" } and => Evaluate(and.Left) is var left && Values.IsTrue(left) ? Evaluate(and.Right) : left,
            Binary { Operator: "or" } or => Evaluate(or.Left) is var left && Values.IsTrue(left) ? left : Evaluate(or.Right),
            Binary binary => Operators.Binary(binary.Operator, Evaluate(binary.Left), Evaluate(binary.Right), binary.At),
            Comparison comparison => Compare(comparison),
            Conditional conditional => Values.IsTrue(Evaluate(conditional.Condition)) ? Evaluate(conditional.Then)
                : conditional.Otherwise is { } otherwise ? Evaluate(otherwise) : new Undefined("the other branch"),
            _ => throw expression.At.Error("this expression is not supported."),
        };
    }

    public object? EvaluateCall(Call call, object? caller)
    {
        var target = Evaluate(call.Target);
        var function = target as JinjaFunction ?? (target is JinjaDict dict && dict.TryGet(CallKey, out var own) ? own as JinjaFunction : null);
        return function is null ? throw call.At.Error($"{Values.Kind(target)} cannot be called.") : Charged(function(Collect(call.Arguments, call.At, caller)), call.At);
    }

    public object? ApplyFilter(string name, object? input, Arguments arguments, Position at) =>
        Charged(Filters.Apply(name, Charged(input, at), Collect(arguments, at), this), at);

    // Lists cost as many steps as they have items, text one for every so many characters.
    private object? Charged(object? value, Position at)
    {
        interpreter.Charge(value switch { List<object?> list => list.Count, TemplateText text => text.Length >> 10, _ => 0 }, at);
        return value;
    }

    /// <summary>An attribute: a key of a dictionary, else a method; undefined where there is neither.</summary>
    public static object? GetMember(object? target, string name, Position at)
    {
        if (target is Undefined undefined)
        {
            throw at.Error($"'{undefined.Name}' is undefined and has no '{name}'.");
        }

        // As in Python, a method hides a key of the same name; x['items'] reaches the key.
        var method = target is JinjaDict { IsNamespace: true } ? null : Methods.Of(target, name);
        return method ?? (target is JinjaDict dict && dict.TryGet(name, out var value) ? value : new Undefined(name));
    }

    public static object? GetItem(object? target, object? index, Position at) => (target, index) switch
    {
        (JinjaDict dict, TemplateText key) => dict.TryGet(key.Text, out var value) ? value : (object?)Methods.Of(dict, key.Text) ?? new Undefined(key.Text),
        (JinjaDict, _) => new Undefined(Values.Represent(index)),
        (List<object?> list, long i) => (i < 0 ? i + list.Count : i) is var place && place >= 0 && place < list.Count ? list[(int)place] : new Undefined($"item {i}"),
        (TemplateText text, long i) => (i < 0 ? i + text.Length : i) is var place && place >= 0 && place < text.Length ? text.Substring((int)place, 1) : new Undefined($"character {i}"),
        (_, TemplateText name) => GetMember(target, name.Text, at),
        (Undefined undefined, _) => throw at.Error($"'{undefined.Name}' is undefined and has no items."),
        _ => new Undefined(Values.Represent(index)),
    };

    private static string Key(object? value, Position at) => value switch
    {
        TemplateText text => text.Text,
        long or bool or double or null => Values.Represent(value),
        _ => throw at.Error($"{Values.Kind(value)} cannot be a key."),
    };

    private object? GetSlice(Slice slice)
    {
        var target = Evaluate(slice.Target);
        var length = target switch
        {
            TemplateText text => text.Length,
            List<object?> list => list.Count,
            _ => throw slice.At.Error($"{Values.Kind(target)} cannot be sliced."),
        };
        long? Bound(Expression? bound) => bound is null ? null : Evaluate(bound) switch
        {
            long number => number,
            null => null,
            var other => throw bound.At.Error($"a bound of a slice must be a whole number, not {Values.Kind(other)}."),
        };
        var step = Bound(slice.Step) ?? 1;
        if (step == 0)
        {
            throw slice.At.Error("the step of a slice must not be 0.");
        }

        long Place(long? bound, long fallback, long least, long most) => bound is { } b ? Math.Clamp(b < 0 ? b + length : b, least, most) : fallback;
        var start = step > 0 ? Place(Bound(slice.Start), 0, 0, length) : Place(Bound(slice.Start), length - 1, -1, length - 1);
        var stop = step > 0 ? Place(Bound(slice.Stop), length, 0, length) : Place(Bound(slice.Stop), -1, -1, length - 1);
        if (step == 1)
        {
            var count = (int)Math.Max(stop - start, 0);
            return target is TemplateText whole ? whole.Substring((int)Math.Min(start, length - count), count) : ((List<object?>)target!).GetRange((int)Math.Min(start, length - count), count);
        }

        var places = new List<int>();
        step = Math.Clamp(step, -length - 1, length + 1);
        for (var i = start; step > 0 ? i < stop : i > stop; i += step)
        {
            places.Add((int)i);
        }

        return target is TemplateText characters
            ? characters.With(string.Concat(places.Select(i => characters.Text[i])))
            : places.Select(i => ((List<object?>)target!)[i]).ToList();
    }

    private bool Compare(Comparison comparison)
    {
        var left = Evaluate(comparison.First);
        foreach (var (@operator, operand) in comparison.Rest)
        {
            var right = Evaluate(operand);
            if (!Operators.Compare(@operator, left, right, comparison.At))
            {
                return false;
            }

            left = right;
        }

        return true;
    }

    private CallArguments Collect(Arguments arguments, Position at, object? caller = null)
    {
        var named = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var (name, value) in arguments.Named)
        {
            named[name] = Evaluate(value);
        }

        if (caller is not null)
        {
            named["caller"] = caller;
        }

        return new CallArguments([.. arguments.Positional.SelectMany(a => a is Spread spread ? Values.Items(Evaluate(spread.Items), at) : [Evaluate(a)])], named, at);
    }
}
