using System.Globalization;
using System.Text;
using HeadInfer.Runtime;
using Spectre.Console;

namespace HeadInfer.Tool.Asking;

/// <summary>Standard error: notes, the progress of a prefill, prompts. Plain lines where it is not a terminal.</summary>
internal sealed class Screen
{
    private static readonly TimeSpan PlainInterval = TimeSpan.FromSeconds(5);

    private readonly IAnsiConsole? _console = Console.IsErrorRedirected
        ? null
        : AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });

    /// <summary>Lets a console of Windows take and give every letter, before anything is written. Elsewhere it does by itself.</summary>
    public static void UseUnicode()
    {
        if (!OperatingSystem.IsWindows())
        {
            return;
        }

        try
        {
            var utf8 = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false);
            Console.OutputEncoding = utf8;
            Console.InputEncoding = Console.IsInputRedirected ? utf8 : Encoding.Unicode; // in UTF-8, older consoles give NULs for letters beyond ASCII
        }
        catch (IOException)
        {
            // there is no console
        }
    }

    public void Note(string text)
    {
        if (_console is { } console)
        {
            console.MarkupLineInterpolated($"[grey]{text}[/]");
        }
        else
        {
            Console.Error.WriteLine(text);
        }
    }

    public void Question(string question) => Note($"> {question}");

    /// <summary>Whether a question is awaited: an interrupt then ends the program.</summary>
    public bool IsAsking { get; private set; }

    /// <summary>The next question, or null at the end of the input.</summary>
    public string? Ask()
    {
        IsAsking = true;
        if (!Console.IsInputRedirected)
        {
            _console?.Write("> ");
        }

        var question = Console.In.ReadLine();
        IsAsking = false;
        return question;
    }

    /// <summary>Runs a prefill and shows how far it is: percent, tokens a second, time left.</summary>
    public async Task ProgressAsync(int tokens, Func<IProgress<PrefillProgress>, Task> prefill)
    {
        if (_console is not { } console)
        {
            await prefill(new PlainProgress()).ConfigureAwait(false);
            return;
        }

        await console.Progress().HideCompleted(true).Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn())
            .StartAsync(async context =>
            {
                var bar = context.AddTask(Describe(tokens, null), maxValue: 1);
                await prefill(new Direct(p =>
                {
                    bar.Value = p.Fraction;
                    bar.Description = Describe(tokens, p);
                })).ConfigureAwait(false);
            }).ConfigureAwait(false);
    }

    private static string Describe(int tokens, PrefillProgress? progress) => progress is { Remaining: { } left } p
        ? string.Create(CultureInfo.InvariantCulture, $"reading {tokens:N0} tokens, {p.TokensPerSecond:N0} tok/s, {(left.TotalHours >= 1 ? left.ToString(@"h\:mm\:ss", CultureInfo.InvariantCulture) : left.ToString(@"m\:ss", CultureInfo.InvariantCulture))} left")
        : string.Create(CultureInfo.InvariantCulture, $"reading {tokens:N0} tokens");

    /// <summary>Reports on the thread that does the work, in order.</summary>
    private sealed class Direct(Action<PrefillProgress> report) : IProgress<PrefillProgress>
    {
        public void Report(PrefillProgress value) => report(value);
    }

    /// <summary>A line every few seconds.</summary>
    private sealed class PlainProgress : IProgress<PrefillProgress>
    {
        private TimeSpan _next = PlainInterval;

        public void Report(PrefillProgress value)
        {
            if (value.Elapsed >= _next && value.Fraction < 1)
            {
                _next = value.Elapsed + PlainInterval;
                Console.Error.WriteLine($"{value.Fraction.ToString("P0", CultureInfo.InvariantCulture)}: {Describe(value.Tokens, value)}");
            }
        }
    }
}
