using static HeadInfer.Runtime.Compute.CudaModule;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>The kernels of <c>Kernels.cu</c>. What they do not take, callers do with ATen's operators.</summary>
internal sealed class FusedKernels
{
    private const int Threads = 256;
    private const int PackBytes = 16;

    private static readonly string[] Activations = ["silu", "gelu", "gelu_pytorch_tanh", Device.ClampedSwiGlu];

    private readonly ScalarType _type;
    private readonly nint _gate, _rotate;
    private readonly nint[,] _merge = new nint[2, 2]; // [the sum so far is float32][the output is float32]

    /// <param name="module">has the kernels; not owned</param>
    public FusedKernels(CudaModule module)
    {
        _type = module.Type;
        (_gate, _rotate) = (module.Function("gate"), module.Function("rotate"));
        (_merge[0, 0], _merge[0, 1]) = (module.Function("merge_element_element"), module.Function("merge_element_float"));
        (_merge[1, 0], _merge[1, 1]) = (module.Function("merge_float_element"), module.Function("merge_float_float"));
    }

    private int Lanes => PackBytes / DataTypes.Size(_type);

    /// <summary>An activation's number among those that kernels know; negative for others.</summary>
    public static int ActivationOf(string name) => Array.IndexOf(Activations, name);

    /// <summary>Whether heads of this size fit the kernels.</summary>
    public bool TakesHeads(int headDim, int rotaryDim) => headDim % Lanes == 0 && rotaryDim % (2 * Lanes) == 0;

    /// <summary><c>activation(gate) * up</c> of gate and up side by side, or null where the shape does not fit.</summary>
    /// <param name="both">[rows, 2 * width], contiguous</param>
    /// <param name="width">columns of each</param>
    /// <param name="activation">as the configuration names it</param>
    public Tensor? Gate(Tensor both, int width, string activation)
    {
        var kind = ActivationOf(activation);
        if (both.dtype != _type || width % Lanes != 0 || kind < 0)
        {
            return null;
        }

        var rows = both.shape[0];
        var output = empty([rows, width], _type, both.device);
        nint from = TensorMemory.Pointer(both), to = TensorMemory.Pointer(output);
        Launch(_gate, rows * width / Lanes, Of(ref from), Of(ref to), Of(ref rows), Of(ref width), Of(ref kind));
        return output;
    }

    /// <inheritdoc cref="Device.RotateApart"/>
    public void Rotate(Tensor projected, Tensor queries, Tensor rows, long first, Tensor cosines, Tensor sines)
    {
        var tokens = projected.shape[0];
        int heads = (int)queries.shape[1], kvHeads = (int)rows.shape[0], dim = (int)rows.shape[3], rotary = 2 * (int)cosines.shape[1];
        var capacity = rows.shape[2];
        nint p = TensorMemory.Pointer(projected), q = TensorMemory.Pointer(queries), r = TensorMemory.Pointer(rows);
        nint c = TensorMemory.Pointer(cosines), s = TensorMemory.Pointer(sines);
        Launch(_rotate, tokens * (heads + (2 * kvHeads)) * dim / Lanes, Of(ref p), Of(ref q), Of(ref r), Of(ref c), Of(ref s), Of(ref tokens), Of(ref heads), Of(ref kvHeads), Of(ref dim), Of(ref rotary), Of(ref capacity), Of(ref first));
    }

    /// <summary>Joins two parts of attention; see <c>AttentionMerge</c>.</summary>
    /// <param name="sum">[batch, group, rows, dim], float32 or the element type</param>
    /// <param name="sumLse">[batch, group, rows], float32</param>
    /// <param name="part">[batch, group, rows, dim], the element type</param>
    /// <param name="partLse">[batch, group, rows], float32</param>
    /// <param name="output">[batch, group, rows, dim], float32 or the element type; may be <paramref name="sum"/></param>
    /// <param name="outputLse">[batch, group, rows], float32, not <paramref name="sumLse"/>; null if nothing follows</param>
    public void Merge(Tensor sum, Tensor sumLse, Tensor part, Tensor partLse, Tensor output, Tensor? outputLse)
    {
        var shape = part.shape;
        long batches = shape[0], rows = shape[2];
        int groups = (int)shape[1], dim = (int)shape[3];
        nint a = TensorMemory.Pointer(sum), la = TensorMemory.Pointer(sumLse), b = TensorMemory.Pointer(part), lb = TensorMemory.Pointer(partLse);
        nint o = TensorMemory.Pointer(output), lo = outputLse is null ? 0 : TensorMemory.Pointer(outputLse);
        Strides sa = new(sum), sla = new(sumLse), sb = new(part), slb = new(partLse), so = new(output), slo = outputLse is null ? default : new(outputLse);
        var function = _merge[sum.dtype == ScalarType.Float32 && _type != ScalarType.Float32 ? 1 : 0, output.dtype == ScalarType.Float32 && _type != ScalarType.Float32 ? 1 : 0];
        Launch(function, batches * groups * rows * dim / Lanes, Of(ref a), Of(ref la), Of(ref b), Of(ref lb), Of(ref o), Of(ref lo), Of(ref sa), Of(ref sla), Of(ref sb), Of(ref slb), Of(ref so), Of(ref slo), Of(ref batches), Of(ref groups), Of(ref rows), Of(ref dim));
    }

    private static void Launch(nint function, long threads, params ReadOnlySpan<CudaModule.Argument> arguments) =>
        CudaModule.Launch(function, ((threads + Threads - 1) / Threads, 1, 1), Threads, 0, early: false, arguments);

    /// <summary>The kernels' struct of the same name: distances in elements.</summary>
    private readonly struct Strides(Tensor tensor)
    {
        public readonly long Batch = tensor.stride(0);
        public readonly long Group = tensor.stride(1);
        public readonly long Row = tensor.stride(2);
    }
}
