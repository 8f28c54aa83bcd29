using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>ATen operators that TorchSharp has no method for, reached through TorchScript.</summary>
/// <remarks>
/// One operator a function: nothing for the script compiler to fuse or to specialise. The compilation unit lives as
/// long as the process.
/// </remarks>
internal static class Aten
{
    private const string Script = """
        def rms_norm(x, weight, eps: float):
            return torch.rms_norm(x, [weight.size(0)], weight, eps)

        def flash_cpu(q, k, v, causal: bool, scale: float):
            return torch._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scale)

        def flash_cpu_masked(q, k, v, mask, scale: float):
            return torch._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, False, attn_mask=mask, scale=scale)

        def flash_cuda(q, k, v, left: int, right: int, scale: float):
            all = torch._flash_attention_forward(q, k, v, None, None, q.size(1), k.size(1), 0.0, False, False, scale=scale, window_size_left=left, window_size_right=right)
            return all[0], all[1]

        def cudnn(q, k, v, causal: bool, scale: float):
            all = torch._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, causal, False, scale=scale)
            return all[0], all[1]

        def product(a, b):
            return torch.bmm(a, b)

        def product_float(a, b):
            return torch.bmm(a, b, out_dtype=6)

        """;

    private static readonly Lazy<jit.CompilationUnit> Unit = new(() => jit.compile(Script));

    public static Tensor RmsNorm(Tensor x, Tensor weight, double epsilon) => (Tensor)Invoke("rms_norm", x, weight, epsilon);

    /// <summary>Fused attention of the CPU.</summary>
    /// <param name="q">[batch, heads, queries, dim]</param>
    /// <param name="k">[batch, heads, keys, dim], stride 0 allowed in the head dimension</param>
    /// <param name="v">like <paramref name="k"/></param>
    /// <param name="causal">query i sees keys 0..i (aligned at the start)</param>
    /// <param name="scale">factor of the scores</param>
    /// <returns>output [batch, heads, queries, dim] and log-sum-exp [batch, heads, queries] in float32</returns>
    public static (Tensor Output, Tensor LogSumExp) FlashCpu(Tensor q, Tensor k, Tensor v, bool causal, double scale) =>
        ((Tensor, Tensor))Invoke("flash_cpu", q, k, v, causal, scale);

    /// <summary>Fused attention of the CPU with an additive mask [queries, keys].</summary>
    public static (Tensor Output, Tensor LogSumExp) FlashCpu(Tensor q, Tensor k, Tensor v, Tensor mask, double scale) =>
        ((Tensor, Tensor))Invoke("flash_cpu_masked", q, k, v, mask, scale);

    /// <summary>FlashAttention 2 on a GPU of compute capability 8 or above; bfloat16 or float16.</summary>
    /// <param name="q">[1, queries, heads, dim], any strides but the last's</param>
    /// <param name="k">[1, keys, kv_heads, dim]</param>
    /// <param name="v">like <paramref name="k"/></param>
    /// <param name="left">query i sees keys from <c>i + keys - queries - left</c> on; -1 for all</param>
    /// <param name="right">and up to <c>i + keys - queries + right</c>; -1 for all</param>
    /// <param name="scale">factor of the scores</param>
    /// <returns>output [1, queries, heads, dim] and log-sum-exp [1, heads, queries] in float32</returns>
    public static (Tensor Output, Tensor LogSumExp) FlashCuda(Tensor q, Tensor k, Tensor v, int left, int right, double scale) =>
        ((Tensor, Tensor))Invoke("flash_cuda", q, k, v, left, right, scale);

    /// <summary>cuDNN's attention, the fastest on Hopper; it prepares a plan for every new shape, which takes some 40 ms.</summary>
    /// <param name="q">[batch, heads, queries, dim]</param>
    /// <param name="k">[batch, heads, keys, dim], stride 0 allowed in the head dimension</param>
    /// <param name="v">like <paramref name="k"/></param>
    /// <param name="causal">query i sees keys 0..i (aligned at the start)</param>
    /// <param name="scale">factor of the scores</param>
    /// <returns>output [batch, heads, queries, dim] and log-sum-exp [batch, heads, queries, 1] in float32</returns>
    public static (Tensor Output, Tensor LogSumExp) CuDnn(Tensor q, Tensor k, Tensor v, bool causal, double scale) =>
        ((Tensor, Tensor))Invoke("cudnn", q, k, v, causal, scale);

    /// <summary>The batched product; TorchSharp's own ends the process where the GPU has no memory left.</summary>
    public static Tensor Product(Tensor a, Tensor b) => (Tensor)Invoke("product", a, b);

    /// <summary>The batched product in float32, whatever the type of the factors; on the GPU it is summed in float32 and never rounded to theirs.</summary>
    public static Tensor ProductFloat(Tensor a, Tensor b) =>
        a.dtype == ScalarType.Float32 || a.device_type == TorchSharp.DeviceType.CPU ? Product(a, b).to(ScalarType.Float32) : (Tensor)Invoke("product_float", a, b);

    // TorchSharp makes a scalar of a number, takes its native address, and forgets it: a garbage collection before the
    // operator has read it frees it. So scalars are made here, and live until the operator has returned.
    private static object Invoke(string name, params object[] arguments)
    {
        for (var i = 0; i < arguments.Length; i++)
        {
            arguments[i] = arguments[i] is double number ? (Scalar)number : arguments[i];
        }

        try
        {
            return Unit.Value.invoke(name, arguments);
        }
        finally
        {
            foreach (var argument in arguments)
            {
                (argument as Scalar)?.Dispose();
            }
        }
    }
}
