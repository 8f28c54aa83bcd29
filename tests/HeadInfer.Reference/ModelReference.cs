using System.Globalization;
using System.Runtime.InteropServices;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Reference;

/// <summary>A way to cut the same work into pieces.</summary>
public sealed record PieceLayout(string Name, HeadInferOptions Options);

/// <summary>Compares a model with what transformers computed in float32; one in GGUF with what its weights, as ggml unpacks them, give in float64.</summary>
public static class ModelReference
{
    /// <summary>Largest difference of a logit, in standard deviations of the reference's logits.</summary>
    public const double Tolerance = 1e-4;

    /// <summary>The name of a GGUF file among the fixtures.</summary>
    public const string Gguf = "model.gguf";

    private const int PromptLength = 40;

    public static IReadOnlyList<PieceLayout> Layouts { get; } =
    [
        new("one-piece", new HeadInferOptions { PageTokens = 128, TileTokens = 128 }),
        new("odd-streamed", Odd(HeadPlacement.Streamed, page: 5, tile: 11, group: 1, segment: 17, chunk: 7)),
        new("odd-host", Odd(HeadPlacement.Host, page: 3, tile: 7, group: 2, segment: 13, chunk: 13)),
        new("odd-resident", Odd(HeadPlacement.Resident, page: 16, tile: 1, group: 3, segment: 31, chunk: 10)),
        new("odd-mixed", Odd(HeadPlacement.Host, page: 7, tile: 9, group: 1, segment: 23, chunk: 5) with { Placement = k => (HeadPlacement)((k.Layer + k.Head) % 3) }),
        new("token-by-token", Odd(HeadPlacement.Host, page: 8, tile: 8, group: 1, segment: 1, chunk: 1)),
    ];

    /// <summary>The same layout on a device, in float32 unless it says otherwise.</summary>
    public static HeadInferOptions On(HeadInferOptions options, ComputeDevice device) => device == ComputeDevice.Cpu
        ? options with { Device = device }
        : options with
        {
            Device = device,
            ComputeType = options.ComputeType ?? ComputeType.Float32,
        };

    /// <summary>Compares logits at every position, and what greedy decoding adds.</summary>
    public static async Task<(bool Ok, string Figure)> CheckAsync(string folder, HeadInferOptions options)
    {
        var (input, expected, greedy) = Read(Path.Combine(folder, "reference.safetensors"));
        await using var model = await HeadInferModel.LoadAsync(PathOf(folder), options).ConfigureAwait(false);
        using var session = model.CreateSession();
        var logits = await session.LogitsAsync(input).ConfigureAwait(false);
        var worst = logits.SelectMany(row => row).Zip(expected, (got, want) => double.IsNaN(got) ? double.PositiveInfinity : Math.Abs(got - want)).Max() / Deviation(expected);

        session.Truncate(0);
        var generated = new List<int>();
        var generation = new GenerationOptions { MaxTokens = greedy.Length - PromptLength, StopTokens = [] };
        await foreach (var step in session.GenerateAsync(greedy[..PromptLength], generation).ConfigureAwait(false))
        {
            generated.Add(step.TokenId);
        }

        var same = generated.SequenceEqual(greedy[PromptLength..]);
        var figure = string.Create(CultureInfo.InvariantCulture, $"{worst:0.0e+00} deviations over {logits.Count} positions, greedy {(same ? "same" : "differs")}");
        return (logits.Count == input.Length && worst <= Tolerance && same, figure);
    }

    /// <summary>What is loaded of a folder of fixtures: the GGUF file in it, or itself.</summary>
    public static string PathOf(string folder) => Path.Combine(folder, Gguf) is var file && File.Exists(file) ? file : folder;

    /// <summary>The input of a reference and its logits at every position.</summary>
    public static (int[] Input, float[] Logits) ReadLogits(string folder)
    {
        var (input, logits, _) = Read(Path.Combine(folder, "reference.safetensors"));
        return (input, logits);
    }

    private static double Deviation(float[] logits)
    {
        var mean = logits.Average(x => (double)x);
        return Math.Sqrt(logits.Average(x => (x - mean) * (x - mean)));
    }

    private static HeadInferOptions Odd(HeadPlacement placement, int page, int tile, int group, int segment, int chunk) => new()
    {
        Placement = _ => placement,
        PageTokens = page,
        TileTokens = tile,
        HeadGroupSize = group,
        SegmentTokens = segment,
        ChunkTokens = chunk,
    };

    private static (int[] Input, float[] Logits, int[] Greedy) Read(string path)
    {
        using var file = SafetensorsFile.Open(path);
        ReadOnlySpan<byte> Bytes(string name)
        {
            var bytes = new byte[file.Entries[name].Length];
            file.Read(file.Entries[name], 0, bytes);
            return bytes;
        }

        return (
            MemoryMarshal.Cast<byte, int>(Bytes("input_ids")).ToArray(),
            MemoryMarshal.Cast<byte, float>(Bytes("logits")).ToArray(),
            MemoryMarshal.Cast<byte, int>(Bytes("greedy_ids")).ToArray());
    }
}
