using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Converts layers with a state, as llama.cpp's conversion/qwen.py does it.</summary>
internal static class GgufDeltaLayers
{
    private const string Layer = ".linear_attn.";

    /// <summary>Whether a tensor is of such a layer.</summary>
    public static bool Has(string tensor) => tensor.Contains(Layer, StringComparison.Ordinal);

    /// <summary>The tensors that one becomes.</summary>
    /// <param name="name">its name in the folder</param>
    /// <param name="shape">its dimensions</param>
    /// <param name="data">its numbers</param>
    /// <param name="delta">sizes of the layer</param>
    /// <param name="tiles">whether value heads come into the order in which ggml repeats keys: the first of each key head, the second of each, and so on</param>
    public static IEnumerable<(string Name, long[] Shape, float[] Data)> Of(string name, long[] shape, float[] data, RecurrentShape delta, bool tiles)
    {
        var (at, each, keys) = (name.IndexOf(Layer, StringComparison.Ordinal), delta.ValueHeads / delta.KeyHeads, delta.KeyHeads * delta.KeyDim);
        var stem = name[..at].Replace("model.layers.", "blk.", StringComparison.Ordinal);
        (string, long[], float[]) Made(string part, Tensor x) => ($"{stem}.{part}", x.shape, x.contiguous().data<float>().ToArray());
        using var scope = NewDisposeScope();
        var whole = tensor(data).view(shape);
        Tensor Tiled(Tensor x, int dim, int size)
        {
            long[] split = [.. x.shape[..dim], delta.KeyHeads, each, size, .. x.shape[(dim + 1)..]];
            return tiles ? x.reshape(split).transpose(dim, dim + 1).reshape(x.shape) : x;
        }

        Tensor TiledValues(Tensor x) => cat([x.narrow(0, 0, 2 * keys), Tiled(x.narrow(0, 2 * keys, delta.Values), 0, delta.ValueDim)], 0);
        switch (name[(at + Layer.Length)..])
        {
            case "A_log":
                return [Made("ssm_a", Tiled(whole.exp().neg(), 0, 1))];
            case "dt_bias":
                return [Made("ssm_dt.bias", Tiled(whole, 0, 1))];
            case "conv1d.weight":
                return [Made("ssm_conv1d.weight", TiledValues(whole.squeeze(1)))];
            case "norm.weight":
                return [Made("ssm_norm.weight", whole)];
            case "out_proj.weight":
                return [Made("ssm_out.weight", Tiled(whole, 1, delta.ValueDim))];
            case "in_proj_qkv.weight":
                return [Made("attn_qkv.weight", TiledValues(whole))];
            case "in_proj_z.weight":
                return [Made("attn_gate.weight", Tiled(whole, 0, delta.ValueDim))];
            case "in_proj_b.weight":
                return [Made("ssm_beta.weight", Tiled(whole, 0, 1))];
            case "in_proj_a.weight":
                return [Made("ssm_alpha.weight", Tiled(whole, 0, 1))];
            case "in_proj_ba.weight":
                return [Made("ssm_ba.weight", whole)];
            case "in_proj_qkvz.weight":
                var heads = whole.view(delta.KeyHeads, -1, shape[1]).split([delta.KeyDim, delta.KeyDim, each * delta.ValueDim, each * delta.ValueDim], 1);
                Tensor[] parts = [.. heads.Select(part => part.reshape(-1, shape[1]))];
                return [Made("attn_qkv.weight", cat(parts[..3], 0)), Made("attn_gate.weight", parts[3])];
            default:
                throw new ArgumentException($"{name} is not converted", nameof(name));
        }
    }
}
