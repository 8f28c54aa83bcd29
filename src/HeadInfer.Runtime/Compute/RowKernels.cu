// Decoding steps of a few rows; appended to Kernels.cu, whose element type and helpers they use. RowChoices.cu follows, and
// RowProducts.cu and RowAttention.cu for tensor cores.
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

struct Tokens { int at[MOST_ROWS]; };

extern "C" __global__ void lookup_rows(const element* embedding, float* out, Tokens tokens, int columns, float scale) {
    let_next_start();
    wait_for_last();
    const element* from = embedding + (long long)tokens.at[blockIdx.x] * columns;
    float* to = out + (long long)blockIdx.x * columns;
    for (int i = threadIdx.x; i < columns; i += blockDim.x) to[i] = widen(from[i]) * scale;
}

__device__ inline float block_sum(float x) {
    __shared__ float sums[32];
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
    __syncthreads();
    float total = 0;
    for (int i = 0; i < blockDim.x / 32; i++) total += sums[i];
    return total;
}

// out (+)= x / rms(x) * weight, without the mean where it is centered, and with a bias where there is one; a block a row. out may be x.
extern "C" __global__ void norm_rows(const float* x, const element* weight, const element* bias, float* out, int size, int stride, float epsilon, int add, int centered) {
    const float* from = x + (long long)blockIdx.x * stride;
    let_next_start();
    wait_for_last();
    float* to = out + (long long)blockIdx.x * stride;
    float mean = 0, sum = 0;
    if (centered) {
        for (int i = threadIdx.x; i < size; i += blockDim.x) mean += from[i];
        mean = block_sum(mean) / size;
    }
    for (int i = threadIdx.x; i < size; i += blockDim.x) sum = fmaf(from[i] - mean, from[i] - mean, sum);
    float factor = rsqrtf(block_sum(sum) / size + epsilon);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        float y = (from[i] - mean) * factor * widen(weight[i]) + (bias ? widen(bias[i]) : 0.0f);
        to[i] = add ? to[i] + y : y;
    }
}

extern "C" __global__ void add_scaled(const float* x, float factor, float* sum, int count) {
    let_next_start();
    wait_for_last();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) sum[i] = fmaf(factor, x[i], sum[i]);
}

struct Factors { float at[MOST_ROWS]; };

extern "C" __global__ void scale_rows(float* x, Factors factors, int columns, int stride) {
    let_next_start();
    wait_for_last();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < columns) x[(long long)blockIdx.y * stride + i] *= factors.at[blockIdx.y];
}

extern "C" __global__ void place_rows(const float* from, float* to, int columns, int stride, int first) {
    let_next_start();
    wait_for_last();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < columns) to[(long long)blockIdx.y * stride + first + i] = from[(long long)blockIdx.y * columns + i];
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
    out[(long long)blockIdx.y * width + i] = gated(from[i], from[width + i], kind);
}

// ---- Heads ----

struct Target { u64 key; long long part; int row, first, heads, none; };
#define MOST_TARGETS 48
struct Targets { Target at[MOST_TARGETS]; };

