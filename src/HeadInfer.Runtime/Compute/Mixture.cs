namespace HeadInfer.Runtime.Compute;

/// <summary>Experts of a layer, as kernels for few rows take them.</summary>
/// <param name="experts">gate above up, hidden -> 2 * width; and down, width -> hidden</param>
/// <param name="perToken">how many see a token</param>
/// <param name="sharesOfChosen">whether a token's shares are of its experts; else of all</param>
/// <param name="activation">as the configuration names it</param>
internal sealed class Mixture(IReadOnlyList<(WeightMatrix GateUp, WeightMatrix Down)> experts, int perToken, bool sharesOfChosen, string activation)
{
    public IReadOnlyList<(WeightMatrix GateUp, WeightMatrix Down)> Experts => experts;

    public int PerToken => perToken;

    public bool SharesOfChosen => sharesOfChosen;

    public string Activation => activation;

    /// <summary>Of an expert's intermediate.</summary>
    public int Width => experts[0].Down.Columns;

    public int HiddenSize => experts[0].Down.Rows;
}

/// <summary>What a mixture writes on its way.</summary>
/// <param name="logits">[rows, experts]: the router's</param>
/// <param name="active">[rows, per token * width]</param>
/// <param name="parts">[rows, per token * hidden]</param>
internal sealed class MixtureRows(RowBuffer logits, RowBuffer active, RowBuffer parts) : IDisposable
{
    public RowBuffer Logits => logits;

    public RowBuffer Active => active;

    public RowBuffer Parts => parts;

    public void Dispose()
    {
        logits.Dispose();
        active.Dispose();
        parts.Dispose();
    }
}
