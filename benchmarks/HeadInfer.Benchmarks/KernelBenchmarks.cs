using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Compute;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>In this process: libtorch is half a gigabyte, and every benchmark would build and load it again.</summary>
public sealed class InProcess : ManualConfig
{
    public InProcess() => AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance));
}

/// <summary>The kernels of the CPU path, in the demo model's shape: 3 KV heads of 64 with 2 query heads each.</summary>
[Config(typeof(InProcess))]
public class KernelBenchmarks
{
    private const int KvHeads = 3, Shared = 2, Dim = 64, Context = 8192, Rows = 1024;

    private static readonly HeadGroup Group = new(0, KvHeads, HeadPlacement.Host);

    private readonly CpuDevice _device = new();
    private readonly CpuAttention _kernel = new(0.125);
    private HostAttention _host = null!;
    private RowBuffer _rowQueries = null!;
    private DisposeScope _scope = null!;
    private IDisposable _inference = null!;
    private BlockPool _pool = null!;
    private Sequence _sequence = null!;
    private TileRing _ring = null!;
    private Tensor _block = null!, _keys = null!, _values = null!, _output = null!, _lse = null!, _x = null!, _weight = null!;

    [GlobalSetup]
    public void Setup()
    {
        LibTorch.EnsureLoaded();
        _inference = inference_mode();
        _scope = NewDisposeScope();
        _pool = new BlockPool(new PageShape(KvHeads, 256, Dim, ScalarType.Float32), 1, ByteSize.FromGiB(1), ByteSize.Zero, _device);
        _host = new HostAttention(new RowTraits(ScalarType.Float32, KvHeads * Shared, KvHeads, Dim, 0.125, null), _device.Team);
        _rowQueries = new RowBuffer(KvHeads * Shared * Dim, CPU);
        _rowQueries.Memory.normal_();
        _sequence = new Sequence(_pool, "");
        _sequence.Reserve(Context);
        _sequence.Write(0, randn(KvHeads, 2, Context, Dim));
        _sequence.Commit(new int[Context]);
        _ring = new TileRing(_pool, new AttentionLayout(KvHeads, Shared, Dim, [null], 2048), 1);
        _block = randn(KvHeads, Shared, Rows, Dim);
        (_keys, _values) = (randn(KvHeads, 2048, Dim), randn(KvHeads, 2048, Dim));
        (_output, _lse) = (randn(KvHeads, Shared, Rows, Dim), randn(KvHeads, Shared, Rows));
        (_x, _weight) = (randn(1, 384), randn(2048, 384));
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _rowQueries.Dispose();
        _ring.Dispose();
        _sequence.Dispose();
        _pool.Dispose();
        _scope.Dispose();
        _inference.Dispose();
    }

    /// <summary>One token to 8,192, where they lie: 12.6 MB.</summary>
    [Benchmark]
    public unsafe void HostAttention8K()
    {
        var work = new AttentionWork { Heads = KvHeads };
        var rows = new List<PageRows>();
        _sequence.AddRows(0, new TokenRange(0, Context), rows);
        foreach (var page in rows)
        {
            const long half = 256L * Dim * sizeof(float);
            work.Add(0, 1, new KeyRows(page.Page, page.Page + (nint)half, 2 * half, page.Count));
        }

        _host.Begin(1);
        _host.Attend(1, (float*)_rowQueries.Address, _rowQueries.Width, work);
    }

    /// <summary>1,024 tokens to a tile of 2,048: 3.2 GFLOP.</summary>
    [Benchmark]
    public void TileAttention()
    {
        using var scope = NewDisposeScope();
        _kernel.Attend(_block, _keys, _values, new TokenRange(2048, 2048 + Rows), new TokenRange(0, 2048), new Visibility(null));
    }

    /// <summary>2,048 tokens from pages to a tile: 3.1 MB.</summary>
    [Benchmark]
    public void TileCopy()
    {
        using var scope = NewDisposeScope();
        var request = new TileRequest(_sequence, _sequence.Version, 0, Group, new TokenRange(0, 2048));
        _ring.Follow([request]);
        _ring.Take(request);
        _ring.Release();
    }

    /// <summary>Two parts of 1,024 rows into one.</summary>
    [Benchmark]
    public void Merge()
    {
        using var scope = NewDisposeScope();
        using var merge = new AttentionMerge(_output.shape, _device);
        merge.Add(0, _output.clone(), _lse.clone());
        merge.Add(0, _output.clone(), _lse.clone());
        merge.WriteTo(_output);
    }

    /// <summary>2,048 x 384 by one row: 3.1 MB.</summary>
    [Benchmark]
    public void MatrixRow() => _device.Multiply(_x, _weight, null).Dispose();
}
