using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Joins parts of attention into the whole, exactly, through their log-sum-exp, in float32.</summary>
/// <remarks>
/// With <c>m = max(lse_i)</c>: <c>out = sum(exp(lse_i - m) out_i) / sum(exp(lse_i - m))</c>. Windows and soft caps belong
/// inside a part, so this never knows the model.
/// </remarks>
internal sealed class AttentionMerge : IDisposable
{
    private readonly long[] _shape; // [batch, group, rows, dim]
    private Tensor? _output;        // float32
    private Tensor? _lse;           // [batch, group, rows]

    public AttentionMerge(long[] queryShape) => _shape = queryShape;

    /// <summary>The merged output [batch, group, rows, dim], owned by the merge; every row must have had a part.</summary>
    public Tensor Output => _output ?? throw new InvalidOperationException("No part of attention was added.");

    /// <summary>Adds a part of some rows.</summary>
    /// <param name="firstRow">first of the rows</param>
    /// <param name="output">[batch, group, rows of the part, dim]; may be taken over</param>
    /// <param name="lse">[batch, group, rows of the part]; may be taken over</param>
    public void Add(int firstRow, Tensor output, Tensor lse)
    {
        var rows = output.shape[2];
        if (_output is null && rows == _shape[2])
        {
            (_output, _lse) = (output.to(ScalarType.Float32).DetachFromDisposeScope(), lse.DetachFromDisposeScope());
            return;
        }

        _output ??= zeros(_shape, ScalarType.Float32, output.device).DetachFromDisposeScope();
        _lse ??= full(_shape[..3], double.NegativeInfinity, ScalarType.Float32, output.device).DetachFromDisposeScope();
        using var outSoFar = _output.narrow(2, firstRow, rows);
        using var lseSoFar = _lse!.narrow(2, firstRow, rows);
        using var total = logaddexp(lseSoFar, lse);
        using var kept = lseSoFar.sub_(total).exp_().unsqueeze(-1);
        using var added = (lse - total).exp_().unsqueeze(-1);
        outSoFar.mul_(kept).addcmul_(output.to(ScalarType.Float32), added, 1);
        lseSoFar.copy_(total);
    }

    public void Dispose()
    {
        _output?.Dispose();
        _lse?.Dispose();
    }
}
