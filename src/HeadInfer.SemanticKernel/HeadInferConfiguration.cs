using System.Globalization;
using HeadInfer.Runtime;
using Microsoft.Extensions.Configuration;

namespace HeadInfer.SemanticKernel;

/// <summary>Reads a configuration section such as <c>HeadInfer</c>: <c>ModelPath</c>, and properties of <see cref="HeadInferOptions"/> by their names.</summary>
internal static class HeadInferConfiguration
{
    private const string ModelPath = nameof(ModelPath);

    /// <exception cref="InvalidOperationException">The section has no model path, a key that is not known, or a value that cannot be read; the message names it.</exception>
    public static (string ModelPath, Action<HeadInferOptions> Configure) Read(IConfiguration section)
    {
        ArgumentNullException.ThrowIfNull(section);
        var where = section is IConfigurationSection { Path: { Length: > 0 } name } ? name : "The configuration";
        var path = section[ModelPath] is { Length: > 0 } value
            ? value
            : throw new InvalidOperationException($"{where} has no {ModelPath}: name the model folder.");
        var settings = section.GetChildren().Where(c => !c.Key.Equals(ModelPath, StringComparison.OrdinalIgnoreCase)).Select(c => (c.Key, Value: c.Value ?? "")).ToList();
        void Configure(HeadInferOptions options)
        {
            foreach (var (key, text) in settings)
            {
                try
                {
                    Set(options, key, text);
                }
                catch (Exception e) when (e is FormatException or OverflowException or ArgumentException)
                {
                    throw new InvalidOperationException($"{where}:{key} is '{text}': {e.Message}", e);
                }
            }
        }

        Configure(new HeadInferOptions()); // so that a mistake is known when it is made
        return (path, Configure);
    }

    private static void Set(HeadInferOptions options, string key, string text)
    {
        int Number() => int.Parse(text, NumberStyles.Integer, CultureInfo.InvariantCulture);
        T Name<T>()
            where T : struct, Enum =>
            Enum.TryParse<T>(text, ignoreCase: true, out var name) && Enum.IsDefined(name) ? name : throw new FormatException($"it must be one of {string.Join(", ", Enum.GetNames<T>())}.");

        switch (key.ToUpperInvariant())
        {
            case "DEVICE": options.Device = Name<ComputeDevice>(); break;
            case "GPUINDEX": options.GpuIndex = Number(); break;
            case "GPUMEMORY": options.GpuMemory = ByteSize.Parse(text); break;
            case "RESIDENTMEMORY": options.ResidentMemory = ByteSize.Parse(text); break;
            case "COMPUTETYPE": options.ComputeType = Name<ComputeType>(); break;
            case "FUSEDATTENTION": options.FusedAttention = Name<FusedAttention>(); break;
            case "HOSTMEMORY": options.HostMemory = ByteSize.Parse(text); break;
            case "MAXCONTEXTTOKENS": options.MaxContextTokens = Number(); break;
            case "PAGETOKENS": options.PageTokens = Number(); break;
            case "TILETOKENS": options.TileTokens = Number(); break;
            case "HEADGROUPSIZE": options.HeadGroupSize = Number(); break;
            case "SEGMENTTOKENS": options.SegmentTokens = Number(); break;
            case "CHUNKTOKENS": options.ChunkTokens = Number(); break;
            case "THREADS": options.Threads = Number(); break;
            case "CHATTEMPLATE": options.ChatTemplate = text; break;
            case "IGNOREATTENTIONSOFTCAP": options.IgnoreAttentionSoftCap = bool.Parse(text); break;
            default: throw new FormatException($"there is no such setting; there are {ModelPath} and the properties of {nameof(HeadInferOptions)}.");
        }
    }
}
