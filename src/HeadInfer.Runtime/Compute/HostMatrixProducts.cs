using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Products of many rows and a matrix in host memory, which is unpacked a few rows at a time, in a cache.</summary>
/// <remarks>
/// A number of the result is the sum of its products in one order, 256 at a time: it is the same, to the bit, whatever rows are beside it
/// and however the matrix lies.
///
/// Written because libtorch's products of float32 (MKL's) use half the width of vectors of 512 bits on processors that are not Intel's: 155
/// of 400 GFLOP/s on two cores of Zen 5. Without such vectors libtorch's are as good.
/// </remarks>
/// <param name="team">who shares the work; not owned</param>
internal sealed unsafe class HostMatrixProducts(HostTeam team) : IDisposable
{
    private const int TileRows = HostTile.Rows, TileColumns = HostTile.Columns;
    private const int Depth = 256;          // columns of x that are added before a tile is left: a multiple of every packing's blocks
    private const int MostPanels = 4;       // of 32 rows of the matrix and 256 columns, which stay in the second cache
    private const int MostPacked = 1 << 20; // numbers of x that are packed at a time, if those of 256 columns are not more

    private Tensor? _memory;

    /// <summary>The product of all rows of the matrix.</summary>
    /// <param name="x">[n, columns], contiguous</param>
    /// <param name="weight">the matrix</param>
    /// <returns>[n, rows]</returns>
    public Tensor Multiply(Tensor x, WeightMatrix weight)
    {
        var n = (int)x.shape[0];
        var result = empty([n, weight.Rows], ScalarType.Float32);
        var tiles = (n + TileRows - 1) / TileRows;
        var columns = Math.Max(Depth, MostPacked / (tiles * TileRows) / Depth * Depth);
        var panels = (weight.Rows + TileColumns - 1) / TileColumns;
        var together = Math.Clamp(panels / (8 * team.Size), 1, MostPanels);
        var work = new Work(weight, HostMath.Address(x), n, HostMath.Address(result), tiles, panels, together);

        // Where there are fewer groups of panels than would keep everyone busy, rows of x are split too.
        var groups = (panels + together - 1) / together;
        var splits = Math.Clamp(2 * team.Size / groups, 1, Math.Max(1, tiles / 8));
        var own = ((long)(together * TileColumns) + TileColumns) * Depth;
        var packed = (long)tiles * TileRows * Math.Min(columns, (weight.Columns + Depth - 1) / Depth * Depth);
        var memory = Memory(packed + (team.Size * own));
        for (var start = 0; start < weight.Columns; start += columns)
        {
            var end = Math.Min(weight.Columns, start + columns);
            team.Run(member =>
            {
                var (first, last) = team.Share(member, tiles);
                PackRows(work, first, last, start, end, memory);
            });
            var next = 0;
            team.Run(member =>
            {
                var panel = memory + packed + (member * own);
                for (int item; (item = Interlocked.Increment(ref next) - 1) < groups * splits;)
                {
                    var (group, split) = (item / splits, item % splits);
                    var rows = new TokenRange(tiles * split / splits, tiles * (split + 1) / splits);
                    AddGroup(work, group, rows, start, end, memory, panel);
                }
            });
        }

        return result;
    }

    public void Dispose() => _memory?.Dispose();

    // It is kept: the system would have to clear it each time.
    private float* Memory(long count)
    {
        if (_memory is null || _memory.NumberOfElements < count)
        {
            _memory?.Dispose();
            _memory = empty([count], ScalarType.Float32).DetachFromDisposeScope();
        }

        return HostMath.Address(_memory);
    }

    // x as [column blocks, tiles, columns, 12]; rows that a last tile lacks are zero.
    private static void PackRows(in Work work, int first, int last, int start, int end, float* packed)
    {
        for (var at = start; at < end; at += Depth)
        {
            var count = Math.Min(Depth, end - at);
            for (var tile = first; tile < last; tile++)
            {
                var to = packed + ((long)work.Tiles * TileRows * (at - start)) + ((long)tile * TileRows * count);
                var rows = Math.Min(TileRows, work.N - (tile * TileRows));
                if (rows < TileRows)
                {
                    new Span<float>(to, TileRows * count).Clear();
                }

                HostTile.Transpose(work.X + ((long)tile * TileRows * work.Weight.Columns) + at, work.Weight.Columns, rows, count, to, TileRows);
            }
        }
    }

