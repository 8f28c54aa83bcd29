namespace HeadInfer.Text.Constraints;

/// <summary>Strings as a schema wants them.</summary>
/// <param name="ignored">told what is not enforced</param>
/// <param name="budget">counts the work</param>
internal sealed class StringRules(Action<string> ignored, WorkBudget budget)
{
    private const string Label = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
    private const string Host = $@"{Label}(\.{Label})*";
    private const string Pointer = @"(/([^~/""\\]|~[01])*)*";

    // RFC 3339, as .NET's own types read it: years from 1, no second 60, no offset beyond any that is in use.
    private const string Year = @"(\d{3}[1-9]|\d\d[1-9]0|\d[1-9]00|[1-9]000)";
    private const string LeapYear = @"(\d\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)";
    private const string Date = $@"({Year}-((0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)|{LeapYear}-02-29)";
    private const string Time = @"([01]\d|2[0-3]):[0-5]\d:[0-5]\d";
    private const string Offset = @"(Z|[+-]((0\d|1[0-3]):[0-5]\d|14:00))";

    private const string Ipv4 = @"((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)";
    private const string Group = "[0-9a-fA-F]{1,4}";
    private const string Ipv6 = $"(({Group}:){{7}}{Group}|({Group}:){{6}}{Ipv4}|::(({Group}:){{0,6}}{Group}|({Group}:){{0,5}}{Ipv4})?|{Group}:(:{Group}){{1,6}}|({Group}:){{2}}(:{Group}){{1,5}}"
        + $"|({Group}:){{3}}(:{Group}){{1,4}}|({Group}:){{4}}(:{Group}){{1,3}}|({Group}:){{5}}(:{Group}){{1,2}}|({Group}:){{6}}:{Group}|({Group}:){{1,7}}:|({Group}:){{1,5}}:{Ipv4})";

    // RFC 3986; a host is a name or an address.
    private const string Scheme = "[A-Za-z][A-Za-z0-9+.-]*";
    private const string Escaped = "%[0-9A-Fa-f]{2}";
    private const string Plain = "-A-Za-z0-9._~!$&'()*+,;="; // at the beginning of a class
    private const string Port = @"(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])";
    private const string Authority = $@"(([{Plain}:]|{Escaped})*@)?({Host}|\[{Ipv6}\])(:{Port})?";
    private const string Segment = $"([{Plain}:@]|{Escaped})+";
    private const string Path = $"(/({Segment})?)*";
    private const string Query = $@"(\?([{Plain}:@/?]|{Escaped})*)?(#([{Plain}:@/?]|{Escaped})*)?";
    private const string Uri = $"{Scheme}:(//{Authority}{Path}|(/|///)?{Segment}{Path}){Query}";

    private const string MailWord = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
    private const string Variable = @"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*(:[1-9]\d{0,3}|\*)?"; // RFC 6570

    // Formats as .NET's own types read them. What is international is written in ASCII.
    private static readonly Dictionary<string, string> Formats = new(StringComparer.Ordinal)
    {
        ["date"] = $"^{Date}$",
        ["time"] = $@"^{Time}(\.\d{{1,7}})?$",
        ["date-time"] = $@"^{Date}T{Time}(\.\d{{1,9}})?{Offset}$",
        ["duration"] = @"^P(\d{1,9}W|(\d{1,9}Y(\d{1,9}M(\d{1,9}D)?)?|\d{1,9}M(\d{1,9}D)?|\d{1,9}D)(T(\d{1,9}H(\d{1,9}M(\d{1,9}S)?)?|\d{1,9}M(\d{1,9}S)?|\d{1,9}S))?|T(\d{1,9}H(\d{1,9}M(\d{1,9}S)?)?|\d{1,9}M(\d{1,9}S)?|\d{1,9}S))$",
        ["uuid"] = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
        ["ipv4"] = $"^{Ipv4}$",
        ["ipv6"] = $"^{Ipv6}$",
        ["email"] = $@"^{MailWord}(\.{MailWord})*@{Host}$",
        ["hostname"] = $"^{Host}$",
        ["uri"] = $"^{Uri}$",
        ["uri-reference"] = $"^({Uri}|((//{Authority})?{Path}|([{Plain}@]|{Escaped})+{Path}){Query})$",
        ["uri-template"] = $@"^([{Plain}:/?#@\[\]]|{Escaped}|\{{[+#./;?&]?{Variable}(,{Variable})*\}})*$",
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
        // What is no digit, space or word to one reader is one to another beyond ASCII, so only there is known what does not match it.
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
