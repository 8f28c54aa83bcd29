using System.Diagnostics;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Compute;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>Attention in host memory over pages that do not fit the caches, beside a loop that only reads them, on the same threads and in turn.</summary>
internal static class HostAttentionBenchmark
{
    public static readonly string[] Known = ["--size", "--runs", "--dim"];

    private const int KvHeads = 8, Shared = 4, PageTokens = 256;

    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(0.5);

    public static int Run(Options options)
    {
        LibTorch.EnsureLoaded();
        var (size, runs) = (options.Size("--size") ?? ByteSize.FromMiB(256), options.Count("--runs") ?? 9);
        using var inference = inference_mode();
        using var team = new HostTeam(get_num_threads());
        HostReading.Print($"{size} of keys and values, {KvHeads} KV heads with {Shared} query heads each, {team.Size} threads, {HostReading.VectorBits} bits; GB/s, medians and the best of {runs}");
        HostReading.Print($"{"head",4}  {"type",-8}  {"rows",4}  {"attention",9}  {"reading",7}  {"ratio",5}  {"best",9}  {"reading",7}  {"ratio",5}");
        foreach (var dim in options.Count("--dim") is { } one ? [one] : (int[])[64, 96, 128, 256])
        {
            foreach (var type in (ScalarType[])[ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16])
            {
                using var bench = new Bench(team, dim, type, size);
                foreach (var rows in (int[])[1, 4, 16])
                {
                    var (attention, reading) = bench.Measure(rows, runs);
                    var ((a, b), (c, d)) = ((attention[runs / 2], reading[runs / 2]), (attention[^1], reading[^1]));
                    HostReading.Print($"{dim,4}  {type,-8}  {rows,4}  {a / 1e9,9:F1}  {b / 1e9,7:F1}  {100 * a / b,4:F0}%  {c / 1e9,9:F1}  {d / 1e9,7:F1}  {100 * c / d,4:F0}%");
                }
            }
        }

        return 0;
    }

    private sealed unsafe class Bench : IDisposable
    {
        private readonly HostTeam _team;
        private readonly HostAttention _attention;
        private readonly RowBuffer _queries, _output;
        private readonly Tensor _pages; // [pages, kv_heads, 2, tokens, dim]
        private readonly AttentionWork _work = new() { Heads = KvHeads };
        private readonly nint _start;
        private readonly long _half, _bytes;

        public Bench(HostTeam team, int dim, ScalarType type, ByteSize size)
        {
            _team = team;
            _attention = new HostAttention(new RowTraits(type, KvHeads * Shared, KvHeads, dim, 1 / Math.Sqrt(dim), null), team);
            (_queries, _output) = (new RowBuffer(KvHeads * Shared * dim, CPU), new RowBuffer(KvHeads * Shared * dim, CPU));
            _queries.Memory.normal_();
            _half = (long)PageTokens * dim * DataTypes.Size(type);
            var pages = Math.Max(1, size.Bytes / (2 * KvHeads * _half));
            _bytes = pages * 2 * KvHeads * _half;
            _pages = empty([pages, KvHeads, 2, PageTokens, dim], type);
            using var page = randn([KvHeads, 2, PageTokens, dim]);
            _pages.copy_(page);
            _start = TensorMemory.Pointer(_pages);
        }

        /// <summary>Bytes a second of each run, in order.</summary>
        public (List<double> Attention, List<double> Reading) Measure(int rows, int runs)
        {
            _work.Clear();
            for (var page = 0; page < _pages.shape[0]; page++)
            {
                var keys = _start + (nint)(page * 2 * KvHeads * _half);
                _work.Add(0, rows, new KeyRows(keys, keys + (nint)_half, 2 * _half, PageTokens));
            }

            List<double> attention = [], reading = [];
            var begun = Stopwatch.StartNew();
            for (var run = 0; run < runs;)
            {
                var clock = Stopwatch.StartNew();
                _attention.Begin(rows);
                _attention.Attend(rows, (float*)_queries.Address, _queries.Width, _work);
                _attention.Write(rows, (float*)_output.Address, _output.Width);
                var attended = clock.Elapsed.TotalSeconds;
                clock.Restart();
                HostReading.Read(_team, _start, _bytes);
                if (begun.Elapsed > WarmUp) // until then code is compiled anew
                {
                    run++;
                    attention.Add(_bytes / attended);
                    reading.Add(_bytes / clock.Elapsed.TotalSeconds);
                }
            }

            attention.Sort();
            reading.Sort();
            return (attention, reading);
        }

        public void Dispose()
        {
            _queries.Dispose();
            _output.Dispose();
            _pages.Dispose();
        }
    }
}
