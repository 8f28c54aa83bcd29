using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Attention;

/// <summary>The gated delta rule, state spaces and convolutions alone, many tokens at once and a few rows at a time, against their definitions in float64.</summary>
public abstract class StateLayerTests(ComputeDevice device) : NativeTest(device)
{
    private const double Epsilon = 1e-5;

    public sealed class OnCpu() : StateLayerTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : StateLayerTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData(2, 4, 16, 16, 4, 150)]
    [InlineData(2, 6, 16, 16, 4, 70, true)] // as GGUF files of Qwen3.5
    [InlineData(1, 2, 128, 128, 4, 200)] // as published models
    [InlineData(3, 3, 24, 40, 2, 70)]    // no whole warps
    [InlineData(2, 2, 20, 16, 3, 90)]    // what kernels of many tokens do not take
    [InlineData(1, 3, 32, 33, 1, 65)]    // no convolution to speak of
    [InlineData(1, 8, 16, 16, 4, 150, false, 1)] // state spaces, whose outputs are normed in so many groups
    [InlineData(2, 6, 16, 12, 4, 70, false, 2)]
    [InlineData(1, 4, 128, 64, 4, 200, false, 1)] // as published models
    [InlineData(8, 8, 24, 40, 2, 70, false, 8, 0.05f, 0.5f)] // time steps within limits
    [InlineData(1, 3, 20, 33, 1, 2, false, 1)]
    [InlineData(2, 4, 16, 16, 4, 90, false, -1)] // not normed
    [InlineData(1, 1, 0, 48, 3, 150)] // convolutions alone
    [InlineData(1, 1, 0, 300, 4, 70, true)] // with biases
    [InlineData(1, 1, 0, 33, 1, 65)]
    public void Tokens_at_once_are_the_definition(int keyHeads, int valueHeads, int keyDim, int valueDim, int taps, int count, bool apart = false, int normGroups = 0, float least = 0, float most = float.PositiveInfinity)
    {
        var shape = Shape(keyHeads, valueHeads, keyDim, valueDim, taps, apart, normGroups, least, most);
        foreach (var type in Gpu is null ? (ScalarType[])[ScalarType.Float32] : [ScalarType.Float32, ScalarType.BFloat16])
        {
            using var own = NewDevice();
            own.Prepare(type);
            using var scope = NewDisposeScope();
            var numbers = Numbers(shape);
            var (raw, gates) = (Random(count, shape.Width), Random(count, shape.Values).to(type));
            var (state, tail) = (zeros([valueHeads, keyDim, valueDim], ScalarType.Float32, TorchDevice), zeros([taps - 1, shape.Width], ScalarType.Float32, TorchDevice));
            var output = empty([count, shape.Values], type, TorchDevice);
            for (int at = 0, some = 37; at < count; at += some, some = 64)
            {
                some = Math.Min(some, count - at);
                var seen = cat([tail, raw.narrow(0, at, some)], 0);
                own.StatePieces.Take(shape, numbers, seen, state, gates.narrow(0, at, some), Epsilon, output.narrow(0, at, some));
                tail = seen.narrow(0, some, taps - 1);
            }

            var (expected, last) = Definition(shape, numbers, raw, gates);
            AssertNear(expected, output.to(ScalarType.Float64).cpu(), type == ScalarType.Float32 ? 2e-5 : 1e-2);
            if (!shape.IsConvolution)
            {
                AssertNear(last, state.to(ScalarType.Float64).cpu(), 2e-5);
            }
        }
    }

    [Theory]
    [InlineData(2, 4, 16, 16, 4)]
    [InlineData(2, 6, 16, 16, 4, true)]
    [InlineData(1, 2, 128, 128, 4)]
    [InlineData(3, 3, 24, 40, 2)]
    [InlineData(1, 3, 32, 33, 1)]
    [InlineData(1, 8, 16, 16, 4, false, 1)]
    [InlineData(2, 6, 16, 12, 4, false, 2)]
    [InlineData(1, 4, 128, 64, 4, false, 1)]
    [InlineData(8, 8, 24, 40, 2, false, 8, 0.05f, 0.5f)]
    [InlineData(1, 3, 20, 33, 1, false, 1)]
    [InlineData(2, 4, 16, 16, 4, false, -1)]
    [InlineData(1, 1, 0, 48, 3)]
    [InlineData(1, 1, 0, 300, 4, true)]
    [InlineData(1, 1, 0, 33, 1)]
    public void Rows_are_the_definition_and_have_the_same_bits_in_any_company(int keyHeads, int valueHeads, int keyDim, int valueDim, int taps, bool apart = false, int normGroups = 0, float least = 0, float most = float.PositiveInfinity)
    {
        const int count = 24;
        var shape = Shape(keyHeads, valueHeads, keyDim, valueDim, taps, apart, normGroups, least, most);
        using var own = NewDevice();
        own.Prepare(ScalarType.Float32);
        using var kernels = own.CreateRows(new RowTraits(ScalarType.Float32, 1, 1, 16, 1, null));
        using var rows = new RecurrentRows(shape, own.Torch);
        using var scope = NewDisposeScope();
        var numbers = Numbers(shape);
        Tensor[] raws = [Random(count, shape.Width), Random(count, shape.Width)], gates = [Random(count, shape.Values), Random(count, shape.Values)];

        // A sequence a token at a time, and both together with as many as come, of which some are not kept.
        var (alone, together) = (Made(shape, 2), Made(shape, 2));
        for (var token = 0; token < count; token++)
        {
            Step([new Turn(0, token, 1)], alone);
        }

        var random = new Random(3);
        for (var done = (A: 0, B: 0); done.A < count;)
        {
            var (a, b) = (random.Next(1, Math.Min(RecurrentShape.MostRows, count - done.A) + 1), random.Next(0, Math.Min(RecurrentShape.MostRows, count - done.B) + 1));
            Step(b == 0 ? [new Turn(0, done.A, a)] : random.Next(2) == 0 ? [new Turn(0, done.A, a), new Turn(1, done.B, b)] : [new Turn(1, done.B, b), new Turn(0, done.A, a)], together);
            done = (done.A + random.Next(1, a + 1), done.B + (b == 0 ? 0 : random.Next(1, b + 1)));
        }

        AssertNear(Definition(shape, numbers, shape.IsConvolution ? 2 * raws[0] : raws[0], gates[0]).Output, alone.Outputs[0].to(ScalarType.Float64), 2e-5);
        Assert.True(alone.Outputs[0].equal(together.Outputs[0]).all().item<bool>());

        void Step(Turn[] turns, (Tensor[] Memory, int[] Taken, Tensor[] Outputs) of)
        {
            var states = new List<StateRows>();
            var first = 0;
            foreach (var turn in turns)
            {
                var some = raws[turn.Sequence].narrow(0, turn.Length, turn.Count);
                Tensor[] parts = [some.narrow(1, 0, shape.Channels), gates[turn.Sequence].narrow(0, turn.Length, turn.Count)];
                rows.Inputs.Memory.narrow(0, first, turn.Count).copy_(cat(shape.IsConvolution ? [.. parts, 2 * ones_like(parts[0])] : parts, 1)); // products are twice what is given
                rows.Gates.Memory.narrow(0, first, turn.Count).copy_(some.narrow(1, shape.Channels, shape.Gates));
                states.Add(new StateRows(first, turn.Count, TensorMemory.Pointer(of.Memory[turn.Sequence]), of.Taken[turn.Sequence], turn.Length));
                of.Taken[turn.Sequence] = turn.Length;
                first += turn.Count;
            }

            kernels.Recur(states, rows, shape, numbers, Epsilon);
            foreach (var (turn, at) in turns.Zip(states))
            {
                of.Outputs[turn.Sequence].narrow(0, turn.Length, turn.Count).copy_(rows.Outputs.Memory.narrow(0, at.First, turn.Count));
            }
        }
    }

    private (Tensor[] Memory, int[] Taken, Tensor[] Outputs) Made(RecurrentShape shape, int sequences) => (
        [.. Enumerable.Range(0, sequences).Select(_ => zeros([shape.Remembered], ScalarType.Float32, TorchDevice))],
        new int[sequences],
        [.. Enumerable.Range(0, sequences).Select(_ => zeros([24, shape.Values]))]);

    private static RecurrentShape Shape(int keyHeads, int valueHeads, int keyDim, int valueDim, int taps, bool apart, int normGroups, float least, float most) =>
        keyDim == 0 ? RecurrentShape.OfConvolution(valueDim, taps, bias: apart) : new(keyHeads, valueHeads, keyDim, valueDim, taps) { SharersApart = apart, Space = normGroups == 0 ? null : new SpaceShape(least, most, Math.Max(normGroups, 0), true, false) };

    // Of a state space some heads forget within a few tokens, and some time steps are small.
    private RecurrentNumbers Numbers(RecurrentShape shape) => shape.IsConvolution
        ? new(Random(shape.Channels, shape.Taps), null, null, null) { Bias = shape.Bias ? Random(shape.Channels) : null }
        : shape.Space is null ? new(Random(shape.Channels, shape.Taps), (-rand([shape.ValueHeads]) - 0.1).to(TorchDevice), Random(shape.ValueHeads), Random(shape.ValueDim))
        : new(Random(shape.Channels, shape.Taps), ((rand([shape.ValueHeads]) * 5) - 3).exp().neg().to(TorchDevice), ((rand([shape.ValueHeads]) * 8) - 7).to(TorchDevice), shape.Space.NormGroups > 0 ? Random(shape.Values) : null) { Bias = Random(shape.Channels), Skip = Random(shape.ValueHeads) };

    private Tensor Random(params long[] dimensions) => randn(dimensions).to(TorchDevice);

    private static void AssertNear(Tensor expected, Tensor actual, double tolerance) =>
        Assert.InRange((expected - actual).abs().max().item<double>(), 0, tolerance * expected.abs().max().item<double>());

    private static (Tensor Output, Tensor State) Definition(RecurrentShape shape, RecurrentNumbers numbers, Tensor raw, Tensor gates)
    {
        Tensor Wide(Tensor x) => x.to(ScalarType.Float64).cpu();
        var (x, z, weights, norm) = (Wide(raw), Wide(gates), Wide(numbers.Convolution), Wide(numbers.Norm ?? ones(1)));
        var (state, outputs, keys) = (zeros([shape.ValueHeads, shape.KeyDim, shape.ValueDim], ScalarType.Float64), new List<Tensor>(), shape.KeyHeads * shape.KeyDim);
        for (var token = 0L; token < x.shape[0]; token++)
        {
            var mixed = zeros([shape.Channels], ScalarType.Float64);
            for (var tap = Math.Max(0, shape.Taps - 1 - token); tap < shape.Taps; tap++)
            {
                mixed = mixed + (x[token - shape.Taps + 1 + tap].narrow(0, 0, shape.Channels) * weights.select(1, tap));
            }

            mixed = numbers.Bias is null ? mixed : mixed + Wide(numbers.Bias);
            if (shape.IsConvolution)
            {
                outputs.Add(mixed * z[token]);
                continue;
            }

            mixed = mixed * mixed.sigmoid();
            if (shape.Space is { } space)
            {
                outputs.Add(Space(space, mixed, token));
                continue;
            }

            Tensor Unit(Tensor heads) => (heads / (heads.square().sum(-1, keepdim: true) + RecurrentShape.NormEpsilon).sqrt())[tensor(Enumerable.Range(0, shape.ValueHeads).Select(head => (long)(shape.SharersApart ? head % shape.KeyHeads : head / (shape.ValueHeads / shape.KeyHeads))).ToArray())];
            var (q, k, v) = (Unit(mixed.narrow(0, 0, keys).view(shape.KeyHeads, shape.KeyDim)) / Math.Sqrt(shape.KeyDim), Unit(mixed.narrow(0, keys, keys).view(shape.KeyHeads, shape.KeyDim)), mixed.narrow(0, 2 * keys, shape.Values).view(shape.ValueHeads, shape.ValueDim));
            var write = x[token].narrow(0, shape.Channels, shape.ValueHeads).sigmoid().view(-1, 1);
            var decay = ((1 + (x[token].narrow(0, shape.Channels + shape.ValueHeads, shape.ValueHeads) + Wide(numbers.DecayBias!)).exp()).log() * Wide(numbers.Decay!)).exp();
            state = state * decay.view(-1, 1, 1);
            state = state + (k.unsqueeze(2) * (write * (v - matmul(k.unsqueeze(1), state).squeeze(1))).unsqueeze(1));
            var output = matmul(q.unsqueeze(1), state).squeeze(1);
            var gate = z[token].view(shape.ValueHeads, shape.ValueDim);
            outputs.Add((output / (output.square().mean([-1L], keepdim: true) + Epsilon).sqrt() * norm * gate * gate.sigmoid()).view(-1));
        }

        return (stack(outputs), state);

        Tensor Space(SpaceShape space, Tensor mixed, long token)
        {
            Tensor Shared(int first) => mixed.narrow(0, first, shape.Keys).view(shape.KeyHeads, 1, shape.KeyDim).expand(shape.KeyHeads, shape.ValueHeads / shape.KeyHeads, shape.KeyDim).reshape(shape.ValueHeads, shape.KeyDim);
            var (v, k, q) = (mixed.narrow(0, 0, shape.Values).view(shape.ValueHeads, shape.ValueDim), Shared(shape.Values), Shared(shape.Values + shape.Keys));
            var step = (1 + (x[token].narrow(0, shape.Channels, shape.ValueHeads) + Wide(numbers.DecayBias!)).exp()).log().clamp((double)space.LeastStep, (double)space.MostStep).view(-1, 1, 1);
            state = (state * (step * Wide(numbers.Decay!).view(-1, 1, 1)).exp()) + (step * k.unsqueeze(2) * v.unsqueeze(1));
            var gate = z[token];
            var given = ((matmul(q.unsqueeze(1), state).squeeze(1) + (v * Wide(numbers.Skip!).view(-1, 1))).view(-1) * gate * gate.sigmoid()).view(Math.Max(space.NormGroups, 1), -1);
            return space.NormGroups == 0 ? given.view(-1) : (given / (given.square().mean([-1L], keepdim: true) + Epsilon).sqrt()).view(-1) * norm;
        }
    }

    /// <summary>Rows of a step of a sequence.</summary>
    private readonly record struct Turn(int Sequence, int Length, int Count);
}
