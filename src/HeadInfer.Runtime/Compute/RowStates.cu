// Layers with a state (RecurrentShape.cs) in a step of few rows; appended to RowChoices.cu. All of it is float32.
// A state takes in the tokens before a step's own rows, and is written then; for the rows themselves it goes on in shared memory,
// as they may not be what comes. What is taken in is computed as it was when it was a row, to the bit.

struct StateRows { u64 memory; int first, count, taken, length, mixed; }; // mixed: first of its rows in what the convolution gives
struct AllStateRows { StateRows at[MOST_ROWS]; };
struct Recurrent { int key_heads, value_heads, key_dim, value_dim, taps, recent, sharers_apart; float epsilon; };

__device__ inline int keys_of(const Recurrent& d) { return d.key_heads * d.key_dim; }
__device__ inline int channels_of(const Recurrent& d) { return 2 * keys_of(d) + d.value_heads * d.value_dim; }
__device__ inline float* recent_of(const StateRows& s, const Recurrent& d, int position) {
    return (float*)s.memory + (long long)d.value_heads * d.key_dim * d.value_dim + (long long)(position % d.recent) * (channels_of(d) + 2 * d.value_heads);
}

// Remembers the rows as they came, a thread a channel, and convolves those that the state has not taken in.
extern "C" __global__ void mix_states(const float* inputs, const float* gates, const float* weights, float* mixed, AllStateRows all, Recurrent d) {
    let_next_start();
    wait_for_last();
    const StateRows& s = all.at[blockIdx.y];
    int channels = channels_of(d), projected = channels + d.value_heads * d.value_dim, c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels + 2 * d.value_heads) return;
    for (int i = 0; i < s.count; i++) {
        long long row = s.first + i;
        recent_of(s, d, s.length + i)[c] = c < channels ? inputs[row * projected + c] : gates[row * 2 * d.value_heads + c - channels];
    }
    if (c >= channels) return;
    for (int p = s.taken; p < s.length + s.count; p++) {
        float sum = 0;
        for (int tap = 0; tap < d.taps; tap++) {
            int at = p - d.taps + 1 + tap;
            if (at >= 0) sum = fmaf(recent_of(s, d, at)[c], weights[(long long)c * d.taps + tap], sum);
        }
        mixed[(long long)(s.mixed + p - s.taken) * channels + c] = sum / (1.0f + expf(-sum));
    }
}

#define STATE_COLUMNS 32 // of a head's values that a block has
#define STATE_PARTS 8    // threads that share a column

// A block has some columns of a head's state, in shared memory: [key dim][columns], then a query and a key.
extern "C" __global__ void correct_states(const float* mixed, const float* decays, const float* biases, float* out, AllStateRows all, Recurrent d) {
    extern __shared__ float own[];
    __shared__ float parts[STATE_PARTS][STATE_COLUMNS];
    let_next_start();
    wait_for_last();
    const StateRows& s = all.at[blockIdx.z];
    int head = blockIdx.x, column = blockIdx.y * STATE_COLUMNS + threadIdx.x % STATE_COLUMNS, at = threadIdx.x % STATE_COLUMNS, part = threadIdx.x / STATE_COLUMNS;
    bool inside = column < d.value_dim;
    int channels = channels_of(d), keys = keys_of(d), key_head = d.sharers_apart ? head % d.key_heads : head / (d.value_heads / d.key_heads);
    float *query = own + d.key_dim * STATE_COLUMNS, *key = query + d.key_dim;
    float* state = (float*)s.memory + (long long)head * d.key_dim * d.value_dim;
    for (int i = part; i < d.key_dim; i += STATE_PARTS) own[i * STATE_COLUMNS + at] = inside ? state[(long long)i * d.value_dim + column] : 0.0f;
    for (int p = s.taken; p < s.length + s.count; p++) {
        if (p == s.length && p > s.taken)
            for (int i = part; inside && i < d.key_dim; i += STATE_PARTS) state[(long long)i * d.value_dim + column] = own[i * STATE_COLUMNS + at];
        const float* row = mixed + (long long)(s.mixed + p - s.taken) * channels;
        float q_squares = 0, k_squares = 0;
        for (int i = threadIdx.x; i < d.key_dim; i += blockDim.x) {
            float q = row[key_head * d.key_dim + i], k = row[keys + key_head * d.key_dim + i];
            q_squares = fmaf(q, q, q_squares);
            k_squares = fmaf(k, k, k_squares);
        }
        float q_scale = rsqrtf(block_sum(q_squares) + 1e-6f) * rsqrtf((float)d.key_dim), k_scale = rsqrtf(block_sum(k_squares) + 1e-6f);
        for (int i = threadIdx.x; i < d.key_dim; i += blockDim.x) {
            query[i] = row[key_head * d.key_dim + i] * q_scale;
            key[i] = row[keys + key_head * d.key_dim + i] * k_scale;
        }
        const float* gates = recent_of(s, d, p) + channels;
        float rate = gates[d.value_heads + head] + biases[head], decay = expf(decays[head] * (rate > 20.0f ? rate : log1pf(expf(rate)))), write = 1.0f / (1.0f + expf(-gates[head]));
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
        float added = inside ? write * (row[2 * keys + head * d.value_dim + column] - read) : 0.0f, sum = 0;
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
        out[((long long)(s.first + p - s.length) * d.value_heads + head) * d.value_dim + column] = sum;
    }
}

// Norms and gates the outputs of a head of a row.
extern "C" __global__ void finish_states(const float* inputs, const float* norm, float* out, Recurrent d) {
    let_next_start();
    wait_for_last();
    long long head = blockIdx.x, row = blockIdx.y, values = (long long)d.value_heads * d.value_dim;
    float* x = out + row * values + head * d.value_dim;
    const float* gates = inputs + row * (channels_of(d) + values) + channels_of(d) + head * d.value_dim;
    float squares = 0;
    for (int i = threadIdx.x; i < d.value_dim; i += blockDim.x) squares = fmaf(x[i], x[i], squares);
    float scale = rsqrtf(block_sum(squares) / d.value_dim + d.epsilon);
    for (int i = threadIdx.x; i < d.value_dim; i += blockDim.x) x[i] = x[i] * scale * norm[i] * (gates[i] / (1.0f + expf(-gates[i])));
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
