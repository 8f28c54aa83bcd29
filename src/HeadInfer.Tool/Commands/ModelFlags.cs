namespace HeadInfer.Tool.Commands;

/// <summary>How a model is run, as the command line says it.</summary>
internal class ModelFlags
{
    private static readonly Flag<ModelFlags>[] OfModel =
    [
        Option("--device", "NAME", "auto, cpu or cuda; default: a GPU if there is one", (options, text) => options.Device = Values.Name<ComputeDevice>(text)),
        Option("--gpu-index", "N", "which GPU, counted from 0", (options, text) => options.GpuIndex = Values.Whole(text)),
        Option("--gpu-memory", "SIZE", "GPU memory to take, such as 24GiB; default: nineteen twentieths of what is free", (options, text) => options.GpuMemory = ByteSize.Parse(text)),
        Option("--resident-memory", "SIZE", "of it, for copies of keys and values; default: what is left", (options, text) => options.ResidentMemory = ByteSize.Parse(text)),
        Option("--host-memory", "SIZE", "host memory to take; default: nine tenths of what is free", (options, text) => options.HostMemory = ByteSize.Parse(text)),
        Option("--kept-memory", "SIZE", "of it, for what nobody uses and may be asked for again; default: all that keys and values may take", (options, text) => options.KeptMemory = ByteSize.Parse(text)),
        Option("--max-context", "TOKENS", "tokens of a conversation at most, such as 128K; default: what the model was made for", (options, text) => options.MaxContextTokens = Values.Tokens(text)),
        Option("--kv-cache-type", "TYPE", "float32, bfloat16 or float16; default: the type that is computed in", (options, text) => options.KvCacheType = Values.Name<ComputeType>(text)),
        Option("--compute-type", "TYPE", "float32, bfloat16 or float16; default: the checkpoint's, and float32 on the CPU", (options, text) => options.ComputeType = Values.Name<ComputeType>(text)),
        Option("--threads", "N", "threads that compute; default: one a core", (options, text) => options.Threads = Values.Whole(text)),
    ];

    /// <summary>The flag of the commands that hold conversations.</summary>
    public static Flag<ModelFlags> ChatTemplate { get; } = new("--chat-template", "FILE", "a chat template (Jinja) in place of the model's own", (flags, text) =>
    {
        try
        {
            var template = File.ReadAllText(text); // once: it may be a pipe
            flags._options.Add(!string.IsNullOrWhiteSpace(template) ? options => options.ChatTemplate = template : throw new FormatException("it is empty."));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FormatException($"it cannot be read: {e.Message}", e);
        }
    });

    private readonly List<Action<HeadInferOptions>> _options = [];

    /// <summary>A flag that sets an option of the model.</summary>
    public static Flag<ModelFlags> Option(string name, string value, string meaning, Action<HeadInferOptions, string> set) => new(name, value, meaning, (flags, text) =>
    {
        set(new HeadInferOptions(), text); // so that a mistake is known now
        flags._options.Add(options => set(options, text));
    });

    /// <summary>The flags of every command that has a model, for what such a command reads its own into.</summary>
    public static IEnumerable<Flag<T>> For<T>(params IEnumerable<Flag<ModelFlags>> more)
        where T : ModelFlags =>
        OfModel.Concat(more).Select(f => new Flag<T>(f.Name, f.Value, f.Meaning, (flags, text) => f.Set(flags, text)));

    /// <summary>The flag that sets an option of the model; null if none does.</summary>
    public static string? Of(string option)
    {
        var name = option == nameof(HeadInferOptions.MaxContextTokens) ? "--max-context" : "--" + JsonNamingPolicy.KebabCaseLower.ConvertName(option);
        return OfModel.Append(ChatTemplate).Any(f => f.Name == name) || name == ServeFlags.MaxQueuedRequests ? name : null;
    }

    /// <summary>Sets the model's options.</summary>
    public void Configure(HeadInferOptions options) => _options.ForEach(set => set(options));

    /// <summary>The model's options, with warnings to standard error.</summary>
    public HeadInferOptions Options()
    {
        var options = new HeadInferOptions { Warning = warning => Console.Error.WriteLine($"warning: {warning}") };
        Configure(options);
        return options;
    }
}
