using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Planning;

/// <summary>Knows what the living models of the process were promised, so that a further one counts only on what is left.</summary>
/// <param name="freeOnHost">host memory that is free now, by whomever it may be taken</param>
/// <param name="gpuMemory">memory of the current GPU</param>
/// <remarks>
/// A promise is what a model may take later: the part of its plan that it has not taken yet is no longer free, although
/// nobody uses it. On a GPU libtorch also keeps what disposed models had, for whoever comes next, so that to the driver it
/// is in use: what the process took since its first model and no living model was promised is taken to be such memory, but
/// never more than all living models were once promised together.
/// </remarks>
internal sealed class MemoryLedger(Func<ByteSize> freeOnHost, Func<(ByteSize Free, ByteSize Total)> gpuMemory)
{
    private readonly Lock _gate = new();
    private readonly List<MemoryPromise> _promises = [];
    private readonly Dictionary<int, (ByteSize UsedBefore, ByteSize MostPromised)> _gpus = [];

    /// <summary>The ledger of the process: the one thing that all its models share. Tests put their own in its place.</summary>
    public static MemoryLedger OfProcess { get; set; } = new(HostMemory.Free, Gpu.Memory);

    /// <summary>Models that hold a promise.</summary>
    public int Promises
    {
        get
        {
            lock (_gate)
            {
                return _promises.Count;
            }
        }
    }

    /// <summary>Plans a model with what is left, and promises it what the plan says. Of two that are planned at once, one is first.</summary>
    /// <param name="options">what the caller fixed; it counts, whatever is left</param>
    /// <param name="gpu">number of the GPU, which is current on this thread; null for the CPU</param>
    /// <param name="plan">makes the plan of a budget</param>
    /// <exception cref="MemoryBudgetException">The model does not fit.</exception>
    public (MemoryPlan Plan, MemoryPromise Promise) Plan(HeadInferOptions options, int? gpu, Func<MemoryBudget, MemoryPlan> plan)
    {
        lock (_gate)
        {
            ByteSize? freeOnGpu = gpu is { } index ? FreeOn(index) : null; // asked of always: the first answer is what others have
            var budget = new MemoryBudget(
                options.HostMemory ?? MemoryBudget.OfHost(FreeOnHost()),
                freeOnGpu is { } free ? options.GpuMemory ?? MemoryBudget.OfGpu(free) : null);
            try
            {
                var made = plan(budget);
                var promise = new MemoryPromise(this, made.HostPromise, gpu, made.Gpu is { } part ? part.Fixed + part.Resident : ByteSize.Zero);
                _promises.Add(promise);
                if (gpu is { } number)
                {
                    var promised = PromisedOn(number);
                    var (before, most) = _gpus[number];
                    _gpus[number] = (before, promised > most ? promised : most);
                }

                return (made, promise);
            }
            catch (MemoryBudgetException e) when (_promises.Count > 0)
            {
                throw new MemoryBudgetException(
                    $"{e.Message} Other models of this process ({_promises.Count}) are promised {Sum(_promises.Select(p => p.Host))} of host memory{(gpu is { } number ? $" and {PromisedOn(number)} of the GPU" : "")}: dispose them, or give each less by HeadInferOptions.HostMemory, GpuMemory or MaxContextTokens.", e);
            }
        }
    }

    internal void Remove(MemoryPromise promise)
    {
        lock (_gate)
        {
            _promises.Remove(promise);
        }
    }

    private ByteSize FreeOnHost()
    {
        var free = freeOnHost() - Sum(_promises.Select(p => p.LeftOnHost));
        return free > ByteSize.Zero ? free : ByteSize.Zero;
    }

    private ByteSize FreeOn(int gpu)
    {
        var (free, total) = gpuMemory();
        var used = total - free;
        if (!_gpus.TryGetValue(gpu, out var state))
        {
            _gpus[gpu] = state = (used, ByteSize.Zero); // before anything of this process is there
        }

        // Less than nothing where living models have yet to take what they were promised.
        var promised = PromisedOn(gpu);
        var kept = used - state.UsedBefore - promised;
        return free + (kept < state.MostPromised - promised ? kept : state.MostPromised - promised);
    }

    private ByteSize PromisedOn(int gpu) => Sum(_promises.Where(p => p.Gpu == gpu).Select(p => p.OnGpu));

    private static ByteSize Sum(IEnumerable<ByteSize> sizes) => sizes.Aggregate(ByteSize.Zero, (sum, size) => sum + size);
}

/// <summary>Memory that a model may take, until it is disposed.</summary>
internal sealed class MemoryPromise(MemoryLedger ledger, ByteSize host, int? gpu, ByteSize onGpu) : IDisposable
{
    private Func<ByteSize>? _taken;

    /// <summary>Host memory, the part that is taken included.</summary>
    public ByteSize Host => host;

    public int? Gpu => gpu;

    /// <summary>GPU memory, the part that is taken included.</summary>
    public ByteSize OnGpu => onGpu;

    /// <summary>Host memory of the promise that is still to be taken.</summary>
    public ByteSize LeftOnHost => _taken?.Invoke() is { } taken ? (taken < host ? host - taken : ByteSize.Zero) : host;

    /// <summary>Says how much host memory the model has taken; until then it counts as nothing.</summary>
    /// <param name="taken">may be asked from any thread, under the ledger's lock</param>
    public void Counts(Func<ByteSize> taken) => Volatile.Write(ref _taken, taken);

    public void Dispose() => ledger.Remove(this);
}
