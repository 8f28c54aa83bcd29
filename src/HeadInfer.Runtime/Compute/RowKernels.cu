// Decoding steps of a few rows; appended to Kernels.cu, whose element type and helpers they use.
// A row's result is the same, to the bit, whatever the other rows are: each is summed in an order that positions alone give.
// Activations are float32. Where weights have 16 bits, tensor cores multiply: 16 outputs by 8 rows by 16 inputs at a time.
// Inputs may be taken in any order, the same for both factors: a lane takes 8 neighbours, so that it loads 16 bytes at once.

#define MOST_ROWS 16
#define WARPS 8

typedef unsigned long long u64;

// Kernels of a step are started while the one before still runs, where the GPU can: what does not depend on that one, such as
// weights, is fetched before it has ended. Every thread of every kernel waits for that, so that an end means all ends before.
#if __CUDA_ARCH__ >= 900
__device__ inline void let_next_start() { asm volatile("griddepcontrol.launch_dependents;"); }
__device__ inline void wait_for_last() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
#else
__device__ inline void let_next_start() {}
__device__ inline void wait_for_last() {}
#endif

__device__ inline float warp_sum(float x) {
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) x += __shfl_xor_sync(0xffffffff, x, i);
    return x;
}

__device__ inline float warp_max(float x) {
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, i));
    return x;
}

__device__ inline float activate(float x, int kind) {
    return kind == 0 ? x / (1.0f + expf(-x))
        : kind == 1 ? 0.5f * x * (1.0f + erff(x * 0.70710678f))
        : 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

struct Tokens { int at[MOST_ROWS]; };

extern "C" __global__ void lookup_rows(const element* embedding, float* out, Tokens tokens, int columns, float scale) {
    let_next_start();
    wait_for_last();
    const element* from = embedding + (long long)tokens.at[blockIdx.x] * columns;
    float* to = out + (long long)blockIdx.x * columns;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) to[i] = widen(from[i]) * scale;
}

// out (+)= x / rms(x) * weight; a block a row.
extern "C" __global__ void norm_rows(const float* x, const element* weight, float* out, int size, float epsilon, int add) {
    __shared__ float sums[32];
    const float* from = x + (long long)blockIdx.x * size;
    let_next_start();
    wait_for_last();
    float* to = out + (long long)blockIdx.x * size;
    float sum = 0;
    for (int i = threadIdx.x; i < size; i += blockDim.x) sum = fmaf(from[i], from[i], sum);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    float total = 0;
    for (int i = 0; i < blockDim.x / 32; i++) total += sums[i];
    float factor = rsqrtf(total / size + epsilon);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        float y = from[i] * factor * widen(weight[i]);
        to[i] = add ? to[i] + y : y;
    }
}

// ---- Products, of any type and shape: a warp an output. ----

extern "C" __global__ void multiply_plain(
    const float* x, const element* weight, const element* bias, float* out, int rows, int outputs, int columns, int add) {
    int output = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    let_next_start();
    wait_for_last();
    if (output >= outputs) return;
    const element* w = weight + (long long)output * columns;
    float sums[MOST_ROWS];
#pragma unroll
    for (int r = 0; r < MOST_ROWS; r++) sums[r] = 0;
    for (int i = lane; i < columns; i += 32) {
        float y = widen(w[i]);
#pragma unroll
        for (int r = 0; r < MOST_ROWS; r++) if (r < rows) sums[r] = fmaf(x[(long long)r * columns + i], y, sums[r]);
    }
    float b = bias ? widen(bias[output]) : 0.0f;
#pragma unroll
    for (int r = 0; r < MOST_ROWS; r++) {
        if (r < rows) {
            float sum = warp_sum(sums[r]) + b;
            if (lane == 0) {
                float* to = out + (long long)r * outputs + output;
                *to = add ? *to + sum : sum;
            }
        }
    }
}

extern "C" __global__ void gate_plain(const float* both, float* out, int width, int kind) {
    let_next_start();
    wait_for_last();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= width) return;
    const float* from = both + (long long)blockIdx.y * 2 * width;
    out[(long long)blockIdx.y * width + i] = activate(from[i], kind) * from[width + i];
}

// ---- Heads ----

