namespace HeadInfer.Runtime.Compute;

/// <summary>A layer that keeps, in place of keys and values, a matrix a head that it corrects with each token: the gated delta rule.</summary>
/// <remarks>
/// Queries, keys and values go through a short causal convolution of each channel and SiLU; queries and keys are normed to length one.
/// Of each head, with a state S of [key dim, value dim], a decay and a write gate of the token:
/// <c>S *= decay; S += key ⊗ (write * (value - key S)); output = query S / sqrt(key dim)</c>. (Yang et al., "Gated Delta Networks", arXiv 2412.06464.)
/// </remarks>
/// <param name="KeyHeads">heads of queries and keys</param>
/// <param name="ValueHeads">heads of values, a multiple: several share a query and a key</param>
/// <param name="KeyDim">dimensions of a query and of a key</param>
/// <param name="ValueDim">dimensions of a value</param>
/// <param name="Taps">tokens that the convolution sees, the present one among them</param>
internal sealed record RecurrentShape(int KeyHeads, int ValueHeads, int KeyDim, int ValueDim, int Taps)
{
    /// <summary>Added to the squares of queries and keys before they are normed.</summary>
    public const float NormEpsilon = 1e-6f;

    /// <summary>Tokens of a sequence that a step may have. What the convolution has seen is kept of as many before and behind.</summary>
    public const int MostRows = 8;

    /// <summary>Tokens of a prompt that correct a state together: a power of two.</summary>
    public const int Piece = 64;

    /// <summary>Tokens of a prompt that are worked on at once.</summary>
    public const int MostTokens = 16 * Piece;

    /// <summary>Those that share a query and a key lie <see cref="KeyHeads"/> apart; else side by side.</summary>
    public bool SharersApart { get; init; }

    /// <summary>Outputs of all heads.</summary>
    public int Values => ValueHeads * ValueDim;

    /// <summary>What goes through the convolution: queries, keys, values.</summary>
    public int Channels => (2 * KeyHeads * KeyDim) + Values;

    /// <summary>What is remembered of a token as it came: the channels, then the write gate and the decay of each value head.</summary>
    public int Width => Channels + (2 * ValueHeads);

    /// <summary>What a layer projects a token to beside its gates and decays: the channels, then the gates of the outputs.</summary>
    public int Projected => Channels + Values;

    /// <summary>Tokens that are remembered as they came: those that the convolution sees beside the oldest, those that the state has yet to take in, and those of a step.</summary>
    public int Recent => Taps - 1 + (2 * MostRows);

    /// <summary>Numbers of a state: a matrix of each value head.</summary>
    public int StateSize => ValueHeads * KeyDim * ValueDim;

    /// <summary>Numbers that a layer remembers of a sequence: the state, then the recent tokens, each at its position modulo <see cref="Recent"/>.</summary>
    public int Remembered => StateSize + (Recent * Width);

    /// <summary>The query and key of a value head.</summary>
    public int KeyHead(int valueHead) => SharersApart ? valueHead % KeyHeads : valueHead / (ValueHeads / KeyHeads);

    /// <summary>Bytes that working on a prompt takes, in chunks of so many tokens.</summary>
    public long WorkBytes(int chunk)
    {
        var perToken = (3L * Width) + (ValueHeads * ((11L * KeyDim) + (8L * ValueDim) + (6L * Piece)));
        return sizeof(float) * ((Math.Min(chunk + Piece, MostTokens) * perToken) + (((MostTokens / Piece) + 2L) * StateSize));
    }
}

/// <summary>What a layer with a state has besides its projections, all float32.</summary>
/// <param name="Convolution">[channels, taps], the present token's last</param>
/// <param name="Decay">[value heads], negative: how fast a head forgets</param>
/// <param name="DecayBias">[value heads]: added to what a token says of it</param>
/// <param name="Norm">[value dim]: of a head's outputs</param>
internal sealed record RecurrentNumbers(TorchSharp.torch.Tensor Convolution, TorchSharp.torch.Tensor Decay, TorchSharp.torch.Tensor DecayBias, TorchSharp.torch.Tensor Norm);

/// <summary>Rows of a step, neighbours, of one sequence.</summary>
/// <param name="First">the first</param>
/// <param name="Count">how many, <see cref="RecurrentShape.MostRows"/> at most</param>
/// <param name="Memory">address of what the layer remembers of the sequence</param>
/// <param name="Taken">tokens that its state has taken in; no more than <see cref="RecurrentShape.MostRows"/> less than <paramref name="Length"/></param>
/// <param name="Length">tokens of the sequence before these rows; the state takes them in</param>
internal readonly record struct StateRows(int First, int Count, nint Memory, int Taken, int Length);

/// <summary>What a step writes in a layer with a state.</summary>
internal sealed class RecurrentRows(RecurrentShape shape, TorchSharp.torch.Device device) : IDisposable
{
    /// <summary>[rows, channels + values]: what tokens are projected to, and the gates of the outputs.</summary>
    public RowBuffer Inputs { get; } = new(shape.Projected, device);

    /// <summary>[rows, 2 * value heads]: write gates, then decays.</summary>
    public RowBuffer Gates { get; } = new(2 * shape.ValueHeads, device);

    /// <summary>[rows, values].</summary>
    public RowBuffer Outputs { get; } = new(shape.Values, device);

    /// <summary>[rows, channels]: of the rows, and of those before that states take in, what the convolution gives.</summary>
    public RowBuffer Mixed { get; } = new((RecurrentShape.MostRows + 1) * shape.Channels, device);

    public void Dispose() => Array.ForEach((RowBuffer[])[Inputs, Gates, Outputs, Mixed], b => b.Dispose());
}
