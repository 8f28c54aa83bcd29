using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Generation;
using static TorchSharp.torch;

namespace HeadInfer.Runtime;

/// <summary>What a model computes on.</summary>
public enum ComputeDevice
{
    /// <summary>A GPU if there is one that libtorch can use, else the CPU.</summary>
    Auto,

    /// <summary>The CPU.</summary>
    Cpu,

    /// <summary>A GPU by CUDA.</summary>
    Cuda,
}

/// <summary>A type of numbers: of weights and activations, or of the KV cache.</summary>
public enum ComputeType
{
    /// <summary>32 bits.</summary>
    Float32,

    /// <summary>16 bits, of which 8 are exponent.</summary>
    BFloat16,

    /// <summary>16 bits, of which 5 are exponent.</summary>
    Float16,
}

/// <summary>A fused attention of the GPU, for bfloat16 and float16.</summary>
public enum FusedAttention
{
    /// <summary>FlashAttention 2: compute capability 8.0 and above.</summary>
    Flash,

    /// <summary>cuDNN's for long prefills, which is the faster one on Hopper, beside FlashAttention for the rest.</summary>
    CuDnn,
}

/// <summary>How a model is loaded and run. Every property left null is planned from the model and the machine.</summary>
/// <example>
/// <code>
/// using HeadInfer.Runtime;
///
/// var options = new HeadInferOptions { HostMemory = ByteSize.FromGiB(48), GpuMemory = ByteSize.FromGiB(20), MaxContextTokens = 262_144 };
/// await using var model = await HeadInferModel.LoadAsync("path/to/a/model", options);
/// </code>
/// </example>
public sealed record HeadInferOptions
{
    /// <summary>What computes. Default: a GPU if there is one, else the CPU.</summary>
    public ComputeDevice Device { get; set; }

    /// <summary>Which GPU, counted from 0 among those that the process sees. Default: 0.</summary>
    public int? GpuIndex { get; set; }

    /// <summary>GPU memory that this model may take, CUDA's own part included. Default: nineteen twentieths of what is free.</summary>
    public ByteSize? GpuMemory { get; set; }

    /// <summary>GPU memory for copies of keys and values, within <see cref="GpuMemory"/>. Default: all that is left of it. Zero streams everything.</summary>
    public ByteSize? ResidentMemory { get; set; }

    /// <summary>Type of weights and activations. Default: on a GPU the checkpoint's; on the CPU always float32, and nothing else is taken.</summary>
    public ComputeType? ComputeType { get; set; }

    /// <summary>
    /// Type of the KV cache. Default: the one that is computed in. On the CPU <see cref="Runtime.ComputeType.BFloat16"/> and
    /// <see cref="Runtime.ComputeType.Float16"/> halve the memory of a context, and nearly the time of reading it. Keys and values
    /// are then rounded as soon as they are formed, so answers depend on nothing but the text, and differ a little from
    /// those with float32. Float16 has values up to 65,504, which some models exceed. A GPU takes only the type that it computes in.
    /// </summary>
    public ComputeType? KvCacheType { get; set; }

    /// <summary>Attention on a GPU. Default: the faster one, by a short measurement when the model is loaded.</summary>
    public FusedAttention? FusedAttention { get; set; }

    /// <summary>A chat template (Jinja) in place of the model folder's. Default: the folder's, else ChatML if the tokenizer has its tokens.</summary>
    public string? ChatTemplate { get; set; }

    /// <summary>Scaling of the rotary embeddings in place of the configuration's, such as YaRN to read beyond the length of the training. Default: the configuration's. <c>new()</c> takes that away.</summary>
    public RopeScaling? RopeScaling { get; set; }

    /// <summary>Told of what works, but not as it should, such as memory that cannot be pinned; may be called from any thread. What it throws is dropped.</summary>
    public Action<string>? Warning { get; set; }

    /// <summary>Host memory that may be taken: by the process, by weights and tables that lie there, by the workspace of a CPU, and by the KV cache, which gets what the others leave. With CUDA the process alone is reckoned at 2 GiB. Default: nine tenths of what is free.</summary>
    public ByteSize? HostMemory { get; set; }

    /// <summary>Host memory that blocks of the KV cache may keep when nobody uses them, for requests that begin alike. Default: all that the KV cache may take. Zero keeps none.</summary>
    public ByteSize? KeptMemory { get; set; }

    /// <summary>Requests that may wait for their turn. One more is refused with a <see cref="QueueFullException"/>. An answer that had begun and waits for memory is not counted. Default: 256.</summary>
    public int? MaxQueuedRequests { get; set; }