    private static void AddGroup(in Work work, int group, TokenRange tiles, int start, int end, float* packed, float* panels)
    {
        var (firstPanel, lastPanel) = (group * work.Together, Math.Min(work.Panels, (group + 1) * work.Together));
        float* unpacked = panels + ((long)work.Together * TileColumns * Depth);
        for (var at = start; at < end; at += Depth)
        {
            var count = Math.Min(Depth, end - at);
            for (var panel = firstPanel; panel < lastPanel; panel++)
            {
                PackPanel(work.Weight, panel * TileColumns, at, count, unpacked, panels + ((long)(panel - firstPanel) * TileColumns * count));
            }

            for (var tile = tiles.Start; tile < tiles.End; tile++)
            {
                var x = packed + ((long)work.Tiles * TileRows * (at - start)) + ((long)tile * TileRows * count);
                for (var panel = firstPanel; panel < lastPanel; panel++)
                {
                    AddTile(work, tile, panel, x, panels + ((long)(panel - firstPanel) * TileColumns * count), at, count);
                }
            }
        }
    }

    // [count, 32]; rows beyond the matrix's end are zero.
    private static void PackPanel(WeightMatrix weight, int row, int start, int count, float* unpacked, float* panel)
    {
        var (rows, at) = (Math.Min(TileColumns, weight.Rows - row), 0);
        if (rows < TileColumns)
        {
            new Span<float>(panel, TileColumns * count).Clear();
        }

        foreach (var part in weight.Parts)
        {
            var bytes = part.Packing.RowBytes(weight.Columns);
            for (var i = Math.Max(row, at); i < Math.Min(row + rows, at + part.Rows); i++)
            {
                part.Packing.UnpackPart((byte*)part.Address + ((i - at) * bytes), weight.Columns, start, count, unpacked + ((i - row) * Depth));
            }

            at += part.Rows;
        }

        HostTile.Transpose(unpacked, Depth, rows, count, panel, TileColumns);
    }

    private static void AddTile(in Work work, int tile, int panel, float* x, float* weights, int start, int count)
    {
        int row = tile * TileRows, column = panel * TileColumns, stride = work.Weight.Rows;
        var (rows, columns) = (Math.Min(TileRows, work.N - row), Math.Min(TileColumns, stride - column));
        float* target = work.Output + ((long)row * stride) + column;
        if (rows == TileRows && columns == TileColumns)
        {
            HostTile.Add(x, 1, TileRows, weights, target, stride, count, start > 0);
        }
        else
        {
            var whole = stackalloc float[TileRows * TileColumns];
            for (var i = 0; start > 0 && i < rows; i++)
            {
                new ReadOnlySpan<float>(target + ((long)i * stride), columns).CopyTo(new Span<float>(whole + (i * TileColumns), columns));
            }

            HostTile.Add(x, 1, TileRows, weights, whole, TileColumns, count, start > 0);
            for (var i = 0; i < rows; i++)
            {
                new ReadOnlySpan<float>(whole + (i * TileColumns), columns).CopyTo(new Span<float>(target + ((long)i * stride), columns));
            }
        }

        var bias = (float*)work.Weight.Bias;
        for (var i = 0; bias is not null && start + count == work.Weight.Columns && i < rows; i++)
        {
            for (var j = 0; j < columns; j++)
            {
                target[((long)i * stride) + j] += bias[column + j];
            }
        }
    }

    /// <summary>What is multiplied.</summary>
    /// <param name="weight">the matrix</param>
    /// <param name="x">[n, columns]</param>
    /// <param name="n">rows of x</param>
    /// <param name="output">[n, rows], written</param>
    /// <param name="tiles">of 12 rows of x</param>
    /// <param name="panels">of 32 rows of the matrix</param>
    /// <param name="together">panels that are unpacked at a time</param>
    private readonly struct Work(WeightMatrix weight, float* x, int n, float* output, int tiles, int panels, int together)
    {
        public readonly WeightMatrix Weight = weight;
        public readonly float* X = x, Output = output;
        public readonly int N = n, Tiles = tiles, Panels = panels, Together = together;
    }
}