// Norms and rotates one head of one row: queries in place, keys and values to where they are kept.
extern "C" __global__ void rotate_rows(
    float* heads, const element* query_norm, const element* key_norm, const element* value_norm, const float* cosines, const float* sines, Targets targets, int target_count,
    int queries, int kv_heads, int dim, int stride, int rotary, float epsilon, int with_queries) {
    __shared__ float sums[32];
    extern __shared__ float own[];
    let_next_start();
    wait_for_last();
    int head = blockIdx.x, row = blockIdx.y;
    if (head < queries && !with_queries) return;
    float* x = heads + (long long)row * stride + head * dim;
    const element* norm = head < queries ? query_norm : head < queries + kv_heads ? key_norm : value_norm;
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

struct Shape { int queries, kv_heads, dim, stride, first_head, heads, split_tokens; float scale, cap; };

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
        const float* q = heads + (long long)row * shape.stride + ((shape.first_head + of_head) * shared_by + query % shared_by) * shape.dim;
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

// What a head attends beside its keys: nothing, with a score.
__device__ inline float sink_of(const float* sinks, int head) { return sinks ? sinks[head] : -INFINITY_F; }

#define JOIN_THREADS 512
#define JOIN_OWN 16 // outputs of splits that a thread fetches at a time
#define JOINED (JOIN_THREADS * JOIN_OWN / 32) // splits that are fetched together, at most

// Adds partial results to a row's head, split by split. state: [row, query][2 + dim]. Of a block's threads `lanes` have a dimension
// and add; the others fetch for them. What a split's outputs and those before it are scaled by is found for many splits at once.
// Blocks share the dimensions only where nothing was before, since each reads what the first writes.
extern "C" __global__ void __launch_bounds__(JOIN_THREADS) join_parts(
    const float* sums, const float* outputs, float* state, float* out, Runs runs, int run_count, Shape shape, const float* sinks, int begins, int lanes) {
    __shared__ float parts[JOIN_THREADS * JOIN_OWN]; // [joined][lanes]
    __shared__ float kept[JOINED], added[JOINED], totals[JOINED], last_most;
    let_next_start();
    wait_for_last();
    int lane = threadIdx.x % lanes, fetcher = threadIdx.x / lanes, fetchers = JOIN_THREADS / lanes, joined = fetchers * JOIN_OWN;
    int shared_by = shape.queries / shape.kv_heads, of_head = blockIdx.x / shared_by, row = blockIdx.y;
    int query_head = shape.first_head * shared_by + blockIdx.x;
    float* own = state + ((long long)row * shape.queries + query_head) * (2 + shape.dim);
    float before_most = begins ? sink_of(sinks, query_head) : own[0], before_total = begins ? (sinks ? 1.0f : 0.0f) : own[1];
    for (int base = blockIdx.z * lanes; base < shape.dim; base += gridDim.z * lanes) {
        int d = base + lane;
        bool inside = d < shape.dim;
        float most = before_most, total = before_total, sum = begins || !inside ? 0.0f : own[2 + d];
        for (int r = 0; r < run_count; r++) {
            const Run& run = runs.at[r];
            if (row < run.first || row >= run.first + run.rows) continue;
            int splits = (run.count + run.more + shape.split_tokens - 1) / shape.split_tokens;
            int query = (row - run.first) * shared_by + blockIdx.x % shared_by;
            long long first = run.partial + ((long long)query * shape.heads + of_head) * splits;
            float ahead[JOIN_OWN];
            auto fetch = [&](int from) {
#pragma unroll
                for (int i = 0; i < JOIN_OWN; i++) {
                    int split = from + i * fetchers + fetcher;
                    ahead[i] = split < splits && inside ? outputs[(first + split) * shape.dim + d] : 0.0f;
                }
            };
            fetch(0);
            for (int from = 0; from < splits; from += joined) {
                int count = min(joined, splits - from);
                __syncthreads();
#pragma unroll
                for (int i = 0; i < JOIN_OWN; i++) parts[(i * fetchers + fetcher) * lanes + lane] = ahead[i];
                if (threadIdx.x < 32) {
                    int each = joined / 32, mine = threadIdx.x * each;
                    float peak[JOINED / 32], top = -INFINITY_F;
                    for (int i = 0; i < each; i++) {
                        bool there = mine + i < count;
                        peak[i] = there ? sums[2 * (first + from + mine + i)] : -INFINITY_F;
                        totals[mine + i] = there ? sums[2 * (first + from + mine + i) + 1] : 0.0f;
                        top = fmaxf(top, peak[i]);
                    }
#pragma unroll
                    for (int far = 1; far < 32; far *= 2) {
                        float other = __shfl_up_sync(0xffffffff, top, far);
                        if (threadIdx.x >= far) top = fmaxf(top, other);
                    }
                    if (threadIdx.x == 31) last_most = fmaxf(most, top);
                    float before = __shfl_up_sync(0xffffffff, top, 1);
                    before = threadIdx.x == 0 ? most : fmaxf(most, before);
                    for (int i = 0; i < each; i++) {
                        float then = fmaxf(before, peak[i]);
                        kept[mine + i] = expf(before - then);
                        added[mine + i] = expf(peak[i] - then);
                        before = then;
                    }
                }
                fetch(from + joined);
                __syncthreads();
                most = last_most;
                if (fetcher > 0 || !inside) continue;
#pragma unroll 8
                for (int i = 0; i < count; i++) {
                    sum = fmaf(sum, kept[i], parts[i * lanes + lane] * added[i]);
                    total = fmaf(total, kept[i], totals[i] * added[i]);
                }
            }
        }
        __syncthreads(); // all have read what was before
        if (fetcher > 0 || !inside) continue;
        own[2 + d] = sum;
        if (total > 0) out[((long long)row * shape.queries + query_head) * shape.dim + d] = sum / total;
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
extern "C" __global__ void join_host(const volatile float* host_sums, const volatile float* host_outputs, float* state, float* out, const float* sinks, int first, int queries, int dim, int begins) {
    let_next_start();
    wait_for_last();
    long long at = (long long)blockIdx.y * queries + first + blockIdx.x;
    float* own = state + at * (2 + dim);
    float most = begins ? sink_of(sinks, first + blockIdx.x) : own[0], total = begins ? (sinks ? 1.0f : 0.0f) : own[1], part_most = host_sums[2 * at], part_total = host_sums[2 * at + 1];
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
