using System.Numerics;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>The filters of Jinja2 that can be had without HTML, and <c>tojson</c> as transformers has it.</summary>
internal static class Filters
{
    // The arguments of each filter, by name. Others are refused rather than ignored.
    private static readonly Dictionary<string, string[]> Parameters = new(StringComparer.Ordinal)
    {
        ["abs"] = [],
        ["attr"] = ["name"],
        ["batch"] = ["linecount", "fill_with"],
        ["capitalize"] = [],
        ["center"] = ["width"],
        ["count"] = [],
        ["d"] = ["default_value", "boolean"],
        ["default"] = ["default_value", "boolean"],
        ["dictsort"] = ["case_sensitive", "by", "reverse"],
        ["e"] = [],
        ["escape"] = [],
        ["filesizeformat"] = ["binary"],
        ["first"] = [],
        ["float"] = ["default"],
        ["forceescape"] = [],
        ["format"] = ["*"],
        ["groupby"] = ["attribute", "default", "case_sensitive"],
        ["indent"] = ["width", "first", "blank"],
        ["int"] = ["default", "base"],
        ["items"] = [],
        ["join"] = ["d", "attribute"],
        ["last"] = [],
        ["length"] = [],
        ["list"] = [],
        ["lower"] = [],
        ["map"] = ["*"],
        ["max"] = ["case_sensitive", "attribute"],
        ["min"] = ["case_sensitive", "attribute"],
        ["pprint"] = [],
        ["reject"] = ["*"],
        ["rejectattr"] = ["*"],
        ["replace"] = ["old", "new", "count"],
        ["reverse"] = [],
        ["round"] = ["precision", "method"],
        ["safe"] = [],
        ["select"] = ["*"],
        ["selectattr"] = ["*"],
        ["slice"] = ["slices", "fill_with"],
        ["sort"] = ["reverse", "case_sensitive", "attribute"],
        ["string"] = [],
        ["striptags"] = [],
        ["sum"] = ["attribute", "start"],
        ["title"] = [],
        ["tojson"] = ["ensure_ascii", "indent", "separators", "sort_keys"],
        ["trim"] = ["chars"],
        ["truncate"] = ["length", "killwords", "end", "leeway"],
        ["unique"] = ["case_sensitive", "attribute"],
        ["upper"] = [],
        ["urlencode"] = [],
        ["wordcount"] = [],
        ["wordwrap"] = ["width", "break_long_words", "wrapstring", "break_on_hyphens"],
        ["xmlattr"] = ["autospace"],
    };

    public static bool Has(string name) => Parameters.ContainsKey(name);

    public static object? Apply(string name, object? input, CallArguments call)
    {
        var parameters = Parameters.GetValueOrDefault(name) ?? throw call.At.Error($"the filter '{name}' is not supported.");
        if (parameters is not ["*"])
        {
            if (call.Named.Keys.FirstOrDefault(n => !parameters.Contains(n)) is { } unknown)
            {
                throw call.At.Error($"the argument '{unknown}' of the filter '{name}' is not supported.");
            }

            if (call.Count > parameters.Length)
            {
                throw call.At.Error($"the filter '{name}' takes at most {parameters.Length} arguments.");
            }
        }

        return Compute(name, input, call);
    }

    private static object? Compute(string name, object? input, CallArguments call) => name switch
    {
        "length" or "count" => Length(input, call),
        "string" => Values.Print(input, call.Budget),
        "tojson" => TemplateText.Data(JsonText.Write(input, JsonStyle.Of(call), call)),
        "default" or "d" => input is Undefined || (call.IsTrue(1, "boolean") && !Values.IsTrue(input)) ? call.Get(0, "default_value", TemplateText.Empty) : input,
        "safe" => input,
        "attr" => input is JinjaDict ? (object?)Methods.Of(input, call.Text(0, "name")) ?? new Undefined(call.Text(0, "name")) : Members.Get(input, call.Text(0, "name"), call.At),
        "int" => ToInt(input, call),
        "float" => Numbers.AsDouble(input) ?? (input is TemplateText number ? Numbers.ParseFloat(number.Text) : null) ?? call.Get(0, "default", 0.0),
        "abs" => input switch
        {
            double number => Math.Abs(number),
            _ when Numbers.AsWhole(input) is { } whole => Numbers.Whole(BigInteger.Abs(whole)),
            _ => throw call.At.Error($"'abs' needs a number, not {Values.Kind(input)}."),
        },
        "round" => Round(input, call),
        "filesizeformat" => FileSize(input, call),
        "trim" or "upper" or "lower" or "title" or "capitalize" or "replace" or "indent" or "escape" or "e" or "forceescape" or "center" or "striptags"
            or "urlencode" or "truncate" or "wordcount" or "wordwrap" or "format" or "xmlattr" => TextFilters.Apply(name, input, call),
        _ => SequenceFilters.Apply(name, input, call),
    };

