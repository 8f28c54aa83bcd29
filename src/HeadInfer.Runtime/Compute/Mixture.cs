namespace HeadInfer.Runtime.Compute;

/// <summary>How a router chooses experts.</summary>
/// <param name="PerToken">experts of a token</param>
/// <param name="OfChosen">whether a token's shares are of its experts; else of all</param>
internal sealed record Routing(int PerToken, bool OfChosen)
{
    /// <summary>Scores are sigmoids of the logits; else their softmax.</summary>
    public bool Sigmoid { get; init; }

    /// <summary>[experts] added to the scores where they are compared, and there alone; null for none. Float32.</summary>
    public IReadOnlyList<float>? Correction { get; init; }

    /// <summary>[experts] factors of their shares; null for one each.</summary>
    public IReadOnlyList<float>? ExpertFactors { get; init; }

    /// <summary>Groups of neighbouring experts.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>Shares are factors of what experts see; else of what they give.</summary>
    public bool OfInputs { get; init; }

    /// <summary>Groups whose experts may be chosen: those whose two best are best; by softmax those whose best is.</summary>
    public int KeptGroups { get; init; } = 1;

    /// <summary>Factor of all shares.</summary>
    public double Scale { get; init; } = 1;
}

/// <summary>Experts of a layer, as kernels for few rows take them.</summary>
/// <param name="experts">gate above up, hidden -> 2 * width; and down, width -> hidden</param>
/// <param name="routing">how they are chosen</param>
/// <param name="activation">as the configuration names it</param>
internal sealed class Mixture(IReadOnlyList<(WeightMatrix GateUp, WeightMatrix Down)> experts, Routing routing, string activation)
{
    public IReadOnlyList<(WeightMatrix GateUp, WeightMatrix Down)> Experts => experts;

    public Routing Routing => routing;

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
