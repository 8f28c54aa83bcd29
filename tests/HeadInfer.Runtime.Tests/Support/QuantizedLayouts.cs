namespace HeadInfer.Runtime.Tests.Support;

/// <summary>A small quantized matrix in one of the layouts of published folders, and what its weights are by the layout's definition.</summary>
/// <param name="Name">of the layout</param>
/// <param name="Config">the quantization_config</param>
/// <param name="Weights">the numbers, row by row</param>
/// <param name="Shape">of the weight</param>
/// <param name="File">the safetensors file that has it</param>
internal sealed record QuantizedLayout(string Name, string Config, float[] Weights, long[] Shape, byte[] File)
{
    public const string Weight = "m.weight";

    public override string ToString() => Name;
}

/// <summary>Writes every layout. Codes, scales and zeros are random; weights come of their definitions, one at a time, in double precision.</summary>
internal static class QuantizedLayouts
{
    public static IEnumerable<QuantizedLayout> All()
    {
        yield return Awq(rows: 24, columns: 64, group: 32);
        yield return Awq(rows: 8, columns: 40, group: -1);
        foreach (var bits in (int[])[2, 3, 4, 8])
        {
            yield return Gptq(bits, rows: 32, columns: 96, group: 32, v2: false, order: "none");
            yield return Gptq(bits, rows: 64, columns: 64, group: 16, v2: true, order: "sorted");
            yield return Gptq(bits, rows: 32, columns: 96, group: 32, v2: false, order: "act");
        }

        yield return Gptq(4, rows: 32, columns: 80, group: 32, v2: false, order: "sorted"); // the last group has fewer
        yield return Gptq(4, rows: 32, columns: 64, group: -1, v2: false, order: "none");
        foreach (var bits in (int[])[4, 8])
        {
            yield return Packed(bits, rows: 20, columns: 64, group: 32, zeros: "none", act: false);
            yield return Packed(bits, rows: 20, columns: 44, group: 0, zeros: "none", act: false);
            yield return Packed(bits, rows: 20, columns: 64, group: 16, zeros: "words", act: false);
            yield return Packed(bits, rows: 13, columns: 45, group: 0, zeros: "words", act: false); // neither fills its words
            yield return Packed(bits, rows: 20, columns: 64, group: 16, zeros: "bytes", act: false);
            yield return Packed(bits, rows: 20, columns: 64, group: 16, zeros: "words", act: true);
        }

        yield return Bytes(rows: 12, columns: 40, groups: 1, perRow: true, zeros: false);
        yield return Bytes(rows: 12, columns: 40, groups: 1, perRow: false, zeros: false);
        yield return Bytes(rows: 12, columns: 48, groups: 3, perRow: true, zeros: true);
        yield return Float8("fp8", """ "weight_block_size": [16, 32]""", ".weight_scale_inv", "F32", rows: 40, columns: 72, blockRows: 16, blockColumns: 32);
        yield return Float8("fp8", """ "weight_block_size": [16, 32]""", ".weight_scale_inv", "BF16", rows: 32, columns: 64, blockRows: 16, blockColumns: 32);
        yield return Float8("fp8", "\"activation_scheme\": \"static\"", ".weight_scale", "F32", rows: 10, columns: 33, blockRows: 10, blockColumns: 33);
        yield return Float8("modelopt", "\"quant_algo\": \"FP8\"", ".weight_scale", "F32", rows: 10, columns: 32, blockRows: 10, blockColumns: 32);
        yield return Float8("fbgemm_fp8", "\"activation_scale_ub\": 1200.0", ".weight_scale", "F32", rows: 10, columns: 32, blockRows: 1, blockColumns: 32);
        yield return Float8("compressed-tensors", Scheme("float-quantized", "float", 8, "channel"), ".weight_scale", "BF16", rows: 10, columns: 32, blockRows: 1, blockColumns: 32);
        yield return Float8("compressed-tensors", Scheme("float-quantized", "float", 8, "block", ", \"block_structure\": [16, 16]"), ".weight_scale", "BF16", rows: 32, columns: 48, blockRows: 16, blockColumns: 16);
        yield return Float4("modelopt", "\"quant_algo\": \"NVFP4\"", "weight", 16);
        yield return Float4("compressed-tensors", Scheme("nvfp4-pack-quantized", "float", 4, "tensor_group", ", \"group_size\": 16"), "weight_packed", 16);
        yield return Float4("compressed-tensors", Scheme("mxfp4-pack-quantized", "float", 4, "group", ", \"group_size\": 32"), "weight_packed", 32);
        yield return Experts();
    }

