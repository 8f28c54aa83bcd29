using System.Runtime.InteropServices;
using static HeadInfer.Runtime.Compute.CudaModule;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Mixtures of few rows on a GPU: which experts a row has is known there alone, and nothing waits for it.</summary>
/// <param name="module">has the kernels</param>
/// <param name="early">whether kernels may start while the one before still runs</param>
internal sealed class CudaMixture(RowTraits traits, CudaModule module, CudaDevice device, bool early) : IDisposable
{
    private const int Warp = 32, Threads = 256, Outputs = 8; // of a block
    private const int MostExperts = 4096;                    // whose logits have room beside a warp

    private readonly nint _route = module.Function("route_rows"), _mix = module.Function("mix_rows"), _gate = module.Function("experts_gate"), _down = module.Function("experts_down");
    private readonly Dictionary<Mixture, (Tensor Experts, Tensor? Correction, Tensor? Factors)> _tables = [];
    private Tensor? _chosen, _shares; // [rows, per token]

    /// <summary>Whether experts lie as kernels take them: all alike, in 16 bits or in tiles.</summary>
    public static bool Takes(Mixture mixture)
    {
        var (gateUp, down) = mixture.Experts[0];
        bool Alike(WeightMatrix matrix, WeightMatrix first) =>
            matrix.Parts.Count == first.Parts.Count && matrix.Parts.Zip(first.Parts).All(p => p.First.Rows == p.Second.Rows && p.First.Packing.LiesAs(p.Second.Packing));
        return mixture.Routing is { OfInputs: false } && mixture.Experts.Count <= MostExperts && gateUp.Rows == 2 * down.Columns && mixture.Experts.All(e => Alike(e.GateUp, gateUp) && Alike(e.Down, down))
            && gateUp.Halves is { Upper: var gates } && IsTaken(gates, gateUp) && (gates.Packing is TiledPacking || gateUp.Parts.Count == 1)
            && down.Parts is [var only] && IsTaken(only, down);
    }

    /// <summary>Computes as <see cref="RowKernels.Mix"/> says.</summary>
    /// <param name="x">[rows, hidden]</param>
    /// <param name="norm">of x, if it is not done</param>
    /// <param name="between">logits and what is written on the way</param>
    /// <param name="to">[rows, hidden]</param>
    /// <param name="add">whether what is there stays, as a summand</param>
    public void Mix(int rows, nint x, RowNorm? norm, Mixture mixture, MixtureRows between, RowBuffer to, bool add)
    {
        var (logits, perRow, (table, routing)) = (between.Logits.Address, mixture.Routing.PerToken, Table(mixture));
        _chosen ??= empty([RowKernels.MostRows * perRow], ScalarType.Int32, device.Torch).DetachFromDisposeScope();
        _shares ??= empty([RowKernels.MostRows * perRow], ScalarType.Float32, device.Torch).DetachFromDisposeScope();
        var (chosen, shares, slots, kind) = (TensorMemory.Pointer(_chosen), TensorMemory.Pointer(_shares), rows * perRow, FusedKernels.ActivationOf(mixture.Activation));
        Launch(_route, (rows, 1, 1), Warp, (routing.Experts + routing.Groups) * sizeof(float), early, Of(ref logits), Of(ref chosen), Of(ref shares), Of(ref routing));

        var ((gateUp, down), active, parts) = (mixture.Experts[0], between.Active.Address, between.Parts.Address);
        var (hidden, width, n, epsilon) = (mixture.HiddenSize, mixture.Width, norm?.Weight ?? 0, (float)(norm?.Epsilon ?? 0));
        if (gateUp.Parts[0].Packing is TiledPacking gates)
        {
            device.Packed(gates).ExpertsGate(slots, x, norm, table, chosen, active, perRow, width, hidden, kind);
        }
        else
        {
            Launch(_gate, ((width + Outputs - 1) / Outputs, slots, 1), Threads, 0, early,
                Of(ref x), Of(ref n), Of(ref epsilon), Of(ref table), Of(ref chosen), Of(ref active), Of(ref perRow), Of(ref width), Of(ref hidden), Of(ref kind));
        }

        if (down.Parts[0].Packing is TiledPacking downs)
        {
            device.Packed(downs).Experts(slots, active, table, chosen, parts, hidden, width);
        }
        else
        {
            Launch(_down, ((hidden + Outputs - 1) / Outputs, slots, 1), Threads, 0, early, Of(ref active), Of(ref table), Of(ref chosen), Of(ref parts), Of(ref hidden), Of(ref width));
        }

        var (output, adds) = (to.Address, add ? 1 : 0);
        Launch(_mix, ((hidden + Threads - 1) / Threads, rows, 1), Threads, 0, early, Of(ref parts), Of(ref shares), Of(ref output), Of(ref perRow), Of(ref hidden), Of(ref adds));
    }

