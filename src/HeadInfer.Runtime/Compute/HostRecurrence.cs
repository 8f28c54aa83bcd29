using System.Numerics;

namespace HeadInfer.Runtime.Compute;

/// <summary>Layers with a state in host memory, a few rows at a time; a team shares channels and heads.</summary>
/// <remarks>A row's sums are formed in one order, so what is taken in later was the same when it was a step's own.</remarks>
internal sealed unsafe class HostRecurrence
{
    private readonly HostTeam _team;
    private readonly Action<int> _convolve, _work; // made once, so that a step takes no memory
    private readonly float[][] _scratch; // [member]: a head's state that goes on from the one that is kept, and a row's values
    private RecurrentShape _shape = new(1, 1, 1, 1, 1);
    private RecurrentNumbers? _numbers;
    private RecurrentRows? _rows;
    private StateRows _state;
    private float _epsilon;
    private int _taken;

    public HostRecurrence(HostTeam team) => (_team, _convolve, _work, _scratch) = (team, Convolve, Correct, new float[team.Size][]);

    public void Run(IReadOnlyList<StateRows> states, RecurrentRows rows, RecurrentShape shape, RecurrentNumbers numbers, double epsilon)
    {
        (_shape, _rows, _numbers, _epsilon) = (shape, rows, numbers, (float)epsilon);
        for (var member = 0; member < _scratch.Length; member++)
        {
            if (_scratch[member] is not { } own || own.Length < (shape.KeyDim * shape.ValueDim) + shape.ValueDim)
            {
                _scratch[member] = new float[(shape.KeyDim * shape.ValueDim) + shape.ValueDim];
            }
        }

        for (var i = 0; i < states.Count; i++)
        {
            _state = states[i];
            Mix();
            if (shape.IsConvolution)
            {
                continue;
            }

            _taken = 0;
            _team.Run(_work);
            if (shape.Space is { NormGroups: > 0 })
            {
                Norm();
            }
        }
    }

    // Remembers the rows as they came, and gives what the convolution makes of them and of those that the state has yet to take in.
    private void Mix()
    {
        var shape = _shape;
        var memory = (float*)_state.Memory + shape.StateSize;
        for (var i = 0; i < _state.Count; i++)
        {
            var row = _state.First + i;
            var to = new Span<float>(memory + ((_state.Length + i) % shape.Recent * shape.Width), shape.Width);
            var from = Inputs(row);
            new ReadOnlySpan<float>(from, shape.Channels).CopyTo(to);
            for (var channel = 0; shape.IsConvolution && channel < shape.Channels; channel++)
            {
                to[channel] *= from[(2 * shape.Channels) + channel];
            }

            new ReadOnlySpan<float>((float*)_rows!.Gates.Address + ((long)row * shape.Gates), shape.Gates).CopyTo(to[shape.Channels..]);
        }

        _team.Run(_convolve);
        for (var position = _state.Taken; shape is { Space: null, IsConvolution: false } && position < _state.Length + _state.Count; position++)
        {
            var to = Mixed(position);
            for (var head = 0; head < 2 * shape.KeyHeads; head++)
            {
                var own = new Span<float>(to + (head * shape.KeyDim), shape.KeyDim);
                var squares = 0f;
                foreach (var x in own)
                {
                    squares = MathF.FusedMultiplyAdd(x, x, squares);
                }

                var scale = (float)((head < shape.KeyHeads ? 1 / Math.Sqrt(shape.KeyDim) : 1) / Math.Sqrt(squares + RecurrentShape.NormEpsilon));
                foreach (ref var x in own)
                {
                    x *= scale;
                }
            }
        }
    }

