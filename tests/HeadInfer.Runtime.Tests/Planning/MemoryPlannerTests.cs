using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Planning;
using TorchSharp;

namespace HeadInfer.Runtime.Tests.Planning;

/// <summary>Plans are pure functions: those of a GPU need none.</summary>
public sealed class MemoryPlannerTests
{
    private const long Elements = 8_030_261_248;

    private static readonly ModelConfig Llama = Config("LlamaForCausalLM", "");

    [Fact]
    public void An_8B_model_reads_four_million_tokens_on_24_GiB()
    {
        var plan = Plan(Llama, new HeadInferOptions { MaxContextTokens = 1 << 22 }, gpu: 24, host: 640);
        plan.EnsureFits(1 << 22);
        Assert.Equal(1 << 22, plan.LongestContext);
        Assert.Equal(new ByteSize(131_072), plan.KvPerToken);
        Assert.True(plan.Gpu!.Fixed + plan.Gpu.Resident < ByteSize.FromGiB(24));
        Assert.True(plan.Gpu.KvBuffers < ByteSize.FromGiB(1));
        Assert.Equal(32_768, plan.SegmentTokens);

        // Nothing on the GPU grows with the context.
        Assert.Equal(plan.Gpu, Plan(Llama, new HeadInferOptions { MaxContextTokens = 1000 }, gpu: 24, host: 640).Gpu);
    }