    /// <summary>E4M3 by its definition.</summary>
    public static double E4M3(int code)
    {
        var (sign, exponent, mantissa) = (code >= 128 ? -1 : 1, (code >> 3) & 15, code & 7);
        return exponent == 15 && mantissa == 7 ? double.NaN : sign * (exponent == 0 ? mantissa / 8.0 * Math.Pow(2, -6) : (1 + (mantissa / 8.0)) * Math.Pow(2, exponent - 7));
    }

    /// <summary>E2M1 by its definition.</summary>
    public static double E2M1(int code)
    {
        var (sign, exponent, mantissa) = (code >= 8 ? -1 : 1, (code >> 1) & 3, code & 1);
        return sign * (exponent == 0 ? mantissa / 2.0 : (1 + (mantissa / 2.0)) * Math.Pow(2, exponent - 1));
    }

    private static string Scheme(string format, string type, int bits, string strategy, string more = "") =>
        $$"""
        "format": "{{format}}", "ignore": ["lm_head"], "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": {{bits}}, "type": "{{type}}", "strategy": "{{strategy}}", "symmetric": true{{more}} } } }
        """;

    private static QuantizedLayout Made(string name, string method, string config, long[] shape, Func<int, int, double> weight, SafetensorsWriter file)
    {
        var columns = (int)shape[^1];
        return new QuantizedLayout(name, $$"""{"quant_method": "{{method}}", {{config}}}""", [.. Enumerable.Range(0, (int)shape.Aggregate((a, b) => a * b)).Select(i => (float)weight(i / columns, i % columns))], shape, file.ToArray());
    }

    private static int[,] Codes(Random random, int rows, int columns, int bits)
    {
        var codes = new int[rows, columns];
        for (var i = 0; i < codes.Length; i++)
        {
            codes[i / columns, i % columns] = random.Next(1 << bits);
        }

        return codes;
    }

    // A scale that has 8 bits of mantissa, so that every type keeps it.
    private static float Scale(Random random) => MathF.ScaleB(random.Next(128, 256), -random.Next(8, 14));

    private static T[] Flat<T>(int rows, int columns, Func<int, int, T> value) => [.. Enumerable.Range(0, rows * columns).Select(i => value(i / columns, i % columns))];

    // Codes one after another in words, the first in the lowest bits.
    private static int[] Words(IEnumerable<int> codes, int bits)
    {
        var all = codes.SelectMany(code => Enumerable.Range(0, bits).Select(bit => (code >> bit) & 1)).ToArray();
        return [.. all.Chunk(32).Select(word => word.Select((bit, i) => bit << i).Aggregate((a, b) => a | b))];
    }

    private static short[] Of(string type, float[] values) => [.. values.Select(v => type == "F16" ? BitConverter.HalfToInt16Bits((Half)v) : (short)(BitConverter.SingleToInt32Bits(v) >> 16))];

    private static void AddScales(SafetensorsWriter file, string name, string type, int[] shape, float[] values)
    {
        if (type == "F32")
        {
            file.Add(name, type, shape, values);
        }
        else
        {
            file.Add(name, type, shape, Of(type, values));
        }
    }

    // Column i of each eight lies at nibble 0, 4, 1, 5, 2, 6, 3, 7: AutoAWQ writes columns 0, 2, 4, 6, 1, 3, 5, 7.
    private static QuantizedLayout Awq(int rows, int columns, int group)
    {
        var random = new Random(rows + columns);
        var size = group < 0 ? columns : group;
        var groups = columns / size;
        var (codes, zeros, scales) = (Codes(random, rows, columns, 4), Codes(random, groups, rows, 4), Flat(groups, rows, (_, _) => Scale(random)));
        int[] written = [0, 2, 4, 6, 1, 3, 5, 7];
        int Word(int at, Func<int, int> code) => written.Select((output, place) => code((at * 8) + output) << (4 * place)).Aggregate((a, b) => a | b);
        var file = new SafetensorsWriter();
        file.Add("m.qweight", "I32", [columns, rows / 8], Flat(columns, rows / 8, (i, o) => Word(o, output => codes[output, i])));
        file.Add("m.qzeros", "I32", [groups, rows / 8], Flat(groups, rows / 8, (g, o) => Word(o, output => zeros[g, output])));
        AddScales(file, "m.scales", "F16", [groups, rows], scales);
        return Made($"awq {rows}x{columns}", "awq", $"\"bits\": 4, \"group_size\": {group}, \"version\": \"gemm\"", [rows, columns], (r, c) => (codes[r, c] - zeros[c / size, r]) * (double)scales[(c / size * rows) + r], file);
    }

