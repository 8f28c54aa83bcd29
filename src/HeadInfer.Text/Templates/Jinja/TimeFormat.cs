namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Writes a time as <c>strftime</c> does in the C locale.</summary>
internal static class TimeFormat
{
    public static string Write(DateTimeOffset time, string format, WorkBudget budget)
    {
        var text = new BoundedText(budget);
        budget.Walk(format.Length);
        Write(time.DateTime, format, text);
        return text.ToString();
    }

    private static void Write(DateTime time, string format, BoundedText text)
    {
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                text.Append(format[i]);
                continue;
            }

            var flag = format[i + 1] is '-' or '_' or '0' or '^' or '#' && i + 2 < format.Length ? format[i + 1] : '\0';
            var directive = format[i += flag == '\0' ? 1 : 2];
            if (Composite(directive) is { } parts)
            {
                Write(time, parts, text);
            }
            else if (Number(time, directive) is var (number, width, pad))
            {
                var digits = number.ToString(CultureInfo.InvariantCulture);
                text.Append(flag switch { '-' => digits, '_' => digits.PadLeft(width), '0' => digits.PadLeft(width, '0'), _ => digits.PadLeft(width, pad) });
            }
            else
            {
                var word = Word(time, directive) ?? "%" + (flag == '\0' ? "" : flag.ToString()) + directive;
                text.Append(flag == '^' || (flag == '#' && directive != 'p') ? word.ToUpperInvariant() : flag == '#' ? word.ToLowerInvariant() : word);
            }
        }
    }

    private static string? Composite(char directive) => directive switch
    {
        'c' => "%a %b %e %H:%M:%S %Y",
        'D' or 'x' => "%m/%d/%y",
        'F' => "%Y-%m-%d",
        'r' => "%I:%M:%S %p",
        'R' => "%H:%M",
        'T' or 'X' => "%H:%M:%S",
        'h' => "%b",
        _ => null,
    };

    private static (long Number, int Width, char Pad)? Number(DateTime time, char directive)
    {
        var (day, weekday) = (time.DayOfYear - 1, (int)time.DayOfWeek);
        var hour = time.Hour % 12 == 0 ? 12 : time.Hour % 12;
        return directive switch
        {
            'C' => (time.Year / 100, 2, '0'),
            'd' => (time.Day, 2, '0'),
            'e' => (time.Day, 2, ' '),
            'f' => (time.Ticks % TimeSpan.TicksPerSecond / 10, 6, '0'),
            'g' => (ISOWeek.GetYear(time) % 100, 2, '0'),
            'G' => (ISOWeek.GetYear(time), 4, '0'),
            'H' => (time.Hour, 2, '0'),
            'I' => (hour, 2, '0'),
            'j' => (day + 1, 3, '0'),
            'k' => (time.Hour, 2, ' '),
            'l' => (hour, 2, ' '),
            'm' => (time.Month, 2, '0'),
            'M' => (time.Minute, 2, '0'),
            's' => (new DateTimeOffset(time, TimeSpan.Zero).ToUnixTimeSeconds(), 1, '0'),
            'S' => (time.Second, 2, '0'),
            'u' => (weekday == 0 ? 7 : weekday, 1, '0'),
            'U' => ((day + 7 - weekday) / 7, 2, '0'),
            'V' => (ISOWeek.GetWeekOfYear(time), 2, '0'),
            'w' => (weekday, 1, '0'),
            'W' => ((day + 7 - ((weekday + 6) % 7)) / 7, 2, '0'),
            'y' => (time.Year % 100, 2, '0'),
            'Y' => (time.Year, 4, '0'),
            _ => null,
        };
    }

    private static string? Word(DateTime time, char directive) => directive switch
    {
        'a' => time.ToString("ddd", CultureInfo.InvariantCulture),
        'A' => time.ToString("dddd", CultureInfo.InvariantCulture),
        'b' => time.ToString("MMM", CultureInfo.InvariantCulture),
        'B' => time.ToString("MMMM", CultureInfo.InvariantCulture),
        'p' => time.Hour < 12 ? "AM" : "PM",
        'P' => time.Hour < 12 ? "am" : "pm",
        'n' => "\n",
        't' => "\t",
        'z' or 'Z' => "", // the time has no zone, as in transformers
        '%' => "%",
        _ => null,
    };
}
