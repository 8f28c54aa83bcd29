using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Element types by their names in safetensors headers and configurations.</summary>
internal static class DataTypes
{
    public static ScalarType? FromSafetensors(string name) => name switch
    {
        "F64" => ScalarType.Float64,
        "F32" => ScalarType.Float32,
        "F16" => ScalarType.Float16,
        "BF16" => ScalarType.BFloat16,
        "I64" => ScalarType.Int64,
        "I32" => ScalarType.Int32,
        "I16" => ScalarType.Int16,
        "I8" => ScalarType.Int8,
        "U8" => ScalarType.Byte,
        "BOOL" => ScalarType.Bool,
        _ => null,
    };

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