struct Target { u64 key; long long part; int row, first, heads, none; };
#define MOST_TARGETS 48
struct Targets { Target at[MOST_TARGETS]; };

// Norms and rotates one head of one row: queries in place, keys and values to where they are kept.
extern "C" __global__ void rotate_rows(
    float* heads, const element* query_norm, const element* key_norm, const float* cosines, const float* sines, Targets targets, int target_count,
    int queries, int kv_heads, int dim, int rotary, float epsilon, int with_queries) {
    __shared__ float sums[32];
    extern __shared__ float own[];
    let_next_start();
    wait_for_last();
    int head = blockIdx.x, row = blockIdx.y;
    if (head < queries && !with_queries) return;
    float* x = heads + ((long long)row * (queries + 2 * kv_heads) + head) * dim;
    const element* norm = head < queries ? query_norm : head < queries + kv_heads ? key_norm : nullptr;
    float sum = 0;
    for (int i = threadIdx.x; i < dim; i += blockDim.x) { own[i] = x[i]; sum = fmaf(x[i], x[i], sum); }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (norm) {
        float total = 0;
        for (int i = 0; i < blockDim.x / 32; i++) total += sums[i];
        float factor = rsqrtf(total / dim + epsilon);
        for (int i = threadIdx.x; i < dim; i += blockDim.x) own[i] = own[i] * factor * widen(norm[i]);
        __syncthreads();
    }
    int half = rotary / 2;
    for (int i = threadIdx.x; i < dim; i += blockDim.x) {
        float y = own[i];
        if (i < rotary && head < queries + kv_heads) {
            int angle = i % half;
            float other = i < half ? -own[i + half] : own[i - half];
            y = fmaf(y, cosines[row * half + angle], other * sines[row * half + angle]);
        }
        if (head < queries) { x[i] = y; continue; }
        int kv = (head - queries) % kv_heads, value = (head - queries) / kv_heads;
        for (int t = 0; t < target_count; t++) {
            Target to = targets.at[t];
            if (to.row == row && kv >= to.first && kv < to.first + to.heads)
                ((element*)(to.key + (2 * (kv - to.first) + value) * to.part))[i] = narrow(y);
        }
    }
}

// ---- Attention ----

// Keys at neighbouring positions, in splits of the same size but the last, and rows that all attend them.
// The end of the last split may lie elsewhere: there a row's new token stands.
struct Run { u64 keys, values; long long head; u64 more_keys, more_values; long long more_head; int count, more, first, rows, split, partial; };
#define MOST_RUNS 32
struct Runs { Run at[MOST_RUNS]; };

struct Shape { int queries, kv_heads, dim, first_head, heads, split_tokens; float scale, cap; };

__device__ inline const Run& run_of(const Runs& runs, int count, int split) {
    int run = 0;
    while (run + 1 < count && runs.at[run + 1].split <= split) run++;
    return runs.at[run];
}

__device__ inline const element* row_of(u64 keys, long long head, u64 more, long long more_head, int count, int i, int of_head, int dim) {
    return i < count ? (const element*)(keys + of_head * head) + (long long)i * dim : (const element*)(more + of_head * more_head) + (long long)(i - count) * dim;
}

