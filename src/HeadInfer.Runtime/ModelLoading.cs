using System.Diagnostics;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Planning;
using HeadInfer.Runtime.Requests;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Weights;
using static TorchSharp.torch;

namespace HeadInfer.Runtime;

/// <summary>Makes models: everything that can be refused is, before a weight is read.</summary>
internal static class ModelLoading
{
    private const int PlannedCapability = 8; // of a GPU that need not be there

    /// <summary>Makes a model of a checkpoint alone, without a tokenizer or a template.</summary>
    public static HeadInferModel Create(ModelConfig config, Checkpoint checkpoint, HeadInferOptions options)
    {
        options.Validate();
        LibTorch.EnsureLoaded();
        return Load(new ModelFolder(config.Architecture, config, null, null, new GenerationOptions(), []), checkpoint, options, OpenDevice, null, CancellationToken.None);
    }

    /// <summary>Makes a model of a shape with weights from anywhere, without a folder, a tokenizer or a template.</summary>
    public static HeadInferModel Create(ModelConfig config, long weightElements, ScalarType type, Func<ScalarType, Device, IWeightSource> weights, HeadInferOptions options, Func<HeadInferOptions, Device>? open = null)
    {
        options.Validate();
        LibTorch.EnsureLoaded();
        var folder = new ModelFolder(config.Architecture, config, null, null, new GenerationOptions(), []);
        return Start(folder, (_, computed) => WeightNeeds.Of(new ByteSize(weightElements * DataTypes.Size(computed))), type, (type, device, _, _) => weights(type, device), options, open ?? OpenDevice, _ => { }, CancellationToken.None);
    }

    /// <summary>Loads a folder onto a device that is opened for it.</summary>
    public static HeadInferModel Load(string path, HeadInferOptions options, Func<HeadInferOptions, Device> open, IProgress<LoadProgress>? progress, CancellationToken cancellationToken)
    {
        var folder = ModelFolder.Open(path, options);
        LibTorch.EnsureLoaded();
        using var checkpoint = Checkpoint.Open(folder.Path, folder.Config);
        return Load(folder, checkpoint, options, open, progress, cancellationToken);
    }

    /// <summary>The plan that loading would make now, on the device that would be taken. No weight is read.</summary>
    public static (string Name, ModelConfig Config, MemoryPlan Plan) Plan(string path, HeadInferOptions options)
    {
        options.Validate();
        LibTorch.EnsureLoaded();
        var folder = ModelFolder.Open(path, options);
        using var checkpoint = Checkpoint.Open(folder.Path, folder.Config);
        var config = DecoderWeights.Untie(folder.Config, checkpoint);
        using var check = new WeightCheck(checkpoint);
        DecoderWeights.Read(config, check, device: null);
        using var device = OpenDevice(options);
        var type = device.TypeFor(checkpoint.Type, options.ComputeType);
        var (plan, promise) = MemoryLedger.OfProcess.Plan(options, device.Ordinal, budget => MemoryPlanner.Plan(config, check.NeedsOn(device, type), type, options, budget));
        promise.Dispose();
        return (folder.Name, config, plan);
    }

    /// <summary>The plan for a checkpoint of which nothing is read, on a machine that need not be there; without GPU memory for the CPU.</summary>
    public static MemoryPlan Plan(ModelConfig config, Checkpoint checkpoint, HeadInferOptions options, MemoryBudget budget)
    {
        using var check = new WeightCheck(checkpoint);
        DecoderWeights.Read(config, check, device: null);
        using var cpu = new CpuDevice();
        var type = budget.Gpu is null ? ScalarType.Float32 : ScalarType.BFloat16;
        return MemoryPlanner.Plan(config, check.NeedsOn(budget.Gpu is null ? cpu : new GpuLayout(PlannedCapability), type), type, options, budget);
    }

    private static HeadInferModel Load(ModelFolder folder, Checkpoint checkpoint, HeadInferOptions options, Func<HeadInferOptions, Device> open, IProgress<LoadProgress>? progress, CancellationToken cancellationToken)
    {
        folder = folder with { Config = DecoderWeights.Untie(folder.Config, checkpoint) };
        using var check = new WeightCheck(checkpoint);
        DecoderWeights.Read(folder.Config, check, device: null);
        check.RefuseOthers(folder.Config);
        return Start(
            folder,
            check.NeedsOn,
            checkpoint.Type,
            (type, device, needs, streamed) => new CheckpointWeights(checkpoint, type, device, needs, streamed),
            options,
            open,
            layer =>
            {
                cancellationToken.ThrowIfCancellationRequested();
                progress?.Report(new LoadProgress(layer, folder.Config.Layers));
            },
            cancellationToken);
    }

