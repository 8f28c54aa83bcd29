using System.Runtime.InteropServices;
using HeadInfer.Runtime.Attention;
using HeadInfer.Runtime.Cache;
using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Decoder;
using HeadInfer.Runtime.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Sessions;

/// <summary>A sequence: its tokens and the attention that remembers them. Belongs to the engine thread.</summary>
/// <remarks>
/// Appending is atomic: it happens whole or, when cancelled or failed, not at all. Rows of tokens that are no longer part
/// of the sequence (a cancelled prefill's finished segments, a truncated tail) stay in their pages until others overwrite
/// them; when the same tokens are appended again, they are taken from there instead of being computed.
/// </remarks>
internal sealed class SequenceState(TransformerDecoder decoder, ISequenceAttention attention, int segmentTokens) : IDisposable
{
    private readonly List<int> _tokens = [];
    private bool _disposed;
    private List<int> _retained = []; // what the rows from Length on were computed from

    public ISequenceAttention Attention => attention;

    /// <summary>How many of these tokens need no computing; the last one always does, for its logits.</summary>
    public int CountRetained(ReadOnlySpan<int> tokens) =>
        tokens.IsEmpty ? 0 : tokens[..^1].CommonPrefixLength(CollectionsMarshal.AsSpan(_retained));

    /// <summary>Appends tokens.</summary>
    /// <param name="tokens">one at least</param>
    /// <param name="work">told of the work done; may cancel</param>
    /// <param name="everyToken">whether the outputs of all tokens are wanted, not of the last alone</param>
    /// <param name="computed">given the residual stream [outputs, hidden] of each segment that has some</param>
    public void Append(ReadOnlySpan<int> tokens, WorkMeter work, bool everyToken, Action<Tensor> computed)
    {
        ObjectDisposedException.ThrowIf(_disposed, typeof(HeadInferSession)); // the caller may have, while this waited
        var start = attention.Length;
        attention.Reserve(tokens.Length);
        try
        {
            var done = CountRetained(tokens);
            attention.Advance(done);
            while (done < tokens.Length)
            {
                var segment = tokens.Slice(done, Math.Min(segmentTokens, tokens.Length - done));
                _retained = _retained.GetRange(0, Math.Min(_retained.Count, done)); // the rest is about to be overwritten
                var outputs = everyToken ? segment.Length : done + segment.Length == tokens.Length ? 1 : 0;
                using var hidden = decoder.Forward(segment, outputs, attention, work);
                attention.Advance(segment.Length);
                done += segment.Length;
                if (outputs > 0)
                {
                    computed(hidden);
                }
            }
        }
        catch
        {
            _retained = tokens[..(attention.Length - start)].ToArray().ToList();
            attention.Truncate(start);
            throw;
        }

        _tokens.AddRange(tokens);
        _retained = [];
    }

    /// <summary>Appends tokens and gives the logits after the last one.</summary>
    public void Append(ReadOnlySpan<int> tokens, WorkMeter work, Span<float> logits)
    {
        Tensor? last = null;
        try
        {
            Append(tokens, work, everyToken: false, hidden => last = decoder.Logits(hidden));
            TensorMemory.Read(last!, logits);
        }
        finally
        {
            last?.Dispose();
        }
    }

    /// <summary>Appends tokens without computing them: their keys and values are random, from a normal distribution.</summary>
    public void Fill(int tokens, ModelConfig config)
    {
        var tiled = (TiledAttention)attention;
        attention.Reserve(tokens);
        foreach (var segment in new TokenRange(0, tokens).Split(segmentTokens))
        {
            attention.Begin(segment.Count, 0);
            for (var layer = 0; layer < config.Layers; layer++)
            {
                using var scope = NewDisposeScope();
                var rows = attention.Stages ? attention.Stage() : empty(config.KvHeads, 2, segment.Count, config.HeadDim);
                tiled.Keep(layer, rows.normal_());
            }

            attention.Advance(segment.Count);
        }

        _tokens.AddRange(new int[tokens]);
        _retained = [];
    }

    /// <summary>Forgets the tokens from <paramref name="length"/> on.</summary>
    public void Truncate(int length)
    {
        ObjectDisposedException.ThrowIf(_disposed, typeof(HeadInferSession));
        if (length < _tokens.Count)
        {
            _retained = [.. _tokens.GetRange(length, _tokens.Count - length), .. _retained];
            _tokens.RemoveRange(length, _tokens.Count - length);
            attention.Truncate(length);
        }
    }

    public void Dispose()
    {
        _disposed = true;
        attention.Dispose();
    }
}
