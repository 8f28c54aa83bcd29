using System.Text.Json.Nodes;
using HeadInfer.Reference;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Compares a model with plain loops.</summary>
internal static class PlainComparison
{
    /// <summary>Logits of a prompt, and a greedy answer in steps.</summary>
    /// <param name="model">compared</param>
    /// <param name="tokens">the prompt; its first half begins the answer</param>
    /// <param name="expected">[tokens, vocabulary] its logits by the loops</param>
    /// <param name="loops">gives the logits of others</param>
    public static async Task Check(HeadInferModel model, int[] tokens, double[][] expected, Func<int[], double[][]> loops)
    {
        using var session = model.CreateSession();
        var worst = Worst(expected, await session.LogitsAsync(tokens));
        Assert.True(worst < ModelReference.Tolerance, $"{worst} deviations");
        session.Truncate(0);
        var (begin, answer) = (tokens[..(tokens.Length / 2)], new List<int>());
        await foreach (var step in session.GenerateAsync(begin, new GenerationOptions { MaxTokens = 12, StopTokens = [] }))
        {
            answer.Add(step.TokenId);
        }

        var whole = loops([.. begin, .. answer]);
        Assert.Equal(answer, answer.Select((_, i) => Array.IndexOf(whole[begin.Length - 1 + i], whole[begin.Length - 1 + i].Max())));
    }

    /// <summary>The largest difference of the loops from a committed reference, in its standard deviations.</summary>
    /// <param name="name">of the reference</param>
    /// <param name="loops">gives the logits of a configuration, its tensors and tokens</param>
    public static double FromReference(string name, Func<JsonNode, IReadOnlyDictionary<string, float[]>, int[], double[][]> loops)
    {
        var folder = Fixtures.Model(name);
        var (input, expected) = ModelReference.ReadLogits(folder);
        using var file = SafetensorsFile.Open(Path.Combine(folder, "model.safetensors"));
        var tensors = file.Entries.Values.ToDictionary(e => e.Name, e => GgufConversion.Read(file, e), StringComparer.Ordinal);
        return Worst(loops(JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "config.json")))!, tensors, input), expected.Chunk(320));
    }

    /// <summary>The largest difference, in standard deviations of what is expected.</summary>
    public static double Worst(double[][] expected, IEnumerable<float[]> got)
    {
        double[] all = [.. expected.SelectMany(row => row)];
        var mean = all.Average();
        return expected.Zip(got, (e, g) => e.Zip(g, (x, y) => Math.Abs(x - y)).Max()).Max() / Math.Sqrt(all.Average(x => (x - mean) * (x - mean)));
    }
}
