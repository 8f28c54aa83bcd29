namespace HeadInfer.Text.Templates.Jinja;

/// <summary>The functions that chat templates find in their surroundings.</summary>
internal static class Functions
{
    private const int MaxRange = 1 << 20;

    public static IEnumerable<(string Name, JinjaFunction Function)> All(TimeProvider clock) =>
    [
        Named("range", Range),
        Named("namespace", call =>
        {
            var space = new JinjaNamespace();
            Fill(space.Attributes, call);
            return space;
        }),
        Named("dict", call => Fill(new JinjaDict(), call)),
        Named("cycler", call => call.Count > 0 ? new JinjaCycler(call.Positional) : throw call.At.Error("'cycler' needs something to choose from.")),
        Named("joiner", Joiner),
        Named("raise_exception", call => throw new ChatTemplateException(Values.Print(call.Get(0, "message"), call.Budget).Text)),
        Named("strftime_now", call => call.TextOf(0, "format").With(TimeFormat.Write(clock.GetLocalNow(), call.Text(0, "format"), call.Budget))),
    ];

    private static (string Name, JinjaFunction Function) Named(string name, Func<CallArguments, object?> function) => (name, new JinjaFunction($"<function {name} at 0x0>", function));

    private static JinjaRange Range(CallArguments call)
    {
        var (start, stop) = call.Count > 1 ? (call.Int(0, "start", 0), call.Int(1, "stop", 0)) : (0, call.Int(0, "stop", 0));
        var step = call.Int(2, "step", 1);
        var count = step == 0 ? throw call.At.Error("the step of 'range' must not be 0.") : System.Int128.Max(0, ((System.Int128)stop - start + step - Math.Sign(step)) / step);
        return count <= MaxRange ? new JinjaRange(start, step, (int)count) : throw call.At.Error($"'range' gives more than {MaxRange} numbers.");
    }

    private static JinjaDict Fill(JinjaDict dict, CallArguments call)
    {
        foreach (var given in call.Positional)
        {
            if (given is JinjaDict other)
            {
                Methods.Fill(dict, other, call.At, call.Budget);
                continue;
            }

            foreach (var item in Values.Items(given, call.At, call.Budget))
            {
                var pair = Values.Items(item, call.At, call.Budget);
                Methods.Set(dict, pair.Count == 2 ? pair[0] : throw call.At.Error("a dictionary is made of pairs."), pair[1], call.At, call.Budget);
            }
        }

        foreach (var (key, value) in call.Named)
        {
            Methods.Set(dict, TemplateText.Data(key), value, call.At, call.Budget);
        }

        return dict;
    }

    private static JinjaFunction Joiner(CallArguments call)
    {
        var (separator, used) = (call.Get(0, "sep", TemplateText.Trusted(", ")), false);
        return new JinjaFunction("<jinja2.utils.Joiner object>", _ => (used, used = true).Item1 ? separator : TemplateText.Empty);
    }
}
