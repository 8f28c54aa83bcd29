// Layers with a state (RecurrentShape.cs) in a step of few rows; appended to RowChoices.cu. All of it is float32.
// A state takes in the tokens before a step's own rows, and is written then; for the rows themselves it goes on in shared memory,
// as they may not be what comes. What is taken in is computed as it was when it was a row, to the bit.

struct StateRows { u64 memory; int first, count, taken, length, mixed; }; // mixed: first of its rows in what the convolution gives
struct AllStateRows { StateRows at[MOST_ROWS]; };
// By the delta rule, or as a state space (space is 1): the first channels of queries, keys and values, the numbers of a token beside the channels,
// the first of them that is of decays, the outputs that are normed together, and the limits of time steps.
struct Recurrent {
    int key_heads, value_heads, key_dim, value_dim, taps, recent, sharers_apart; float epsilon;
    int space, query_at, key_at, value_at, gates, decay_at, norm_dim; float least_step, most_step;
};

__device__ inline int keys_of(const Recurrent& d) { return d.key_heads * d.key_dim; }
__device__ inline int channels_of(const Recurrent& d) { return 2 * keys_of(d) + d.value_heads * d.value_dim; }
__device__ inline float* recent_of(const StateRows& s, const Recurrent& d, int position) {
    return (float*)s.memory + (long long)d.value_heads * d.key_dim * d.value_dim + (long long)(position % d.recent) * (channels_of(d) + d.gates);
}
__device__ inline float silu(float x) { return x / (1.0f + expf(-x)); }

// Remembers the rows as they came, a thread a channel, and convolves those that the state has not taken in.
extern "C" __global__ void mix_states(const float* inputs, const float* gates, const float* weights, const float* added, float* mixed, AllStateRows all, Recurrent d) {
    let_next_start();
    wait_for_last();
    const StateRows& s = all.at[blockIdx.y];
    int channels = channels_of(d), projected = channels + d.value_heads * d.value_dim, c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels + d.gates) return;
    for (int i = 0; i < s.count; i++) {
        long long row = s.first + i;
        recent_of(s, d, s.length + i)[c] = c < channels ? inputs[row * projected + c] : gates[row * d.gates + c - channels];
    }
    if (c >= channels) return;
    for (int p = s.taken; p < s.length + s.count; p++) {
        float sum = added ? added[c] : 0.0f;
        for (int tap = 0; tap < d.taps; tap++) {
            int at = p - d.taps + 1 + tap;
            if (at >= 0) sum = fmaf(recent_of(s, d, at)[c], weights[(long long)c * d.taps + tap], sum);
        }
        mixed[(long long)(s.mixed + p - s.taken) * channels + c] = silu(sum);
    }
}

// A convolution alone: remembers products, a thread a channel, and gates what it makes of them.
extern "C" __global__ void convolve_states(const float* inputs, const float* weights, const float* added, float* out, AllStateRows all, Recurrent d) {
    let_next_start();
    wait_for_last();
    const StateRows& s = all.at[blockIdx.y];
    int channels = channels_of(d), c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    for (int i = 0; i < s.count; i++) {
        long long row = s.first + i;
        const float* own = inputs + row * 3 * channels;
        recent_of(s, d, s.length + i)[c] = own[c] * own[2 * channels + c];
        float sum = added ? added[c] : 0.0f;
        for (int tap = 0; tap < d.taps; tap++) {
            int at = s.length + i - d.taps + 1 + tap;
            if (at >= 0) sum = fmaf(recent_of(s, d, at)[c], weights[(long long)c * d.taps + tap], sum);
        }
        out[row * channels + c] = sum * own[channels + c];
    }
}

#define STATE_COLUMNS 32 // of a head's values that a block has
#define STATE_PARTS 8    // threads that share a column

