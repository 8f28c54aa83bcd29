using System.Diagnostics;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Compute;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Benchmarks;

/// <summary>Products of a few rows and a matrix that does not fit the caches, of each type of weights, beside a loop that only reads the matrix, on the same threads and in turn.</summary>
internal static unsafe class HostProductsBenchmark
{
    public static readonly string[] Known = ["--size", "--runs", "--columns", "--weights"];

    private static readonly string[] Types = ["f32", "bf16", "f16", "q8_0", "q4_0", "q4_1", "q5_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4", "awq", "fp8", "nvfp4"];

    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(1);

    public static int Run(Options options)
    {
        LibTorch.EnsureLoaded();
        var (size, runs, columns) = (options.Size("--size") ?? ByteSize.FromMiB(128), options.Count("--runs") ?? 9, options.Count("--columns") ?? 4096);
        using var inference = inference_mode();
        using var team = new HostTeam(get_num_threads());
        HostReading.Print($"{size} of a matrix of {columns} columns, {team.Size} threads, {HostReading.VectorBits} bits; GB/s of the matrix, medians of {runs}");
        HostReading.Print($"{"type",-8}  {"rows",4}  {"product",7}  {"reading",7}  {"ratio",5}");
        foreach (var type in options.Has("--weights") ? [options.Text("--weights", "")] : Types)
        {
            var packing = RandomCheckpoint.PackingOf(type);
            var pattern = RandomCheckpoint.Pattern(packing, columns);
            var rows = (int)(size.Bytes / packing.RowBytes(columns));
            var bytes = rows * packing.RowBytes(columns);
            using var memory = empty([bytes], ScalarType.Byte);
            var start = TensorMemory.Pointer(memory);
            for (long at = 0; at < bytes; at += pattern.Length)
            {
                var some = (int)Math.Min(pattern.Length, bytes - at);
                pattern.AsSpan(0, some).CopyTo(new Span<byte>((byte*)start + at, some));
            }

            var matrix = new WeightMatrix([new WeightPart(start, packing, rows)], 0, columns);
            foreach (var n in (int[])[1, 4, 16])
            {
                using var x = randn([n, columns]);
                List<double> products = [], reading = [];
                var begun = Stopwatch.StartNew();
                while (reading.Count < runs)
                {
                    var clock = Stopwatch.StartNew();
                    HostProducts.Multiply(team, x, matrix).Dispose();
                    var multiplied = clock.Elapsed.TotalSeconds;
                    clock.Restart();
                    HostReading.Read(team, start, bytes);
                    if (begun.Elapsed > WarmUp) // until then code is compiled anew
                    {
                        products.Add(bytes / multiplied / 1e9);
                        reading.Add(bytes / clock.Elapsed.TotalSeconds / 1e9);
                    }
                }

                var (a, b) = (products.Order().ElementAt(runs / 2), reading.Order().ElementAt(runs / 2));
                HostReading.Print($"{packing.Name,-8}  {n,4}  {a,7:F1}  {b,7:F1}  {100 * a / b,4:F0}%");
            }
        }

        return 0;
    }
}
