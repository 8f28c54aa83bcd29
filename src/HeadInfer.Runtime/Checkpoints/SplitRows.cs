namespace HeadInfer.Runtime.Checkpoints;

/// <summary>A checkpoint that holds several matrices of a layer as one, head by head; read as the matrices that the decoder knows.</summary>
internal sealed class SplitRows : CheckpointView
{
    private readonly Dictionary<string, Part> _parts = new(StringComparer.Ordinal);

    /// <param name="inner">has the tensors; owned</param>
    /// <param name="config">the model</param>
    /// <exception cref="CheckpointException">A tensor that is to be split has other rows than it would have.</exception>
    public SplitRows(Checkpoint inner, ModelConfig config)
        : base(inner)
    {
        var kinds = new List<(string Name, int Groups, (string Name, int Rows)[] Parts)>();
        if (config.Family is { GatedAttention: true, GateApart: false })
        {
            kinds.Add((TensorNames.Query, config.Heads, [(TensorNames.Query, config.HeadDim), (TensorNames.QueryGate, config.HeadDim)]));
        }

        if (config.Family.GroupedQkv)
        {
            kinds.Add((TensorNames.QkvFused, config.KvHeads, [(TensorNames.Query, config.Heads / config.KvHeads * config.HeadDim), (TensorNames.Key, config.HeadDim), (TensorNames.Value, config.HeadDim)]));
        }

        if (config.Family.SharedMlp)
        {
            var (width, isBeside) = config.Experts > 0 ? (config.SharedExpertSize, true) : (config.IntermediateSize, false);
            string Name(string part) => isBeside ? TensorNames.SharedExpert(part) : TensorNames.Mlp(part);
            kinds.Add((TensorNames.HybridGates, 1, [(Name(TensorNames.Gate), width), (Name(TensorNames.Up), width)]));
            kinds.Add((TensorNames.HybridDown, 1, [(Name(TensorNames.Down), config.HiddenSize)])); // its name alone is another
        }

        if (config.Recurrent is { } state)
        {
            var (each, value) = (state.ValueHeads / state.KeyHeads, state.ValueHeads / state.KeyHeads * state.ValueDim);
            kinds.Add((TensorNames.StateConvolution, state.Channels, [(TensorNames.StateConvolution, 1)])); // its shape alone is another
            if (state.Space is not null)
            {
                (string Name, int Rows)[] parts = [(TensorNames.StateOutputGate, state.Values), (TensorNames.StateHeads, state.Channels), (TensorNames.StateDecay, state.Gates)];
                kinds.Add((TensorNames.SpaceJoint, 1, parts));
                kinds.Add((TensorNames.BiasOf(TensorNames.SpaceJoint), 1, [.. parts.Select(p => (TensorNames.BiasOf(p.Name), p.Rows))]));
            }

            if (config.Family.JointDelta)
            {
                (string, int) Heads(int rows) => (TensorNames.StateHeads, rows);
                kinds.Add((TensorNames.StateJoint, state.KeyHeads, [Heads(state.KeyDim), Heads(state.KeyDim), Heads(value), (TensorNames.StateOutputGate, value)]));
                kinds.Add((TensorNames.StateJointGates, state.KeyHeads, [(TensorNames.StateWriteGate, each), (TensorNames.StateDecay, each)]));
            }
        }

        foreach (var tensor in inner.Tensors.Values)
        {
            foreach (var (name, groups, parts) in kinds.Where(k => tensor.Name.EndsWith($".{k.Name}", StringComparison.Ordinal)))
            {
                Split(tensor, tensor.Name[..^name.Length], groups, parts);
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
            var run = part.Runs.First(r => row < r.End);
            var (group, rest) = Math.DivRem(row - run.Start, run.Rows);
            var some = (int)Math.Min(((run.Rows - rest) * bytes) - within, to.Length); // the rest of a group's rows are neighbours
            Inner.ReadBytes(part.Whole, (((group * part.GroupRows) + run.First + rest) * bytes) + within, to[..some]);
            at += some;
            to = to[some..];
        }
    }

    // Of each group of rows the first ones are of the first part, and so on; parts of one name follow each other in its matrix.
    private void Split(StoredTensor whole, string layer, int groups, (string Name, int Rows)[] parts)
    {
        var (groupRows, columns, isVector) = (parts.Sum(p => p.Rows), whole.Columns, whole.Shape.Length == 1);
        if ((isVector ? columns : whole.Rows) != (long)groups * groupRows)
        {
            throw new CheckpointException($"'{Inner.Path}': tensor '{whole.Name}' has shape [{string.Join(", ", whole.Shape)}]; the configuration makes it {(long)groups * groupRows} rows.");
        }

        Shown.Remove(whole.Name);
        var first = 0;
        foreach (var (name, rows) in parts)
        {
            var full = layer + name;
            var runs = _parts.GetValueOrDefault(full)?.Runs ?? [];
            var start = runs.Count > 0 ? runs[^1].End : 0;
            runs.Add(new Run(start, start + ((long)groups * rows), first, rows));
            _parts[full] = new Part(whole, groupRows, runs);
            Shown[full] = new StoredTensor(full, whole.Packing, isVector ? [runs[^1].End] : [runs[^1].End, columns]);
            first += rows;
        }
    }

    /// <summary>Some rows of every group of a tensor.</summary>
    private sealed record Part(StoredTensor Whole, int GroupRows, List<Run> Runs);

    /// <summary>Rows of a matrix from a start to an end, that are so many of each group from its first one on.</summary>
    private readonly record struct Run(long Start, long End, int First, int Rows);
}