    private static HeadInferModel Start(
        ModelFolder folder, Func<Device, ScalarType, WeightNeeds> needs, ScalarType stored, Func<ScalarType, Device, WeightNeeds, int, IWeightSource> weights, HeadInferOptions options, Func<HeadInferOptions, Device> open, Action<int> layerDone, CancellationToken cancellationToken)
    {
        var thread = new EngineThread("HeadInfer engine");
        var made = new Parts();
        try
        {
            return thread.RunAsync(
                () =>
                {
                    try
                    {
                        return Make(folder, needs, stored, weights, options, open, layerDone, thread, made);
                    }
                    catch
                    {
                        made.TakeBack();
                        throw;
                    }
                },
                cancellationToken).GetAwaiter().GetResult();
        }
        catch
        {
            thread.End();
            throw;
        }
    }

    /// <summary>Everything that can be refused is, before a weight is read.</summary>
    private static HeadInferModel Make(
        ModelFolder folder, Func<Device, ScalarType, WeightNeeds> needs, ScalarType stored, Func<ScalarType, Device, WeightNeeds, int, IWeightSource> weights, HeadInferOptions options, Func<HeadInferOptions, Device> open, Action<int> layerDone, EngineThread thread, Parts made)
    {
        if (options.Threads is { } threads)
        {
            set_num_threads(threads); // here: libtorch keeps the number for each thread that calls it
        }

        var config = folder.Config;
        var device = made.Add(open(options));
        options = WithPlaces(config, options);
        var type = device.TypeFor(stored, options.ComputeType);
        var kvType = options.KvTypeFor(type, device.HasOwnMemory);
        var softCap = options.IgnoreAttentionSoftCap ? null : config.AttentionSoftCap;
        AttentionTraits TraitsOf(HeadShape heads) => new(config.AttentionScale, softCap, heads.Dim, heads.Shared, type);
        var traits = TraitsOf(config.HeadKinds[0]);
        if (options.FusedAttention is not null && !device.MayFuse(traits))
        {
            throw new ArgumentException($"HeadInferOptions.FusedAttention cannot be {options.FusedAttention}: fused attention is for bfloat16 and float16, heads of up to 256 dimensions, no soft cap, and a GPU of compute capability 8.0 or above. Leave it out.", nameof(options));
        }

        var needed = needs(device, type);
        var (plan, promise) = MemoryLedger.OfProcess.Plan(options, device.Ordinal, budget => MemoryPlanner.Plan(config, needed, type, options, budget));
        made.Add(promise);
        try
        {
            device.Prepare(type);
            var kernel = device.Attention(traits, options.FusedAttention);
            var read = DecoderWeights.Read(config, made.Add(weights(type, device, needed, plan.StreamedLayers)), device, layerDone);
            var kinds = config.HeadKinds;
            var shape = new PageShape(config.KvHeads, plan.PageTokens, config.HeadDim, kvType).With(kinds.MaxBy(h => h.Keys));
            var buffers = made.Add(new RowBuffers(config, device.Torch));
            var pool = made.Add(new BlockPool(shape, config.KvLayers.Count, plan.PageBudget, options.KeptMemory ?? plan.PageBudget, device, state: MemoryPlanner.States(config), heads: [.. config.KvLayers.Select(config.HeadsOf)]));
            var rowTraits = new RowTraits(type, config.Heads, config.KvHeads, config.HeadDim, config.AttentionScale, softCap) { KvType = kvType, Others = [.. kinds.Skip(1)] };
            var rows = made.Add(device.CreateRows(rowTraits));
            var heads = config.AttendingLayers.Where(layer => plan.WindowBudget == ByteSize.Zero || config.Windows[layer] is null).Sum(layer => config.HeadsOf(layer).KvHeads);
            var (host, rates, measured) = HostBeside(device, rowTraits, plan, options, made);
            var attention = made.AddOwner(new TiledAttention(MemoryPlanner.Layout(config, options, plan), pool, kernel, rows, plan.ResidentBudget, plan.SegmentTokens, plan.ChunkTokens, plan.LongestContext, plan.WindowBudget)
            {
                Host = host,
                HostRates = rates,
                OtherKernels = kinds.Skip(1).ToDictionary(h => h, h => device.Attention(TraitsOf(h), device.MayFuse(TraitsOf(h)) ? options.FusedAttention : null)),
                Sinks = config.Family.Sinks ? [.. config.AttendingLayers.Select(layer => read.Layers[layer].Sinks)] : [],
                HostHeads = (answers, pace) => rates?.HeadsFor(heads, answers, pace, options.HostShare) ?? 0,
            }, parts: host is null ? 2 : 3); // pool, rows and host
            if (device is CudaDevice onGpu && options.Placement is null)
            {
                var share = heads == 0 ? 0 : (double)attention.HostHeads(1, 1) / heads;
                plan = plan.WithForecast(config, DecodeForecast.OfStep(TimeStep(new StepDecoder(config, read, attention, buffers), pool), plan, rates, share, onGpu.MemoryRate)) with { RatesDate = measured };
            }

            return new HeadInferModel(folder, options, plan, promise, thread, device, read, attention, buffers);
        }
        catch (Exception e) when (MemoryFault.Explain(e, plan) is { } explained)
        {
            throw explained;
        }
    }