    private static long Length(object? input, CallArguments call) => input switch
    {
        TemplateText text => CodePoints.Count(text, call.Budget),
        JinjaDict dict => dict.Items.Count,
        JinjaSequence list => list.Count,
        Undefined => 0,
        _ => throw call.At.Error($"{Values.Kind(input)} has no length."),
    };

    private static object? ToInt(object? input, CallArguments call)
    {
        call.Budget.Walk(input is TemplateText { Length: <= Numbers.MaxDigits } digits ? digits.Length * 16L : 0);
        try
        {
            return input switch
            {
                double number => double.IsFinite(number) ? Numbers.Whole(new BigInteger(number)) : throw call.At.Error("a float that is not finite is no whole number."),
                TemplateText text => Numbers.ParseWhole(text.Text, (int)Math.Clamp(call.Int(1, "base", 10), 0, 37))
                    ?? (Numbers.ParseFloat(text.Text) is { } real && double.IsFinite(real) ? Numbers.Whole(new BigInteger(real)) : call.Get(0, "default", 0L)),
                _ => Numbers.AsWhole(input) is { } whole ? Numbers.Whole(whole) : call.Get(0, "default", 0L),
            };
        }
        catch (OverflowException)
        {
            throw call.At.Error("a number is too large.");
        }
    }

    private static object Round(object? input, CallArguments call)
    {
        var precision = (int)Math.Clamp(call.Int(0, "precision", 0), -400, 400);
        var method = call.Text(1, "method", "common");
        call.Budget.Spend(200);
        if (method == "common" && Numbers.AsWhole(input) is { } whole)
        {
            if (precision >= 0)
            {
                return Numbers.Whole(whole);
            }

            var unit = BigInteger.Pow(10, -precision);
            var (down, rest) = Numbers.DivideDown(whole, unit);
            return Numbers.Whole((rest * 2).CompareTo(unit) is var half && (half > 0 || (half == 0 && !down.IsEven)) ? (down + 1) * unit : down * unit);
        }

        var number = Numbers.AsDouble(input) ?? throw call.At.Error($"'round' needs a number, not {Values.Kind(input)}.");
        if (!double.IsFinite(number))
        {
            return number;
        }

        switch (method)
        {
            case "common":
                var digits = Numbers.Scaled(number, precision).ToString(CultureInfo.InvariantCulture);
                var size = double.Parse($"{digits}E{-precision}", CultureInfo.InvariantCulture);
                return double.IsNegative(number) ? -size : size;
            case "ceil" or "floor":
                var scale = Math.Pow(10, precision);
                return (method == "ceil" ? Math.Ceiling(number * scale) : Math.Floor(number * scale)) / scale;
            default:
                throw call.At.Error($"the rounding method '{method}' is not supported.");
        }
    }

    private static TemplateText FileSize(object? input, CallArguments call)
    {
        var bytes = Numbers.AsDouble(input) ?? (input is TemplateText text ? Numbers.ParseFloat(text.Text) : null) ?? throw call.At.Error($"'filesizeformat' needs a number, not {Values.Kind(input)}.");
        var binary = call.IsTrue(0, "binary");
        var unit = binary ? 1024.0 : 1000.0;
        string[] prefixes = binary ? ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"] : ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
        if (bytes < unit)
        {
            return TemplateText.Trusted(bytes == 1 ? "1 Byte" : string.Create(CultureInfo.InvariantCulture, $"{Math.Truncate(bytes):0} Bytes"));
        }

        var power = Enumerable.Range(2, prefixes.Length).FirstOrDefault(i => bytes < Math.Pow(unit, i), prefixes.Length + 1);
        var shown = FormatSpec.Parse(".1f", call.At).Write(unit * bytes / Math.Pow(unit, power), trusted: true, call.At, call.Budget);
        return TemplateText.Trusted($"{shown} {prefixes[power - 2]}");
    }
}
