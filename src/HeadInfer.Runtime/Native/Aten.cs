using static TorchSharp.torch;

namespace HeadInfer.Runtime.Native;

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

        """;

    private static readonly Lazy<jit.CompilationUnit> Unit = new(() => jit.compile(Script));

    /// <summary>Root-mean-square norm over the last dimension; the mean is formed in float32 at least.</summary>
    public static Tensor RmsNorm(Tensor x, Tensor weight, double epsilon) =>
        HostMath.Takes(x) ? HostMath.RmsNorm(x.contiguous(), weight, epsilon) : (Tensor)Unit.Value.invoke("rms_norm", x, weight, epsilon);

    /// <summary>The norm of some heads of each token, in place.</summary>
    /// <param name="heads">[tokens, heads, dim], contiguous, changed</param>
    /// <param name="first">first of the heads</param>
    /// <param name="count">how many</param>
    /// <param name="weight">[dim]</param>
    /// <param name="epsilon">added to the mean square</param>
    public static void NormHeads(Tensor heads, int first, int count, Tensor weight, double epsilon)
    {
        if (HostMath.Takes(heads))
        {
            HostMath.NormHeads(heads, first, count, weight, epsilon);
            return;
        }

        using var some = heads.narrow(1, first, count);
        some.copy_(RmsNorm(some, weight, epsilon));
    }

    /// <summary><c>x * weight^T + bias</c>.</summary>
    /// <param name="x">[rows, columns of the weight]</param>
    /// <param name="weight">[outputs, columns]</param>
    /// <param name="bias">[outputs] or null</param>
    public static Tensor Linear(Tensor x, Tensor weight, Tensor? bias = null) =>
        x.shape[0] == 1 && HostMath.Takes(x) ? HostMath.MatrixRow(x.contiguous(), weight, bias) : nn.functional.linear(x, weight, bias);

    /// <summary>Fused attention of the CPU.</summary>
    /// <param name="q">[batch, heads, queries, dim]</param>
    /// <param name="k">[batch, heads, keys, dim], stride 0 allowed in the head dimension</param>
    /// <param name="v">like <paramref name="k"/></param>
    /// <param name="causal">query i sees keys 0..i (aligned at the start)</param>
    /// <param name="scale">factor of the scores</param>
    /// <returns>output [batch, heads, queries, dim] and log-sum-exp [batch, heads, queries] in float32</returns>
    public static (Tensor Output, Tensor LogSumExp) FlashCpu(Tensor q, Tensor k, Tensor v, bool causal, double scale) =>
        ((Tensor, Tensor))Unit.Value.invoke("flash_cpu", q, k, v, causal, scale);

    /// <summary>Fused attention of the CPU with an additive mask [queries, keys].</summary>
    public static (Tensor Output, Tensor LogSumExp) FlashCpu(Tensor q, Tensor k, Tensor v, Tensor mask, double scale) =>
        ((Tensor, Tensor))Unit.Value.invoke("flash_cpu_masked", q, k, v, mask, scale);
}
