using System.Globalization;
using System.Text;

namespace HeadInfer.Runtime.Text.Jinja;

/// <summary>The functions that chat templates find in their surroundings.</summary>
internal static class Functions
{
    private const int MaxRange = 1 << 20;

    public static IEnumerable<(string Name, JinjaFunction Function)> All(TimeProvider clock) =>
    [
        ("range", Range),
        ("namespace", call => Fill(new JinjaDict { IsNamespace = true }, call)),
        ("dict", call => Fill(new JinjaDict(), call)),
        ("raise_exception", call => throw new ChatTemplateException(call.Get(0, "message") is TemplateText text ? text.Text : Values.Represent(call.Get(0, "message")))),
        ("strftime_now", call => Values.Print(call.Get(0, "format")).With(FormatTime(clock.GetLocalNow(), call.Text(0, "format"), call.At))),
    ];

    private static List<object?> Range(CallArguments call)
    {
        var (start, stop) = call.Count > 1 ? (call.Int(0, "start", 0), call.Int(1, "stop", 0)) : (0, call.Int(0, "stop", 0));
        var step = call.Int(2, "step", 1);
        var count = step == 0 ? throw call.At.Error("the step of 'range' must not be 0.") : Math.Max(0, (stop - start + step - Math.Sign(step)) / step);
        return count <= MaxRange
            ? [.. Enumerable.Range(0, (int)count).Select(i => (object?)(start + (i * step)))]
            : throw call.At.Error($"'range' gives more than {MaxRange} numbers.");
    }

    private static JinjaDict Fill(JinjaDict dict, CallArguments call)
    {
        foreach (var (key, value) in call.Positional.OfType<JinjaDict>().SelectMany(d => d.Items).Concat(call.Named))
        {
            dict.Set(key, value);
        }

        return dict;
    }

    private static string FormatTime(DateTimeOffset time, string format, Position at)
    {
        var text = new StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                text.Append(format[i]);
                continue;
            }

            var plain = format[++i] == '-' && i + 1 < format.Length; // %-d: without a leading zero
            var directive = plain ? format[++i] : format[i];
            var written = directive switch
            {
                'Y' => "yyyy", 'y' => "yy", 'm' => "MM", 'd' => "dd", 'H' => "HH", 'I' => "hh", 'M' => "mm", 'S' => "ss",
                'B' => "MMMM", 'b' => "MMM", 'A' => "dddd", 'a' => "ddd", 'p' => "tt", '%' => "'%'",
                _ => throw at.Error($"strftime_now: '%{directive}' is not supported."),
            };
            var value = time.ToString(written, CultureInfo.InvariantCulture);
            text.Append(plain ? value.TrimStart('0') : value);
        }

        return text.ToString();
    }
}
