using HeadInfer.Runtime.Checkpoints;
using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Weights;

/// <summary>A matrix of which rows are looked up, and that nothing is multiplied by. It lies in host memory, whatever computes: a token reads one row.</summary>
/// <remarks>
/// Rows are gathered by the CPU and copied to the device. Those of a step go through memory of their own, which is written again
/// when the copy before has ended. Belongs to the engine's thread.
/// </remarks>
internal sealed unsafe class RowTable : IDisposable
{
    private readonly Device _device;
    private readonly ScalarType _type;
    private readonly Tensor _memory, _staged;
    private readonly Tensor? _dense; // [rows, columns], a view
    private readonly WeightMatrix _matrix;
    private readonly IDisposable? _pin;
    private readonly Fence _copied;

    /// <param name="device">gets the rows</param>
    /// <param name="type">the type that is computed in</param>
    /// <param name="memory">the rows, on the CPU: of the packing's type, or bytes; owned</param>
    /// <param name="packing">how they lie</param>
    /// <param name="rows">of the matrix</param>
    /// <param name="columns">of the matrix</param>
    public RowTable(Device device, ScalarType type, Tensor memory, Packing packing, int rows, int columns)
    {
        (_device, _type, _memory) = (device, type, memory.DetachFromDisposeScope());
        _matrix = new WeightMatrix([new WeightPart(TensorMemory.Pointer(memory), packing, rows)], 0, columns);
        _dense = packing is DensePacking ? memory.view(rows, columns).DetachFromDisposeScope() : null;
        _staged = empty([RowKernels.MostRows, columns], ScalarType.Float32).DetachFromDisposeScope();
        try
        {
            _pin = device.Pin(TensorMemory.Pointer(_staged), _staged.NumberOfElements * sizeof(float));
            _copied = device.CreateFence();
        }
        catch
        {
            _pin?.Dispose();
            _dense?.Dispose();
            _staged.Dispose();
            throw;
        }
    }

    /// <summary>How rows lie in host memory: as they are stored, but for numbers that are rounded to the type that is computed in.</summary>
    public static Packing LayOut(Packing stored, ScalarType type) => stored is DensePacking && type != ScalarType.Float32 ? new DensePacking(type) : stored;

    /// <summary>Reads one.</summary>
    /// <exception cref="CheckpointException">It is not there in this shape, or its file has been changed since it was opened.</exception>
    public static RowTable Read(Checkpoint checkpoint, string name, long rows, long columns, Device device, ScalarType type)
    {
        checkpoint.Require(name, [rows, columns]);
        var packing = LayOut(checkpoint.Tensors[name].Packing, type);
        var memory = (packing is DensePacking { Type: var its } ? empty([rows, columns], its) : empty([rows * packing.RowBytes(columns)], ScalarType.Byte)).DetachFromDisposeScope();
        try
        {
            if (packing is DensePacking)
            {
                checkpoint.Read(name, memory);
            }
            else
            {
                checkpoint.ReadStored(name, [rows, columns], memory);
            }

            return new RowTable(device, type, memory, packing, (int)rows, (int)columns);
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    /// <summary>Rows by their numbers.</summary>
    /// <param name="numbers">[n], int64, on the CPU</param>
    /// <returns>[n, columns], on the device, in the type that is computed in</returns>
    public Tensor Lookup(Tensor numbers)
    {
        using var scope = NewDisposeScope();
        if (_dense is not null)
        {
            return _dense.index_select(0, numbers).to(_type).to(_device.Torch).MoveToOuterDisposeScope();
        }

        var (which, columns) = (numbers.data<long>().ToArray(), _matrix.Columns);
        var rows = empty([which.Length, columns], ScalarType.Float32);
        var to = (nint)TensorMemory.Address(rows);
        Parallel.For(0, which.Length, i => HostProducts.Unpack(_matrix, (int)which[i], (int)which[i] + 1, (float*)to + ((long)i * columns)));
        return rows.to(_type).to(_device.Torch).MoveToOuterDisposeScope();
    }

    /// <summary>The same for a few rows, times a factor.</summary>
    public void Lookup(ReadOnlySpan<int> numbers, double scale, RowBuffer to)
    {
        _device.Block(_copied);
        var (staged, columns) = (TensorMemory.Pointer(_staged), _matrix.Columns);
        for (var i = 0; i < numbers.Length; i++)
        {
            var row = (float*)staged + ((long)i * columns);
            HostProducts.Unpack(_matrix, numbers[i], numbers[i] + 1, row);
            for (var column = 0; scale != 1 && column < columns; column++)
            {
                row[column] *= (float)scale;
            }
        }

        _device.CopyFromHost(staged, to.Address, (long)numbers.Length * columns * sizeof(float));
        _device.Record(WorkQueue.Compute, _copied);
    }

    public void Dispose()
    {
        _device.Block(_copied);
        _pin?.Dispose();
        _copied.Dispose();
        _dense?.Dispose();
        _staged.Dispose();
        _memory.Dispose();
    }
}