    // A member's channels. A convolution alone gives what is gated, of the rows alone.
    private void Convolve(int member)
    {
        var (shape, (start, end)) = (_shape, _team.Share(member, _shape.Channels));
        float* memory = (float*)_state.Memory + shape.StateSize, weights = Numbers(_numbers!.Convolution), bias = Numbers(_numbers.Bias);
        var rows = stackalloc float*[shape.Taps];
        for (var position = shape.IsConvolution ? _state.Length : _state.Taken; position < _state.Length + _state.Count; position++)
        {
            var row = _state.First + position - _state.Length;
            var to = shape.IsConvolution ? (float*)_rows!.Outputs.Address + ((long)row * shape.Values) : Mixed(position);
            var gates = shape.IsConvolution ? Inputs(row) + shape.Channels : null;
            var first = Math.Max(0, shape.Taps - 1 - position); // nothing stands before a sequence
            for (var tap = first; tap < shape.Taps; tap++)
            {
                rows[tap] = memory + ((position - shape.Taps + 1 + tap) % shape.Recent * shape.Width);
            }

            for (var channel = start; channel < end; channel++)
            {
                var sum = bias is null ? 0 : bias[channel];
                var its = weights + (channel * shape.Taps);
                for (var tap = first; tap < shape.Taps; tap++)
                {
                    sum = MathF.FusedMultiplyAdd(rows[tap][channel], its[tap], sum);
                }

                to[channel] = gates is null ? sum / (1 + MathF.Exp(-sum)) : sum * gates[channel];
            }
        }
    }

    private float* Inputs(int row) => (float*)_rows!.Inputs.Address + ((long)row * _shape.Projected);

    private float* Mixed(int position) => (float*)_rows!.Mixed.Address + ((long)(position - _state.Taken) * _shape.Channels);

    private void Correct(int member)
    {
        for (int head; (head = Interlocked.Increment(ref _taken) - 1) < _shape.ValueHeads;)
        {
            Correct(head, _scratch[member]);
        }
    }

    private void Correct(int head, float[] scratch)
    {
        var (shape, size) = (_shape, _shape.KeyDim * _shape.ValueDim);
        var memory = (float*)_state.Memory;
        fixed (float* going = scratch)
        {
            float* state = memory + ((long)head * size), values = going + size;
            for (var position = _state.Taken; position < _state.Length + _state.Count; position++)
            {
                if (position == _state.Length)
                {
                    new ReadOnlySpan<float>(state, size).CopyTo(new Span<float>(going, size)); // these rows may not be what comes
                    state = going;
                }

                float* mixed = Mixed(position), gates = memory + shape.StateSize + (position % shape.Recent * shape.Width) + shape.Channels;
                var key = shape.KeyHead(head) * shape.KeyDim;
                var rate = gates[shape.DecayAt + head] + Numbers(_numbers!.DecayBias)[head];
                var output = position < _state.Length ? null : (float*)_rows!.Outputs.Address + ((long)(_state.First + position - _state.Length) * shape.Values) + (head * shape.ValueDim);
                var outputGates = (float*)_rows!.Inputs.Address + ((long)(_state.First + position - _state.Length) * shape.Projected) + shape.Channels + (head * shape.ValueDim);
                float* query = mixed + shape.QueryAt + key, value = mixed + shape.ValueAt + (head * shape.ValueDim);
                if (shape.Space is { } space)
                {
                    var step = Math.Clamp((float)(rate > 20 ? rate : Math.Log(1 + Math.Exp(rate))), space.LeastStep, space.MostStep); // small ones count here, as factors
                    Token(state, query, mixed + shape.KeyAt + key, value, MathF.Exp(Numbers(_numbers.Decay)[head] * step), step, Numbers(_numbers.Skip)[head], values, output, outputGates);
                    continue;
                }

                var decay = MathF.Exp(Numbers(_numbers.Decay)[head] * (rate > 20 ? rate : MathF.Log(1 + MathF.Exp(rate))));
                Token(state, query, mixed + shape.KeyAt + key, value, decay, 1 / (1 + MathF.Exp(-gates[head])), values, output);
                if (output is not null)
                {
                    Finish(output, outputGates);
                }
            }
        }
    }

    // One token of a head: what its key reads is corrected towards its value, and then its query reads.
    private void Token(float* state, float* query, float* key, float* value, float decay, float write, float* read, float* output)
    {
        var dim = _shape.ValueDim;
        new Span<float>(read, dim).Clear();
        for (var i = 0; i < _shape.KeyDim; i++)
        {
            ScaleAndAdd(state + (i * dim), decay, key[i], read, dim);
        }

        for (var d = 0; d < dim; d++)
        {
            read[d] = write * (value[d] - read[d]);
        }

        if (output is not null)
        {
            new Span<float>(output, dim).Clear();
        }

        for (var i = 0; i < _shape.KeyDim; i++)
        {
            AddAndRead(state + (i * dim), 1, key[i], read, query[i], output, dim);
        }
    }

