namespace HeadInfer.Tool.Commands;

/// <summary>How a model is served, as the command line says it.</summary>
internal sealed class ServeFlags : ModelFlags
{
    public const string MaxQueuedRequests = "--max-queued-requests";

    private const string KeyVariable = "HEADINFER_API_KEY";

    private readonly List<string> _keys = [], _origins = [];

    public static IEnumerable<Flag<ServeFlags>> All { get; } =
    [
        new("--urls", "URL[;URL]", "where to listen; default: http://127.0.0.1:8080; beyond the loopback only with a key; https:// takes its certificate from Kestrel's configuration, such as the variables Kestrel__Certificates__Default__Path and __KeyPath", (flags, text) => flags.Urls = text),
        new("--api-key", "KEY", $"what a caller must send as a bearer token; once for each caller, and they share nothing that was read; {KeyVariable} has several separated by commas or spaces, and is not seen by other users of the machine", (flags, text) => flags._keys.Add(text)) { IsMany = true },
        new("--cors", "ORIGIN", "pages of this origin may ask, such as http://localhost:3000; * is every origin; default: none", (flags, text) => flags._origins.Add(Origin(text))) { IsMany = true },
        new("--max-request-bytes", "N", "bytes of a request at most; default: 64 MiB", (flags, text) => flags.MaxRequestBytes = Values.Long(text)),
        new("--keep-alive", "SECONDS", "between the comments of a stream that waits or reads; default: 10", (flags, text) => flags.KeepAlive = Values.Seconds(text)),
        new("--write-timeout", "SECONDS", "a reader of a stream that takes nothing for so long is cut off; default: 30", (flags, text) => flags.WriteTimeout = Values.Seconds(text)),
        new("--deadline", "SECONDS", "an answer that has not begun by then is given up; default: none", (flags, text) => flags.Deadline = Values.Seconds(text)),
        new("--stop-timeout", "SECONDS", "when the server is stopped, answers under way have so long to end; default: 60", (flags, text) => flags.StopTimeout = Values.Seconds(text)),
        .. For<ServeFlags>(ChatTemplate, Option(MaxQueuedRequests, "N", "requests that wait at most; others are told to come again; default: 256", (options, text) => options.MaxQueuedRequests = Values.Whole(text))),
    ];

    /// <summary>The model folder or file.</summary>
    public string Model { get; set; } = "";

    /// <summary>Where to listen, separated by semicolons; null if nothing is said.</summary>
    public string? Urls { get; private set; }

    /// <summary>What callers must send, one of these each; none if anybody may come in.</summary>
    public IReadOnlyList<string> Keys => _keys.Count > 0 ? _keys : Environment.GetEnvironmentVariable(KeyVariable)?.Split([',', ' ', '\t', '\r', '\n'], StringSplitOptions.RemoveEmptyEntries) ?? [];

    /// <summary>Origins whose pages may ask; "*" is every one.</summary>
    public IReadOnlyList<string> Origins => _origins;

    /// <summary>Bytes of a request at most. A long book is 5 MB.</summary>
    public long MaxRequestBytes { get; private set; } = 64 << 20;

    /// <summary>Time between the comments of a stream that waits. OpenAI's client for .NET gives up after 100 s without a byte.</summary>
    public TimeSpan KeepAlive { get; private set; } = TimeSpan.FromSeconds(10);

    /// <summary>Time in which a reader must take what it is sent.</summary>
    public TimeSpan WriteTimeout { get; private set; } = TimeSpan.FromSeconds(30);

    /// <summary>Time in which an answer must begin; null if it may take as long as it takes.</summary>
    public TimeSpan? Deadline { get; private set; }

    /// <summary>Time that answers under way have to end when the server is stopped.</summary>
    public TimeSpan StopTimeout { get; private set; } = TimeSpan.FromSeconds(60);

    private static string Origin(string text) =>
        text == "*" || (Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.GetLeftPart(UriPartial.Authority).Equals(text, StringComparison.OrdinalIgnoreCase))
            ? text
            : throw new FormatException("it must be an origin such as http://localhost:3000, without a path, or *.");
}
