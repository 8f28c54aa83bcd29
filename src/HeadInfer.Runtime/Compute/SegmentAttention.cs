using static HeadInfer.Runtime.Compute.CudaModule;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Our own fused attention of the GPU, bfloat16 or float16: the kernel of <c>SegmentAttention.cu</c>. It takes soft caps and heads of up to 512 dimensions.</summary>
/// <remarks>One without a soft cap and with at most 256 dimensions is computed faster by <see cref="CudaAttention"/>.</remarks>
internal sealed class SegmentAttention : AttentionKernel
{
    private const int MostDim = 512, OneWarpDim = 256, Capability = 8; // a row's output lies in one warp's registers, or in two warps'

    private static readonly (int Rows, int Keys)[] Blocks = [(128, 64), (64, 64), (64, 32), (32, 32), (32, 16), (16, 16)];

    private readonly nint _attend;
    private readonly (int Rows, int Keys) _block;
    private readonly int _sharedBytes, _threads;
    private readonly float _softCap;

    /// <param name="module">compiled for these traits; not owned</param>
    /// <param name="traits">what the model needs</param>
    public SegmentAttention(CudaModule module, AttentionTraits traits)
        : base(traits.Scale)
    {
        _block = BlockFor(traits.HeadDim, module.Gpu.BlockSharedBytes);
        (_sharedBytes, _threads) = (SharedBytes(traits.HeadDim, _block), _block.Rows / 16 * Warps(traits.HeadDim) * 32);
        _softCap = (float)(traits.SoftCap ?? 0);
        _attend = module.Function("attend_segment");
        AllowShared(_attend, _sharedBytes);
    }

    /// <summary>Whether it takes heads of this size.</summary>
    public static bool Takes(int headDim) => headDim % (16 * Warps(headDim)) == 0 && headDim <= MostDim;

    /// <summary>Whether it takes these on a GPU.</summary>
    /// <param name="traits">what the model needs</param>
    /// <param name="major">compute capability, the part before the dot</param>
    public static bool Takes(AttentionTraits traits, int major) => traits.Type != ScalarType.Float32 && major >= Capability && Takes(traits.HeadDim);

    /// <summary>Compiles the kernel.</summary>
    /// <exception cref="DeviceException">It does not compile or load.</exception>
    public static CudaModule Compile(Gpu gpu, ScalarType type, int headDim)
    {
        var (rows, keys) = BlockFor(headDim, gpu.BlockSharedBytes);
        return new CudaModule(gpu, type, ["Kernels.cu", "SegmentAttention.cu"], $"-DHEAD_DIM={headDim}", $"-DBLOCK_ROWS={rows}", $"-DBLOCK_KEYS={keys}");
    }

    /// <summary>The largest block that fits: rows of a head, and keys that they attend at once.</summary>
    internal static (int Rows, int Keys) BlockFor(int headDim, int sharedBytes) => Blocks.First(b => SharedBytes(headDim, b) <= sharedBytes && b.Rows * Warps(headDim) <= Blocks[0].Rows);

    /// <summary>Shared memory of a block: its queries, and two places of keys and values. Where two warps share rows, also weights and two numbers of each row.</summary>
    internal static int SharedBytes(int headDim, (int Rows, int Keys) block)
    {
        var pitch = headDim % 64 == 0 ? headDim : headDim + 8;
        var common = Warps(headDim) == 1 ? 0 : (block.Rows * (block.Keys + 8) * sizeof(ushort)) + (2 * block.Rows * sizeof(float));
        return ((block.Rows + (4 * block.Keys)) * pitch * sizeof(ushort)) + common;
    }

    public override (Tensor Output, Tensor LogSumExp) Attend(Tensor queries, Tensor keys, Tensor values, TokenRange rows, TokenRange columns, Visibility view)
    {
        var (batch, group, count, dim) = (queries.shape[0], queries.shape[1], queries.shape[2], queries.shape[3]);
        var output = empty([count, batch, group, dim], queries.dtype, queries.device).permute(1, 2, 0, 3); // as layers want it: a token's heads side by side
        var lse = empty([batch, group, count], ScalarType.Float32, queries.device);
        var part = new Part((int)count, columns.Count, rows.Start, columns.Start, view.Window ?? 0, (float)Scale, _softCap);
        nint q = TensorMemory.Pointer(queries), k = TensorMemory.Pointer(keys), v = TensorMemory.Pointer(values), o = TensorMemory.Pointer(output), l = TensorMemory.Pointer(lse);
        Distances qAt = new(queries), kAt = new(keys), vAt = new(values), oAt = new(output);
        var groups = (int)group;
        Launch(_attend, ((count + _block.Rows - 1) / _block.Rows, batch * group, 1), _threads, _sharedBytes, early: false,
            Of(ref q), Of(ref k), Of(ref v), Of(ref o), Of(ref l), Of(ref qAt), Of(ref kAt), Of(ref vAt), Of(ref oAt), Of(ref groups), Of(ref part));
        return (output, lse);
    }

    private static int Warps(int headDim) => headDim > OneWarpDim ? 2 : 1;

    /// <summary>The kernel's Heads: distances in elements. Keys have no groups.</summary>
    private readonly struct Distances(Tensor tensor)
    {
        public readonly long Batch = tensor.stride(0);
        public readonly long Group = tensor.Dimensions == 4 ? tensor.stride(1) : 0;
        public readonly long Row = tensor.stride((int)tensor.Dimensions - 2);
    }

    /// <summary>The kernel's struct of the same name.</summary>
    private readonly record struct Part(int Rows, int Keys, int FirstRow, int FirstKey, int Window, float Scale, float SoftCap);
}
