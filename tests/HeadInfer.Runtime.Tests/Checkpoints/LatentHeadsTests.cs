using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Heads of latent attention as they are read: by what they give for random numbers, beside what its formulas give.</summary>
public sealed class LatentHeadsTests : NativeTest
{
    private const int Heads = 3, Hidden = 32, Rank = 32;

    public static TheoryData<int, int, int, bool, string> Shapes => new()
    {
        { 8, 16, 16, true, "F32" }, // values shorter than keys, as DeepSeek's
        { 8, 8, 16, true, "BF16" }, // as long, as GLM-4.7-Flash's
        { 4, 8, 20, true, "F32" },  // longer: queries and keys have zeros too
        { 8, 16, 8, false, "F16" },
        { 8, 24, 32, true, "Q8_0" }, // packed
        { 8, 16, 32, true, "Q8_0" },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Heads_are_those_of_the_formulas(int rotated, int still, int values, bool paired, string type)
    {
        var shape = new LatentShape(0, Rank, rotated, still, values, paired);
        var (inner, config) = (Random(shape, type), Config(shape));
        using var heads = new LatentHeads(inner, config);
        Tensor Read(string name)
        {
            var tensor = empty(heads.Tensors[Layer(name)].Shape, ScalarType.Float32);
            heads.Read(Layer(name), tensor);
            return tensor;
        }

        var (dim, x) = (shape.Dim, randn(Hidden));
        Tensor Pairs(Tensor part) => !paired ? part : cat([part.view(-1, 2).select(1, 0), part.view(-1, 2).select(1, 1)]);

        // Queries of the stream.
        var stored = inner.Of(Layer(TensorNames.Query)).matmul(x).view(Heads, still + rotated);
        var query = Read(TensorNames.Query).matmul(x).view(Heads, dim);

        // Keys and values of what is kept of a token.
        var made = inner.Of(Layer(TensorNames.LatentDown)).matmul(x);
        var (latent, turned) = (made.narrow(0, 0, shape.Rank), Pairs(made.narrow(0, shape.Rank, rotated)));
        var ofLatent = inner.Of(Layer(TensorNames.LatentUp)).matmul(latent).view(Heads, still + values);
        var both = Read(TensorNames.LatentUp).matmul(Read(TensorNames.LatentDown).matmul(x)).view(2, Heads, dim);
        for (var head = 0; head < Heads; head++)
        {
            var (q, k, v) = (stored[head], ofLatent[head].narrow(0, 0, still), ofLatent[head].narrow(0, still, values));
            Same(cat([Pairs(q.narrow(0, still, rotated)), q.narrow(0, 0, still), zeros(dim - rotated - still)]), query[head]);
            Same(cat([turned, k, zeros(dim - rotated - still)]), both[0, head]);
            Same(cat([v, zeros(dim - values)]), both[1, head]);
        }

        // What attention gives, with anything where a value has nothing.
        var attended = randn(Heads, dim);
        Same(inner.Of(Layer(TensorNames.AttentionOutput)).matmul(attended.narrow(1, 0, values).contiguous().view(-1)), Read(TensorNames.AttentionOutput).matmul(attended.view(-1)));
    }

    [Fact]
    public void Bytes_are_the_same_however_they_are_cut()
    {
        var shape = new LatentShape(0, Rank, 8, 16, 16, true);
        using var heads = new LatentHeads(Random(shape, "BF16"), Config(shape));
        var random = new Random(1);
        foreach (var name in (string[])[TensorNames.Query, TensorNames.LatentDown, TensorNames.LatentUp, TensorNames.AttentionOutput])
        {
            var tensor = heads.Tensors[Layer(name)];
            var (whole, parts) = (new byte[tensor.Length], new byte[tensor.Length]);
            heads.ReadBytes(tensor, 0, whole);
            for (int at = 0, some; at < parts.Length; at += some)
            {
                some = Math.Min(parts.Length - at, random.Next(1, 200));
                heads.ReadBytes(tensor, at, parts.AsSpan(at, some));
            }

            Assert.Equal(whole, parts);
        }
    }

    [Fact]
    public void Another_shape_is_refused()
    {
        var (shape, other) = (new LatentShape(0, Rank, 8, 16, 16, true), new LatentShape(0, Rank, 8, 16, 24, true));
        using var inner = Random(shape, "F32");
        var fault = Assert.Throws<CheckpointException>(() => new LatentHeads(inner, Config(other)));
        Assert.Contains(Layer(TensorNames.LatentUp), fault.Message, StringComparison.Ordinal);
        Assert.Contains("[96, 32]; the configuration makes it [120, 32]", fault.Message, StringComparison.Ordinal);
    }

    private static void Same(Tensor expected, Tensor actual) => Assert.True(allclose(expected, actual, 1e-5, 1e-4), $"{expected.str()}\n{actual.str()}");

    private static string Layer(string name) => TensorNames.Layer(0, name);

    private static ModelConfig Config(LatentShape shape) => ModelConfigReader.Parse(
        $$"""
        {"architectures": ["DeepseekV3ForCausalLM"], "hidden_size": {{Hidden}}, "num_hidden_layers": 1, "num_attention_heads": {{Heads}}, "intermediate_size": 8, "vocab_size": 8, "max_position_embeddings": 64,
         "q_lora_rank": null, "kv_lora_rank": {{shape.Rank}}, "qk_rope_head_dim": {{shape.Rotated}}, "qk_nope_head_dim": {{shape.Still}}, "v_head_dim": {{shape.Values}}, "rope_interleave": {{(shape.Paired ? "true" : "false")}},
         "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
        """, "test");

    private static Stored Random(LatentShape shape, string type) => new(type, new()
    {
        [Layer(TensorNames.Query)] = [Heads * shape.Scored, Hidden],
        [Layer(TensorNames.LatentDown)] = [shape.Kept, Hidden],
        [Layer(TensorNames.LatentUp)] = [Heads * (shape.Still + shape.Values), shape.Rank],
        [Layer(TensorNames.AttentionOutput)] = [Hidden, Heads * shape.Values],
    });

    /// <summary>Random tensors.</summary>
    private sealed class Stored : Checkpoint
    {
        private readonly Dictionary<string, (StoredTensor Tensor, byte[] Bytes, Tensor Numbers)> _all = [];

        public Stored(string type, Dictionary<string, long[]> shapes)
            : base("random")
        {
            var (packing, random) = (ShapeCheckpoint.PackingOf(type), new Random(3));
            foreach (var (name, shape) in shapes)
            {
                var (tensor, numbers) = (new StoredTensor(name, packing, shape), zeros(shape));
                var bytes = new byte[tensor.Length];
                if (packing is DensePacking dense)
                {
                    var drawn = randn(shape).to(dense.Type);
                    drawn.bytes.CopyTo(bytes);
                    numbers = drawn.to(ScalarType.Float32);
                }
                else
                {
                    random.NextBytes(bytes);
                    for (var block = 0; block < bytes.Length; block += (int)packing.RowBytes(packing.BlockColumns))
                    {
                        BitConverter.TryWriteBytes(bytes.AsSpan(block), (Half)(random.NextDouble() / 64)); // its scale
                    }

                    packing.Unpack(bytes, (int)tensor.Columns, TensorMemory.Span(numbers));
                }

                _all[name] = (tensor, bytes, numbers);
            }
        }

        public override IReadOnlyDictionary<string, StoredTensor> Tensors => _all.ToDictionary(t => t.Key, t => t.Value.Tensor);

        public Tensor Of(string name) => _all[name].Numbers;

        public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to) => _all[tensor.Name].Bytes.AsSpan((int)at, to.Length).CopyTo(to);
    }
}
