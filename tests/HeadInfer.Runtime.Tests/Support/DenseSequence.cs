using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Sequences;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Attends a whole sequence, from its beginning, all at once and in float64.</summary>
/// <param name="scale">factor of the scores</param>
/// <param name="windows">of each layer</param>
/// <param name="softCap">cap of the scores, or null</param>
/// <param name="kept">of a layer and its keys and values what attention sees of them; null for these themselves</param>
/// <param name="sinks">of each layer, or null</param>
/// <param name="areChunks">whether windows are chunks</param>
/// <param name="pages">whose keys and values each layer attends, where some have none of their own; or null</param>
internal sealed class DenseSequence(double scale, IReadOnlyList<int?> windows, double? softCap, Func<int, Tensor, Tensor>? kept, IReadOnlyList<Tensor?>? sinks = null, IReadOnlyList<int>? pages = null, bool areChunks = false) : IBatchAttention, IAttentionPass
{
    private readonly Dictionary<int, Tensor> _lent = []; // by pages

    public bool Stages => false;

    public IAttentionPass Begin(Batch batch, WorkMeter work) =>
        batch.Sequences[0].Length == 0 ? this : throw new InvalidOperationException("It remembers nothing.");

    public Tensor Stage(int layer) => throw new InvalidOperationException();

    public void Attend(int layer, Tensor queries, Tensor? own, Tensor output)
    {
        using var scope = NewDisposeScope();
        if (own is not null && pages is not null)
        {
            _lent[pages[layer]] = own.clone().DetachFromDisposeScope();
        }

        var kv = own ?? _lent[pages![layer]];
        kv = kept?.Invoke(pages?[layer] ?? layer, kv) ?? kv;
        output.copy_(DenseAttention.Attend(queries, kv.select(1, 0).transpose(0, 1), kv.select(1, 1).transpose(0, 1), scale, windows[layer], softCap, sinks: sinks is { Count: > 0 } ? sinks[layer] : null, isChunk: areChunks));
    }

    public void Dispose()
    {
        foreach (var kv in _lent.Values)
        {
            kv.Dispose();
        }

        _lent.Clear();
    }

    /// <summary>Logits of every token, by a model's decoder. On its thread.</summary>
    public static float[] Logits(HeadInferModel model, int[] tokens, double? softCap, Func<int, Tensor, Tensor>? kept = null)
    {
        using var pool = new BlockPool(new PageShape(1, tokens.Length, 1, ScalarType.Float32), 1, ByteSize.FromMiB(1) + (model.Attention.Pool.State.Size * 2), ByteSize.Zero, model.Hardware, state: model.Attention.Pool.State);
        using var sequence = new Sequence(pool, "");
        sequence.Rotate(model.Config.RotationOf(tokens.Length));
        using var hidden = model.Decoder.Forward(Batch.Prefill(sequence, tokens, tokens.Length), new DenseSequence(model.Config.AttentionScale, model.Config.KvWindows, softCap, kept, model.Attention.Sinks, model.Attention.Layout.LayerPages, model.Config.Family.Chunked), WorkMeter.None);
        return [.. model.LogitsOf(hidden).SelectMany(row => row)];
    }
}
