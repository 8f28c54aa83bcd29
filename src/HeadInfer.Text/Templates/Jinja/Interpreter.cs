using System.Runtime.CompilerServices;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Renders a parsed template over data.</summary>
/// <remarks>Recursion, work and memory are bounded: a template comes with a model, from somebody else.</remarks>
internal sealed class Interpreter
{
    private const int MaxCalls = 250;

    private readonly Evaluator _evaluator;
    private TemplateTextBuilder _output;
    private Position _at;
    private int _calls;

    private Interpreter(IReadOnlyList<(string Name, object? Value)> globals, TimeProvider clock, CancellationToken cancellationToken)
    {
        Scope = new Scope(null);
        _evaluator = new Evaluator(this);
        foreach (var (name, function) in Functions.All(clock))
        {
            Scope.Set(name, function);
        }

        var (characters, items) = (0L, 0L);
        foreach (var (name, value) in globals)
        {
            Scope.Set(name, value);
            var size = Values.Size(value);
            (characters, items) = (characters + size.Characters, items + size.Items);
        }

        Budget = Costs.Budget(characters, items, TooMuch, cancellationToken);
        _output = new TemplateTextBuilder(Budget);
    }

    public Scope Scope { get; private set; }

    public WorkBudget Budget { get; }

    /// <summary>Renders a template.</summary>
    /// <param name="globals">what it may read</param>
    /// <param name="clock">what <c>strftime_now</c> reads</param>
    /// <param name="spent">told the steps that it took; null tells nobody</param>
    /// <param name="cancellationToken">ends it</param>
    /// <exception cref="ChatTemplateException">The template raised an error, does too much, or does something that is not supported.</exception>
    /// <exception cref="OperationCanceledException">The caller has cancelled.</exception>
    public static TemplateText Render(Block template, IEnumerable<KeyValuePair<string, object?>> globals, TimeProvider clock, Action<long>? spent = null, CancellationToken cancellationToken = default)
    {
        var interpreter = new Interpreter([.. globals.Select(g => (g.Key, Values.From(g.Value)))], clock, cancellationToken);
        try
        {
            interpreter.Execute(template);
            return interpreter._output.Build();
        }
        catch (Exception e) when (e is ArgumentException or InvalidCastException or InvalidOperationException or ArithmeticException or IndexOutOfRangeException or OutOfMemoryException or FormatException)
        {
            throw new ChatTemplateException(interpreter._at.Error($"the template does something impossible: {e.Message}").Message, e);
        }
        finally
        {
            spent?.Invoke(interpreter.Budget.Steps);
        }
    }

    /// <summary>Runs a body in a scope of its own and returns what it wrote.</summary>
    public TemplateText Capture(Scope scope, Action body)
    {
        if (++_calls > MaxCalls)
        {
            throw _at.Error($"the template does too much: blocks and macros call each other more than {MaxCalls} deep.");
        }

        var (outer, output) = (Scope, _output);
        (Scope, _output) = (scope, new TemplateTextBuilder(Budget));
        try
        {
            body();
            return _output.Build();
        }
        finally
        {
            (Scope, _output) = (outer, output);
            _calls--;
        }
    }

