using System.Diagnostics;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>How fast host memory is reached in both ways, each while the other is used too.</summary>
/// <param name="Link">bytes a second that are copied to the GPU</param>
/// <param name="Host">bytes a second of keys and values that the CPU attends for one row</param>
/// <param name="Rows">bytes a second, times rows, that it attends for many: its arithmetic bounds it there</param>
internal readonly record struct HostRates(double Link, double Host, double Rows)
{
    private const int Tokens = 256, PieceOf = 16, PartForRows = 8;
    private static readonly ByteSize Buffer = ByteSize.FromMiB(512); // beyond all caches, where there is so much
    private static readonly TimeSpan Round = TimeSpan.FromMilliseconds(50);

    // Code is compiled better after a while. So rounds follow each other until the best of them is some rounds ago.
    private const int RoundsAfterBest = 4, MostRounds = 40;

    /// <summary>Bytes a second that the CPU attends for so many rows at once.</summary>
    public double HostFor(int rows) => Math.Min(Host, Rows / rows);

    /// <summary>The same where the CPU is slower or faster.</summary>
    public HostRates At(double pace) => this with { Host = Host * pace, Rows = Rows * pace };

    /// <summary>Of the bytes outside of the GPU those that the CPU attends for so many rows, so that both ways end together.</summary>
    public double ShareFor(int rows) => HostFor(rows) / (HostFor(rows) + Link);

    /// <summary>How many heads the CPU attends of an answer; one at least where its rates say so, or its pace would never be measured again.</summary>
    /// <param name="heads">that it may attend, of all layers</param>
    /// <param name="answers">how many there are</param>
    /// <param name="pace">how fast it is now, as a part of these rates</param>
    /// <param name="given">the share of one answer that the caller gives; null for what the rates say</param>
    public int HeadsFor(int heads, int answers, double pace, double? given) => given is { } share
        ? (int)Math.Round(share * (ShareFor(answers) / ShareFor(1)) * heads)
        : Math.Max(ShareFor(answers) * heads >= 1 ? 1 : 0, (int)Math.Round(At(pace).ShareFor(answers) * heads));

    /// <summary>Measures them: a second at most, or two.</summary>
    /// <param name="device">the GPU; idle</param>
    /// <param name="threads">that attend</param>
    public static unsafe HostRates Measure(CudaDevice device, RowTraits traits, int threads)
    {
        using var scope = NewDisposeScope();
        using var team = new HostTeam(threads, patient: true);
        var (size, half) = (DataTypes.Size(traits.KvType), (long)Tokens * traits.HeadDim * DataTypes.Size(traits.KvType));
        var pages = Math.Max(PieceOf, Math.Min(Buffer.Bytes, HostMemory.Free().Bytes / 8) / (2 * traits.KvHeads * half) / PieceOf * PieceOf);
        var memory = zeros([pages, traits.KvHeads, 2, Tokens, traits.HeadDim], traits.KvType);
        var (start, bytes) = (TensorMemory.Pointer(memory), memory.NumberOfElements * size);
        using var pin = device.Pin(start, bytes);
        using var target = empty([traits.KvHeads, 2, pages / PieceOf * Tokens, traits.HeadDim], traits.KvType, device.Torch);

        var (attention, work) = (new HostAttention(traits, team), new AttentionWork { Heads = traits.KvHeads });
        var ((link, host), (_, rows)) = (TakeBest(1), TakeBest(RowKernels.MostRows));
        device.ForgetTraffic();
        return new HostRates(link, host, rows * RowKernels.MostRows);

        (double Link, double Host) TakeBest(int rows)
        {
            work.Clear();
            var used = rows == 1 ? pages : pages / PartForRows; // arithmetic bounds many rows wherever their keys lie
            for (var page = 0; page < used; page++)
            {
                var keys = start + (nint)(2 * page * traits.KvHeads * half);
                work.Add(0, rows, new KeyRows(keys, keys + (nint)half, 2 * half, Tokens));
            }

            var (best, bestRound) = (default((double Link, double Host)), 0);
            for (var round = 0; round < MostRounds && round - bestRound <= RoundsAfterBest; round++)
            {
                if (Take(rows, bytes * used / pages) is var rates && rates.Host > 1.02 * best.Host)
                {
                    (best, bestRound) = (rates, round);
                }
            }

            return best;
        }

        (double Link, double Host) Take(int rows, long ofWork)
        {
            var (copied, attended, clock) = (0L, 0L, Stopwatch.StartNew());
            device.IsMeasured = true;
            fixed (float* queries = new float[rows * traits.Heads * traits.HeadDim])
            {
                while (clock.Elapsed < Round)
                {
                    // About as many copies as take as long as the attention beside them.
                    for (var piece = 0; piece < PieceOf && copied <= attended; piece++)
                    {
                        device.Upload(memory.narrow(0, piece * (pages / PieceOf), pages / PieceOf), target, 0);
                        copied += bytes / PieceOf;
                    }

                    attention.Begin(rows);
                    attention.Attend(rows, queries, traits.Heads * traits.HeadDim, work);
                    attended += ofWork;
                }
            }

            clock.Stop();
            var copying = device.TakeTimes().Copying;
            device.IsMeasured = false;
            return (copied / copying.TotalSeconds, attended / clock.Elapsed.TotalSeconds);
        }
    }
}