// Partial results: [queries of all rows of a run][head][split] as counted by Run.partial; sums has two floats each, outputs dim.
// Any type and shape: a block takes a split, a head and a query.
extern "C" __global__ void attend_plain(const float* heads, float* sums, float* outputs, Runs runs, int run_count, Shape shape) {
    extern __shared__ float scores[];
    __shared__ float parts[32];
    let_next_start();
    wait_for_last();
    const Run& run = run_of(runs, run_count, blockIdx.x);
    int shared_by = shape.queries / shape.kv_heads, all = run.rows * shared_by;
    int split = blockIdx.x - run.split, of_head = blockIdx.y, start = split * shape.split_tokens;
    int n = min(shape.split_tokens, run.count + run.more - start);
    for (int query = blockIdx.z; query < all; query += gridDim.z) {
        int row = run.first + query / shared_by;
        const float* q = heads + ((long long)row * (shape.queries + 2 * shape.kv_heads) + (shape.first_head + of_head) * shared_by + query % shared_by) * shape.dim;
        float most = -INFINITY_F;
        for (int i = threadIdx.x; i < n; i += blockDim.x) {
            const element* k = row_of(run.keys, run.head, run.more_keys, run.more_head, run.count, start + i, of_head, shape.dim);
            float dot = 0;
            for (int d = 0; d < shape.dim; d++) dot = fmaf(q[d], widen(k[d]), dot);
            dot *= shape.scale;
            if (shape.cap > 0) dot = shape.cap * tanhf(dot / shape.cap);
            scores[i] = dot;
            most = fmaxf(most, dot);
        }
        most = warp_max(most);
        if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = most;
        __syncthreads();
        for (int i = 0; i < blockDim.x / 32; i++) most = fmaxf(most, parts[i]);
        __syncthreads();
        float total = 0;
        for (int i = threadIdx.x; i < n; i += blockDim.x) { scores[i] = expf(scores[i] - most); total += scores[i]; }
        total = warp_sum(total);
        if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = total;
        __syncthreads();
        total = 0;
        for (int i = 0; i < blockDim.x / 32; i++) total += parts[i];
        long long at = run.partial + ((long long)query * shape.heads + of_head) * ((run.count + run.more + shape.split_tokens - 1) / shape.split_tokens) + split;
        if (threadIdx.x == 0) { sums[2 * at] = most; sums[2 * at + 1] = total; }
        for (int d = threadIdx.x; d < shape.dim; d += blockDim.x) {
            float sum = 0;
            for (int i = 0; i < n; i++) {
                const element* v = row_of(run.values, run.head, run.more_values, run.more_head, run.count, start + i, of_head, shape.dim);
                sum = fmaf(scores[i], widen(v[d]), sum);
            }
            outputs[at * shape.dim + d] = sum;
        }
        __syncthreads();
    }
}

#define JOINED 16

// Adds partial results to a row's head, split by split. state: [row, query][2 + dim].
extern "C" __global__ void join_parts(
    const float* sums, const float* outputs, float* state, float* out, Runs runs, int run_count, Shape shape, int begins) {
    let_next_start();
    wait_for_last();
    int shared_by = shape.queries / shape.kv_heads;
    int of_head = blockIdx.x / shared_by, row = blockIdx.y;
    int query_head = shape.first_head * shared_by + blockIdx.x;
    float* own = state + ((long long)row * shape.queries + query_head) * (2 + shape.dim);
    float before_most = begins ? -INFINITY_F : own[0], before_total = begins ? 0.0f : own[1];
    __syncthreads();
    for (int base = 0; base < shape.dim; base += blockDim.x) {
        int d = base + threadIdx.x;
        bool inside = d < shape.dim;
        float most = before_most, total = before_total, sum = begins || !inside ? 0.0f : own[2 + d];
        for (int r = 0; r < run_count; r++) {
            const Run& run = runs.at[r];
            if (row < run.first || row >= run.first + run.rows) continue;
            int splits = (run.count + run.more + shape.split_tokens - 1) / shape.split_tokens;
            int query = (row - run.first) * shared_by + blockIdx.x % shared_by;
            long long at = run.partial + ((long long)query * shape.heads + of_head) * splits;
            for (int from = 0; from < splits; from += JOINED) {
                // All are asked for before the first is needed.
                float part[JOINED], part_most[JOINED], part_total[JOINED];
#pragma unroll
                for (int i = 0; i < JOINED; i++) {
                    bool is = from + i < splits;
                    part_most[i] = is ? sums[2 * (at + from + i)] : -INFINITY_F;
                    part_total[i] = is ? sums[2 * (at + from + i) + 1] : 0.0f;
                    part[i] = is && inside ? outputs[(at + from + i) * shape.dim + d] : 0.0f;
                }
#pragma unroll
                for (int i = 0; i < JOINED; i++) {
                    if (from + i >= splits) break;
                    float top = fmaxf(most, part_most[i]), kept = expf(most - top), added = expf(part_most[i] - top);
                    sum = fmaf(sum, kept, part[i] * added);
                    total = fmaf(total, kept, part_total[i] * added);
                    most = top;
                }
            }
        }
        if (inside) own[2 + d] = sum;
        if (inside && total > 0) out[((long long)row * shape.queries + query_head) * shape.dim + d] = sum / total;
        if (d == 0) { own[0] = most; own[1] = total; }
    }
}