    // Seconds of a step of one token, of which nothing is kept. The first ones are slower.
    private static double TimeStep(StepDecoder steps, BlockPool pool)
    {
        using var sequence = new Sequence(pool, "");
        sequence.Reserve(1);
        var logits = new float[steps.VocabularySize];
        var best = double.PositiveInfinity;
        for (var run = 0; run < 4; run++)
        {
            var start = Stopwatch.GetTimestamp();
            steps.Step(Batch.Decode([sequence], new int[1]));
            steps.ReadLogits(0, logits);
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    // What attends beside a GPU, and how fast; a thread is left to the engine.
    private static (HostParts? Parts, HostRates? Rates, DateOnly? Measured) HostBeside(Device device, RowTraits traits, MemoryPlan plan, HeadInferOptions options, Parts made)
    {
        var threads = Math.Max(1, (options.Threads ?? Environment.ProcessorCount) - 1);
        if (options.Placement is not null)
        {
            return !device.IsAsynchronous || !plan.Heads.ContainsKey(HeadPlacement.Host) ? (null, null, null)
                : HostParts.TryCreate(traits, threads, device) is { } placed ? (made.Add(placed), null, null)
                : throw new ArgumentException("HeadInferOptions.Placement places heads in host memory, which this GPU cannot see by its addresses, or the system does not lock. Use Streamed or Resident.", nameof(options));
        }

        if (device is not CudaDevice gpu || options.HostShare == 0 || plan.CopiesAll || HostParts.TryCreate(traits, threads, gpu) is not { } parts)
        {
            return (null, null, null);
        }

        made.Add(parts);
        var (kept, machine) = (new KeptRates(options.RatesFile ?? KeptRates.DefaultPath), KeptRates.Machine(gpu.Name, traits, threads));
        if (!options.MeasureRates && kept.Find(machine) is var (known, date))
        {
            parts.Rates = known;
            return (parts, known, date);
        }

        var (rates, today) = (HostRates.Measure(gpu, traits, threads), DateOnly.FromDateTime(DateTime.UtcNow));
        parts.Rates = rates;
        if (!kept.TryKeep(machine, rates, today))
        {
            options.Warning?.Invoke($"The rates of this machine could not be kept in '{options.RatesFile ?? KeptRates.DefaultPath}', so they are measured whenever a model is loaded. Set HeadInferOptions.RatesFile to a file that can be written, or to nothing.");
        }

        return (parts, rates, today);
    }

    // The caller is asked once for each head, so that its answers stay the same, and nothing of it runs on the engine's thread later.
    private static HeadInferOptions WithPlaces(ModelConfig config, HeadInferOptions options)
    {
        if (options.Placement is not { } placement)
        {
            return options;
        }

        var places = config.KvLayers.SelectMany(layer => Enumerable.Range(0, config.HeadsOf(layer).KvHeads), (layer, head) => new HeadKey(layer, head)).ToDictionary(key => key, placement);
        if (places.Values.FirstOrDefault(p => !Enum.IsDefined(p), HeadPlacement.Host) is var unknown && !Enum.IsDefined(unknown))
        {
            throw new ArgumentException($"HeadInferOptions.Placement gives {unknown}, which is none of {string.Join(", ", Enum.GetNames<HeadPlacement>())}.", nameof(options));
        }

        return options with { Placement = key => places[key] };
    }

    public static Device OpenDevice(HeadInferOptions options)
    {
        var index = options.GpuIndex ?? 0;
        var named = options.GpuIndex is not null && Gpu.IsThere; // then it is the one, or an error
        if (options.Device == ComputeDevice.Cuda || (options.Device == ComputeDevice.Auto && (named || IsAvailable(options.Warning))))
        {
            return new CudaDevice(Gpu.Open(index), options.Warning);
        }

        options.ValidateForCpu();
        return new CpuDevice();
    }

    // A GPU that stays idle is said: its owner would wonder why all is slow.
    private static bool IsAvailable(Action<string>? warn)
    {
        var available = Gpu.IsAvailable(out var reason);
        if (!available && Gpu.IsThere)
        {
            warn?.Invoke($"The CPU computes. {reason}");
        }

        return available;
    }
}
