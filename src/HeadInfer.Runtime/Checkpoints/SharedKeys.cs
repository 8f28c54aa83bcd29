namespace HeadInfer.Runtime.Checkpoints;

/// <summary>A checkpoint some of whose layers have keys for values, or attend an earlier layer's; read with values of their own, and without keys that nobody reads.</summary>
internal sealed class SharedKeys : Checkpoint
{
    private readonly Checkpoint _inner;
    private readonly Dictionary<string, StoredTensor> _tensors;
    private readonly Dictionary<string, StoredTensor> _keys = new(StringComparer.Ordinal); // by the names of the values that they are

    /// <param name="inner">has the tensors; owned</param>
    /// <param name="config">the model</param>
    public SharedKeys(Checkpoint inner, ModelConfig config)
        : base(inner.Path)
    {
        (_inner, _tensors) = (inner, new(inner.Tensors, StringComparer.Ordinal));
        for (var layer = 0; layer < config.Layers; layer++)
        {
            var (key, value) = (TensorNames.Layer(layer, TensorNames.Key), TensorNames.Layer(layer, TensorNames.Value));
            if (!config.KeepsKeys(layer))
            {
                _tensors.Remove(key);
                _tensors.Remove(value);
                _tensors.Remove(TensorNames.Layer(layer, TensorNames.KeyNorm));
            }
            else if (config.EqualLayers.Contains(layer) && _tensors.TryGetValue(key, out var keys) && !_tensors.ContainsKey(value))
            {
                _keys[value] = keys;
                _tensors[value] = keys with { Name = value };
            }
        }
    }

    public override IReadOnlyDictionary<string, StoredTensor> Tensors => _tensors;

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to) => _inner.ReadBytes(_keys.GetValueOrDefault(tensor.Name, tensor), at, to);

    public override void Dispose()
    {
        base.Dispose();
        _inner.Dispose();
    }
}