    private static QuantizedLayout Gptq(int bits, int rows, int columns, int group, bool v2, string order)
    {
        var random = new Random(bits + rows + columns);
        var size = group < 0 ? columns : group;
        var groups = (columns + size - 1) / size;
        var (codes, zeros, scales) = (Codes(random, rows, columns, bits), Codes(random, groups, rows, bits), Flat(groups, rows, (_, _) => Scale(random)));
        int[] index = [.. Enumerable.Range(0, columns).Select(c => c / size)];
        if (order == "act")
        {
            random.Shuffle(index);
        }

        var words = Enumerable.Range(0, rows).Select(r => Words(Enumerable.Range(0, columns).Select(c => codes[r, c]), bits)).ToArray();
        var file = new SafetensorsWriter();
        file.Add("m.qweight", "I32", [columns * bits / 32, rows], Flat(columns * bits / 32, rows, (w, r) => words[r][w]));
        file.Add("m.qzeros", "I32", [groups, rows * bits / 32], Enumerable.Range(0, groups).SelectMany(g => Words(Enumerable.Range(0, rows).Select(r => v2 ? zeros[g, r] : (zeros[g, r] - 1) & ((1 << bits) - 1)), bits)).ToArray());
        AddScales(file, "m.scales", "F16", [groups, rows], scales);
        if (order != "none")
        {
            file.Add("m.g_idx", "I32", [columns], index);
        }

        var config = $"\"bits\": {bits}, \"group_size\": {group}, \"desc_act\": {(order == "act" ? "true" : "false")}, \"checkpoint_format\": \"{(v2 ? "gptq_v2" : "gptq")}\"";
        return Made($"gptq {bits} bits {rows}x{columns} {order} {(v2 ? "v2" : "v1")}", "gptq", config, [rows, columns], (r, c) => (codes[r, c] - zeros[index[c], r]) * (double)scales[(index[c] * rows) + r], file);
    }

    private static QuantizedLayout Packed(int bits, int rows, int columns, int group, string zeros, bool act)
    {
        var random = new Random(bits + rows + columns + zeros.Length);
        var size = group == 0 ? columns : group;
        var (groups, half) = (columns / size, 1 << (bits - 1));
        var (codes, points, scales) = (Codes(random, rows, columns, bits), Codes(random, rows, groups, bits), Flat(rows, groups, (_, _) => Scale(random)));
        int[] index = [.. Enumerable.Range(0, columns).Select(c => c / size)];
        if (act)
        {
            random.Shuffle(index);
        }

        var file = new SafetensorsWriter();
        file.Add("m.weight_packed", "I32", [rows, ((columns * bits) + 31) / 32], Enumerable.Range(0, rows).SelectMany(r => Words(Enumerable.Range(0, columns).Select(c => codes[r, c]), bits)).ToArray());
        file.Add("m.weight_shape", "I64", [2], new long[] { rows, columns });
        AddScales(file, "m.weight_scale", "BF16", [rows, groups], scales);
        if (zeros == "words")
        {
            var words = Enumerable.Range(0, groups).Select(g => Words(Enumerable.Range(0, rows).Select(r => points[r, g]), bits)).ToArray();
            file.Add("m.weight_zero_point", "I32", [words[0].Length, groups], Flat(words[0].Length, groups, (w, g) => words[g][w]));
        }
        else if (zeros == "bytes")
        {
            file.Add("m.weight_zero_point", "I8", [rows, groups], Flat(rows, groups, (r, g) => (sbyte)(points[r, g] - half)));
        }

        if (act)
        {
            file.Add("m.weight_g_idx", "I32", [columns], index);
        }

        var config = Scheme("pack-quantized", "int", bits, group == 0 ? "channel" : "group", group == 0 ? "" : $", \"group_size\": {group}");
        return Made($"packed {bits} bits {rows}x{columns} zeros {zeros} act {act}", "compressed-tensors", config, [rows, columns], (r, c) => (codes[r, c] - (zeros == "none" ? half : points[r, index[c]])) * (double)scales[(r * groups) + index[c]], file);
    }

