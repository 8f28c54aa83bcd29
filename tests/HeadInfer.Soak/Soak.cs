using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using TorchSharp;

namespace HeadInfer.Soak;

/// <summary>Rounds of requests. Each has a model of its own, whose memory and queue are small, and which is disposed at the end.</summary>
internal static partial class Soak
{
    private const int Callers = 8, PageTokens = 8;

    private static readonly TimeSpan Round = TimeSpan.FromSeconds(4), Patience = TimeSpan.FromSeconds(60);

    // Code is compiled anew for a while, and native libraries keep some of what they were given back; a leak of every round's
    // model would be more. With several heaps of the C library (see eng/soak.sh) it is not.
    private static readonly ByteSize HeapSlack = ByteSize.FromMiB(2), ProcessSlack = ByteSize.FromMiB(12);

    private static readonly string[] Models = ["llama3", "mistral-window", "qwen3", "gemma2"];

    public static async Task<int> RunAsync(string folder, TimeSpan time, int seed)
    {
        LibTorch.EnsureLoaded();
        var tally = new Tally();
        Watch(tally);
        var questions = new Dictionary<string, IReadOnlyList<Question>>(StringComparer.Ordinal);
        foreach (var name in Models)
        {
            questions[name] = await Question.AskAsync(Path.Combine(folder, name), seed, tally);
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{questions.Values.Sum(q => q.Count)} prompts whose answers have a clear lead, {Callers} callers, seed {seed}"));
        var (tensors, things) = (torch.Tensor.TotalCount, NativeCounts.Describe());
        var (samples, clock, random) = (new List<ProcessMemory>(), Stopwatch.StartNew(), new Random(seed));
        for (var round = 0; clock.Elapsed < time || round < 2 * Models.Length; round++)
        {
            var model = Models[round % Models.Length];
            await RoundAsync(Path.Combine(folder, model), questions[model], round, random, tally);
            if (!SpinWait.SpinUntil(() => torch.Tensor.TotalCount == tensors && NativeCounts.Describe() == things, Patience))
            {
                tally.Fault($"round {round} left {torch.Tensor.TotalCount - tensors} tensors; {NativeCounts.Describe()} after it, {things} before");
            }

            samples.Add(ProcessMemory.Now());
        }

        return Report(tally, samples);
    }

    private static async Task RoundAsync(string folder, IReadOnlyList<Question> questions, int round, Random random, Tally tally)
    {
        var late = random.Next(3) == 0; // copies come late, as on a GPU
        var (lateSeed, underWay) = (random.Next(), random.Next(2) == 0);
        var places = Placement(random);
        var options = await OptionsAsync(folder, places, random);
        var about = $"round {round}, {Path.GetFileName(folder)}, heads {string.Join(' ', places)}{(late ? " with late copies" : "")}, {options.HostMemory} of host memory, {options.KeptMemory?.ToString() ?? "all"} kept, {options.MaxQueuedRequests} queued{(underWay ? ", disposed under way" : "")}";
        tally.Does("model", about);
        var model = await HeadInferModel.LoadAsync(folder, options, _ => late ? new LateDevice(lateSeed, TimeSpan.FromMilliseconds(1)) : new CpuDevice());
        var isClosing = false;
        using var stop = new CancellationTokenSource();
        var callers = Enumerable.Range(0, Callers).Select(i => new Caller($"{about}, caller {i}", model, questions, new Random(random.Next()), tally, () => Volatile.Read(ref isClosing))).ToList();
        var all = Task.WhenAll(callers.Select(c => Task.Run(() => c.RunAsync(stop.Token))));
        await Task.Delay(Round);
        Volatile.Write(ref isClosing, true);
        if (!underWay)
        {
            await stop.CancelAsync();
            await all;
        }

        await model.DisposeAsync();
        await stop.CancelAsync();
        await all;
        tally.Rests("model");
    }

    // One place for all heads, or several in turn.
    private static HeadPlacement[] Placement(Random random)
    {
        HeadPlacement[] places = [HeadPlacement.Streamed, HeadPlacement.Resident, HeadPlacement.Host];
        return random.Next(places.Length + 1) is var number && number < places.Length ? [places[number]] : places;
    }

    // Room for a few contexts, of which callers want eight. Heads that must be resident get more: those that do not fit are
    // refused at once, and do not wait.
    private static async Task<HeadInferOptions> OptionsAsync(string folder, HeadPlacement[] places, Random random)
    {
        var options = new HeadInferOptions
        {
            PageTokens = PageTokens, TileTokens = 11, SegmentTokens = 32, ChunkTokens = 16, HeadGroupSize = 1,
            Placement = head => places[(head.Layer + head.Head) % places.Length],
            MaxQueuedRequests = random.Next(4, 10),
            Threads = places is [HeadPlacement.Host] ? null : 1, // libtorch's threads wait for each other at every tile, which takes long where others compute too
            AnswerShare = random.Next(2) == 0 ? null : 0.95 * random.NextDouble(),
        };
        await using var model = await HeadInferModel.LoadAsync(folder, options, _ => new CpuDevice());
        var least = model.Plan.HostBudget - model.Plan.KvBudget;
        var block = model.Plan.KvFor(PageTokens);
        return options with
        {
            HostMemory = least + (block * (places.Contains(HeadPlacement.Resident) ? random.Next(400, 700) : random.Next(60, 160))),
            KeptMemory = random.Next(3) switch { 0 => null, 1 => ByteSize.Zero, _ => block * random.Next(1, 20) },
        };
    }

    private static int Report(Tally tally, List<ProcessMemory> samples)
    {
        var (middle, last) = (ProcessMemory.Median(samples.Skip((samples.Count / 2) - 1).Take(3)), ProcessMemory.Median(samples.TakeLast(3)));
        if (last.Heap > middle.Heap + HeapSlack)
        {
            tally.Fault($"the managed heap grew from {middle.Heap} in the middle to {last.Heap}; {HeapSlack} are allowed");
        }

        if (last.Process > middle.Process + ProcessSlack)
        {
            tally.Fault($"the process grew from {middle.Process} in the middle to {last.Process}; {ProcessSlack} are allowed");
        }

        using var process = Process.GetCurrentProcess();
        Console.WriteLine($"{tally}; {samples.Count} models; peak working set {new ByteSize(process.PeakWorkingSet64)}; heap {samples[0].Heap} first, {middle.Heap} middle, {last.Heap} last; process {samples[0].Process} first, {middle.Process} middle, {last.Process} last");
        return tally.HasFaults ? 1 : 0;
    }

    [LibraryImport("libc", EntryPoint = "_exit")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.System32)]
    private static partial void Exit(int code);

    // A thread of its own: what hangs may hold all of the pool's.
    private static void Watch(Tally tally) => new Thread(() =>
    {
        for (; ; Thread.Sleep(TimeSpan.FromSeconds(1)))
        {
            if (tally.Silence > Patience)
            {
                Console.Error.WriteLine($"FAULT nothing has happened for {Patience.TotalSeconds} s\n{tally.State()}\n{tally}\nnative: {torch.Tensor.TotalCount} tensors, {NativeCounts.Describe()}");
                if (OperatingSystem.IsWindows())
                {
                    Environment.FailFast("nothing has happened");
                }

                Exit(1); // at once: an engine that hangs would keep an orderly end from coming
            }
        }
    }) { IsBackground = true, Name = "watchdog" }.Start();
}
