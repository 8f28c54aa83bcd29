namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Makes functions of the bodies of <c>macro</c> and <c>call</c>.</summary>
internal static class Macros
{
    private const long Size = 200; // of a function, about

    public static JinjaFunction Of(MacroBody macro, Scope scope, Interpreter interpreter)
    {
        scope.Keep(interpreter.Budget);
        interpreter.Budget.Hold(Size);
        return new JinjaFunction($"<Macro '{macro.Name}'>", call => Run(macro, scope, call, interpreter));
    }

    private static TemplateText Run(MacroBody macro, Scope closure, CallArguments call, Interpreter interpreter)
    {
        var (scope, parameters) = (new Scope(closure), macro.Parameters);
        if (call.Count > parameters.Count && !macro.TakesMore)
        {
            throw call.At.Error($"the macro '{macro.Name}' takes {parameters.Count} arguments and was given {call.Count}.");
        }

        return interpreter.Capture(scope, () =>
        {
            for (var i = 0; i < parameters.Count; i++)
            {
                var (name, fallback) = parameters[i];
                scope.Set(name, call.Has(i, name) ? call.Get(i, name) : fallback is null ? new Undefined(name) : interpreter.Within(scope, fallback));
            }

            BindMore(macro, scope, call);
            interpreter.Run(macro.Body);
        });
    }

    // Arguments beyond the parameters, for a macro that names what holds them.
    private static void BindMore(MacroBody macro, Scope scope, CallArguments call)
    {
        if (macro.TakesMore)
        {
            scope.Set("varargs", new JinjaTuple([.. call.Positional.Skip(macro.Parameters.Count)]));
        }

        var more = call.Named.Where(n => macro.Parameters.All(p => p.Name != n.Key)).ToList();
        if (more.Find(n => n.Key == "caller") is { Key: not null } caller && macro.TakesCaller)
        {
            scope.Set("caller", caller.Value);
            more.Remove(caller);
        }
        else if (macro.TakesCaller && macro.Parameters.All(p => p.Name != "caller"))
        {
            scope.Set("caller", new Undefined("caller"));
        }

        if (macro.TakesMoreNamed)
        {
            scope.Set("kwargs", Values.Dict(more.Select(n => (n.Key, n.Value))));
        }
        else if (more.Count > 0)
        {
            throw call.At.Error($"the macro '{macro.Name}' has no parameter '{more[0].Key}'.");
        }
    }
}