    [Fact]
    public void A_context_that_host_memory_does_not_hold_is_refused_with_numbers_and_the_knob()
    {
        var plan = Plan(Llama, new HeadInferOptions { MaxContextTokens = 1 << 20 }, gpu: 24, host: 66);
        Assert.Equal(1 << 19, plan.LongestContext); // 64 GiB beside the process
        var error = Assert.Throws<MemoryBudgetException>(() => plan.EnsureFits(1 << 20));
        Assert.Contains("128 GiB", error.Message, StringComparison.Ordinal);
        Assert.Contains("HeadInferOptions.HostMemory", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(16, "GpuMemory")]
    [InlineData(15, "weights 15 GiB")]
    public void A_gpu_that_is_too_small_is_refused_with_numbers_and_the_knobs(int gpu, string part)
    {
        var error = Assert.Throws<MemoryBudgetException>(() => Plan(Llama, new HeadInferOptions(), gpu, host: 64));
        Assert.Contains(part, error.Message, StringComparison.Ordinal);
        Assert.Contains("SegmentTokens", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(8, 64)]
    [InlineData(12, 64)]
    [InlineData(24, 64)]
    public void Layers_that_do_not_fit_come_by_turns_as_few_as_that_takes(int gpu, int host)
    {
        var needs = new WeightNeeds(ByteSize.FromGiB(2), [.. Enumerable.Repeat(ByteSize.FromMiB(416), 32)]);
        var plan = MemoryPlanner.Plan(Llama, needs, torch.ScalarType.BFloat16, new HeadInferOptions(), new MemoryBudget(ByteSize.FromGiB(host), ByteSize.FromGiB(gpu)));
        Assert.Equal(needs.Total, plan.Weights);
        Assert.Equal(ByteSize.FromMiB(416) * plan.StreamedLayers, plan.HostWeights);
        Assert.Equal(ByteSize.FromGiB(host) - plan.Process - plan.HostWeights, plan.KvBudget);
        Assert.True(plan.Gpu!.Fixed + plan.Gpu.Resident < ByteSize.FromGiB(gpu));
        if (gpu == 24)
        {
            Assert.Equal(0, plan.StreamedLayers);
            return;
        }

        // Two slots beside those that stay; one more that stayed would not fit.
        Assert.InRange(plan.StreamedLayers, 3, 31);
        Assert.Equal(ByteSize.FromGiB(2) + (ByteSize.FromMiB(416) * (32 - plan.StreamedLayers + 2)), plan.Gpu.Weights);
        Assert.True(plan.Gpu.Resident < ByteSize.FromMiB(416));
        Assert.Contains($"the last {plan.StreamedLayers} layers come by turns", plan.ToString(), StringComparison.Ordinal);
    }

    // A token reads an eighth of a layer's experts, and all of what has no copy.
    [Fact]
    public void Of_a_mixture_more_layers_come_by_turns_so_that_keys_and_values_have_a_quarter_of_the_GPU()
    {
        var needs = new WeightNeeds(ByteSize.FromGiB(1), [.. Enumerable.Repeat(ByteSize.FromMiB(256), 32)]);
        var mixture = Llama with { Experts = 64, ExpertsPerToken = 8, ExpertIntermediateSize = 512, ExpertLayers = Enumerable.Range(0, 32).ToHashSet() };
        MemoryPlan Plan(HeadInferOptions options, int gpu) => MemoryPlanner.Plan(mixture, needs, torch.ScalarType.BFloat16, options, new MemoryBudget(ByteSize.FromGiB(64), ByteSize.FromGiB(gpu)));
        var plan = Plan(new HeadInferOptions(), 8);
        Assert.InRange(plan.Gpu!.Resident.Bytes, ByteSize.FromGiB(2).Bytes, ByteSize.FromGiB(2.25).Bytes);
        Assert.Equal(plan.HostWeights.Bytes / 8, plan.ComingPerToken.Bytes);
        Assert.Equal(0, Plan(new HeadInferOptions(), 24).StreamedLayers);
        var none = Plan(new HeadInferOptions { ResidentMemory = ByteSize.Zero }, 8); // the caller's word
        Assert.True(none.StreamedLayers < plan.StreamedLayers);
    }

    [Fact]
    public void Two_layers_have_to_fit()
    {
        var needs = new WeightNeeds(ByteSize.FromGiB(2), [.. Enumerable.Repeat(ByteSize.FromGiB(3), 8)]);
        Assert.Throws<MemoryBudgetException>(() => MemoryPlanner.Plan(Llama, needs, torch.ScalarType.BFloat16, new HeadInferOptions(), new MemoryBudget(ByteSize.FromGiB(64), ByteSize.FromGiB(8))));
    }

    [Fact]
    public void Resident_memory_is_what_was_asked_for_or_what_is_left()
    {
        var most = Plan(Llama, new HeadInferOptions(), gpu: 24, host: 64);
        Assert.InRange(most.Gpu!.Resident.Bytes, 5L << 30, 7L << 30);
        Assert.Equal(ByteSize.Zero, Plan(Llama, new HeadInferOptions { ResidentMemory = ByteSize.Zero }, gpu: 24, host: 64).Gpu!.Resident);
        var two = Plan(Llama, new HeadInferOptions { ResidentMemory = ByteSize.FromGiB(2), MaxContextTokens = 131_072 }, gpu: 24, host: 64);
        Assert.Equal(16_384, two.ResidentTokens); // 128 KiB each
        Assert.Equal(256, two.Heads[HeadPlacement.Streamed]);
        Assert.Throws<MemoryBudgetException>(() => Plan(Llama, new HeadInferOptions { ResidentMemory = ByteSize.FromGiB(20) }, gpu: 24, host: 64));
    }

    [Fact]
    public void On_a_gpu_the_cache_has_the_type_that_is_computed_in()
    {
        var error = Assert.Throws<ArgumentException>(() => Plan(Llama, new HeadInferOptions { KvCacheType = ComputeType.Float32 }, gpu: 24, host: 64));
        Assert.Contains("HeadInferOptions.KvCacheType", error.Message, StringComparison.Ordinal);
        Assert.Equal("BFloat16", Plan(Llama, new HeadInferOptions { KvCacheType = ComputeType.BFloat16 }, gpu: 24, host: 64).KvElementType);
        Assert.Equal("BFloat16", Plan(Llama, new HeadInferOptions(), gpu: 24, host: 64).KvElementType);
    }

    [Fact]
    public void Heads_that_must_be_resident_bound_the_context()
    {
        var plan = Plan(Llama, new HeadInferOptions { Placement = _ => HeadPlacement.Resident, MaxContextTokens = 1 << 20 }, gpu: 24, host: 640);
        Assert.InRange(plan.LongestContext, 40_000, 60_000); // 128 KiB a token of what is left on the GPU
    }

    [Fact]
    public void Small_gpus_get_short_segments_and_chunks()
    {
        var small = Config("LlamaForCausalLM", "", hidden: 2048, layers: 16, heads: 32, intermediate: 8192);
        var plan = MemoryPlanner.Plan(small, WeightNeeds.Of(new ByteSize(2 * 1_235_814_400L)), torch.ScalarType.BFloat16, new HeadInferOptions(), new MemoryBudget(ByteSize.FromGiB(16), ByteSize.FromGiB(6)));
        Assert.InRange(plan.SegmentTokens, 1024, 16_384);
        Assert.True(plan.Workspace < ByteSize.FromGiB(0.75));
        Assert.True(plan.ChunkTokens <= plan.SegmentTokens);
    }

    [Fact]
    public void A_window_that_no_context_reaches_is_none()
    {
        var windowed = Config("MistralForCausalLM", ", \"sliding_window\": 4096");
        Assert.All(windowed.Within(4097).Windows, w => Assert.Equal(4096, w));
        Assert.All(windowed.Within(4096).Windows, Assert.Null);
        Assert.InRange(Plan(windowed.Within(4096), new HeadInferOptions(), gpu: 24, host: 64).ResidentTokens, 40_000, 60_000);
    }

    [Fact]
    public void Windowed_layers_are_never_resident()
    {
        var windowed = Config("MistralForCausalLM", ", \"sliding_window\": 4096");
        Assert.Equal(0, Plan(windowed, new HeadInferOptions(), gpu: 24, host: 64).ResidentTokens);
        var layout = new AttentionLayout(8, 4, 128, [null, 4096, null], 16_384);
        Assert.Equal([8, 0, 8], Enumerable.Range(0, 3).Select(layer => layout.ResidentGroups(layer).Sum(g => g.Count)));
    }

    [Fact]
    public void Windows_have_copies_of_their_own_as_many_sequences_as_there_is_room_for()
    {
        // 32 layers of 4 KiB a token; a window of 4,096 and a step's rows are 17 blocks of 256.
        var one = new ByteSize(17 * 256 * 131_072L);
        var windowed = Config("MistralForCausalLM", ", \"sliding_window\": 4096");
        var plan = Plan(windowed, new HeadInferOptions(), gpu: 24, host: 64);
        Assert.InRange(plan.WindowBudget.Bytes, 9 * one.Bytes, 12 * one.Bytes); // all that is left
        Assert.Equal(plan.Gpu!.Resident, plan.WindowBudget);
        Assert.True(plan.CopiesAll);
        Assert.Equal(one * 16, Plan(windowed, new HeadInferOptions(), gpu: 40, host: 64).WindowBudget);

        // Where every sixth layer sees all, the others leave it three quarters, or half if one sequence needs so much.
        var mixed = windowed with { Windows = [.. Enumerable.Range(0, 32).Select(layer => layer % 6 == 5 ? null : (int?)1024)] };
        plan = Plan(mixed, new HeadInferOptions(), gpu: 24, host: 64);
        Assert.Equal(plan.Gpu!.Resident.Bytes / 4, plan.WindowBudget.Bytes);
        Assert.Equal((plan.Gpu.Resident - plan.WindowBudget).Bytes / (5 * 4096), plan.ResidentTokens);
        plan = Plan(mixed, new HeadInferOptions { ResidentMemory = ByteSize.FromMiB(300) }, gpu: 24, host: 64);
        Assert.Equal(27 * 4096L * 1280, plan.WindowBudget.Bytes);
        Assert.Equal(1280, plan.WindowTokens);
        Assert.Equal(ByteSize.Zero, Plan(mixed, new HeadInferOptions { ResidentMemory = ByteSize.Zero }, gpu: 24, host: 64).WindowBudget);
        var little = Plan(windowed, new HeadInferOptions { ResidentMemory = one - new ByteSize(1) }, gpu: 24, host: 64); // nobody's window fits
        Assert.Equal((ByteSize.Zero, false), (little.WindowBudget, little.CopiesAll));
        Assert.Equal(ByteSize.Zero, Plan(Llama, new HeadInferOptions(), gpu: 24, host: 64).WindowBudget);

        // A step reads copies of both kinds, and nothing else.
        Assert.Equal((5 * 4096 * 5000.0) + (27 * 4096 * 1023.0), DecodeForecast.Cache(mixed, Plan(mixed, new HeadInferOptions(), gpu: 24, host: 64), 5000).Copied);
    }

    [Fact]
    public void Groups_shrink_as_the_context_grows_and_their_tiles_lengthen()
    {
        var layout = new AttentionLayout(8, 4, 128, [null], 16_384);
        foreach (var (history, size) in ((int, int)[])[(0, 8), (16_384, 8), (16_385, 4), (32_768, 4), (65_536, 2), (131_072, 1), (4_000_000, 1)])
        {
            var groups = layout.Groups(0, layout.GroupSizeFor(history));
            Assert.All(groups, g => Assert.Equal(size, g.Count));
            Assert.Equal(8, groups.Sum(g => g.Count));
            Assert.Equal(131_072 / size, layout.TileTokensOf(groups[0]));
        }

        var mixed = layout with { Placement = head => head.Head < 3 ? HeadPlacement.Resident : HeadPlacement.Streamed };
        Assert.Equal([(3, HeadPlacement.Resident), (1, HeadPlacement.Streamed), (1, HeadPlacement.Streamed)], mixed.Groups(0, layout.GroupSizeFor(200_000)).Take(3).Select(g => (g.Count, g.Placement)));
    }

    [Fact]
    public void Rows_behind_a_window_are_cut_into_those_that_see_all_keys_and_those_that_do_not()
    {
        var view = new Visibility(9);
        Assert.Equal([new TokenRange(2, 9), new TokenRange(9, 10)], view.SplitByReach(new TokenRange(2, 10), new TokenRange(0, 2)));
        Assert.Equal([new TokenRange(2, 10)], view.SplitByReach(new TokenRange(2, 10), new TokenRange(2, 10)));
        Assert.Equal([new TokenRange(5, 30)], new Visibility(null).SplitByReach(new TokenRange(5, 30), new TokenRange(0, 5)));
    }

    [Fact]
    public void Rows_are_cut_where_chunks_begin_and_see_keys_of_their_own()
    {
        var view = new Visibility(null, 8);
        Assert.Equal([0, 0, 8, 8, 16], new[] { 0, 7, 8, 15, 16 }.Select(view.FirstKey));
        Assert.Equal([new TokenRange(6, 8), new TokenRange(8, 16), new TokenRange(16, 17)], view.SplitByReach(new TokenRange(6, 17), new TokenRange(0, 17)));
        Assert.Equal(new TokenRange(8, 12), view.Keys(new TokenRange(10, 12), new TokenRange(3, 20)));
        Assert.Equal(new TokenRange(5, 16), view.Rows(new TokenRange(5, 30), new TokenRange(2, 9))); // token 8 is seen by those up to 15
        Assert.Equal(new TokenRange(5, 8), view.Rows(new TokenRange(5, 30), new TokenRange(2, 8)));
        Assert.True(view.IsCausal(new TokenRange(8, 12), new TokenRange(8, 12)));
        Assert.False(view.IsCausal(new TokenRange(6, 12), new TokenRange(6, 12)));
        Assert.Equal(8 * 9 / 2 * 2, view.Pairs(new TokenRange(0, 16), new TokenRange(0, 16)));
        using var scope = torch.NewDisposeScope();
        var mask = TensorMemory.Span(view.Mask(new TokenRange(7, 10), new TokenRange(6, 10), torch.CPU)).ToArray();
        Assert.Equal("##..|..#.|..##", string.Join('|', mask.Chunk(4).Select(row => string.Concat(row.Select(hidden => hidden == 0 ? '#' : '.')))));
    }

    private static MemoryPlan Plan(ModelConfig config, HeadInferOptions options, int gpu, int host) =>
        MemoryPlanner.Plan(config, WeightNeeds.Of(new ByteSize(2 * Elements)), torch.ScalarType.BFloat16, options, new MemoryBudget(ByteSize.FromGiB(host), ByteSize.FromGiB(gpu)));

    private static ModelConfig Config(string architecture, string more, int hidden = 4096, int layers = 32, int heads = 32, int intermediate = 14_336) => ModelConfigReader.Parse($$"""
        {"architectures": ["{{architecture}}"], "vocab_size": 128256, "hidden_size": {{hidden}}, "num_hidden_layers": {{layers}},
         "num_attention_heads": {{heads}}, "num_key_value_heads": 8, "intermediate_size": {{intermediate}}, "max_position_embeddings": 131072,
         "rope_theta": 500000.0{{more}}}
        """, "test");
}
