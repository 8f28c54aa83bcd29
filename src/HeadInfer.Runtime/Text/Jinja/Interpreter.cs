using System.Runtime.CompilerServices;

namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>Renders a parsed template over data.</summary>
/// <remarks>Recursion, steps and output are bounded: a template comes with a model, from somebody else.</remarks>
internal sealed class Interpreter
{
    private const int MaxSteps = 10_000_000;

    private readonly Evaluator _evaluator;
    private TemplateTextBuilder _output = new();
    private int _steps;

    private Interpreter(IEnumerable<KeyValuePair<string, object?>> globals, TimeProvider clock)
    {
        Scope = new Scope(null);
        _evaluator = new Evaluator(this);
        foreach (var (name, function) in Functions.All(clock))
        {
            Scope.Set(name, function);
        }

        foreach (var (name, value) in globals)
        {
            Scope.Set(name, Values.From(value));
        }
    }

    public Scope Scope { get; private set; }

    /// <summary>Renders a template.</summary>
    /// <param name="template">the template</param>
    /// <param name="globals">what it may read</param>
    /// <param name="clock">what <c>strftime_now</c> reads</param>
    /// <exception cref="ChatTemplateException">The template raised an error, or does something that is not supported.</exception>
    public static TemplateText Render(Block template, IEnumerable<KeyValuePair<string, object?>> globals, TimeProvider clock)
    {
        try
        {
            var interpreter = new Interpreter(globals, clock);
            interpreter.Execute(template);
            return interpreter._output.Build();
        }
        catch (Exception e) when (e is ArgumentException or InvalidCastException or ArithmeticException or IndexOutOfRangeException or OutOfMemoryException or FormatException)
        {
            throw new ChatTemplateException($"The chat template does something impossible: {e.Message}", e);
        }
    }

    /// <summary>Runs a macro's body in a scope of its own and returns what it wrote.</summary>
    public TemplateText Capture(Scope scope, Statement body)
    {
        var (outer, output) = (Scope, _output);
        (Scope, _output) = (scope, new TemplateTextBuilder());
        try
        {
            Execute(body);
            return _output.Build();
        }
        finally
        {
            (Scope, _output) = (outer, output);
        }
    }

    /// <summary>Counts work: a step, or the items of a list that is gone through.</summary>
    public void Charge(int steps, Position at)
    {
        if ((_steps += steps) > MaxSteps || !RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw at.Error("the template does too much: it loops or calls itself without end.");
        }
    }

    // Returns what a loop must do next.
    private Flow Execute(Statement statement)
    {
        Charge(1, statement.At);
        switch (statement)
        {
            case Block block:
                foreach (var inner in block.Statements)
                {
                    if (Execute(inner) is not Flow.Next and var flow)
                    {
                        return flow;
                    }
                }

                return Flow.Next;
            case Output output:
                Write(Values.Print(_evaluator.Evaluate(output.Value)));
                return Flow.Next;
            case If choice:
                return Values.IsTrue(_evaluator.Evaluate(choice.Condition)) ? Execute(choice.Then) : choice.Otherwise is { } otherwise ? Execute(otherwise) : Flow.Next;
            case For loop:
                Loop(loop, _evaluator.Evaluate(loop.Source), 0);
                return Flow.Next;
            case Assign assign:
                Assign(assign, _evaluator.Evaluate(assign.Value));
                return Flow.Next;
            case AssignBlock assign:
                AssignTo(assign.Target, Filtered(Capture(new Scope(Scope), assign.Body), assign.Filters, assign.At));
                return Flow.Next;
            case Macro macro:
                Scope.Set(macro.Name, MacroFunction(macro.Parameters, macro.Body, Scope, macro.At));
                return Flow.Next;
            case CallBlock call:
                var caller = new Scope(Scope);
                caller.Set("caller", MacroFunction(call.Parameters, call.Body, Scope, call.At));
                Write(Values.Print(_evaluator.EvaluateCall(call.Call, caller.Get("caller"))));
                return Flow.Next;
            case FilterBlock filter:
                Write(Values.Print(Filtered(Capture(new Scope(Scope), filter.Body), filter.Filters, filter.At)));
                return Flow.Next;
            case Break:
                return Flow.Break;
            case Continue:
                return Flow.Continue;
            default:
                throw statement.At.Error($"the statement '{statement.GetType().Name}' is not supported.");
        }
    }

    private void Write(TemplateText text) => _output.Append(text);

