using static TorchSharp.torch;

namespace HeadInfer.Runtime.Attention;

/// <summary>Joins parts of attention into the whole, exactly, through their log-sum-exp, in float32.</summary>
/// <remarks>
/// With <c>m = max(lse_i)</c>: <c>out = sum(exp(lse_i - m) out_i) / sum(exp(lse_i - m))</c>. Windows and soft caps belong
/// inside a part, so this never knows the model. The last part is held back until it is known to be the last: it is then
/// joined straight into its destination, and a sum of two parts is never written in between.
/// </remarks>
internal sealed class AttentionMerge : IDisposable
{
    private readonly long[] _shape; // [batch, group, rows, dim]
    private readonly Device _device;
    private readonly bool _atOnce; // whether the device joins two parts in one pass
    private Tensor? _sum;           // the first part as it came, or float32
    private Tensor? _lse;           // [batch, group, rows]
    private (int FirstRow, Tensor Output, Tensor LogSumExp)? _last;

    /// <param name="queryShape">[batch, group, rows, dim]</param>
    /// <param name="device">where the parts are</param>
    public AttentionMerge(long[] queryShape, Device device) => (_shape, _device, _atOnce) = (queryShape, device, device.Merges((int)queryShape[^1]));

    /// <summary>Adds a part of some rows.</summary>
    /// <param name="output">[batch, group, rows of the part, dim]; taken over</param>
    /// <param name="lse">[batch, group, rows of the part]; taken over</param>
    public void Add(int firstRow, Tensor output, Tensor lse)
    {
        output.DetachFromDisposeScope();
        lse.DetachFromDisposeScope();
        if (_sum is null && output.shape[2] == _shape[2])
        {
            (_sum, _lse) = (output, lse);
            return;
        }

        _sum ??= zeros(_shape, ScalarType.Float32, output.device).DetachFromDisposeScope();
        _lse ??= full(_shape[..3], double.NegativeInfinity, ScalarType.Float32, output.device).DetachFromDisposeScope();
        FoldLast();
        _last = (firstRow, output, lse);
        if (!_atOnce)
        {
            FoldLast(); // nothing is gained by holding it back
        }
    }

    /// <summary>Writes the whole; every row must have had a part. Nothing may be added afterwards.</summary>
    /// <param name="destination">[batch, group, rows, dim]</param>
    public void WriteTo(Tensor destination)
    {
        if (_sum is null)
        {
            throw new InvalidOperationException("No part of attention was added.");
        }

        if (_atOnce && _last is { } last && last.Output.shape[2] == _shape[2])
        {
            _device.Merge(_sum, _lse!, last.Output, last.LogSumExp, destination, null);
            return;
        }

        FoldLast();
        destination.copy_(_sum);
    }

    public void Dispose()
    {
        _sum?.Dispose();
        _lse?.Dispose();
        DisposeLast();
    }

    private void FoldLast()
    {
        if (_last is not var (firstRow, output, lse))
        {
            return;
        }

        using (TorchSharp.torch.NewDisposeScope())
        {
            var rows = output.shape[2];
            if (_sum!.dtype != ScalarType.Float32)
            {
                Replace(ref _sum, _sum.to(ScalarType.Float32));
            }

            var (all, allLse) = (_sum!, _lse!);
            if (!_atOnce)
            {
                Fold(all.narrow(2, firstRow, rows), allLse.narrow(2, firstRow, rows), output, lse);
            }
            else
            {
                // Other threads of the kernel may still read the old log-sum-exp, so the new one has a place of its own.
                var joined = allLse.clone();
                var sum = all.narrow(2, firstRow, rows);
                _device.Merge(sum, allLse.narrow(2, firstRow, rows), output, lse, sum, joined.narrow(2, firstRow, rows));
                Replace(ref _lse, joined);
            }
        }

        DisposeLast();
    }

    private static void Fold(Tensor sum, Tensor lseOfSum, Tensor output, Tensor lse)
    {
        var total = logaddexp(lseOfSum, lse);
        var kept = lseOfSum.sub_(total).exp_().unsqueeze(-1);
        var added = (lse - total).exp_().unsqueeze(-1);
        sum.mul_(kept).addcmul_(output.to(ScalarType.Float32), added, 1);
        lseOfSum.copy_(total);
    }

    private static void Replace(ref Tensor? owned, Tensor by)
    {
        owned!.Dispose();
        owned = by.DetachFromDisposeScope();
    }

    private void DisposeLast()
    {
        _last?.Output.Dispose();
        _last?.LogSumExp.Dispose();
        _last = null;
    }
}