// A block has some columns of a head's state, in shared memory: [key dim][columns], then a query and a key.
extern "C" __global__ void correct_states(const float* mixed, const float* decays, const float* biases, const float* skips, float* out, AllStateRows all, Recurrent d) {
    extern __shared__ float own[];
    __shared__ float parts[STATE_PARTS][STATE_COLUMNS];
    let_next_start();
    wait_for_last();
    const StateRows& s = all.at[blockIdx.z];
    int head = blockIdx.x, column = blockIdx.y * STATE_COLUMNS + threadIdx.x % STATE_COLUMNS, at = threadIdx.x % STATE_COLUMNS, part = threadIdx.x / STATE_COLUMNS;
    bool inside = column < d.value_dim;
    int channels = channels_of(d), key_head = d.sharers_apart ? head % d.key_heads : head / (d.value_heads / d.key_heads);
    float *query = own + d.key_dim * STATE_COLUMNS, *key = query + d.key_dim;
    float* state = (float*)s.memory + (long long)head * d.key_dim * d.value_dim;
    for (int i = part; i < d.key_dim; i += STATE_PARTS) own[i * STATE_COLUMNS + at] = inside ? state[(long long)i * d.value_dim + column] : 0.0f;
    for (int p = s.taken; p < s.length + s.count; p++) {
        if (p == s.length && p > s.taken)
            for (int i = part; inside && i < d.key_dim; i += STATE_PARTS) state[(long long)i * d.value_dim + column] = own[i * STATE_COLUMNS + at];
        const float* row = mixed + (long long)(s.mixed + p - s.taken) * channels;
        const float *row_query = row + d.query_at + key_head * d.key_dim, *row_key = row + d.key_at + key_head * d.key_dim;
        float q_scale = 1, k_scale = 1;
        if (d.space) __syncthreads(); // the last token's query and key have been read; sums of blocks wait as well
        else {
            float q_squares = 0, k_squares = 0;
            for (int i = threadIdx.x; i < d.key_dim; i += blockDim.x) {
                q_squares = fmaf(row_query[i], row_query[i], q_squares);
                k_squares = fmaf(row_key[i], row_key[i], k_squares);
            }
            q_scale = rsqrtf(block_sum(q_squares) + 1e-6f) * rsqrtf((float)d.key_dim);
            k_scale = rsqrtf(block_sum(k_squares) + 1e-6f);
        }
        for (int i = threadIdx.x; i < d.key_dim; i += blockDim.x) {
            query[i] = row_query[i] * q_scale;
            key[i] = row_key[i] * k_scale;
        }
        const float* gates = recent_of(s, d, p) + channels;
        float rate = gates[d.decay_at + head] + biases[head], step = rate > 20.0f ? rate : log1pf(expf(rate));
        if (d.space) step = fminf(fmaxf(step, d.least_step), d.most_step);
        float decay = expf(decays[head] * step), write = d.space ? step : 1.0f / (1.0f + expf(-gates[head]));
        __syncthreads();
        float read = 0;
        for (int i = part; i < d.key_dim; i += STATE_PARTS) {
            float x = own[i * STATE_COLUMNS + at] * decay;
            own[i * STATE_COLUMNS + at] = x;
            read = fmaf(x, key[i], read);
        }
        parts[part][at] = read;
        __syncthreads();
        read = 0;
#pragma unroll
        for (int i = 0; i < STATE_PARTS; i++) read += parts[i][at];
        float value = inside ? row[d.value_at + head * d.value_dim + column] : 0.0f, added = inside ? write * (value - (d.space ? 0.0f : read)) : 0.0f, sum = 0;
        __syncthreads();
        for (int i = part; i < d.key_dim; i += STATE_PARTS) {
            float x = fmaf(added, key[i], own[i * STATE_COLUMNS + at]);
            own[i * STATE_COLUMNS + at] = x;
            sum = fmaf(x, query[i], sum);
        }
        if (p < s.length) continue;
        parts[part][at] = sum;
        __syncthreads();
        if (part > 0 || !inside) continue;
        sum = 0;
#pragma unroll
        for (int i = 0; i < STATE_PARTS; i++) sum += parts[i][at];
        if (d.space) sum = fmaf(skips[head], value, sum);
        out[((long long)(s.first + p - s.length) * d.value_heads + head) * d.value_dim + column] = sum;
    }
}

// Norms and gates the outputs of a head of a row; of a state space gates those that are normed together, and norms them.
extern "C" __global__ void finish_states(const float* inputs, const float* norm, float* out, Recurrent d) {
    let_next_start();
    wait_for_last();
    long long first = (long long)blockIdx.x * d.norm_dim, row = blockIdx.y, values = (long long)d.value_heads * d.value_dim;
    float* x = out + row * values + first;
    const float *gates = inputs + row * (channels_of(d) + values) + channels_of(d) + first, *weights = d.space && norm ? norm + first : norm;
    float squares = 0;
    for (int i = threadIdx.x; i < d.norm_dim; i += blockDim.x) {
        if (d.space) x[i] *= silu(gates[i]);
        squares = fmaf(x[i], x[i], squares);
    }
    if (!norm) return;
    float scale = rsqrtf(block_sum(squares) / d.norm_dim + d.epsilon);
    for (int i = threadIdx.x; i < d.norm_dim; i += blockDim.x) x[i] = x[i] * scale * weights[i] * (d.space ? 1.0f : silu(gates[i]));
}

// x = activation(x) * some columns of another matrix.
extern "C" __global__ void activate_by(float* x, const float* by, int width, int stride, int first, int kind) {
    let_next_start();
    wait_for_last();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < width) {
        long long at = (long long)blockIdx.y * width + i;
        x[at] = gated(x[at], by[(long long)blockIdx.y * stride + first + i], kind);
    }
}

// x *= sigmoid(gates): a gate for so many neighbouring columns.
extern "C" __global__ void gate_rows(const float* gates, float* x, int width, int of_gate) {
    let_next_start();
    wait_for_last();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < width) x[(long long)blockIdx.y * width + i] *= 1.0f / (1.0f + expf(-gates[(long long)blockIdx.y * (width / of_gate) + i / of_gate]));
}