    private void Loop(For loop, object? source, int depth)
    {
        var outer = Scope;
        var items = Values.Items(source, loop.At);
        if (loop.Condition is { } condition)
        {
            items = [.. items.Where(item =>
            {
                Scope = new Scope(outer);
                Bind(loop, item);
                var keep = Values.IsTrue(_evaluator.Evaluate(condition));
                Scope = outer;
                return keep;
            })];
        }

        try
        {
            for (var i = 0; i < items.Count; i++)
            {
                Scope = new Scope(outer);
                Bind(loop, items[i]);
                Scope.Set("loop", LoopVariable(loop, items, i, depth));
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

        if (items.Count == 0 && loop.Otherwise is { } otherwise)
        {
            Execute(otherwise);
        }
    }

    private void Bind(For loop, object? item)
    {
        if (loop.Targets is [var single])
        {
            Scope.Set(single, item);
            return;
        }

        var parts = Values.Items(item, loop.At);
        if (parts.Count != loop.Targets.Count)
        {
            throw loop.At.Error($"an item has {parts.Count} parts and the loop names {loop.Targets.Count}.");
        }

        for (var i = 0; i < parts.Count; i++)
        {
            Scope.Set(loop.Targets[i], parts[i]);
        }
    }

    private JinjaDict LoopVariable(For loop, IReadOnlyList<object?> items, int index, int depth)
    {
        object? At(int i) => i >= 0 && i < items.Count ? items[i] : new Undefined("loop item");
        JinjaFunction cycle = call => call.Count > 0 ? call.Positional[index % call.Count] : throw call.At.Error("'cycle' needs something to choose from.");
        JinjaFunction recurse = call => RecursiveLoop(loop, call, depth + 1);
        var variable = Values.Dict([
            ("index", index + 1L), ("index0", (long)index), ("revindex", (long)(items.Count - index)), ("revindex0", items.Count - index - 1L),
            ("first", index == 0), ("last", index == items.Count - 1), ("length", (long)items.Count), ("depth", depth + 1L), ("depth0", (long)depth),
            ("previtem", At(index - 1)), ("nextitem", At(index + 1)), ("cycle", cycle)]);
        if (loop.Recursive)
        {
            variable.Set(Evaluator.CallKey, recurse);
        }

        return variable;
    }

    private TemplateText RecursiveLoop(For loop, CallArguments call, int depth)
    {
        var (outer, output) = (Scope, _output);
        _output = new TemplateTextBuilder();
        try
        {
            Loop(loop, call.Get(0, "items"), depth);
            return _output.Build();
        }
        finally
        {
            (Scope, _output) = (outer, output);
        }
    }

    private void Assign(Assign assign, object? value)
    {
        if (assign.Targets is [var single])
        {
            AssignTo(single, value);
            return;
        }

        var parts = Values.Items(value, assign.At);
        if (parts.Count != assign.Targets.Count)
        {
            throw assign.At.Error($"{parts.Count} values cannot be set to {assign.Targets.Count} variables.");
        }

        for (var i = 0; i < parts.Count; i++)
        {
            AssignTo(assign.Targets[i], parts[i]);
        }
    }

    private void AssignTo(Expression target, object? value)
    {
        if (target is Member { Target: var owner, Name: var name })
        {
            if (_evaluator.Evaluate(owner) is not JinjaDict { IsNamespace: true } space)
            {
                throw target.At.Error("attributes can be set on a namespace only.");
            }

            space.Set(name, value);
        }
        else
        {
            Scope.Set(((Variable)target).Name, value);
        }
    }

    private object? Filtered(object? value, IReadOnlyList<(string Name, Arguments Arguments)> filters, Position at) =>
        filters.Aggregate(value, (current, filter) => _evaluator.ApplyFilter(filter.Name, current, filter.Arguments, at));

    private JinjaFunction MacroFunction(IReadOnlyList<(string Name, Expression? Default)> parameters, Block body, Scope closure, Position at) => call =>
    {
        var scope = new Scope(closure);
        for (var i = 0; i < parameters.Count; i++)
        {
            var (name, fallback) = parameters[i];
            var missing = new Undefined(name);
            var value = call.Get(i, name, missing);
            scope.Set(name, ReferenceEquals(value, missing) && fallback is not null ? _evaluator.EvaluateIn(scope, fallback) : value);
        }

        if (call.Count > parameters.Count)
        {
            throw call.At.Error($"the macro takes {parameters.Count} arguments and was given {call.Count}.");
        }

        if (call.Named.TryGetValue("caller", out var caller))
        {
            scope.Set("caller", caller);
        }

        return Capture(scope, body);
    };

    /// <summary>Evaluates with another scope in place.</summary>
    public object? Within(Scope scope, Func<object?> evaluate)
    {
        var outer = Scope;
        Scope = scope;
        try
        {
            return evaluate();
        }
        finally
        {
            Scope = outer;
        }
    }

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }
}

/// <summary>The variables of a block; those of the blocks around it can be read but not changed.</summary>
internal sealed class Scope(Scope? outer)
{
    private readonly Dictionary<string, object?> _variables = new(StringComparer.Ordinal);

    public object? Get(string name)
    {
        for (var scope = this; scope is not null; scope = scope.Outer)
        {
            if (scope._variables.TryGetValue(name, out var value))
            {
                return value;
            }
        }

        return new Undefined(name);
    }

    public void Set(string name, object? value) => _variables[name] = value;

    private Scope? Outer => outer;
}