    // One token of a head of a state space, whose outputs are gated.
    private void Token(float* state, float* query, float* key, float* value, float decay, float step, float skip, float* added, float* output, float* gates)
    {
        var dim = _shape.ValueDim;
        for (var d = 0; d < dim; d++)
        {
            added[d] = step * value[d];
        }

        if (output is not null)
        {
            new Span<float>(output, dim).Clear();
        }

        for (var i = 0; i < _shape.KeyDim; i++)
        {
            AddAndRead(state + (i * dim), decay, key[i], added, query[i], output, dim);
        }

        for (var d = 0; output is not null && d < dim; d++)
        {
            output[d] = MathF.FusedMultiplyAdd(skip, value[d], output[d]) * (gates[d] / (1 + MathF.Exp(-gates[d])));
        }
    }

    // row *= decay; sum += key * row
    private static void ScaleAndAdd(float* row, float decay, float key, float* sum, int dim)
    {
        var d = 0;
        var (decays, keys) = (new Vector<float>(decay), new Vector<float>(key));
        for (; d <= dim - Vector<float>.Count; d += Vector<float>.Count)
        {
            var x = Vector.Load(row + d) * decays;
            Vector.Store(x, row + d);
            Vector.Store(Vector.FusedMultiplyAdd(x, keys, Vector.Load(sum + d)), sum + d);
        }

        for (; d < dim; d++)
        {
            row[d] *= decay;
            sum[d] = MathF.FusedMultiplyAdd(row[d], key, sum[d]);
        }
    }

    // row = row * decay + key * added; output += query * row
    private static void AddAndRead(float* row, float decay, float key, float* added, float query, float* output, int dim)
    {
        var d = 0;
        var (decays, keys, queries) = (new Vector<float>(decay), new Vector<float>(key), new Vector<float>(query));
        for (; d <= dim - Vector<float>.Count; d += Vector<float>.Count)
        {
            var x = Vector.FusedMultiplyAdd(Vector.Load(added + d), keys, Vector.Load(row + d) * decays);
            Vector.Store(x, row + d);
            if (output is not null)
            {
                Vector.Store(Vector.FusedMultiplyAdd(x, queries, Vector.Load(output + d)), output + d);
            }
        }

        for (; d < dim; d++)
        {
            row[d] = MathF.FusedMultiplyAdd(added[d], key, row[d] * decay);
            if (output is not null)
            {
                output[d] = MathF.FusedMultiplyAdd(row[d], query, output[d]);
            }
        }
    }

    // A head's outputs, normed and gated.
    private void Finish(float* output, float* gates)
    {
        var squares = 0f;
        for (var d = 0; d < _shape.ValueDim; d++)
        {
            squares = MathF.FusedMultiplyAdd(output[d], output[d], squares);
        }

        var scale = (float)(1 / Math.Sqrt((squares / _shape.ValueDim) + _epsilon));
        var norm = Numbers(_numbers!.Norm);
        for (var d = 0; d < _shape.ValueDim; d++)
        {
            output[d] = output[d] * scale * norm[d] * (gates[d] / (1 + MathF.Exp(-gates[d])));
        }
    }

    // The gated outputs of a state space, normed by groups.
    private void Norm()
    {
        var (groups, dim) = (_shape.Values / _shape.NormDim, _shape.NormDim);
        var norm = Numbers(_numbers!.Norm);
        for (var i = 0; i < _state.Count * groups; i++)
        {
            var output = (float*)_rows!.Outputs.Address + ((long)_state.First * _shape.Values) + ((long)i * dim);
            HostMath.RmsNorm(output, output, norm + (i % groups * dim), dim, 1, _epsilon);
        }
    }

    private static float* Numbers(TorchSharp.torch.Tensor? tensor) => tensor is null ? null : (float*)TensorMemory.Pointer(tensor);
}