// ---- Heads that the host attends ----

// Gives queries to the host, and then says whose they are.
extern "C" __global__ void ask_host(const float* heads, float* to, u32* flag, u32 number, int rows, int width, int stride) {
    let_next_start();
    wait_for_last();
    for (int i = threadIdx.x; i < rows * width; i += blockDim.x) to[i] = heads[(long long)(i / width) * stride + i % width];
    __threadfence_system();
    __syncthreads();
    if (threadIdx.x == 0) *(volatile u32*)flag = number;
}

// Waits until the host has said that its results are there.
extern "C" __global__ void await_host(const u32* flag, u32 number) {
    let_next_start();
    wait_for_last();
    while ((int)(*(const volatile u32*)flag - number) < 0) {
#if __CUDA_ARCH__ >= 700
        __nanosleep(200);
#endif
    }
    __threadfence_system();
}

// Adds them: a block a head of a row, from `first` on. host_sums: [row, query][2]; host_outputs: [row, query][dim].
extern "C" __global__ void join_host(const volatile float* host_sums, const volatile float* host_outputs, float* state, float* out, int first, int queries, int dim, int begins) {
    let_next_start();
    wait_for_last();
    long long at = (long long)blockIdx.y * queries + first + blockIdx.x;
    float* own = state + at * (2 + dim);
    float most = begins ? -INFINITY_F : own[0], total = begins ? 0.0f : own[1], part_most = host_sums[2 * at], part_total = host_sums[2 * at + 1];
    float top = fmaxf(most, part_most), kept = total > 0 ? expf(most - top) : 0.0f, added = part_total > 0 ? expf(part_most - top) : 0.0f;
    total = fmaf(total, kept, part_total * added);
    __syncthreads();
    for (int d = threadIdx.x; d < dim; d += blockDim.x) {
        float sum = fmaf(begins ? 0.0f : own[2 + d], kept, part_total > 0 ? host_outputs[at * dim + d] * added : 0.0f);
        own[2 + d] = sum;
        if (total > 0) out[at * dim + d] = sum / total;
    }
    if (threadIdx.x == 0) { own[0] = top; own[1] = total; }
}

// ---- Tensor cores ----

#if !defined(ELEMENT_FLOAT32)

#if defined(ELEMENT_BFLOAT16)
#define MMA_TYPE "bf16"
__device__ inline u32 pack(float low, float high) { u32 y; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low)); return y; }
#else
#define MMA_TYPE "f16"
__device__ inline u32 pack(float low, float high) { u32 y; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low)); return y; }
#endif

// sums [16, 8] += a [16, 16] * b [16, 8]
__device__ inline void mma(float* c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32." MMA_TYPE "." MMA_TYPE ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Weights are read once: they need no place in the first cache, where the rows are.
__device__ inline uint4 stream(const void* p) {
    uint4 x;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(p));
    return x;
}

// Eight of a row, times the norm's weights, packed; their squares are added up.
__device__ inline uint4 take(const float* x, const element* norm, float& squares) {
    float4 a = *(const float4*)x, b = *((const float4*)x + 1);
    if (norm) {
        squares = fmaf(a.x, a.x, fmaf(a.y, a.y, fmaf(a.z, a.z, fmaf(a.w, a.w, squares))));
        squares = fmaf(b.x, b.x, fmaf(b.y, b.y, fmaf(b.z, b.z, fmaf(b.w, b.w, squares))));
        Lanes w = load(norm);
        a.x *= w.at[0]; a.y *= w.at[1]; a.z *= w.at[2]; a.w *= w.at[3];
        b.x *= w.at[4]; b.y *= w.at[5]; b.z *= w.at[6]; b.w *= w.at[7];
    }
    return make_uint4(pack(a.x, a.y), pack(a.z, a.w), pack(b.x, b.y), pack(b.z, b.w));
}