    /// <summary>
    /// Share of the time that answers get while prompts are read, from 0 to 0.95. What is left is the prompts'. Default: 0.65,
    /// so that an answer keeps half of its speed or more: to change takes time too.
    /// </summary>
    public double? AnswerShare { get; set; }

    /// <summary>
    /// Tokens of an answer that one pass computes beside the next one, on the guess that what is being written stands in the
    /// context already. Only those that come are kept, so an answer is the same, also with a temperature and a seed. How many
    /// are guessed follows from how often they came and from what a pass takes; none where that does not pay. 0 to 15; default: 15.
    /// </summary>
    public int? DraftTokens { get; set; }

    /// <summary>Tokens a session may hold. Default: what the model was made for; more is allowed and is the caller's risk.</summary>
    public int? MaxContextTokens { get; set; }

    /// <summary>Tokens of a page of the KV cache. Default: 256.</summary>
    public int? PageTokens { get; set; }

    /// <summary>Tokens that are streamed to the device at once, for a whole head group. Default: 2,048; on a GPU what makes 64 MiB.</summary>
    public int? TileTokens { get; set; }

    /// <summary>KV heads of a layer that move and attend together at most. Default: all; on a GPU fewer, down to one, as the context grows.</summary>
    public int? HeadGroupSize { get; set; }

    /// <summary>Tokens that a layer processes before the next layer starts, during prefill. Default: as many as the workspace holds.</summary>
    public int? SegmentTokens { get; set; }

    /// <summary>Tokens that go through the linear layers at once. Default: 256; on a GPU up to 4,096.</summary>
    public int? ChunkTokens { get; set; }

    /// <summary>
    /// Where each head is attended. Default on the CPU: <see cref="HeadPlacement.Host"/>. Default on a GPU: all heads are
    /// <see cref="HeadPlacement.Streamed"/>, but for the first tokens of each context, which have copies on the GPU as long as
    /// there is room, and but for what the CPU attends of the others (<see cref="HostShare"/>).
    /// </summary>
    public Func<HeadKey, HeadPlacement>? Placement { get; set; }

    /// <summary>
    /// With a GPU the share of the heads that the CPU attends in host memory while answers are generated, beside those that are
    /// streamed; of tokens that have copies on the GPU it attends none. That is for one answer: of several at once it attends
    /// fewer, as it computes for each. 0 turns it off. Default: as memory and link were measured when the model was loaded. 0 to 1.
    /// </summary>
    public double? HostShare { get; set; }

    /// <summary>
    /// File in which the rates of host memory and of the link to the GPU are kept, with their date. They are measured when a model
    /// is first loaded, in a second or two, and heads are shared between GPU and CPU by them. Default: <c>HeadInfer/rates.json</c>
    /// in the user's local application data. Empty keeps none.
    /// </summary>
    public string? RatesFile { get; set; }

    /// <summary>Measures the rates of <see cref="RatesFile"/> again: after a change of the machine, or if it was busy the last time. Default: false.</summary>
    public bool MeasureRates { get; set; }

    /// <summary>Threads that compute for this model. Default: one a core, or what another model of the process was given before.</summary>
    public int? Threads { get; set; }

    /// <summary>
    /// Leaves out the cap of attention scores that Gemma 2 was trained with, as transformers' default (SDPA) attention
    /// does. Default: false; the cap is kept, as its authors and transformers' eager attention have it.
    /// </summary>
    public bool IgnoreAttentionSoftCap { get; set; }

    /// <summary>A copy for a model: what the caller changes later is not the model's, and no caller who is warned ends its work.</summary>
    internal HeadInferOptions ForModel() => this with { Warning = Warning is { } told ? text => Tell(told, text) : null };

    private static void Tell(Action<string> all, string text)
    {
        foreach (var told in Delegate.EnumerateInvocationList(all))
        {
            try
            {
                told(text);
            }
            catch (Exception)
            {
                // There is nobody to tell; the others are still told of the warning.
            }
        }
    }

