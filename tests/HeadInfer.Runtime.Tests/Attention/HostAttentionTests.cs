using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Attention in host memory is what float64 says of the keys and values as they lie there, and a row's bits depend on nothing else.</summary>
public sealed unsafe class HostAttentionTests() : NativeTest(ComputeDevice.Cpu)
{
    private const int KvHeads = 3, Tokens = 600, PageTokens = 100;

    public static TheoryData<string, int, int> Cases()
    {
        var cases = new TheoryData<string, int, int>();
        foreach (var type in (string[])["Float32", "BFloat16", "Float16"])
        {
            cases.Add(type, 64, 4);
            cases.Add(type, 96, 2);
            cases.Add(type, 128, 1);
            cases.Add(type, 256, 7);
            cases.Add(type, 20, 3); // no whole lanes
        }

        return cases;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Rows_are_their_definition_and_have_the_same_bits_in_any_company_and_on_any_threads(string typeName, int dim, int shared)
    {
        var type = Enum.Parse<ScalarType>(typeName);
        var (pages, keys, values) = Pages(type, dim);
        using var queries = new RowBuffer(KvHeads * shared * dim, CPU);
        queries.Memory.normal_();
        var traits = Traits(type, dim, shared);
        var expected = DenseAttention.Attend(queries.Memory.view(RowKernels.MostRows, KvHeads * shared, dim), keys, values, traits.Scale, null, null, isCausal: false);
        byte[]? all = null;
        foreach (var threads in (int[])[1, 2, 5])
        {
            using var team = new HostTeam(threads);
            var attention = new HostAttention(traits, team);
            foreach (var rows in (int[])[16, 1, 2, 3, 5])
            {
                for (var first = 0; first + rows <= RowKernels.MostRows; first += rows)
                {
                    using var output = new RowBuffer(queries.Width, CPU);
                    attention.Begin(rows);
                    attention.Attend(rows, (float*)queries.Address + ((long)first * queries.Width), queries.Width, Work(pages, rows, 0, Tokens));
                    attention.Write(rows, (float*)output.Address, output.Width);
                    byte[] bits = output.Memory.narrow(0, 0, rows).contiguous().bytes.ToArray();
                    if (all is null)
                    {
                        var worst = (output.Memory.view(expected.shape).to(ScalarType.Float64) - expected).abs().max().item<double>();
                        Assert.True(worst < 1e-5, $"off by {worst}");
                        all = bits;
                    }

                    Assert.Equal(all[(first * queries.Width * sizeof(float))..((first + rows) * queries.Width * sizeof(float))], bits);
                }
            }
        }
    }

    [Fact]
    public void A_part_can_be_taken_out_and_merged_with_another()
    {
        const int dim = 64, shared = 2, rows = 3, heads = KvHeads * shared;
        var (pages, keys, values) = Pages(ScalarType.BFloat16, dim);
        var traits = Traits(ScalarType.BFloat16, dim, shared);
        using var queries = new RowBuffer(heads * dim, CPU);
        queries.Memory.normal_();
        using var team = new HostTeam(2);
        var attention = new HostAttention(traits, team);
        (ScoreSum[] Sums, float[] Outputs) Part(int row, int from, int to)
        {
            var part = (Sums: new ScoreSum[heads], Outputs: new float[heads * dim]);
            attention.Begin(rows);
            attention.Attend(rows, (float*)queries.Address, queries.Width, Work(pages, rows, from, to));
            attention.CopyPart(row, 0, part.Sums.AsSpan(0, 2), part.Outputs.AsSpan(0, 2 * dim));
            attention.CopyPart(row, 2, part.Sums.AsSpan(2), part.Outputs.AsSpan(2 * dim));
            return part;
        }

        var expected = DenseAttention.Attend(queries.Memory.narrow(0, 0, rows).view(rows, heads, dim), keys, values, traits.Scale, null, null, isCausal: false);
        for (var row = 0; row < rows; row++)
        {
            var (a, b, none) = (Part(row, 0, 217), Part(row, 217, Tokens), Part(row, 0, 0));
            Assert.All(none.Sums, sum => Assert.Equal(ScoreSum.None, sum));
            Assert.All(none.Outputs, value => Assert.Equal(0, value));
            for (var i = 0; i < heads * dim; i++)
            {
                var (first, second) = (a.Sums[i / dim], b.Sums[i / dim]);
                var most = Math.Max(first.Maximum, second.Maximum);
                var (withA, withB) = (Math.Exp(first.Maximum - most), Math.Exp(second.Maximum - most));
                var merged = ((a.Outputs[i] * withA) + (b.Outputs[i] * withB)) / ((first.Total * withA) + (second.Total * withB));
                Assert.Equal(expected[row, i / dim, i % dim].item<double>(), merged, 1e-5);
            }
        }
    }

    private static RowTraits Traits(ScalarType type, int dim, int shared) =>
        new(ScalarType.Float32, KvHeads * shared, KvHeads, dim, 1 / Math.Sqrt(dim), null) { KvType = type };

    // Pages, and what lies in them: [tokens, kv_heads, dim].
    private static (Tensor Pages, Tensor Keys, Tensor Values) Pages(ScalarType type, int dim)
    {
        var pages = randn([Tokens / PageTokens, KvHeads, 2, PageTokens, dim]).to(type);
        Tensor Half(int half) => pages.select(2, half).permute(0, 2, 1, 3).reshape(Tokens, KvHeads, dim).to(ScalarType.Float64);
        return (pages, Half(0), Half(1));
    }

    // Tokens, all of which some rows attend.
    private static AttentionWork Work(Tensor pages, int rows, int from, int to)
    {
        var half = PageTokens * pages.shape[4] * pages.ElementSize;
        var work = new AttentionWork { Heads = KvHeads };
        foreach (var tokens in new TokenRange(from, to).SplitAligned(PageTokens))
        {
            var keys = TensorMemory.Pointer(pages) + (nint)(((tokens.Start / PageTokens) * KvHeads * 2 * half) + (tokens.Start % PageTokens * (half / PageTokens)));
            work.Sources.Add(new KeyRows(keys, keys + (nint)half, 2 * half, tokens.Count));
        }

        if (work.Sources.Count > 0)
        {
            work.Spans.Add(new KeySpan(0, work.Sources.Count, 0, rows));
        }

        return work;
    }
}
