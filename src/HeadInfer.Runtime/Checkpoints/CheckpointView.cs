using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>A checkpoint that shows another's tensors otherwise. Faults are told as the other tells them, which knows its files.</summary>
/// <param name="inner">has the tensors; owned</param>
internal abstract class CheckpointView(Checkpoint inner) : Checkpoint(inner.Path)
{
    public override IReadOnlyDictionary<string, StoredTensor> Tensors => Shown;

    /// <summary>What has the tensors.</summary>
    protected Checkpoint Inner => inner;

    /// <summary>The tensors that are shown: at first those that are there.</summary>
    protected Dictionary<string, StoredTensor> Shown { get; } = new(inner.Tensors, StringComparer.Ordinal);

    public override void Dispose()
    {
        base.Dispose();
        inner.Dispose();
    }

    protected internal override string FileOf(string name) => inner.FileOf(name);

    protected internal override HeadInferException Lacks(string name) => inner.Lacks(name);

    protected internal override HeadInferException IsNoWeight(string name, ScalarType type) => inner.IsNoWeight(name, type);
}
