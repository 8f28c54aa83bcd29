using System.Runtime.CompilerServices;
using static HeadInfer.Runtime.Compute.CudaModule;

namespace HeadInfer.Runtime.Compute;

/// <summary>Layers with a state on a GPU, a few rows at a time, by the kernels of <c>RowStates.cu</c>.</summary>
/// <param name="module">has the kernels</param>
/// <param name="early">whether kernels may start while the one before still runs</param>
internal sealed class CudaRecurrence(CudaModule module, bool early)
{
    private const int Threads = 256, Columns = 32; // of a block

    private readonly nint _mix = module.Function("mix_states"), _correct = module.Function("correct_states"), _finish = module.Function("finish_states"), _convolve = module.Function("convolve_states");

    /// <summary>Computes as <see cref="RowKernels.Recur"/> says.</summary>
    public void Run(IReadOnlyList<StateRows> states, RecurrentRows rows, RecurrentShape shape, RecurrentNumbers numbers, double epsilon)
    {
        AllStateRows all = default;
        var (mixed, count) = (0, 0);
        for (var i = 0; i < states.Count; i++)
        {
            var state = states[i];
            all[i] = new RowsOfState(state.Memory, state.First, state.Count, state.Taken, state.Length, mixed);
            (mixed, count) = (mixed + state.Length - state.Taken + state.Count, count + state.Count);
        }

        var layer = Recurrent.Of(shape, epsilon);
        var (inputs, gates, between, outputs) = (rows.Inputs.Address, rows.Gates.Address, rows.Mixed.Address, rows.Outputs.Address);
        static nint At(TorchSharp.torch.Tensor? tensor) => tensor is null ? 0 : TensorMemory.Pointer(tensor);
        var (weights, added, decay, bias, norm, skips) = (At(numbers.Convolution), At(numbers.Bias), At(numbers.Decay), At(numbers.DecayBias), At(numbers.Norm), At(numbers.Skip));
        if (shape.IsConvolution)
        {
            Launch(_convolve, ((shape.Width + Threads - 1) / Threads, states.Count, 1), Threads, 0, early, Of(ref inputs), Of(ref weights), Of(ref added), Of(ref outputs), Of(ref all), Of(ref layer));
            return;
        }

        Launch(_mix, ((shape.Width + Threads - 1) / Threads, states.Count, 1), Threads, 0, early, Of(ref inputs), Of(ref gates), Of(ref weights), Of(ref added), Of(ref between), Of(ref all), Of(ref layer));
        Launch(_correct, (shape.ValueHeads, (shape.ValueDim + Columns - 1) / Columns, states.Count), Threads, (Columns + 2) * shape.KeyDim * sizeof(float), early,
            Of(ref between), Of(ref decay), Of(ref bias), Of(ref skips), Of(ref outputs), Of(ref all), Of(ref layer));
        Launch(_finish, (shape.Values / shape.NormDim, count, 1), Threads, 0, early, Of(ref inputs), Of(ref norm), Of(ref outputs), Of(ref layer));
    }

    /// <summary>The kernels' StateRows.</summary>
    private readonly record struct RowsOfState(nint Memory, int First, int Count, int Taken, int Length, int Mixed);

    /// <summary>The kernels' struct of the same name.</summary>
    internal readonly record struct Recurrent(int KeyHeads, int ValueHeads, int KeyDim, int ValueDim, int Taps, int Recent, int SharersApart, float Epsilon,
        int Space, int QueryAt, int KeyAt, int ValueAt, int Gates, int DecayAt, int NormDim, float LeastStep, float MostStep)
    {
        public static Recurrent Of(RecurrentShape shape, double epsilon) => new(shape.KeyHeads, shape.ValueHeads, shape.KeyDim, shape.ValueDim, shape.Taps, shape.Recent, shape.SharersApart ? 1 : 0, (float)epsilon,
            shape.Space is null ? 0 : 1, shape.QueryAt, shape.KeyAt, shape.ValueAt, shape.Gates, shape.DecayAt, shape.NormDim, shape.Space?.LeastStep ?? 0, shape.Space?.MostStep ?? 0);
    }

    [InlineArray(RowKernels.MostRows)]
    private struct AllStateRows
    {
        private RowsOfState _first;
    }
}
