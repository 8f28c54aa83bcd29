using System.Globalization;
using HeadInfer.Runtime;

namespace HeadInfer.Benchmarks;

/// <summary>Options of a verb: <c>--name value</c>, and flags without a value.</summary>
internal sealed class Options
{
    private static readonly string[] Flags = ["--json", "--stream", "--concurrent", "--check"];

    private readonly Dictionary<string, string> _values = new(StringComparer.Ordinal);

    public Options(IReadOnlyList<string> arguments, IReadOnlyList<string> known)
    {
        for (var i = 0; i < arguments.Count; i++)
        {
            var name = arguments[i];
            if (!known.Contains(name))
            {
                throw new FormatException($"'{name}' is no option here; there are {string.Join(", ", known)}.");
            }

            _values[name] = Flags.Contains(name) ? "" : ++i < arguments.Count ? arguments[i] : throw new FormatException($"{name} needs a value.");
        }
    }

    public bool Has(string name) => _values.ContainsKey(name);

    public string Text(string name, string fallback) => _values.GetValueOrDefault(name, fallback);

    public int? Count(string name) => _values.TryGetValue(name, out var text) ? ParseCount(name, text) : null;

    public ByteSize? Size(string name) => _values.TryGetValue(name, out var text) ? ByteSize.Parse(text) : null;

    /// <summary>A number above nothing.</summary>
    public double? Number(string name) => !_values.TryGetValue(name, out var text) ? null
        : double.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) && number > 0 ? number
        : throw new FormatException($"{name} is '{text}'; write a number such as 272 or 31.5.");

    /// <summary>What <c>--kv</c> names.</summary>
    public ComputeType? KvType() => _values.GetValueOrDefault("--kv") switch
    {
        null => null,
        "f32" => ComputeType.Float32,
        "bf16" => ComputeType.BFloat16,
        "f16" => ComputeType.Float16,
        var text => throw new FormatException($"--kv is '{text}'; there are f32, bf16 and f16."),
    };

    // 128K is 131,072 and 4M 4,194,304, as contexts are counted.
    private static int ParseCount(string name, string text)
    {
        var factor = char.ToUpperInvariant(text[^1]) switch { 'K' => 1 << 10, 'M' => 1 << 20, _ => 1 };
        return int.TryParse(factor == 1 ? text : text[..^1], NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? checked(number * factor)
            : throw new FormatException($"{name} is '{text}'; write it like 8192, 128K or 1M.");
    }
}
