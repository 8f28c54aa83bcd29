using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Converts the experts of gpt-oss, which are one tensor for a layer and in which gates and what they are for lie by turns; and those of Llama 4, in which all gates come first.</summary>
/// <remarks>As llama.cpp's conversion/gpt_oss.py and conversion/llama.py do it: gates and the others apart, inputs last, and packed numbers in the order of ggml's blocks.</remarks>
internal static class GgufExperts
{
    private const uint MxFp4 = 39;
    private const string Experts = ".mlp.experts.", GateUp = "gate_up_proj", Down = "down_proj";

    /// <summary>Whether a tensor is of such experts.</summary>
    public static bool Are(string tensor) => Named(tensor) is var name && (name.Contains($"{Experts}{GateUp}", StringComparison.Ordinal) || name.Contains($"{Experts}{Down}", StringComparison.Ordinal));

    /// <summary>Adds them.</summary>
    /// <param name="file">has them; of packed ones the exponents are read beside the numbers</param>
    /// <param name="entry">one of them</param>
    /// <param name="add">takes a name, a shape, the number of a type and bytes</param>
    public static void Add(SafetensorsFile file, SafetensorsEntry entry, Action<string, long[], uint, byte[]> add)
    {
        var name = entry.Name;
        var mlp = Named(name);
        var (stem, part) = (mlp[..mlp.IndexOf(Experts, StringComparison.Ordinal)].Replace("model.layers.", "blk.", StringComparison.Ordinal), mlp[(mlp.IndexOf(Experts, StringComparison.Ordinal) + Experts.Length)..]);
        if (part.EndsWith("_scales", StringComparison.Ordinal))
        {
            return; // with its numbers
        }

        var end = part.EndsWith("_bias", StringComparison.Ordinal) ? "bias" : "weight";
        (string Name, int Which)[] parts = part.StartsWith(GateUp, StringComparison.Ordinal) ? [("gate", 0), ("up", 1)] : [("down", 0)];
        var (shape, rows, type) = part.EndsWith("_blocks", StringComparison.Ordinal) ? Packed(file, entry) : Dense(file, entry, end == "bias");
        var experts = shape[0];
        foreach (var (what, which) in parts)
        {
            var (perExpert, every) = (rows.Count / (int)experts, parts.Length);
            bool IsIts(int row) => which == (name.Contains(".feed_forward.", StringComparison.Ordinal) ? row / (perExpert / every) : row % every);
            var some = Enumerable.Range(0, rows.Count).Where(row => IsIts(row % perExpert)).SelectMany(row => rows[row]).ToArray();
            add($"{stem}.ffn_{what}_exps.{end}", [experts, shape[1] / every, .. shape[2..]], type, some);
        }
    }

    // Llama 4's MLP has another name.
    private static string Named(string tensor) => tensor.Replace(".feed_forward.", ".mlp.", StringComparison.Ordinal);

    // [experts, rows, blocks, 16] and exponents [experts, rows, blocks]: a byte has two neighbours, the first of them in its lower half. ggml's byte has numbers i and i + 16.
    private static (long[] Shape, List<byte[]> Rows, uint Type) Packed(SafetensorsFile file, SafetensorsEntry entry)
    {
        var blocks = GgufConversion.ReadBytes(file, entry);
        var exponents = GgufConversion.ReadBytes(file, file.Entries[entry.Name.Replace("_blocks", "_scales", StringComparison.Ordinal)]);
        var perRow = (int)entry.Shape[2];
        var rows = new List<byte[]>();
        for (var row = 0; row < entry.Shape[0] * entry.Shape[1]; row++)
        {
            rows.Add([.. Enumerable.Range(row * perRow, perRow).SelectMany(block => (byte[])[exponents[block], .. Block(blocks.AsSpan(block * 16, 16).ToArray())])]);
        }

        return ([entry.Shape[0], entry.Shape[1], perRow * 32], rows, MxFp4);
    }

    private static IEnumerable<byte> Block(byte[] pairs)
    {
        int Number(int i) => (pairs[i / 2] >> (4 * (i % 2))) & 15;
        return Enumerable.Range(0, 16).Select(i => (byte)(Number(i) | (Number(i + 16) << 4)));
    }

    // [experts, inputs, outputs] -> [experts, outputs, inputs]; biases [experts, outputs] as they are
    private static (long[] Shape, List<byte[]> Rows, uint Type) Dense(SafetensorsFile file, SafetensorsEntry entry, bool isBias)
    {
        var data = GgufConversion.Read(file, entry);
        var (experts, inputs, outputs) = isBias ? (entry.Shape[0], 1, entry.Shape[1]) : (entry.Shape[0], entry.Shape[1], entry.Shape[2]);
        var rows = new List<byte[]>();
        for (var row = 0; row < experts * outputs; row++)
        {
            var (expert, output) = Math.DivRem(row, outputs);
            rows.Add([.. Enumerable.Range(0, (int)inputs).SelectMany(input => BitConverter.GetBytes(data[(((expert * inputs) + input) * outputs) + output]))]);
        }

        return (isBias ? [experts, outputs] : [experts, outputs, inputs], rows, 0);
    }
}
