// Layers with a state (RecurrentShape.cs) over many tokens, in pieces of 64; appended to RowStates.cu. All but what goes in and out of a layer is float32.
// Of a piece: [value heads, pieces, 64, dim] of queries, keys and values; tokens beyond the last are zeros, which change nothing.

#define PIECE 64

struct Pieces { int count, pieces, gates; }; // tokens, pieces of them; distance of rows of the output gates

__device__ inline float mix_channel(const float* seen, const float* weights, const Recurrent& d, long long token, int c) {
    int width = channels_of(d) + 2 * d.value_heads;
    float sum = 0;
    for (int tap = 0; tap < d.taps; tap++) sum = fmaf(seen[(token + tap) * width + c], weights[(long long)c * d.taps + tap], sum);
    return sum / (1.0f + expf(-sum));
}

__device__ inline float write_gate(const float* gates, int head) { return 1.0f / (1.0f + expf(-gates[head])); }

// seen: [taps - 1 + tokens, width]. A block has a head of a token: of queries, of keys, or of values.
extern "C" __global__ void mix_pieces(
    const float* seen, const float* weights, const float* decays, const float* biases, float* q, float* k, float* written, float* v, float* logs, Recurrent d, Pieces p) {
    extern __shared__ float own[];
    int token = blockIdx.x, head = blockIdx.y, each = d.value_heads / d.key_heads, dim = head < 2 * d.key_heads ? d.key_dim : d.value_dim;
    bool inside = token < p.count;
    const float* gates = seen + (long long)(token + d.taps - 1) * (channels_of(d) + 2 * d.value_heads) + channels_of(d);
    float squares = 0;
    for (int i = threadIdx.x; i < dim; i += blockDim.x) {
        int c = head < 2 * d.key_heads ? head * d.key_dim + i : 2 * keys_of(d) + (head - 2 * d.key_heads) * d.value_dim + i;
        own[i] = inside ? mix_channel(seen, weights, d, token, c) : 0.0f;
        squares = fmaf(own[i], own[i], squares);
    }
    if (head >= 2 * d.key_heads) {
        int value_head = head - 2 * d.key_heads;
        long long row = (long long)value_head * p.pieces * PIECE + token;
        float gate = inside ? write_gate(gates, value_head) : 0.0f;
        for (int i = threadIdx.x; i < dim; i += blockDim.x) v[row * dim + i] = own[i] * gate;
        if (threadIdx.x == 0) {
            float rate = inside ? gates[d.value_heads + value_head] + biases[value_head] : 0.0f;
            logs[row] = inside ? decays[value_head] * (rate > 20.0f ? rate : log1pf(expf(rate))) : 0.0f;
        }
        return;
    }
    bool is_key = head >= d.key_heads;
    float scale = rsqrtf(block_sum(squares) + 1e-6f) * (is_key ? 1.0f : rsqrtf((float)d.key_dim));
    for (int of = 0; of < each; of++) {
        int key_head = head % d.key_heads, value_head = d.sharers_apart ? of * d.key_heads + key_head : key_head * each + of;
        long long row = (long long)value_head * p.pieces * PIECE + token;
        float gate = inside && is_key ? write_gate(gates, value_head) : 0.0f;
        for (int i = threadIdx.x; i < dim; i += blockDim.x) {
            float x = own[i] * scale;
            (is_key ? k : q)[row * dim + i] = x;
            if (is_key) written[row * dim + i] = x * gate;
        }
    }
}

// scores: [piece][64][64] of queries and keys; each later query sees a key decayed, and an earlier one not at all.
extern "C" __global__ void decay_pieces(float* scores, const float* since) {
    long long piece = blockIdx.x;
    for (int at = threadIdx.x; at < PIECE * PIECE; at += blockDim.x) {
        int i = at / PIECE, j = at % PIECE;
        float* x = scores + piece * PIECE * PIECE + at;
        *x = j <= i ? *x * expf(since[piece * PIECE + i] - since[piece * PIECE + j]) : 0.0f;
    }
}

