using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Sequences;

namespace HeadInfer.Runtime.Attention;

/// <summary>What a forward pass attends where: which tokens have copies, and which tiles it takes, in which order.</summary>
/// <param name="batch">what is computed</param>
/// <param name="resident">of each row the copies of layers that see all</param>
/// <param name="windowed">the same of layers with a window; null if there are none</param>
internal sealed class TilePlan(TiledAttention shared, Batch batch, IReadOnlyList<ResidentExtent>[] resident, IReadOnlyList<ResidentExtent>[]? windowed = null)
{
    private static readonly IReadOnlyList<ResidentExtent>[] None = [.. Enumerable.Repeat<IReadOnlyList<ResidentExtent>>([], RowKernels.MostRows)];

    private readonly AttentionLayout _layout = shared.Layout;
    private readonly Dictionary<(int? Window, int Size, int Ahead, int OnHost), List<AttentionPart>> _parts = [];
    private readonly Dictionary<(int Layer, int Ahead), List<TileRequest>> _requests = [];
    private bool? _streams;

    public Visibility View(int layer) => _layout.ViewOf(layer);

    /// <summary>Tokens that a layer is asked for.</summary>
    public int Asked(int layer) => layer == _layout.Layers - 1 && _layout.EndsModel ? batch.Outputs : batch.Tokens.Length;

    /// <summary>Of a row's sequence what a layer attends, the batch's own tokens aside.</summary>
    /// <param name="row">in prefill the only one, of the first token</param>
    /// <param name="ahead">for a pass whose new tokens begin so far behind where they do now</param>
    public TokenRange History(int layer, int row, int ahead = 0)
    {
        var length = batch.Sequences[row].Length + ahead;
        return new TokenRange(Math.Min(length, View(layer).FirstKey(batch.Position(row) + ahead)), length);
    }

    /// <summary>Of the batch's own tokens those that a row of a step sees; its own is the last of them.</summary>
    public TokenRange New(int layer, int row)
    {
        var position = batch.Position(row);
        return new TokenRange(Math.Max(batch.Sequences[row].Length, View(layer).FirstKey(position)), position + 1);
    }

    /// <summary>Of each row what has copies of a layer: of tokens without gaps, from the first that it sees on.</summary>
    public IReadOnlyList<ResidentExtent>[] Copies(int layer) => _layout.Placement is not null || _layout.Windows[layer] is null ? resident : windowed ?? None;

    /// <summary>The heads that <see cref="Copies"/> have.</summary>
    public IReadOnlyList<HeadGroup> CopiedHeads(int layer) => _layout.Placement is not null || _layout.Windows[layer] is null ? shared.ResidentGroups(layer) : [WindowCopies.Whole(_layout, layer)];

    /// <summary>Whether a group attends copies, where there are some.</summary>
    public bool HasCopies(HeadGroup group) => group.Placement == HeadPlacement.Resident || _layout.Placement is null;

    public IReadOnlyList<HeadGroup> Groups(int layer, int ahead = 0) => shared.Groups(
        layer,
        Enumerable.Range(0, batch.Sequences.Count).Max(row => Streamed(layer, row, ahead).Count),
        batch.Phase == Phase.Prefill && shared.MergesApart(batch.Tokens.Length) ? AttentionLayout.MergedHeads(_layout.HeadsOf(layer)) : int.MaxValue,
        batch.Phase == Phase.Decode ? batch.Sequences.Select(s => shared.HostHeadsOf(layer, s)).Where(heads => heads > 0) : []);

    /// <summary>From which token on the host attends a group's keys for a row; beyond all if it does not.</summary>
    public int HostStart(int layer, HeadGroup group, int row) =>
        group.Placement != HeadPlacement.Host || batch.Phase == Phase.Prefill ? int.MaxValue
        : _layout.Placement is not null ? 0
        : group.First >= _layout.HeadsOf(layer).KvHeads - shared.HostHeadsOf(layer, batch.Sequences[row]) ? batch.Sequences[row].OnHost!.Value.Start
        : int.MaxValue;

