using System.Collections.Concurrent;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>The kernels of <c>Kernels.cu</c>, compiled for one GPU and one element type.</summary>
/// <remarks>They run on libtorch's stream. What they do not take, callers do with ATen's operators.</remarks>
internal sealed unsafe class FusedKernels : IDisposable
{
    private const uint Threads = 256;
    private const int PackBytes = 16;

    private static readonly ConcurrentDictionary<string, byte[]> Images = new(StringComparer.Ordinal);
    private static readonly string[] Activations = ["silu", "gelu", "gelu_pytorch_tanh"];

    private readonly ScalarType _type;
    private readonly nint _module, _gate, _rotate;
    private readonly nint[,] _merge = new nint[2, 2]; // [the sum so far is float32][the output is float32]

    private FusedKernels(nint module, ScalarType type)
    {
        (_module, _type) = (module, type);
        NativeCounts.Add(NativeKind.Module);
        (_gate, _rotate) = (Function("gate"), Function("rotate"));
        (_merge[0, 0], _merge[0, 1]) = (Function("merge_element_element"), Function("merge_element_float"));
        (_merge[1, 0], _merge[1, 1]) = (Function("merge_float_element"), Function("merge_float_float"));
    }

    private int Lanes => PackBytes / DataTypes.Size(_type);

    /// <summary>Compiles the kernels.</summary>
    /// <returns>null where CUDA's run-time compiler is missing</returns>
    /// <exception cref="DeviceException">They do not compile or load.</exception>
    public static FusedKernels? TryCompile(Gpu gpu, ScalarType type)
    {
        if (!Nvrtc.IsPresent)
        {
            return null;
        }

        var (architecture, element) = ($"--gpu-architecture=sm_{gpu.Major}{gpu.Minor}", $"-DELEMENT_{type.ToString().ToUpperInvariant()}");
        fixed (byte* bytes = Images.GetOrAdd(architecture + element, _ => Nvrtc.Compile(Source(), architecture, element)))
        {
            CudaDriver.Check(CudaDriver.LoadModule(out var module, bytes), "loading kernels");
            return new FusedKernels(module, type);
        }
    }

    /// <summary>Whether heads of this size fit the kernels.</summary>
    public bool TakesHeads(int headDim, int rotaryDim) => headDim % Lanes == 0 && rotaryDim % (2 * Lanes) == 0;

    /// <summary><c>activation(gate) * up</c> of gate and up side by side, or null where the shape does not fit.</summary>
    /// <param name="both">[rows, 2 * width], contiguous</param>
    /// <param name="width">columns of each</param>
    /// <param name="activation">as the configuration names it</param>
    public Tensor? Gate(Tensor both, int width, string activation)
    {
        var kind = Array.IndexOf(Activations, activation);
        if (both.dtype != _type || width % Lanes != 0 || kind < 0)
        {
            return null;
        }

        var rows = both.shape[0];
        var output = empty([rows, width], _type, both.device);
        nint from = TensorMemory.Pointer(both), to = TensorMemory.Pointer(output);
        Launch(_gate, rows * width / Lanes, &from, &to, &rows, &width, &kind);
        return output;
    }

    /// <summary>Splits projected heads into queries and key/value rows, queries and keys rotated by their positions.</summary>
    /// <param name="projected">[tokens, heads + 2 kv_heads, dim], contiguous</param>
    /// <param name="queries">[tokens, heads, dim], contiguous, written; perhaps no heads</param>
    /// <param name="rows">[kv_heads, 2, capacity, dim], contiguous, written</param>
    /// <param name="first">row at which the tokens begin</param>
    /// <param name="cosines">[tokens, rotary / 2], float32</param>
    /// <param name="sines">like <paramref name="cosines"/></param>
    public void Rotate(Tensor projected, Tensor queries, Tensor rows, long first, Tensor cosines, Tensor sines)
    {
        var tokens = projected.shape[0];
        int heads = (int)queries.shape[1], kvHeads = (int)rows.shape[0], dim = (int)rows.shape[3], rotary = 2 * (int)cosines.shape[1];
        var capacity = rows.shape[2];
        nint p = TensorMemory.Pointer(projected), q = TensorMemory.Pointer(queries), r = TensorMemory.Pointer(rows);
        nint c = TensorMemory.Pointer(cosines), s = TensorMemory.Pointer(sines);
        Launch(_rotate, tokens * (heads + (2 * kvHeads)) * dim / Lanes, &p, &q, &r, &c, &s, &tokens, &heads, &kvHeads, &dim, &rotary, &capacity, &first);
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
        Launch(function, batches * groups * rows * dim / Lanes, &a, &la, &b, &lb, &o, &lo, &sa, &sla, &sb, &slb, &so, &slo, &batches, &groups, &rows, &dim);
    }

    public void Dispose()
    {
        _ = CudaDriver.UnloadModule(_module);
        NativeCounts.Remove(NativeKind.Module);
    }

    private static string Source()
    {
        using var stream = typeof(FusedKernels).Assembly.GetManifestResourceStream("Kernels.cu")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    private nint Function(string name)
    {
        CudaDriver.Check(CudaDriver.GetFunction(out var function, _module, name), $"finding the kernel {name}");
        return function;
    }

    private static void Launch(nint function, long threads, params ReadOnlySpan<Argument> arguments)
    {
        var pointers = stackalloc void*[arguments.Length];
        for (var i = 0; i < arguments.Length; i++)
        {
            pointers[i] = arguments[i].Address;
        }

        var blocks = (uint)((threads + Threads - 1) / Threads);
        CudaDriver.Check(CudaDriver.LaunchKernel(function, blocks, 1, 1, Threads, 1, 1, 0, CudaStream.Compute.Handle, pointers, null), "starting a kernel");
    }

    /// <summary>The address of a kernel's argument, on the caller's stack.</summary>
    private readonly struct Argument(void* address)
    {
        public void* Address { get; } = address;

        public static implicit operator Argument(nint* value) => new(value);

        public static implicit operator Argument(long* value) => new(value);

        public static implicit operator Argument(int* value) => new(value);

        public static implicit operator Argument(Strides* value) => new(value);
    }

    /// <summary>The kernels' struct of the same name: distances in elements.</summary>
    private readonly struct Strides(Tensor tensor)
    {
        public readonly long Batch = tensor.stride(0);
        public readonly long Group = tensor.stride(1);
        public readonly long Row = tensor.stride(2);
    }
}
