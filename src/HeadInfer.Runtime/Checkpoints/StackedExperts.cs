using System.Text.RegularExpressions;
using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>A checkpoint in which the experts of a layer may be one tensor; read as matrices of each expert.</summary>
/// <remarks>In 16 and 32 bits some lie transposed, [experts, inputs, outputs], as their shape shows; packed they do not. An expert that lies so is turned as a whole, and kept until the next is asked for.</remarks>
internal sealed partial class StackedExperts : CheckpointView
{
    private const string GateUp = "gate_up_proj", Down = "down_proj";

    private readonly int _hidden;
    private readonly bool _byTurns, _asMatrices;
    private readonly Dictionary<string, Part> _parts = new(StringComparer.Ordinal);
    private byte[] _stored = [], _turned = [];
    private (string Name, long Expert) _kept = ("", -1);

    /// <param name="inner">has the tensors; owned</param>
    /// <param name="hidden">width of the residual stream, by which it shows how experts lie</param>
    /// <param name="byTurns">whether rows of gates and of what they are for lie by turns; else all gates come first</param>
    /// <param name="asMatrices">whether experts whose shape does not show it lie as matrices; else transposed</param>
    /// <exception cref="CheckpointException">Stacks have other shapes than experts have.</exception>
    /// <exception cref="UnsupportedModelException">Stacks are quantized in a way that is not read.</exception>
    public StackedExperts(Checkpoint inner, int hidden, bool byTurns, bool asMatrices)
        : base(inner)
    {
        (_hidden, _byTurns, _asMatrices) = (hidden, byTurns, asMatrices);
        foreach (var stack in inner.Tensors.Values)
        {
            if (Stack().Match(stack.Name) is { Success: true } match)
            {
                Shown.Remove(stack.Name);
                Add(stack, match.Groups["stem"].Value, match.Groups["part"].Value, isBias: match.Groups["end"].Value == "_bias");
            }
        }
    }

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to)
    {
        if (!_parts.TryGetValue(tensor.Name, out var part))
        {
            Inner.ReadBytes(tensor, at, to);
            return;
        }

        var bytes = tensor.Packing.RowBytes(tensor.Shape.Length == 1 ? 1 : tensor.Columns);
        while (!to.IsEmpty)
        {
            var (row, within) = Math.DivRem(at, bytes);
            var (stored, some) = ((row * part.Every) + part.First, (int)Math.Min(bytes - within, to.Length));
            if (part.IsTurned)
            {
                Turn(part);
                _turned.AsSpan((int)((stored * bytes) + within), some).CopyTo(to);
            }
            else
            {
                Inner.ReadBytes(part.Stack, (((part.Expert * part.Rows) + stored) * bytes) + within, to[..some]);
            }

            at += some;
            to = to[some..];
        }
    }

    private void Add(StoredTensor stack, string stem, string part, bool isBias)
    {
        if (stack.Shape.Length != (isBias ? 2 : 3) || stack.Shape.Contains(0))
        {
            throw new CheckpointException($"'{Inner.Path}': tensor '{stack.Name}' has shape [{string.Join(", ", stack.Shape)}]; experts have [experts, {(isBias ? "outputs" : "inputs, outputs")}].");
        }

        if (stack.Packing is DensePacking dense && !DataTypes.IsWeightType(dense.Type))
        {
            throw new UnsupportedModelException($"'{Inner.Path}': the experts of a layer are one tensor of the type {DataTypes.Name(dense.Type)} ('{stack.Name}'), which is not read. Take a folder in which each expert has tensors of its own, one that is not quantized, or a GGUF file of the model.");
        }

        var (own, other) = part == GateUp ? (2, 1) : (1, 2); // which dimension the residual stream has, as matrices lie
        var turned = !isBias && stack.Packing is DensePacking && (stack.Shape[own] != _hidden || (stack.Shape[other] == _hidden && !_asMatrices));
        var (rows, columns) = isBias ? (stack.Shape[1], 1) : turned ? (stack.Shape[2], stack.Shape[1]) : (stack.Shape[1], stack.Shape[2]);
        (string Name, long First)[] names = part == GateUp ? [("gate_proj", 0), ("up_proj", _byTurns ? 1 : rows / 2)] : [(Down, 0)];
        for (var expert = 0L; expert < stack.Shape[0]; expert++)
        {
            foreach (var (name, first) in names)
            {
                var full = $"{stem}{expert}.{name}.{(isBias ? "bias" : "weight")}";
                var count = rows / names.Length;
                Shown[full] = new StoredTensor(full, stack.Packing, isBias ? [count] : [count, columns]);
                _parts[full] = new Part(stack, expert, rows, columns, first, _byTurns ? names.Length : 1, turned);
            }
        }
    }

    // [inputs, outputs] of an expert -> [outputs, inputs]
    private void Turn(Part part)
    {
        if (_kept == (part.Stack.Name, part.Expert))
        {
            return;
        }

        var (size, bytes) = (DataTypes.Size(((DensePacking)part.Stack.Packing).Type), checked((int)(part.Rows * part.Columns * DataTypes.Size(((DensePacking)part.Stack.Packing).Type))));
        if (_stored.Length < bytes)
        {
            (_stored, _turned) = (new byte[bytes], new byte[bytes]);
        }

        _kept = ("", -1);
        Inner.ReadBytes(part.Stack, part.Expert * bytes, _stored.AsSpan(0, bytes));
        for (var column = 0; column < part.Columns; column++)
        {
            for (var row = 0; row < part.Rows; row++)
            {
                _stored.AsSpan((int)((column * part.Rows) + row) * size, size).CopyTo(_turned.AsSpan((int)((row * part.Columns) + column) * size));
            }
        }

        _kept = (part.Stack.Name, part.Expert);
    }

    [GeneratedRegex(@"^(?<stem>.*\.mlp\.experts\.)(?<part>gate_up_proj|down_proj)(?<end>|\.weight|_bias)$", RegexOptions.ExplicitCapture | RegexOptions.CultureInvariant)]
    private static partial Regex Stack();

    /// <summary>Some rows of a stack's expert, from one on: every n-th.</summary>
    private sealed record Part(StoredTensor Stack, long Expert, long Rows, long Columns, long First, int Every, bool IsTurned);
}