// products: [piece][64][64] of written keys and keys -> the inverse of I and of what lies below their diagonal, decayed. A thread a column.
extern "C" __global__ void solve_pieces(float* products, const float* since) {
    __shared__ float below[PIECE][PIECE], solved[PIECE][PIECE + 1];
    float* all = products + (long long)blockIdx.x * PIECE * PIECE;
    since += (long long)blockIdx.x * PIECE;
    for (int at = threadIdx.x; at < PIECE * PIECE; at += blockDim.x) {
        int i = at / PIECE, j = at % PIECE;
        below[i][j] = j < i ? all[at] * expf(since[i] - since[j]) : 0.0f;
        solved[i][j] = i == j ? 1.0f : 0.0f;
    }
    __syncthreads();
    int j = threadIdx.x;
    if (j < PIECE) {
        for (int i = j + 1; i < PIECE; i++) {
            float sum = 0;
            for (int m = j; m < i; m++) sum = fmaf(below[i][m], solved[m][j], sum);
            solved[i][j] = -sum;
        }
    }
    __syncthreads();
    for (int at = threadIdx.x; at < PIECE * PIECE; at += blockDim.x) all[at] = solved[at / PIECE][at % PIECE];
}

#define SCAN_WARPS 16
#define SCAN_KEYS 8 // rows of the state that a warp changes at a time
#define SCAN_ROWS (PIECE / SCAN_WARPS)

// Goes through the pieces of a head, 32 columns of its values a block: a lane a column. key dim: a multiple of 8.
// What a warp's lanes read alike is brought to shared memory first: from there it comes to all of them at once.
__device__ inline void stage(float* to, const float* from, int count) {
    for (int i = threadIdx.x; i < count / 4; i += SCAN_WARPS * 32) ((float4*)to)[i] = ((const float4*)from)[i];
}

