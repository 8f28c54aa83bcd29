using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Our own attention of many queries on the CPU, in float32. It takes windows, chunks, soft caps and heads of any size.</summary>
/// <remarks>
/// Rows of all query heads of a KV head are attended 12 at a time, to 256 keys at a time, which are brought into the order of
/// <see cref="HostTile"/> once for all the rows of a task. What a row does not see has no weight, so no mask is formed.
///
/// Written because libtorch's attention is made of its products; see <see cref="HostMatrixProducts"/>.
/// </remarks>
/// <param name="team">who shares the work; not owned</param>
/// <param name="scale">factor of the scores</param>
/// <param name="softCap">cap of the scores by tanh, or null</param>
internal sealed unsafe class HostSegmentAttention(HostTeam team, double scale, double? softCap) : AttentionKernel(scale)
{
    private const int BlockKeys = 256, MostTiles = 16; // of a task: its rows, and a block of keys and values, stay in the second cache

    public override (Tensor Output, Tensor LogSumExp) Attend(Tensor queries, Tensor keys, Tensor values, TokenRange rows, TokenRange columns, Visibility view)
    {
        var (batch, group, count, dim) = ((int)queries.shape[0], (int)queries.shape[1], (int)queries.shape[2], (int)queries.shape[3]);
        var output = empty([count, batch, group, values.shape[2]], ScalarType.Float32).permute(1, 2, 0, 3); // as layers want it: a token's heads side by side
        var lse = empty([batch, group, count], ScalarType.Float32);
        var part = new Part(new Heads(queries), new Heads(keys), new Heads(values), new Heads(output), HostMath.Address(lse), group, dim, (int)values.shape[2], rows, columns, view);
        var tiles = ((group * count) + HostTile.Rows - 1) / HostTile.Rows;
        var together = Math.Clamp(tiles * batch / (4 * team.Size), 1, MostTiles);
        var tasks = (tiles + together - 1) / together;
        var own = Room.Size(part, together);
        using var memory = empty([team.Size, own], ScalarType.Float32);
        var address = HostMath.Address(memory);
        var next = batch * tasks;
        team.Run(member =>
        {
            var room = new Room(part, together, address + (member * own));
            for (int task; (task = Interlocked.Decrement(ref next)) >= 0;) // from the last, whose rows see most
            {
                var first = task % tasks * together;
                AttendTask(part, task / tasks, new TokenRange(first, Math.Min(tiles, first + together)), room);
            }
        });
        return (output, lse);
    }

    private void AttendTask(in Part part, int head, TokenRange tiles, Room room)
    {
        for (var tile = tiles.Start; tile < tiles.End; tile++)
        {
            Begin(part, head, tile, tile - tiles.Start, room);
        }

        foreach (var block in part.Columns.Split(BlockKeys))
        {
            var packed = false;
            for (var tile = tiles.Start; tile < tiles.End; tile++)
            {
                var seen = part.SeenByTile(tile).Intersect(block);
                if (!seen.IsEmpty)
                {
                    if (!packed)
                    {
                        PackKeys(part, head, block, room);
                        packed = true;
                    }

                    AttendTile(part, tile, tile - tiles.Start, block, seen, room);
                }
            }
        }

        for (var tile = tiles.Start; tile < tiles.End; tile++)
        {
            End(part, head, tile, tile - tiles.Start, room);
        }
    }

    private static void Begin(in Part part, int head, int tile, int at, Room room)
    {
        var queries = room.Queries(at);
        var (first, last) = (tile * HostTile.Rows, Math.Min((tile + 1) * HostTile.Rows, part.AllRows));
        new Span<float>(queries, part.Dim * HostTile.Rows).Clear();
        for (int row = first, some; row < last; row += some)
        {
            var (shared, of) = Math.DivRem(row, part.Rows.Count);
            some = Math.Min(last - row, part.Rows.Count - of);
            HostTile.Transpose(part.Queries.Row(head, shared, of), part.Queries.OfRow, some, part.Dim, queries + (row - first), HostTile.Rows);
        }

        new Span<float>(room.Output(at), HostTile.Rows * room.Width).Clear();
        new Span<ScoreSum>(room.Sums(at), HostTile.Rows).Fill(ScoreSum.None);
    }

