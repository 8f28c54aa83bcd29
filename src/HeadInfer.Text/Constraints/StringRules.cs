namespace HeadInfer.Text.Constraints;

/// <summary>Strings as a schema wants them.</summary>
/// <param name="ignored">told what is not enforced</param>
/// <param name="budget">counts the work</param>
internal sealed class StringRules(Action<string> ignored, WorkBudget budget)
{
    private const string Label = "[A-Za-z0-9](-?[A-Za-z0-9]){0,30}";
    private const string Host = $@"{Label}(\.{Label}){{0,3}}";
    private const string Path = @"(/[A-Za-z0-9._~-]*)*";
    private const string Pointer = @"(/([^~/""\\]|~[01])*)*";

    // Formats that .NET's own types read, whose ranges are narrower than the standard's: days that every month has, years
    // that stay years in any time zone. What is international is written in ASCII.
    private static readonly Dictionary<string, string> Formats = new(StringComparer.Ordinal)
    {
        ["date"] = @"^[1-9]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])$",
        ["time"] = @"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,7})?$",
        ["date-time"] = @"^([1-8]\d{3}|9[0-8]\d\d)-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,7})?(Z|[+-](0\d|1[0-3]):[0-5]\d)$",
        ["duration"] = @"^P(\d{1,9}W|(\d{1,9}Y(\d{1,9}M(\d{1,9}D)?)?|\d{1,9}M(\d{1,9}D)?|\d{1,9}D)(T(\d{1,9}H(\d{1,9}M(\d{1,9}S)?)?|\d{1,9}M(\d{1,9}S)?|\d{1,9}S))?|T(\d{1,9}H(\d{1,9}M(\d{1,9}S)?)?|\d{1,9}M(\d{1,9}S)?|\d{1,9}S))$",
        ["uuid"] = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        ["ipv4"] = @"^((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)$",
        ["ipv6"] = "^(([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4}|([0-9a-fA-F]{1,4}:){1,4}(:[0-9a-fA-F]{1,4}){2,3}|::([0-9a-fA-F]{1,4}(:[0-9a-fA-F]{1,4}){0,6})?|([0-9a-fA-F]{1,4}:){1,7}:)$",
        ["email"] = @"^[A-Za-z0-9_+-]{1,30}(\.[A-Za-z0-9_+-]{1,30}){0,1}@[A-Za-z0-9](-?[A-Za-z0-9]){0,30}(\.[A-Za-z0-9](-?[A-Za-z0-9]){0,30}){1,3}$",
        ["hostname"] = $"^{Host}$",
        ["uri"] = $@"^https?://{Host}(:\d{{1,4}})?{Path}$",
        ["uri-reference"] = $@"^(https?://{Host}(:\d{{1,4}})?)?{Path}$",
        ["uri-template"] = @"^(https?:/)?(/([A-Za-z0-9._~-]|\{[A-Za-z_][A-Za-z0-9_]*\})*)*$",
        ["json-pointer"] = $"^{Pointer}$",
        ["relative-json-pointer"] = $"^(0|[1-9][0-9]{{0,8}})(#|{Pointer})$",
    };

    private static readonly Dictionary<string, string> International = new(StringComparer.Ordinal)
    {
        ["idn-email"] = "email", ["idn-hostname"] = "hostname", ["iri"] = "uri", ["iri-reference"] = "uri-reference",
    };

    private readonly Dictionary<string, CharacterAutomaton?> _patterns = new(StringComparer.Ordinal);

    public StringNode Compile(SchemaPart rules)
    {
        var (least, most) = (SchemaKeywords.Count(rules, "minLength") ?? 0, SchemaKeywords.Count(rules, "maxLength"));
        return new StringNode(Automaton(rules), least, most ?? JsonStringState.NoLimit);
    }

    /// <summary>The strings that the rules allow, their length included; null if they ask for nothing but a length.</summary>
    public CharacterAutomaton? Automaton(SchemaPart rules)
    {
        var result = SchemaKeywords.Texts(rules["pattern"]).Select(Pattern).ToList();
        if (rules["format"] is { } format)
        {
            result.Add(Format(format.Text));
        }

        result.AddRange(SchemaKeywords.Texts(rules[SchemaKeywords.NotPattern]).Select(NotPattern));
        if (rules[SchemaKeywords.NotText] is { } texts)
        {
            result.Add(Try(work => CharacterAutomaton.Of(SchemaKeywords.Texts(texts), work).Not(CharacterSet.Writable, work), "a list of texts that are not allowed"));
        }

        result.RemoveAll(a => a is null);
        if (result.Count == 0)
        {
            return null;
        }

        var (least, most) = (SchemaKeywords.Count(rules, "minLength") ?? 0, SchemaKeywords.Count(rules, "maxLength"));
        var name = rules["pattern"] is { } pattern ? Constraints.Pattern.Name(SchemaKeywords.Texts(pattern)[0]) : $"the string {rules}";
        return Try(work => result.Skip(1).Aggregate(result[0]!, (a, b) => a.And(b!, work)).OfLength(least, most, work), name);
    }

    /// <summary>The strings that a pattern matches; null, and told, if it is not supported.</summary>
    public CharacterAutomaton? Pattern(string text) => Known(text, work => CharacterAutomaton.Of(Constraints.Pattern.Parse(text), work), Constraints.Pattern.Name(text));

    /// <summary>The strings that a pattern does not match; null, and told, if it is not supported.</summary>
    public CharacterAutomaton? NotPattern(string text)
    {
        // What is no digit, space or word is read of ASCII alone, so only there is known what does not match it.
        var isNarrowed = text.Contains("\\D", StringComparison.Ordinal) || text.Contains("\\S", StringComparison.Ordinal) || text.Contains("\\W", StringComparison.Ordinal)
            || (text.Contains("[^", StringComparison.Ordinal) && text.Contains('\\', StringComparison.Ordinal));
        return Pattern(text) is { } matching ? Known($"\0{text}", work => matching.Not(isNarrowed ? CharacterSet.Ascii : CharacterSet.WritableOfPlane0, work), Constraints.Pattern.Name(text)) : null;
    }

    /// <summary>Does something that may turn out to be too much work for one pattern; null, and told, if it is.</summary>
    public CharacterAutomaton? Try(Func<PatternWork, CharacterAutomaton> make, string name)
    {
        try
        {
            return make(new PatternWork(budget, name));
        }
        catch (NotSupportedException e)
        {
            ignored(e.Message);
            return null;
        }
    }

    private CharacterAutomaton? Known(string key, Func<PatternWork, CharacterAutomaton> make, string name)
    {
        if (!_patterns.TryGetValue(key, out var known))
        {
            _patterns[key] = known = Try(make, name);
        }

        return known;
    }

    private CharacterAutomaton? Format(string name)
    {
        if (!Formats.TryGetValue(International.GetValueOrDefault(name, name), out var pattern))
        {
            ignored($"the format '{name}'");
            return null;
        }

        if (name == "time")
        {
            ignored("the offset of the format 'time', which .NET's times do not have"); // they refuse one
        }

        return Pattern(pattern);
    }
}
