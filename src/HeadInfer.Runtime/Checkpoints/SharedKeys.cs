namespace HeadInfer.Runtime.Checkpoints;

/// <summary>A checkpoint some of whose layers have keys for values, or attend an earlier layer's; read with values of their own, and without keys that nobody reads.</summary>
internal sealed class SharedKeys : CheckpointView
{
    private readonly Dictionary<string, StoredTensor> _keys = new(StringComparer.Ordinal); // by the names of the values that they are

    /// <param name="inner">has the tensors; owned</param>
    public SharedKeys(Checkpoint inner, ModelConfig config)
        : base(inner)
    {
        for (var layer = 0; layer < config.Layers; layer++)
        {
            var (key, value) = (TensorNames.Layer(layer, TensorNames.Key), TensorNames.Layer(layer, TensorNames.Value));
            if (!config.KeepsKeys(layer))
            {
                Shown.Remove(key);
                Shown.Remove(value);
                Shown.Remove(TensorNames.Layer(layer, TensorNames.KeyNorm));
            }
            else if (config.EqualLayers.Contains(layer) && Shown.TryGetValue(key, out var keys) && !Shown.ContainsKey(value))
            {
                _keys[value] = keys;
                Shown[value] = keys with { Name = value };
            }
        }
    }

    public override void ReadBytes(StoredTensor tensor, long at, Span<byte> to) => Inner.ReadBytes(_keys.GetValueOrDefault(tensor.Name, tensor), at, to);
}