    // Keys as [panels, dim, 32], values as [panels, keys, 32]. What a last panel lacks is zero.
    private static void PackKeys(in Part part, int head, TokenRange block, Room room)
    {
        var (first, count) = (block.Start - part.Columns.Start, block.Count);
        for (var at = 0; at < count; at += HostTile.Columns)
        {
            var some = Math.Min(HostTile.Columns, count - at);
            var panel = room.Keys + (at * part.Dim);
            if (some < HostTile.Columns)
            {
                new Span<float>(panel, HostTile.Columns * part.Dim).Clear();
            }

            HostTile.Transpose(part.Keys.Row(head, 0, first + at), part.Keys.OfRow, some, part.Dim, panel, HostTile.Columns);
        }

        for (var at = 0; at < part.ValueDim; at += HostTile.Columns)
        {
            var some = Math.Min(HostTile.Columns, part.ValueDim - at);
            for (var key = 0; key < count; key++)
            {
                var to = new Span<float>(room.Values + (at * BlockKeys) + (key * HostTile.Columns), HostTile.Columns);
                new ReadOnlySpan<float>(part.Values.Row(head, 0, first + key) + at, some).CopyTo(to);
                to[some..].Clear();
            }
        }
    }

    private void AttendTile(in Part part, int tile, int at, TokenRange block, TokenRange seen, Room room)
    {
        // Whole panels of keys, which may have some that no row sees.
        var (from, to) = ((seen.Start - block.Start) / HostTile.Columns * HostTile.Columns, seen.End - block.Start);
        float* queries = room.Queries(at), scores = room.Scores, output = room.Output(at);
        for (var key = from; key < to; key += HostTile.Columns)
        {
            HostTile.Add(queries, 1, HostTile.Rows, room.Keys + (key * part.Dim), scores + key, BlockKeys, part.Dim, add: false);
        }

        for (var i = 0; i < HostTile.Rows; i++)
        {
            var row = (tile * HostTile.Rows) + i;
            var own = row < part.AllRows ? part.SeenBy(row).Intersect(block) : default;
            var (start, end) = own.IsEmpty ? (to, to) : (own.Start - block.Start, own.End - block.Start);
            var of = scores + (i * BlockKeys);
            if (start < end)
            {
                room.Sums(at)[i] = Weigh(of + start, end - start, room.Sums(at)[i], output + (i * room.Width), room.Width);
            }

            new Span<float>(of + from, start - from).Clear();
            new Span<float>(of + end, to - end).Clear();
        }

        for (var column = 0; column < part.ValueDim; column += HostTile.Columns)
        {
            HostTile.Add(scores + from, BlockKeys, 1, room.Values + (column * BlockKeys) + (from * HostTile.Columns), output + column, room.Width, to - from, add: true);
        }
    }

    // Products become weights relative to the largest so far; what was added up before becomes relative to it too.
    private ScoreSum Weigh(float* scores, int count, ScoreSum sum, float* output, int width)
    {
        var maximum = HostSoftmax.Score<WideLane>(scores, count, (float)Scale, (float?)softCap);
        var total = sum.Total;
        if (maximum <= sum.Maximum)
        {
            maximum = sum.Maximum;
        }
        else if (total > 0)
        {
            var factor = MathF.Exp(sum.Maximum - maximum);
            total *= factor;
            for (var i = 0; i < width; i += WideLane.Count)
            {
                WideLane.Multiply(WideLane.Load(output + i), WideLane.All(factor)).Store(output + i);
            }
        }

        return new ScoreSum(maximum, total + HostSoftmax.Weigh<WideLane>(scores, count, maximum));
    }

    private static void End(in Part part, int head, int tile, int at, Room room)
    {
        for (var i = 0; i < HostTile.Rows && (tile * HostTile.Rows) + i < part.AllRows; i++)
        {
            var ((shared, row), sum) = (Math.DivRem((tile * HostTile.Rows) + i, part.Rows.Count), room.Sums(at)[i]);
            float* output = room.Output(at) + (i * room.Width), to = part.Output.Row(head, shared, row);
            for (var column = 0; column < part.ValueDim; column++)
            {
                to[column] = output[column] / sum.Total;
            }

            part.LogSumExp[((((long)head * part.Group) + shared) * part.Rows.Count) + row] = sum.Maximum + MathF.Log(sum.Total);
        }
    }