    public void Dispose()
    {
        _chosen?.Dispose();
        _shares?.Dispose();
        foreach (var (experts, correction, factors) in _tables.Values)
        {
            experts.Dispose();
            correction?.Dispose();
            factors?.Dispose();
        }

        _tables.Clear();
    }

    private static bool IsTaken(WeightPart part, WeightMatrix matrix) => part.Packing is TiledPacking || (part.Packing is DensePacking && matrix.Columns % 8 == 0);

    // Made once: where experts lie does not change.
    private (nint Experts, RoutingOfKernels Routing) Table(Mixture mixture)
    {
        if (!_tables.TryGetValue(mixture, out var table))
        {
            var element = DataTypes.Size(traits.Type);
            var experts = mixture.Experts.Select(e => new Expert(
                new Weights(e.GateUp.Halves!.Value.Upper, e.GateUp.Bias),
                new Weights(e.GateUp.Halves.Value.Lower, e.GateUp.Bias == 0 ? 0 : e.GateUp.Bias + (nint)(mixture.Width * element)),
                new Weights(e.Down.Parts[0], e.Down.Bias))).ToArray();
            using var scope = NewDisposeScope();
            table = (Kept(tensor(MemoryMarshal.AsBytes(experts.AsSpan()).ToArray())), KeptNumbers(mixture.Routing.Correction), KeptNumbers(mixture.Routing.ExpertFactors));
            _tables.Add(mixture, table);
        }

        return (TensorMemory.Pointer(table.Experts), new RoutingOfKernels(mixture, Address(table.Correction), Address(table.Factors)));
    }

    private static nint Address(Tensor? numbers) => numbers is null ? 0 : TensorMemory.Pointer(numbers);

    private Tensor? KeptNumbers(IReadOnlyList<float>? numbers) => numbers is null ? null : Kept(tensor(numbers.ToArray()));

    private Tensor Kept(Tensor made) => made.to(device.Torch).DetachFromDisposeScope();

    /// <summary>The kernels' Routing.</summary>
    private readonly struct RoutingOfKernels(Mixture mixture, nint correction, nint factors)
    {
        public readonly nint Correction = correction, Factors = factors;
        public readonly int Experts = mixture.Experts.Count, PerRow = mixture.Routing.PerToken, OfChosen = mixture.Routing.OfChosen ? 1 : 0, Sigmoid = mixture.Routing.Sigmoid ? 1 : 0;
        public readonly int Groups = mixture.Routing.Groups, Kept = mixture.Routing.KeptGroups;
        public readonly float Scale = (float)mixture.Routing.Scale;
    }

    /// <summary>The kernels' struct of the same name.</summary>
    private readonly struct Weights(WeightPart part, nint bias)
    {
        public readonly nint Codes = part.Address, Scales = part.Scales, Bias = bias;
    }

    /// <summary>The kernels' struct of the same name.</summary>
    private readonly struct Expert(Weights gate, Weights up, Weights down)
    {
        public readonly Weights Gate = gate, Up = up, Down = down;
    }
}
