using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Element types by their names in safetensors headers and configurations.</summary>
internal static class DataTypes
{
    /// <summary>E4M3, by PyTorch's own number; TorchSharp has no name for it, and libtorch is never given one.</summary>
    public const ScalarType Float8 = (ScalarType)24;

    private static readonly Dictionary<string, ScalarType> Stored = new(StringComparer.Ordinal)
    {
        ["F64"] = ScalarType.Float64,
        ["F32"] = ScalarType.Float32,
        ["F16"] = ScalarType.Float16,
        ["BF16"] = ScalarType.BFloat16,
        ["F8_E4M3"] = Float8,
        ["I64"] = ScalarType.Int64,
        ["I32"] = ScalarType.Int32,
        ["I16"] = ScalarType.Int16,
        ["I8"] = ScalarType.Int8,
        ["U8"] = ScalarType.Byte,
        ["BOOL"] = ScalarType.Bool,
    };

    public static ScalarType? FromSafetensors(string name) => Stored.TryGetValue(name, out var type) ? type : null;

    /// <summary>What safetensors call a type.</summary>
    public static string Name(ScalarType type) => Stored.First(s => s.Value == type).Key;

    /// <summary>Bytes of one element.</summary>
    public static int Size(ScalarType type) => type switch
    {
        ScalarType.Float64 or ScalarType.Int64 => 8,
        ScalarType.Float32 or ScalarType.Int32 => 4,
        ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Int16 => 2,
        _ => 1,
    };

    /// <summary>The type that an option names.</summary>
    public static ScalarType Of(ComputeType type) => type switch
    {
        ComputeType.BFloat16 => ScalarType.BFloat16,
        ComputeType.Float16 => ScalarType.Float16,
        _ => ScalarType.Float32,
    };

    /// <summary>Whether weights may have this type.</summary>
    public static bool IsWeightType(ScalarType type) => type is ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16;
}
