namespace HeadInfer.Runtime.Compute;

/// <param name="Count">query heads</param>
/// <param name="Dim">dimensions of a head</param>
internal readonly record struct HeadShape(int Count, int KvHeads, int Dim)
{
    /// <summary>Query heads that share a KV head.</summary>
    public int Shared => Count / KvHeads;

    /// <summary>Numbers of a token's queries.</summary>
    public int Queries => Count * Dim;

    /// <summary>Numbers of a token's keys, and of its values.</summary>
    public int Keys => KvHeads * Dim;

    /// <summary>Numbers of all of them.</summary>
    public int Width => Queries + (2 * Keys);
}