// A block makes 8 or 16 outputs of NT times 8 rows; its warps share the inputs. Few outputs a block, so that blocks are many
// and end together. Of a gate the lower half of a tile is 8 gates, and the upper half the 8 outputs that they are for.
template <int NT, int OUTPUTS, bool GATE>
__device__ inline void multiply_block(
    const float* x, const element* norm, float epsilon, const element* weight, const element* bias, float* out, int rows, int outputs, int columns, int add, int kind) {
    __shared__ float sums[WARPS][16][NT * 8 + 1];
    __shared__ float all_squares[WARPS][NT * 8];
    const bool both = GATE || OUTPUTS == 16;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4;
    int first = blockIdx.x * OUTPUTS, limit = GATE ? outputs / 2 : outputs, low = first + group, high = low + (GATE ? limit : 8);
    bool has_low = low < limit, has_high = both && (GATE ? has_low : high < limit);
    const element *w0 = weight + (long long)low * columns, *w1 = weight + (long long)high * columns;
    float c[NT][4], squares[NT];
#pragma unroll
    for (int n = 0; n < NT; n++) c[n][0] = c[n][1] = c[n][2] = c[n][3] = squares[n] = 0;
    const uint4 nothing = make_uint4(0, 0, 0, 0);
    uint4 next[2][2]; // of the unit after the one that is multiplied
    auto fetch = [&](int unit) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int at = unit * 64 + half * 32 + quad * 8;
            next[half][0] = at < columns && has_low ? stream(w0 + at) : nothing;
            next[half][1] = both && at < columns && has_high ? stream(w1 + at) : nothing;
        }
    };
    let_next_start();
    fetch(warp);
    wait_for_last();
#pragma unroll 2
    for (int unit = warp; unit * 64 < columns; unit += WARPS) {
        uint4 w[2][2] = {{next[0][0], next[0][1]}, {next[1][0], next[1][1]}};
        fetch(unit + WARPS);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int at = unit * 64 + half * 32 + quad * 8;
#pragma unroll
            for (int n = 0; n < NT; n++) {
                int row = n * 8 + group;
                uint4 b = row < rows && at < columns ? take(x + (long long)row * columns + at, norm ? norm + at : nullptr, squares[n]) : nothing;
                mma(c[n], w[half][0].x, w[half][1].x, w[half][0].y, w[half][1].y, b.x, b.y);
                mma(c[n], w[half][0].z, w[half][1].z, w[half][0].w, w[half][1].w, b.z, b.w);
            }
        }
    }
#pragma unroll
    for (int n = 0; n < NT; n++) {
        float s = squares[n];
        s += __shfl_xor_sync(0xffffffff, s, 1);
        s += __shfl_xor_sync(0xffffffff, s, 2);
        if (quad == 0) all_squares[warp][n * 8 + group] = s;
        sums[warp][group][n * 8 + quad * 2] = c[n][0];
        sums[warp][group][n * 8 + quad * 2 + 1] = c[n][1];
        sums[warp][group + 8][n * 8 + quad * 2] = c[n][2];
        sums[warp][group + 8][n * 8 + quad * 2 + 1] = c[n][3];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < OUTPUTS * NT * 8; i += WARPS * 32) {
        int output = i % OUTPUTS, row = i / OUTPUTS;
        if (row >= rows || first + output >= limit) continue;
        float factor = 1, y = 0, up = 0;
        if (norm) {
            float total = 0;
#pragma unroll
            for (int w = 0; w < WARPS; w++) total += all_squares[w][row];
            factor = rsqrtf(total / columns + epsilon);
        }
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            y += sums[w][output][row];
            if (GATE) up += sums[w][output + 8][row];
        }
        y = y * factor + (bias ? widen(bias[first + output]) : 0.0f);
        if (GATE) y = activate(y, kind) * (up * factor + (bias ? widen(bias[limit + first + output]) : 0.0f));
        float* to = out + (long long)row * limit + first + output;
        *to = add ? *to + y : y;
    }
}

#define MULTIPLY(NAME, NT, OUTPUTS, GATE)                                                                                              \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) NAME(                                                                     \
        const float* x, const element* norm, float epsilon, const element* weight, const element* bias, float* out, int rows, int outputs, int columns, int add, int kind) { \
        multiply_block<NT, OUTPUTS, GATE>(x, norm, epsilon, weight, bias, out, rows, outputs, columns, add, kind);                       \
    }