extern "C" __global__ void __launch_bounds__(SCAN_WARPS * 32) scan_pieces(
    const float* q, const float* k, const float* since, const float* corrected, const float* reading, const float* seen, float* state, float* out, Recurrent d, Pieces p) {
    extern __shared__ float own[]; // [key dim][32]; [64][32] of what is added; two numbers of each token; two matrices of a piece
    int head = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.y * 32 + lane, dim = d.key_dim;
    bool inside = column < d.value_dim;
    float *added = own + dim * 32, *begun = added + PIECE * 32, *kept = begun + PIECE, *left_matrix = kept + PIECE, *right_matrix = left_matrix + PIECE * max(dim, PIECE);
    state += (long long)head * dim * d.value_dim;
    for (int i = warp; i < dim; i += SCAN_WARPS) own[i * 32 + lane] = inside ? state[(long long)i * d.value_dim + column] : 0.0f;
    for (int piece = 0; piece < p.pieces; piece++) {
        long long first = ((long long)head * p.pieces + piece) * PIECE;
        float last = since[first + PIECE - 1];
        if (threadIdx.x < PIECE) {
            begun[threadIdx.x] = expf(since[first + threadIdx.x]);
            kept[threadIdx.x] = expf(last - since[first + threadIdx.x]);
        }
        stage(left_matrix, q + first * dim, PIECE * dim);
        stage(right_matrix, reading + first * dim, PIECE * dim);
        __syncthreads();
        float asked[SCAN_ROWS], read[SCAN_ROWS];
#pragma unroll
        for (int r = 0; r < SCAN_ROWS; r++) asked[r] = read[r] = 0;
        const float *q_row = left_matrix + warp * SCAN_ROWS * dim, *reading_row = right_matrix + warp * SCAN_ROWS * dim;
        for (int i = 0; i < dim; i += 4) {
            float s[4];
#pragma unroll
            for (int n = 0; n < 4; n++) s[n] = own[(i + n) * 32 + lane];
#pragma unroll
            for (int r = 0; r < SCAN_ROWS; r++) {
                float4 a = *(const float4*)(q_row + r * dim + i), b = *(const float4*)(reading_row + r * dim + i);
                asked[r] = fmaf(a.w, s[3], fmaf(a.z, s[2], fmaf(a.y, s[1], fmaf(a.x, s[0], asked[r]))));
                read[r] = fmaf(b.w, s[3], fmaf(b.z, s[2], fmaf(b.y, s[1], fmaf(b.x, s[0], read[r]))));
            }
        }
#pragma unroll
        for (int r = 0; r < SCAN_ROWS; r++) {
            int t = warp * SCAN_ROWS + r;
            added[t * 32 + lane] = inside ? corrected[(first + t) * d.value_dim + column] - read[r] : 0.0f;
            asked[r] *= begun[t];
        }
        __syncthreads();
        stage(left_matrix, seen + first * PIECE, PIECE * PIECE);
        stage(right_matrix, k + first * dim, PIECE * dim);
        __syncthreads();
        for (int m = 0; m < (warp + 1) * SCAN_ROWS; m += 4) {
            float x[4];
#pragma unroll
            for (int n = 0; n < 4; n++) x[n] = added[(m + n) * 32 + lane];
#pragma unroll
            for (int r = 0; r < SCAN_ROWS; r++) {
                float4 a = *(const float4*)(left_matrix + (warp * SCAN_ROWS + r) * PIECE + m);
                asked[r] = fmaf(a.w, x[3], fmaf(a.z, x[2], fmaf(a.y, x[1], fmaf(a.x, x[0], asked[r]))));
            }
        }
#pragma unroll
        for (int r = 0; r < SCAN_ROWS; r++)
            if (inside) out[(first + warp * SCAN_ROWS + r) * d.value_dim + column] = asked[r];
        float left = expf(last);
        for (int base = warp * SCAN_KEYS; base < dim; base += SCAN_WARPS * SCAN_KEYS) {
            float s[SCAN_KEYS];
#pragma unroll
            for (int n = 0; n < SCAN_KEYS; n++) s[n] = own[(base + n) * 32 + lane] * left;
            for (int m = 0; m < PIECE; m++) {
                float x = added[m * 32 + lane] * kept[m];
                const float4* row = (const float4*)(right_matrix + m * dim + base);
#pragma unroll
                for (int n = 0; n < SCAN_KEYS / 4; n++) {
                    float4 a = row[n];
                    s[4 * n] = fmaf(a.x, x, s[4 * n]);
                    s[4 * n + 1] = fmaf(a.y, x, s[4 * n + 1]);
                    s[4 * n + 2] = fmaf(a.z, x, s[4 * n + 2]);
                    s[4 * n + 3] = fmaf(a.w, x, s[4 * n + 3]);
                }
            }
#pragma unroll
            for (int n = 0; n < SCAN_KEYS; n++) own[(base + n) * 32 + lane] = s[n];
        }
        __syncthreads();
    }
    for (int i = warp; i < dim; i += SCAN_WARPS) if (inside) state[(long long)i * d.value_dim + column] = own[i * 32 + lane];
}

// Norms and gates the outputs: [value heads, pieces, 64, dim] -> [tokens, values].
extern "C" __global__ void finish_pieces(const float* values, const element* gates, const float* norm, element* out, Recurrent d, Pieces p) {
    int head = blockIdx.x, token = blockIdx.y;
    const float* x = values + ((long long)head * p.pieces * PIECE + token) * d.value_dim;
    float squares = 0;
    for (int i = threadIdx.x; i < d.value_dim; i += blockDim.x) squares = fmaf(x[i], x[i], squares);
    float scale = rsqrtf(block_sum(squares) / d.value_dim + d.epsilon);
    const element* gate = gates + (long long)token * p.gates + head * d.value_dim;
    for (int i = threadIdx.x; i < d.value_dim; i += blockDim.x) {
        float g = widen(gate[i]);
        out[((long long)token * d.value_heads + head) * d.value_dim + i] = narrow(x[i] * scale * norm[i] * (g / (1.0f + expf(-g))));
    }
}
