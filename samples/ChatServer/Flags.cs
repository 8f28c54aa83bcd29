using System.Globalization;
using System.Text;
using HeadInfer.Runtime;

namespace ChatServer;

/// <summary>The command line.</summary>
internal sealed class Flags
{
    private const string KeyVariable = "HEADINFER_API_KEY";

    private static readonly Flag[] Known =
    [
        new("--model", "PATH", "a model folder or a GGUF file; default: the demo model", (flags, text) => flags.Model = text),
        new("--urls", "URL[;URL]", "where to listen; default: http://127.0.0.1:8080; beyond the loopback only with a key", (flags, text) => flags.Urls = text),
        new("--api-key", "KEY", $"what a caller must send as a bearer token; once for each caller, and they share nothing that was read; {KeyVariable} has several separated by commas or spaces, and is not seen by other users of the machine", (flags, text) => flags._keys.Add(text)) { IsMany = true },
        new("--max-request-bytes", "N", "bytes of a request at most; default: 64 MiB", (flags, text) => flags.MaxRequestBytes = Above0(text)),
        new("--keep-alive", "SECONDS", "between the comments of a stream that waits or reads; default: 10", (flags, text) => flags.KeepAlive = Seconds(text)),
        new("--write-timeout", "SECONDS", "a reader of a stream that takes nothing for so long is cut off; default: 30", (flags, text) => flags.WriteTimeout = Seconds(text)),
        new("--deadline", "SECONDS", "an answer that has not begun by then is given up; default: none", (flags, text) => flags.Deadline = Seconds(text)),
        new("--max-queued-requests", "N", "requests that wait at most; others are told to come again; default: 256", Option((options, text) => options.MaxQueuedRequests = Whole(text))),
        new("--device", "NAME", "auto, cpu or cuda; default: a GPU if there is one", Option((options, text) => options.Device = Name<ComputeDevice>(text))),
        new("--gpu-index", "N", "which GPU, counted from 0", Option((options, text) => options.GpuIndex = Whole(text))),
        new("--gpu-memory", "SIZE", "GPU memory to take, such as 24GiB; default: nineteen twentieths of what is free", Option((options, text) => options.GpuMemory = ByteSize.Parse(text))),
        new("--resident-memory", "SIZE", "of it, for heads that stay on the GPU; default: what is left", Option((options, text) => options.ResidentMemory = ByteSize.Parse(text))),
        new("--host-memory", "SIZE", "host memory to take; default: nine tenths of what is free", Option((options, text) => options.HostMemory = ByteSize.Parse(text))),
        new("--max-context", "TOKENS", "tokens of a conversation at most; default: what the model was made for", Option((options, text) => options.MaxContextTokens = Whole(text))),
        new("--threads", "N", "threads that compute; default: one a core", Option((options, text) => options.Threads = Whole(text))),
    ];

    private readonly List<Action<HeadInferOptions>> _options = [];
    private readonly List<string> _keys = [];

    private Flags()
    {
    }

    /// <summary>What there is, for who asks.</summary>
    public static string Usage => Known.Aggregate(
        new StringBuilder("usage: ChatServer [FLAG VALUE]...\n"),
        (text, flag) => text.Append(CultureInfo.InvariantCulture, $"\n  {flag.Name + " " + flag.Value,-26} {flag.Meaning}")).ToString();

    /// <summary>The model folder or file.</summary>
    public string Model { get; private set; } = Path.Combine(AppContext.BaseDirectory, "models", "headinfer-demo");

    /// <summary>Where to listen, separated by semicolons; null if nothing is said.</summary>
    public string? Urls { get; private set; }

    /// <summary>What callers must send, one of these each; none if anybody may come in.</summary>
    public IReadOnlyList<string> Keys => _keys;

    /// <summary>Bytes of a request at most. A long book is 5 MB.</summary>
    public long MaxRequestBytes { get; private set; } = 64 << 20;

    /// <summary>Time between the comments of a stream that waits. OpenAI's client for .NET gives up after 100 s without a byte.</summary>
    public TimeSpan KeepAlive { get; private set; } = TimeSpan.FromSeconds(10);

    /// <summary>Time in which a reader must take what it is sent.</summary>
    public TimeSpan WriteTimeout { get; private set; } = TimeSpan.FromSeconds(30);

    /// <summary>Time in which an answer must begin; null if it may take as long as it takes.</summary>
    public TimeSpan? Deadline { get; private set; }

    /// <summary>Reads the command line; null if help is wanted.</summary>
    /// <exception cref="ArgumentException">It cannot be understood; the message names the flag.</exception>
    public static Flags? Parse(IReadOnlyList<string> args)
    {
        var (flags, seen) = (new Flags(), new HashSet<string>());
        for (var i = 0; i < args.Count; i++)
        {
            if (args[i] is "--help" or "-h")
            {
                return null;
            }

            var (name, value) = args[i].Split('=', 2) is [var before, var after] ? (before, after) : (args[i], null);
            var flag = Known.FirstOrDefault(f => f.Name == name) ?? throw new ArgumentException($"'{name}' is not understood. Try --help.");
            value ??= i + 1 < args.Count ? args[++i] : throw new ArgumentException($"{name} needs a value.");
            if (!seen.Add(name) && !flag.IsMany)
            {
                throw new ArgumentException($"{name} is given twice.");
            }

            flag.Read(flags, value);
        }

        if (flags._keys.Count == 0)
        {
            flags._keys.AddRange(Environment.GetEnvironmentVariable(KeyVariable)?.Split([',', ' '], StringSplitOptions.RemoveEmptyEntries) ?? []);
        }

        return flags;
    }

    /// <summary>The flag that sets an option of the model; null if none does.</summary>
    public static string? Of(string option)
    {
        var name = option == nameof(HeadInferOptions.MaxContextTokens) ? "--max-context" : "--" + System.Text.Json.JsonNamingPolicy.KebabCaseLower.ConvertName(option);
        return Known.Any(f => f.Name == name) ? name : null;
    }

    /// <summary>Sets the model's options.</summary>
    public void Configure(HeadInferOptions options) => _options.ForEach(set => set(options));

    private static Action<Flags, string> Option(Action<HeadInferOptions, string> set) => (flags, text) =>
    {
        set(new HeadInferOptions(), text); // so that a mistake is known now, and not when the model is loaded
        flags._options.Add(options => set(options, text));
    };

    private static int Whole(string text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : throw new FormatException("it must be a whole number.");

    private static long Above0(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0 ? number : throw new FormatException("it must be a whole number above 0.");

    private static TimeSpan Seconds(string text) => double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number is >= 0.001 and <= 1e6 ? TimeSpan.FromSeconds(number) : throw new FormatException("it must be a number of seconds above 0.");

    private static T Name<T>(string text)
        where T : struct, Enum =>
        Enum.TryParse<T>(text, ignoreCase: true, out var name) && char.IsAsciiLetter(text[0]) ? name : throw new FormatException($"it must be one of {string.Join(", ", Enum.GetNames<T>()).ToLowerInvariant()}.");

    /// <summary>One flag.</summary>
    private sealed record Flag(string Name, string Value, string Meaning, Action<Flags, string> Set)
    {
        /// <summary>Whether it may be given several times.</summary>
        public bool IsMany { get; init; }

        public void Read(Flags flags, string text)
        {
            try
            {
                Set(flags, text.Length > 0 ? text : throw new FormatException("it has no value."));
            }
            catch (Exception e) when (e is FormatException or OverflowException)
            {
                throw new ArgumentException($"{Name} is '{text}': {e.Message}", e);
            }
        }
    }
}