    /// <summary>The rows for which the host attends some of a group's keys, a bit each.</summary>
    public int RowsOnHost(int layer, HeadGroup group) =>
        Enumerable.Range(0, batch.Sequences.Count).Aggregate(0, (all, row) => HostStart(layer, group, row) < int.MaxValue ? all | (1 << row) : all);

    /// <summary>Whether a group's only query is attended where its keys lie, as that is memory that computes: tiles would not pay.</summary>
    public bool IsInPages(int layer, HeadGroup group) =>
        group.Placement == HeadPlacement.Host && !shared.Pool.Device.IsAsynchronous && (batch.Phase == Phase.Decode || Asked(layer) == 1);

    /// <summary>What of a group's history is streamed, cut into tiles.</summary>
    public IReadOnlyList<AttentionPart> StreamedParts(int layer, HeadGroup group, int ahead = 0)
    {
        if (group.Placement == HeadPlacement.Resident || IsInPages(layer, group))
        {
            return [];
        }

        var size = _layout.TileTokensOf(group, layer);
        size -= size % shared.SplitTokens;
        var key = (_layout.Windows[layer], size, ahead, RowsOnHost(layer, group));
        if (!_parts.TryGetValue(key, out var parts))
        {
            var seen = Enumerable.Range(0, batch.Sequences.Count).Select(row => Streamed(layer, row, ahead, HostStart(layer, group, row)));
            _parts[key] = parts = [.. AttentionPlan.Cut(batch.Sequences, [.. seen], size)];
        }

        return parts;
    }

    /// <summary>In the order they will be asked for: the rest of this pass, then those layers of the next whose new rows are on their way already.</summary>
    /// <remarks>The next pass is taken to be like this one; if it is not, what was fetched is dropped.</remarks>
    public IEnumerable<TileRequest> Upcoming(int layer) => Streams ? AllUpcoming(layer) : [];

    public TileRequest Request(AttentionPart part, int layer, HeadGroup group)
    {
        var sequence = batch.Sequences[part.First];
        return new TileRequest(sequence, sequence.Version, layer, group, part.Keys);
    }

    // Whether there is a tile to ask for: with copies of all that the rows see, now and in the next pass, there is none.
    private bool Streams => _streams ??= _layout.Placement is not null || Enumerable.Range(0, batch.Sequences.Count).Any(row =>
        IsLonger(resident[row], row) || (_layout.Windows.Any(w => w is not null) && IsLonger((windowed ?? None)[row], row)));

    private int Ahead => batch.Phase == Phase.Decode ? 1 : batch.Tokens.Length;

    private bool IsLonger(IReadOnlyList<ResidentExtent> copies, int row) => copies is not [.., var last] || last.Tokens.End < batch.Sequences[row].Length + Ahead;

    private IEnumerable<TileRequest> AllUpcoming(int layer)
    {
        for (var l = layer; l < _layout.Layers; l++)
        {
            foreach (var request in Requests(l, ahead: 0))
            {
                yield return request;
            }
        }

        for (var l = 0; l <= layer && shared.Pool.Device.IsAsynchronous; l++)
        {
            foreach (var request in Requests(l, Ahead))
            {
                yield return request;
            }
        }
    }

    private TokenRange Streamed(int layer, int row, int ahead, int hostStart = int.MaxValue)
    {
        var all = History(layer, row, ahead);
        var copied = _layout.Placement is null && Copies(layer)[row] is [.., var last] ? last.Tokens.End : 0;
        return all.Intersect(new TokenRange(copied, hostStart));
    }

    // What a layer asks for, formed once: every layer looks at those of all that follow.
    private List<TileRequest> Requests(int layer, int ahead)
    {
        if (!_requests.TryGetValue((layer, ahead), out var requests))
        {
            _requests[(layer, ahead)] = requests = Asked(layer) == 0 ? [] : [.. AllRequests(layer, ahead)];
        }

        return requests;
    }

    private IEnumerable<TileRequest> AllRequests(int layer, int ahead)
    {
        foreach (var group in Groups(layer, ahead))
        {
            foreach (var part in StreamedParts(layer, group, ahead))
            {
                yield return Request(part, layer, group);
            }
        }
    }
}
