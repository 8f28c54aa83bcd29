using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The types of tensors in GGUF files.</summary>
internal static unsafe class GgmlPackings
{
    private static readonly Dictionary<uint, Packing> Known = new()
    {
        [0] = new DensePacking(ScalarType.Float32),
        [1] = new DensePacking(ScalarType.Float16),
        [2] = new PlanePacking<Q4_0>(),
        [3] = new PlanePacking<Q4_1>(),
        [6] = new PlanePacking<Q5_0>(),
        [7] = new PlanePacking<Q5_1>(),
        [8] = new BlockPacking<Q8_0>(),
        [10] = new SuperBlockPacking<Q2_K>(),
        [11] = new SuperBlockPacking<Q3_K>(),
        [12] = new SuperBlockPacking<Q4_K>(),
        [13] = new SuperBlockPacking<Q5_K>(),
        [14] = new SuperBlockPacking<Q6_K>(),
        [20] = new BlockPacking<IQ4_NL>(),
        [23] = new BlockPacking<IQ4_XS>(),
        [30] = new DensePacking(ScalarType.BFloat16),
        [39] = new PlanePacking<MXFP4>(),
    };

    // What there is besides, to be named where it is refused.
    private static readonly Dictionary<uint, string> Others = new()
    {
        [4] = "Q4_2", [5] = "Q4_3", [9] = "Q8_1", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [21] = "IQ3_S", [22] = "IQ2_S",
        [24] = "I8", [25] = "I16", [26] = "I32", [27] = "I64", [28] = "F64", [29] = "IQ1_M", [31] = "Q4_0_4_4", [32] = "Q4_0_4_8", [33] = "Q4_0_8_8",
        [34] = "TQ1_0", [35] = "TQ2_0", [36] = "IQ4_NL_4_4", [37] = "IQ4_NL_4_8", [38] = "IQ4_NL_8_8", [40] = "NVFP4",
    };

    /// <summary>The types that are read, by their names.</summary>
    public static IEnumerable<string> Names => Known.Values.Select(NameOf);

    /// <summary>The packing of a type's number, or null if it is not read.</summary>
    public static Packing? Of(uint type) => Known.GetValueOrDefault(type);

    /// <summary>What a type that is not read is called.</summary>
    public static string NameOfOther(uint type) => Others.GetValueOrDefault(type) ?? $"number {type}";

    /// <summary>What a packing is called in lists of models.</summary>
    public static string NameOf(Packing packing) => packing is not DensePacking dense ? packing.Name : dense.Type switch { ScalarType.Float32 => "F32", ScalarType.Float16 => "F16", _ => "BF16" };
}
