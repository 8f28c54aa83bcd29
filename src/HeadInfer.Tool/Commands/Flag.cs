using System.CommandLine;
using System.CommandLine.Parsing;

namespace HeadInfer.Tool.Commands;

/// <summary>One flag of a command line: its name, what its value is called, what it means, and how it is read.</summary>
/// <typeparam name="T">what it is read into</typeparam>
internal sealed record Flag<T>(string Name, string Value, string Meaning, Action<T, string> Set)
{
    /// <summary>Whether it may be given several times.</summary>
    public bool IsMany { get; init; }

    /// <exception cref="ArgumentException">The text cannot be read; the message names the flag.</exception>
    public void Read(T into, string text)
    {
        try
        {
            Set(into, text.Length > 0 ? text : throw new FormatException("it has no value."));
        }
        catch (Exception e) when (e is FormatException or OverflowException or ArgumentException)
        {
            throw new ArgumentException($"{Name} is '{text}': {e.Message}", e);
        }
    }
}

/// <summary>Values of flags. What cannot be read says what would be.</summary>
internal static class Values
{
    public static int Whole(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : throw new FormatException("it must be a whole number.");

    public static int Above0(string text) => Whole(text) is > 0 and var number ? number : throw new FormatException("it must be a whole number above 0.");

    public static long Long(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0 ? number : throw new FormatException("it must be a whole number above 0.");

    /// <summary>Tokens as contexts are counted: 128K is 131,072.</summary>
    public static int Tokens(string text)
    {
        var factor = char.ToUpperInvariant(text[^1]) switch { 'K' => 1 << 10, 'M' => 1 << 20, _ => 1 };
        return int.TryParse(factor == 1 ? text : text[..^1], NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0 && number <= int.MaxValue / factor
            ? number * factor
            : throw new FormatException("it must be a number of tokens, such as 8192, 128K or 1M.");
    }

    public static double Number(string text, double least, double most) =>
        double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most
            ? number
            : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"it must be a number from {least} to {most}."));

    public static TimeSpan Seconds(string text) => double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number is >= 0.001 and <= 1e6 ? TimeSpan.FromSeconds(number) : throw new FormatException("it must be a number of seconds above 0.");

    public static TEnum Name<TEnum>(string text)
        where TEnum : struct, Enum =>
        Enum.TryParse<TEnum>(text, ignoreCase: true, out var name) && char.IsAsciiLetter(text[0]) ? name : throw new FormatException($"it must be one of {string.Join(", ", Enum.GetNames<TEnum>()).ToLowerInvariant()}.");
}

/// <summary>Flags of a command, as System.CommandLine knows them.</summary>
/// <typeparam name="T">what they are read into</typeparam>
internal sealed class FlagSet<T>
    where T : new()
{
    private readonly List<(Flag<T> Flag, Option<string[]> Option)> _all = [];

    /// <param name="command">gets the options</param>
    public FlagSet(Command command, IEnumerable<Flag<T>> flags)
    {
        foreach (var flag in flags)
        {
            var option = new Option<string[]>(flag.Name) { Description = flag.Meaning, HelpName = flag.Value, Arity = ArgumentArity.OneOrMore };
            option.Validators.Add(given =>
            {
                var texts = given.Tokens.Select(t => t.Value).ToList();
                if (texts.Count > 1 && !flag.IsMany)
                {
                    given.AddError($"{flag.Name} is given twice.");
                }
                else if (texts.Select(t => Fault(flag, t)).FirstOrDefault(f => f is not null) is { } fault)
                {
                    given.AddError(fault); // a mistake is known now, and not when a model is loaded
                }
            });
            command.Options.Add(option);
            _all.Add((flag, option));
        }
    }

    public T Read(ParseResult result) => Read(result.CommandResult);

    /// <summary>What was given; null where a value cannot be read, which its flag says for itself.</summary>
    public T? TryRead(CommandResult result)
    {
        try
        {
            return Read(result);
        }
        catch (Exception e) when (e is FormatException or OverflowException or ArgumentException)
        {
            return default;
        }
    }

    private T Read(CommandResult result)
    {
        var read = new T();
        foreach (var (flag, option) in _all)
        {
            foreach (var text in Given(result, option))
            {
                flag.Read(read, text);
            }
        }

        return read;
    }

    /// <summary>The values of a flag, as they stand on the command line.</summary>
    public IReadOnlyList<string> Given(CommandResult result, string name) => Given(result, _all.Single(f => f.Flag.Name == name).Option);

    private static IReadOnlyList<string> Given(CommandResult result, Option<string[]> option) => [.. result.GetResult(option)?.Tokens.Select(t => t.Value) ?? []];

    private static string? Fault(Flag<T> flag, string text)
    {
        try
        {
            flag.Read(new T(), text);
            return null;
        }
        catch (ArgumentException e)
        {
            return e.Message;
        }
    }
}