    private static QuantizedLayout Bytes(int rows, int columns, int groups, bool perRow, bool zeros)
    {
        var random = new Random(rows + groups);
        var (codes, points, scales) = (Codes(random, rows, columns, 8), Codes(random, rows, groups, 8), Flat(perRow ? rows : 1, groups, (_, _) => Scale(random)));
        var file = new SafetensorsWriter();
        file.Add("m.weight", "I8", [rows, columns], Flat(rows, columns, (r, c) => (sbyte)(codes[r, c] - 128)));
        AddScales(file, "m.weight_scale", "BF16", perRow ? [rows, groups] : [1], scales);
        file.Add("m.input_scale", "F32", [1], new float[1]);
        if (zeros)
        {
            file.Add("m.weight_zero_point", "I8", [rows, groups], Flat(rows, groups, (r, g) => (sbyte)(points[r, g] - 128)));
        }

        var config = Scheme("int-quantized", "int", 8, groups > 1 ? "group" : perRow ? "channel" : "tensor", groups > 1 ? $", \"group_size\": {columns / groups}" : "");
        return Made($"int8 {groups} groups, per row {perRow}", "compressed-tensors", config, [rows, columns], (r, c) => (codes[r, c] - (zeros ? points[r, c * groups / columns] : 128)) * (double)scales[perRow ? (r * groups) + (c * groups / columns) : 0], file);
    }

    private static QuantizedLayout Float8(string method, string config, string scale, string type, int rows, int columns, int blockRows, int blockColumns)
    {
        var random = new Random(rows + columns);
        var codes = Codes(random, rows, columns, 8);
        for (var i = 0; i < codes.Length; i++)
        {
            codes[i / columns, i % columns] -= codes[i / columns, i % columns] % 128 == 127 ? 1 : 0; // no number
        }

        var (high, wide) = ((rows + blockRows - 1) / blockRows, (columns + blockColumns - 1) / blockColumns);
        var scales = Flat(high, wide, (_, _) => Scale(random));
        var file = new SafetensorsWriter();
        file.Add("m.weight", "F8_E4M3", [rows, columns], Flat(rows, columns, (r, c) => (byte)codes[r, c]));
        AddScales(file, "m" + scale, type, blockRows == rows ? [] : [high, wide], scales);
        return Made($"{method} {rows}x{columns} by {blockRows}x{blockColumns} {type}", method, config, [rows, columns], (r, c) => E4M3(codes[r, c]) * scales[(r / blockRows * wide) + (c / blockColumns)], file);
    }

    private static QuantizedLayout Float4(string method, string config, string name, int group)
    {
        const int rows = 12, columns = 96;
        var random = new Random(group);
        var (codes, scales) = (Codes(random, rows, columns, 4), Flat(rows, columns / group, (_, _) => (byte)random.Next(100, 120)));
        const float second = 0.25f; // its reciprocal is exact
        var file = new SafetensorsWriter();
        file.Add("m." + name, "U8", [rows, columns / 2], Flat(rows, columns / 2, (r, b) => (byte)(codes[r, 2 * b] | (codes[r, (2 * b) + 1] << 4))));
        file.Add("m.weight_scale", group == 16 ? "F8_E4M3" : "U8", [rows, columns / group], scales);
        if (group == 16)
        {
            file.Add(name == "weight" ? "m.weight_scale_2" : "m.weight_global_scale", "F32", name == "weight" ? [] : [1], new[] { second });
        }

        double Factor(byte scale) => group == 32 ? Math.Pow(2, scale - 127) : name == "weight" ? E4M3(scale) * second : E4M3(scale) / second;
        return Made($"{method} fp4 groups of {group}", method, config, [rows, columns], (r, c) => E2M1(codes[r, c]) * Factor(scales[(r * columns / group) + (c / group)]), file);
    }

    private static QuantizedLayout Experts()
    {
        const int experts = 3, rows = 6, blocks = 2, columns = 32 * blocks;
        var random = new Random(5);
        var (codes, scales) = (Codes(random, experts * rows, columns, 4), Flat(experts * rows, blocks, (_, _) => (byte)random.Next(0, 254)));
        var file = new SafetensorsWriter();
        file.Add("m_blocks", "U8", [experts, rows, blocks, 16], Flat(experts * rows, columns / 2, (r, b) => (byte)(codes[r, 2 * b] | (codes[r, (2 * b) + 1] << 4))));
        file.Add("m_scales", "U8", [experts, rows, blocks], scales);
        return Made("mxfp4 experts", "mxfp4", "\"modules_to_not_convert\": [\"lm_head\"]", [experts, rows, columns], (r, c) => E2M1(codes[r, c]) * Math.Pow(2, scales[(r * blocks) + (c / 32)] - 127), file);
    }
}