MULTIPLY(multiply_8_by_8, 1, 8, false)
MULTIPLY(multiply_8_by_16, 1, 16, false)
MULTIPLY(multiply_16_by_16, 2, 16, false)
MULTIPLY(gate_8, 1, 8, true)
MULTIPLY(gate_16, 2, 8, true)

// A block takes a split, a head and 16 queries; its warps share the keys in both halves of the work. dim is a multiple of 8.
#define ATTEND_WARPS 8
#define ATTEND_KEYS 256

extern "C" __global__ void __launch_bounds__(ATTEND_WARPS * 32) attend_rows(const float* heads, float* sums, float* outputs, Runs runs, int run_count, Shape shape) {
    __shared__ float scores[16][ATTEND_KEYS + 4];
    __shared__ float joined[ATTEND_WARPS][8][65];
    extern __shared__ u32 packed[]; // [16][dim / 2 + 4]: queries
    let_next_start();
    const Run& run = run_of(runs, run_count, blockIdx.x);
    int dim = shape.dim, shared_by = shape.queries / shape.kv_heads, all = run.rows * shared_by, stride = dim / 2 + 4;
    int split = blockIdx.x - run.split, of_head = blockIdx.y, start = split * shape.split_tokens;
    int n = min(shape.split_tokens, run.count + run.more - start), tiles = (n + 15) / 16;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4;
    long long width = (long long)(shape.queries + 2 * shape.kv_heads) * dim;
    const uint4 nothing = make_uint4(0, 0, 0, 0);
    // Earlier tokens do not depend on the kernel before.
    for (int i = threadIdx.x; i < min(n, run.count - start); i += blockDim.x) {
        const char* k = (const char*)((const element*)(run.keys + of_head * run.head) + (long long)(start + i) * dim);
        const char* v = (const char*)((const element*)(run.values + of_head * run.head) + (long long)(start + i) * dim);
        for (int at = 0; at < dim * (int)sizeof(element); at += 128) {
            asm volatile("prefetch.global.L2 [%0];" :: "l"(k + at));
            asm volatile("prefetch.global.L2 [%0];" :: "l"(v + at));
        }
    }
    wait_for_last();
    for (int from = blockIdx.z * 16; from < all; from += gridDim.z * 16) {
        int count = min(16, all - from);
        for (int i = threadIdx.x; i < 16 * (dim / 2); i += blockDim.x) {
            int query = i / (dim / 2), at = i % (dim / 2) * 2;
            const float* q = heads + (run.first + (from + query) / shared_by) * width + ((shape.first_head + of_head) * shared_by + (from + query) % shared_by) * dim;
            packed[query * stride + at / 2] = query < count ? pack(q[at], q[at + 1]) : 0;
        }
        __syncthreads();
        // Scores: 16 keys by 8 or 16 queries.
#pragma unroll 2
        for (int tile = warp; tile < tiles; tile += ATTEND_WARPS) {
            float c[2][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}};
            int low = tile * 16 + group, high = low + 8;
            const element* k0 = row_of(run.keys, run.head, run.more_keys, run.more_head, run.count, start + low, of_head, dim);
            const element* k1 = row_of(run.keys, run.head, run.more_keys, run.more_head, run.count, start + high, of_head, dim);
#pragma unroll 4
            for (int block = 0; block * 32 < dim; block++) {
                int at = block * 32 + quad * 8;
                bool inside = at < dim;
                uint4 a0 = inside && low < n ? *(const uint4*)(k0 + at) : nothing, a1 = inside && high < n ? *(const uint4*)(k1 + at) : nothing;
                uint4 b = inside ? *(const uint4*)&packed[group * stride + at / 2] : nothing;
                mma(c[0], a0.x, a1.x, a0.y, a1.y, b.x, b.y);
                mma(c[0], a0.z, a1.z, a0.w, a1.w, b.z, b.w);
                if (count > 8) {
                    b = inside ? *(const uint4*)&packed[(group + 8) * stride + at / 2] : nothing;
                    mma(c[1], a0.x, a1.x, a0.y, a1.y, b.x, b.y);
                    mma(c[1], a0.z, a1.z, a0.w, a1.w, b.z, b.w);
                }
            }
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int key = i % 4 < 2 ? low : high, query = i / 4 * 8 + quad * 2 + i % 2;
                float s = c[i / 4][i % 4] * shape.scale;
                if (shape.cap > 0) s = shape.cap * tanhf(s / shape.cap);
                scores[query][key] = key < n ? s : -INFINITY_F;
            }
        }
        __syncthreads();
        int splits = (run.count + run.more + shape.split_tokens - 1) / shape.split_tokens;
        for (int query = warp; query < 16; query += ATTEND_WARPS) {
            float most = -INFINITY_F, total = 0;
            for (int i = lane; i < tiles * 16; i += 32) most = fmaxf(most, scores[query][i]);
            most = warp_max(most);
            for (int i = lane; i < tiles * 16; i += 32) {
                float p = query < count ? expf(scores[query][i] - most) : 0.0f;
                scores[query][i] = p;
                total += p;
            }
            total = warp_sum(total);
            if (lane == 0 && query < count) {
                long long at = run.partial + ((long long)(from + query) * shape.heads + of_head) * splits + split;
                sums[2 * at] = most;
                sums[2 * at + 1] = total;
            }
        }
        __syncthreads();
        // Values, 128 dimensions at a time: each warp takes its 16 keys, and the warps' sums are added up.
        for (int base = 0; base < dim; base += 128) {
            float c[2][8][4];
#pragma unroll
            for (int i = 0; i < 64; i++) c[i / 32][i / 4 % 8][i % 4] = 0;
            for (int tile = warp; tile < tiles; tile += ATTEND_WARPS) {
                uint4 v[2][4];
                int keys[4] = {tile * 16 + quad * 2, tile * 16 + quad * 2 + 1, tile * 16 + quad * 2 + 8, tile * 16 + quad * 2 + 9};
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const element* row = row_of(run.values, run.head, run.more_values, run.more_head, run.count, start + keys[i], of_head, dim);
#pragma unroll
                    for (int unit = 0; unit < 2; unit++) {
                        int at = base + unit * 64 + group * 8;
                        v[unit][i] = at < dim && keys[i] < n ? *(const uint4*)(row + at) : nothing;
                    }
                }
                u32 a0 = pack(scores[group][keys[0]], scores[group][keys[1]]), a1 = pack(scores[group + 8][keys[0]], scores[group + 8][keys[1]]);
                u32 a2 = pack(scores[group][keys[2]], scores[group][keys[3]]), a3 = pack(scores[group + 8][keys[2]], scores[group + 8][keys[3]]);
#pragma unroll
                for (int unit = 0; unit < 2; unit++) {
                    const u32 *x = (const u32*)&v[unit][0], *y = (const u32*)&v[unit][1], *z = (const u32*)&v[unit][2], *u = (const u32*)&v[unit][3];
#pragma unroll
                    for (int t = 0; t < 8; t++) {
                        u32 order = t % 2 ? 0x7632 : 0x5410;
                        mma(c[unit][t], a0, a1, a2, a3, __byte_perm(x[t / 2], y[t / 2], order), __byte_perm(z[t / 2], u[t / 2], order));
                    }
                }
            }
            // Column `quad * 2 + i` of tile t is dimension (quad * 2 + i) * 8 + t of the unit.
#pragma unroll
            for (int part = 0; part < 4; part++) {
                int unit = part / 2, high = part % 2;
                if (base + unit * 64 >= dim || high * 8 >= count) continue;
#pragma unroll
                for (int t = 0; t < 8; t++)
#pragma unroll
                    for (int i = 0; i < 2; i++) joined[warp][group][(quad * 2 + i) * 8 + t] = c[unit][t][high * 2 + i];
                __syncthreads();
                for (int i = threadIdx.x; i < min(8, count - high * 8) * 64; i += blockDim.x) {
                    int query = i / 64, d = i % 64;
                    if (base + unit * 64 + d >= dim) continue;
                    float sum = 0;
#pragma unroll
                    for (int w = 0; w < ATTEND_WARPS; w++) sum += joined[w][query][d];
                    long long to = run.partial + ((long long)(from + high * 8 + query) * shape.heads + of_head) * splits + split;
                    outputs[to * dim + base + unit * 64 + d] = sum;
                }
                __syncthreads();
            }
        }
    }
}

#endif
