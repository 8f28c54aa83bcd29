namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Evaluates expressions in the interpreter's current scope.</summary>
internal sealed class Evaluator(Interpreter interpreter)
{
    private static readonly Dictionary<string, object?> NoNames = [];

    private WorkBudget Budget => interpreter.Budget;

    public object? Evaluate(Expression expression)
    {
        if (expression is Literal literal)
        {
            return literal.Value; // costs nothing
        }

        interpreter.Step(expression.At);
        return expression switch
        {
            Variable variable => interpreter.Scope.Get(variable.Name),
            Member member => Members.Get(Evaluate(member.Target), member.Name, member.At),
            Subscript subscript => Members.Item(Evaluate(subscript.Target), Evaluate(subscript.Index), subscript.At, Budget),
            Comparison comparison => Compare(comparison),
            Binary { Operator: "and" } and => Evaluate(and.Left) is var left && Values.IsTrue(left) ? Evaluate(and.Right) : left,
            Binary { Operator: "or" } or => Evaluate(or.Left) is var left && Values.IsTrue(left) ? left : Evaluate(or.Right),
            Binary binary => Compute(binary),
            Filter filter => ApplyFilter(filter.Name, Evaluate(filter.Input), filter.Arguments, filter.At),
            Test test => Tests.Apply(test.Name, Evaluate(test.Input), Collect(test.Arguments, test.At)) != test.Negated,
            Call call => EvaluateCall(call, null),
            Unary unary => Operators.Unary(unary.Operator, Evaluate(unary.Operand), unary.At),
            Conditional conditional => Values.IsTrue(Evaluate(conditional.Condition)) ? Evaluate(conditional.Then)
                : conditional.Otherwise is { } otherwise ? Evaluate(otherwise) : new Undefined("the other branch"),
            Slice slice => Members.Slice(Evaluate(slice.Target), Bound(slice.Start), Bound(slice.Stop), Bound(slice.Step), slice.At, Budget),
            ListDisplay list => new JinjaList(All(list.Items)),
            TupleDisplay tuple => new JinjaTuple(All(tuple.Items)),
            DictDisplay dict => Dict(dict),
            _ => throw expression.At.Error("this expression is not supported."),
        };
    }

    public object? EvaluateCall(Call call, object? caller)
    {
        var target = Evaluate(call.Target);
        var function = target as JinjaObject ?? throw call.At.Error($"{Values.Kind(target)} cannot be called{(call.Target is Member member ? $" (there is no method '{member.Name}')" : "")}.");
        return function.Call(Collect(call.Arguments, call.At, caller));
    }

    public object? ApplyFilter(string name, object? input, Arguments arguments, Position at) => Filters.Apply(name, input, Collect(arguments, at));

    private object? Bound(Expression? bound) => bound is null ? null : Evaluate(bound);

    private object?[] All(IReadOnlyList<Expression> expressions)
    {
        Budget.HoldItems(expressions.Count);
        var values = new object?[expressions.Count];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = Evaluate(expressions[i]);
        }

        return values;
    }

    private JinjaDict Dict(DictDisplay display)
    {
        var dict = new JinjaDict();
        foreach (var (key, value) in display.Items)
        {
            Methods.Set(dict, Evaluate(key), Evaluate(value), key.At, Budget);
        }

        return dict;
    }

    // From left to right. Texts that are joined one after the other are gathered, not copied once for each.
    private object? Compute(Binary last)
    {
        var chain = new Stack<Binary>([last]);
        while (chain.Peek().Left is Binary { Operator: not ("and" or "or") } inner)
        {
            chain.Push(inner);
        }

        var value = Evaluate(chain.Peek().Left);
        TemplateTextBuilder? joined = null;
        foreach (var binary in chain)
        {
            interpreter.Step(binary.At);
            var right = Evaluate(binary.Right);
            if (binary.Operator == "~" || (binary.Operator == "+" && right is TemplateText && (joined is not null || value is TemplateText)))
            {
                joined ??= new TemplateTextBuilder(Budget).Append(Values.Print(value, Budget));
                joined.Append(Values.Print(right, Budget));
                continue;
            }

            value = Operators.Binary(binary.Operator, joined?.Build() ?? value, right, binary.At, Budget);
            joined = null;
        }

        return joined?.Build() ?? value;
    }

    private bool Compare(Comparison comparison)
    {
        var left = Evaluate(comparison.First);
        foreach (var (@operator, operand) in comparison.Rest)
        {
            var right = Evaluate(operand);
            if (!Operators.Compare(@operator, left, right, comparison.At, Budget))
            {
                return false;
            }

            left = right;
        }

        return true;
    }

    private CallArguments Collect(Arguments arguments, Position at, object? caller = null)
    {
        if (ReferenceEquals(arguments, Arguments.None) && caller is null)
        {
            return CallArguments.None(at, Budget);
        }

        var named = arguments.Named.Count == 0 && caller is null ? NoNames : new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var (name, expression) in arguments.Named)
        {
            var value = Evaluate(expression);
            if (name != Arguments.Spread)
            {
                named[name] = value;
                continue;
            }

            foreach (var item in (value as JinjaDict ?? throw at.Error($"'**' needs a dictionary, not {Values.Kind(value)}.")).Items)
            {
                Budget.Hold(64);
                named[item.Key is TemplateText key ? key.Text : throw at.Error("'**' needs keys that are strings.")] = item.Value;
            }
        }

        if (caller is not null)
        {
            named["caller"] = caller;
        }

        return new CallArguments(Positional(arguments.Positional, at), named, at, Budget);
    }

    private IReadOnlyList<object?> Positional(IReadOnlyList<Expression> expressions, Position at)
    {
        if (!expressions.Any(e => e is Spread))
        {
            return All(expressions);
        }

        var values = new JinjaList();
        foreach (var expression in expressions)
        {
            values.AddRange(expression is Spread spread ? Values.Items(Evaluate(spread.Items), at, Budget) : new JinjaTuple(Evaluate(expression)), Budget);
        }

        return values;
    }
}