    public void Step(Position at)
    {
        _at = at;
        Budget.Spend();
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw new ChatTemplateException(at.Error("the template does too much: it is nested too deep.").Message) { IsTooMuch = true };
        }
    }

    /// <summary>Evaluates with another scope in place.</summary>
    public object? Within(Scope scope, Expression expression)
    {
        var outer = Scope;
        Scope = scope;
        try
        {
            return _evaluator.Evaluate(expression);
        }
        finally
        {
            Scope = outer;
        }
    }

    private ChatTemplateException TooMuch(string what, long allowed) => new(_at.Error(string.Create(CultureInfo.InvariantCulture,
        $"the template does too much: a conversation of this size may take {allowed:N0} {what}. It loops or grows without end.")).Message)
    {
        IsTooMuch = true,
    };

    // Returns what a loop must do next.
    private Flow Execute(Statement statement)
    {
        if (statement is Block block)
        {
            for (var i = 0; i < block.Statements.Count; i++)
            {
                if (Execute(block.Statements[i]) is not Flow.Next and var flow)
                {
                    return flow;
                }
            }

            return Flow.Next;
        }

        Step(statement.At);
        switch (statement)
        {
            case Output output:
                Write(_evaluator.Evaluate(output.Value));
                return Flow.Next;
            case If choice:
                foreach (var (condition, body) in choice.Branches)
                {
                    if (condition is null || Values.IsTrue(_evaluator.Evaluate(condition)))
                    {
                        return Execute(body);
                    }
                }

                return Flow.Next;
            case For loop:
                Loop(loop, _evaluator.Evaluate(loop.Source), 0);
                return Flow.Next;
            case Assign assign:
                Bind(assign.Target, _evaluator.Evaluate(assign.Value));
                return Flow.Next;
            case AssignBlock assign:
                Bind(assign.Target, Filtered(Captured(assign.Body), assign.Filters, assign.At));
                return Flow.Next;
            case Macro macro:
                Scope.Set(macro.Body.Name, Macros.Of(macro.Body, Scope, this));
                return Flow.Next;
            case CallBlock call:
                Write(_evaluator.EvaluateCall(call.Call, Macros.Of(call.Body, Scope, this)));
                return Flow.Next;
            case FilterBlock filter:
                Write(Filtered(Captured(filter.Body), filter.Filters, filter.At));
                return Flow.Next;
            case With with:
                return ExecuteWith(with);
            case AutoEscape escape:
                return Values.IsTrue(_evaluator.Evaluate(escape.Condition)) ? throw escape.At.Error("'autoescape true' is not supported: chat templates write no HTML.") : Execute(escape.Body);
            case Break:
                return Flow.Break;
            case Continue:
                return Flow.Continue;
            default:
                throw statement.At.Error($"the statement '{statement.GetType().Name}' is not supported.");
        }
    }

    public void Run(Block body) => Execute(body);

    private void Write(object? value) => _output.Append(Values.Print(value, Budget));

    private TemplateText Captured(Block body) => Capture(new Scope(Scope), () => Execute(body));

    private void Loop(For loop, object? source, int depth)
    {
        var outer = Scope;
        var items = Values.Items(source, loop.At, Budget);
        items = items is JinjaList list ? list.Part(0, list.Count) : items; // what the body adds to it is not gone over
        items = loop.Condition is { } condition ? new JinjaKept(items, Keeps(loop, condition, outer), Budget) : items;
        var variable = new LoopVariable(items, depth, loop.Recursive ? call => Capture(outer, () => Loop(loop, call.Get(0, "iterable"), depth + 1)) : null);
        try
        {
            for (var scope = new Scope(outer); items.Has(variable.Index); variable.Index++)
            {
                Enter(outer, ref scope);
                Bind(loop.Target, items[variable.Index]);
                scope.Set("loop", variable);
                if (Execute(loop.Body) == Flow.Break)
                {
                    break;
                }
            }
        }
        finally
        {
            Scope = outer;
        }

        if (!items.Has(0) && loop.Otherwise is { } otherwise)
        {
            Execute(otherwise);
        }
    }

    private Func<object?, bool> Keeps(For loop, Expression condition, Scope outer)
    {
        var scope = new Scope(outer);
        return item =>
        {
            var before = Scope;
            try
            {
                Enter(outer, ref scope);
                Bind(loop.Target, item);
                return Values.IsTrue(_evaluator.Evaluate(condition));
            }
            finally
            {
                Scope = before;
            }
        };
    }

    // The next round of a loop has the scope of the one before, unless somebody still reads that.
    private void Enter(Scope outer, ref Scope scope)
    {
        Budget.Spend();
        if (scope.IsKept)
        {
            scope = new Scope(outer);
        }

        scope.Clear();
        Scope = scope;
    }

    private Flow ExecuteWith(With with)
    {
        var outer = Scope;
        var inner = new Scope(outer);
        var values = with.Variables.Select(v => (v.Target, Value: _evaluator.Evaluate(v.Value))).ToList();
        try
        {
            Scope = inner;
            foreach (var (target, value) in values)
            {
                Bind(target, value);
            }

            return Execute(with.Body);
        }
        finally
        {
            Scope = outer;
        }
    }

    private void Bind(Expression target, object? value)
    {
        switch (target)
        {
            case Variable variable:
                Scope.Set(variable.Name, value);
                break;
            case Member member:
                var space = _evaluator.Evaluate(member.Target) as JinjaNamespace ?? throw target.At.Error("attributes can be set on a namespace only.");
                Methods.Set(space.Attributes, TemplateText.Data(member.Name), value, target.At, Budget);
                break;
            default:
                var targets = ((TupleDisplay)target).Items;
                var parts = Values.Items(value, target.At, Budget);
                if (parts.Count != targets.Count)
                {
                    throw target.At.Error($"{parts.Count} values cannot be set to {targets.Count} variables.");
                }

                for (var i = 0; i < targets.Count; i++)
                {
                    Bind(targets[i], parts[i]);
                }

                break;
        }
    }

    private object? Filtered(object? value, IReadOnlyList<(string Name, Arguments Arguments)> filters, Position at) =>
        filters.Aggregate(value, (current, filter) => _evaluator.ApplyFilter(filter.Name, current, filter.Arguments, at));

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }
}