    /// <summary>Where rows of heads lie: distances in numbers. Keys have no groups.</summary>
    private readonly struct Heads(Tensor tensor)
    {
        private readonly float* _address = (float*)TensorMemory.Pointer(tensor);
        private readonly long _ofHead = tensor.stride(0), _ofGroup = tensor.Dimensions == 4 ? tensor.stride(1) : 0;

        public readonly long OfRow = tensor.stride((int)tensor.Dimensions - 2);

        public float* Row(int head, int shared, int row) => _address + (head * _ofHead) + (shared * _ofGroup) + (row * OfRow);
    }

    /// <summary>What is attended.</summary>
    private readonly struct Part(Heads queries, Heads keys, Heads values, Heads output, float* lse, int group, int dim, int valueDim, TokenRange rows, TokenRange columns, Visibility view)
    {
        public readonly Heads Queries = queries, Keys = keys, Values = values, Output = output;
        public readonly float* LogSumExp = lse;
        public readonly int Group = group, Dim = dim, ValueDim = valueDim;
        public readonly TokenRange Rows = rows, Columns = columns;
        private readonly Visibility _view = view;

        /// <summary>Of all query heads of a KV head, one after another.</summary>
        public int AllRows => Group * Rows.Count;

        /// <summary>The keys that a row sees, if any.</summary>
        public TokenRange SeenBy(int row) => Seen(new TokenRange(Rows.Start + (row % Rows.Count), Rows.Start + (row % Rows.Count) + 1));

        /// <summary>The keys that any row of a tile sees.</summary>
        public TokenRange SeenByTile(int tile)
        {
            var (first, last) = (tile * HostTile.Rows, Math.Min((tile + 1) * HostTile.Rows, AllRows) - 1);
            return first / Rows.Count == last / Rows.Count ? Seen(new TokenRange(Rows.Start + (first % Rows.Count), Rows.Start + (last % Rows.Count) + 1)) : Seen(Rows);
        }

        private TokenRange Seen(TokenRange queries) => _view.Keys(queries, Columns);
    }

    /// <summary>Memory of a member for a task.</summary>
    private readonly struct Room(Part part, int tiles, float* address)
    {
        /// <summary>Of a row of the output: whole panels.</summary>
        public readonly int Width = WidthOf(part);

        private readonly int _dim = part.Dim;
        private readonly float* _queries = address + Fixed(part), _output = address + Fixed(part) + (tiles * HostTile.Rows * part.Dim);
        private readonly float* _sums = address + Fixed(part) + (tiles * HostTile.Rows * (part.Dim + WidthOf(part)));

        /// <summary>[panels, dim, 32]</summary>
        public readonly float* Keys = address;

        /// <summary>[panels, keys, 32]</summary>
        public readonly float* Values = address + (BlockKeys * part.Dim);

        /// <summary>[12, keys]</summary>
        public readonly float* Scores = address + (BlockKeys * (part.Dim + WidthOf(part)));

        /// <summary>[dim, 12]</summary>
        public float* Queries(int tile) => _queries + (tile * HostTile.Rows * _dim);

        /// <summary>[12, width]</summary>
        public float* Output(int tile) => _output + (tile * HostTile.Rows * Width);

        /// <summary>[12]</summary>
        public ScoreSum* Sums(int tile) => (ScoreSum*)_sums + (tile * HostTile.Rows);

        public static long Size(Part part, int tiles) => (Fixed(part) + (tiles * HostTile.Rows * (part.Dim + WidthOf(part) + 2)) + 15) / 16 * 16;

        private static int WidthOf(Part part) => (part.ValueDim + HostTile.Columns - 1) / HostTile.Columns * HostTile.Columns;

        private static int Fixed(Part part) => BlockKeys * (part.Dim + WidthOf(part) + HostTile.Rows);
    }
}