    /// <summary>Checks every property once.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A property is out of range; the message names it.</exception>
    internal void Validate()
    {
        Check(nameof(MaxContextTokens), MaxContextTokens, 1 << 30);
        Check(nameof(PageTokens), PageTokens, 1 << 20);
        Check(nameof(TileTokens), TileTokens, 1 << 24);
        Check(nameof(HeadGroupSize), HeadGroupSize, 1 << 16);
        Check(nameof(SegmentTokens), SegmentTokens, 1 << 24);
        Check(nameof(ChunkTokens), ChunkTokens, 1 << 24);
        Check(nameof(Threads), Threads, 4096);
        Check(nameof(MaxQueuedRequests), MaxQueuedRequests, 1 << 24);
        CheckMemory(nameof(KeptMemory), KeptMemory, least: 0);
        if (AnswerShare is { } share && !(share is >= 0 and <= 0.95))
        {
            throw new ArgumentOutOfRangeException(nameof(AnswerShare), share, "HeadInferOptions.AnswerShare must be from 0 to 0.95.");
        }

        if (DraftTokens is < 0 or > PromptLookup.Most)
        {
            throw new ArgumentOutOfRangeException(nameof(DraftTokens), DraftTokens, $"HeadInferOptions.DraftTokens must be from 0 to {PromptLookup.Most}.");
        }

        if (HostShare is { } onHost && !(onHost is >= 0 and <= 1))
        {
            throw new ArgumentOutOfRangeException(nameof(HostShare), onHost, "HeadInferOptions.HostShare must be from 0 to 1.");
        }

        CheckMemory(nameof(HostMemory), HostMemory, least: 1);
        CheckMemory(nameof(GpuMemory), GpuMemory, least: 1);
        CheckMemory(nameof(ResidentMemory), ResidentMemory, least: 0);
        CheckName(nameof(Device), Device);
        CheckName(nameof(ComputeType), ComputeType ?? default);
        CheckName(nameof(KvCacheType), KvCacheType ?? default);
        CheckName(nameof(FusedAttention), FusedAttention ?? default);
        if (RopeScaling?.Fault is { } fault)
        {
            throw new ArgumentOutOfRangeException(nameof(RopeScaling), RopeScaling, $"HeadInferOptions.RopeScaling.{fault}.");
        }

        if (GpuIndex is < 0)
        {
            throw new ArgumentOutOfRangeException(nameof(GpuIndex), GpuIndex, "HeadInferOptions.GpuIndex must be 0 or more.");
        }
    }

    /// <summary>The type of keys and values in pages.</summary>
    /// <param name="computed">the type that is computed in</param>
    /// <param name="onGpu">whether a GPU computes</param>
    /// <exception cref="ArgumentException">A GPU cannot honour <see cref="KvCacheType"/>.</exception>
    internal ScalarType KvTypeFor(ScalarType computed, bool onGpu)
    {
        var type = KvCacheType is { } chosen ? DataTypes.Of(chosen) : computed;
        return type == computed || !onGpu ? type : throw new ArgumentException(
            $"HeadInferOptions.KvCacheType cannot be {KvCacheType}: on a GPU the KV cache has the type that is computed in, here {computed}. Leave it out, or set ComputeType to {KvCacheType} too.");
    }

    /// <summary>Refuses what the CPU cannot honour.</summary>
    /// <exception cref="ArgumentException">A property asks for a GPU; the message names it.</exception>
    internal void ValidateForCpu()
    {
        var name = GpuIndex is not null ? nameof(GpuIndex)
            : GpuMemory is not null ? nameof(GpuMemory)
            : ResidentMemory is not null ? nameof(ResidentMemory)
            : FusedAttention is not null ? nameof(FusedAttention)
            : HostShare is not null ? nameof(HostShare)
            : ComputeType is not null and not Runtime.ComputeType.Float32 ? nameof(ComputeType)
            : null;
        if (name is not null)
        {
            throw new ArgumentException($"HeadInferOptions.{name} is for a GPU, and this model computes on the CPU (in float32, whatever its checkpoint has). Leave it out, or set Device to Cuda.", name);
        }
    }

    private static void CheckMemory(string name, ByteSize? value, long least)
    {
        if (value is { } size && size.Bytes < least)
        {
            throw new ArgumentOutOfRangeException(name, size, $"HeadInferOptions.{name} must be {(least > 0 ? "more than nothing" : "nothing or more")}.");
        }
    }

    private static void CheckName<T>(string name, T value)
        where T : struct, Enum
    {
        if (!Enum.IsDefined(value))
        {
            throw new ArgumentOutOfRangeException(name, value, $"HeadInferOptions.{name} is none of {string.Join(", ", Enum.GetNames<T>())}.");
        }
    }

    private static void Check(string name, int? value, int most)
    {
        if (value is { } number && (number < 1 || number > most))
        {
            throw new ArgumentOutOfRangeException(name, number, $"HeadInferOptions.{name} must be from 1 to {most}.");
        }
    }
}
