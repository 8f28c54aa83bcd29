using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Tests.Support;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>Embeddings in host memory: the rows that come to the device are those of the checkpoint, and the plan counts them where they lie.</summary>
public abstract class RowTableTests(ComputeDevice device) : NativeTest(device)
{
    private const int Rows = 40, Columns = 64;

    public sealed class OnCpu() : RowTableTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : RowTableTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData("F32")]
    [InlineData("BF16")]
    [InlineData("F16")]
    [InlineData("Q8_0")]
    public void Rows_are_the_checkpoints(string stored)
    {
        var (packing, bytes, numbers) = Stored(stored);
        using var device = NewDevice();
        var type = device.HasOwnMemory ? ScalarType.BFloat16 : ScalarType.Float32;
        device.Prepare(type);
        using var checkpoint = new OneTensor(packing, bytes);
        using var table = RowTable.Read(checkpoint, OneTensor.Name, Rows, Columns, device, type);
        using var buffer = new RowBuffer(Columns, device.Torch);
        int[][] asked = [[3], [0, 39, 3, 3], [.. Enumerable.Range(0, RowKernels.MostRows).Select(i => (i * 7) % Rows)], [1]];
        foreach (var which in asked)
        {
            using var scope = NewDisposeScope();
            var expected = tensor(which.SelectMany(row => numbers[(row * Columns)..((row + 1) * Columns)]).ToArray()).view(-1, Columns).to(RowTable.LayOut(packing, type) is DensePacking ? type : ScalarType.Float32).to(ScalarType.Float32);
            table.Lookup(which, 3, buffer);
            var few = buffer.Memory.narrow(0, 0, which.Length).cpu();
            Assert.True((expected * 3).equal(few).all().item<bool>(), $"{stored}: rows {string.Join(",", which)}");
            var many = table.Lookup(TensorMemory.Indices(which));
            Assert.Equal((type, device.Torch.type), (many.dtype, many.device_type));
            Assert.True(expected.to(type).equal(many.cpu()).all().item<bool>(), $"{stored}: rows {string.Join(",", which)} of many");
        }
    }

    [Fact]
    public void A_plan_for_a_GPU_counts_the_embedding_of_layers_in_host_memory()
    {
        var config = ModelConfigReader.Parse(Checkpoints.Gemma4ConfigTests.Small, "config.json");
        using var checkpoint = new ShapeCheckpoint("small", config, ShapeCheckpoint.PackingOf("BF16"));
        var (options, host, gpu) = (new HeadInferOptions(), ByteSize.FromGiB(32), ByteSize.FromGiB(12));
        var plan = ModelLoading.Plan(config, checkpoint, options, new MemoryBudget(host, gpu));
        var table = new ByteSize(262_144L * 35 * 256 * sizeof(ushort));
        Assert.Equal((table, host - plan.Process - table), (plan.HostTables, plan.KvBudget));
        Assert.Equal(plan.Weights, plan.Gpu!.Weights);
        Assert.Contains($"  embedding       {table}, of which a token reads a row", plan.ToString(), StringComparison.Ordinal);
        var alone = ModelLoading.Plan(config, checkpoint, options, new MemoryBudget(host, null));
        Assert.Equal(ByteSize.Zero, alone.HostTables);
        using var check = new WeightCheck(checkpoint);
        DecoderWeights.Read(config, check, device: null);
        using var cpu = new CpuDevice();
        var (there, here) = (check.NeedsOn(new GpuLayout(8), ScalarType.BFloat16), check.NeedsOn(cpu, ScalarType.Float32));
        Assert.Equal((table, ByteSize.Zero), (there.Tables, here.Tables));
        Assert.Equal(table, here.Unread); // no step reads it as a whole
        Assert.True(there.Total < here.Total - table + new ByteSize(1), "vectors are shorter there, and the rest is alike");
    }

    private static (Packing Packing, byte[] Bytes, float[] Numbers) Stored(string name)
    {
        var random = new Random(5);
        var packing = ShapeCheckpoint.PackingOf(name);
        var bytes = new byte[Rows * packing.RowBytes(Columns)];
        if (packing is DensePacking { Type: var type })
        {
            using var made = tensor(Enumerable.Range(0, Rows * Columns).Select(_ => (float)(random.NextDouble() - 0.5)).ToArray()).to(type);
            made.bytes.CopyTo(bytes);
        }
        else
        {
            random.NextBytes(bytes);
            for (var block = 0; block < bytes.Length; block += 34)
            {
                BitConverter.TryWriteBytes(bytes.AsSpan(block), (Half)(random.NextDouble() / 64)); // scales
            }
        }

        var numbers = new float[Rows * Columns];
        for (var row = 0; row < Rows; row++)
        {
            packing.Unpack(bytes.AsSpan((int)(row * packing.RowBytes(Columns)), (int)packing.RowBytes(Columns)), Columns, numbers.AsSpan(row * Columns, Columns));
        }

        return (packing, bytes, numbers);
    }

    private sealed class OneTensor(Packing packing, byte[] bytes) : Checkpoint("one")
    {
        public const string Name = "table";

        public override IReadOnlyDictionary<string, StoredTensor> Tensors { get; } = new Dictionary<string, StoredTensor> { [Name] = new StoredTensor(Name, packing, [Rows, Columns]) };

        public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to) => bytes.AsSpan((int)at, to.Length).CopyTo(to);
    }
}
