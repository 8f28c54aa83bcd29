// Attention of few rows on tensor cores; appended to RowProducts.cu.

#if !defined(ELEMENT_FLOAT32)

#define ATTEND_WARPS 8
#define ATTEND_KEYS 256 // of a split

__device__ inline uint4 load_once(const void* p) {
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(p));
    return x;
}

struct InMemory { // where a split's keys and values lie, and how many they are
    const Run& run; int start, n, of_head, dim;
    __device__ uint4 key(int i, int at) const { return load_once(row_of(run.keys, run.head, run.more_keys, run.more_head, run.count, start + i, of_head, dim) + at); }
    __device__ uint4 value(int i, int at) const { return load_once(row_of(run.values, run.head, run.more_values, run.more_head, run.count, start + i, of_head, dim) + at); }
};

struct InRing { // the same, but of a warp's own keys, copied
    const element *keys, *values; int start, n, of_head, dim;
    __device__ uint4 key(int i, int at) const { return *(const uint4*)(keys + i % 32 * dim + at); }
    __device__ uint4 value(int i, int at) const { return *(const uint4*)(values + i % 32 * dim + at); }
};

struct alignas(16) Joining { float outputs[ATTEND_WARPS][8][132], peaks[ATTEND_WARPS][16], totals[ATTEND_WARPS][16], factors[ATTEND_WARPS][8], most[8]; };

// Scores of 32 keys of a warp, and from them the weights of their values. Scores are queries by keys, and outputs dimensions by
// queries: then the weights are where both products have them.
template <bool MANY, class Source>
__device__ inline void attend_keys(const Source& source, const float* heads, const Run& run, const Shape& shape, int from, int count, u32 (*p)[4], Joining& joining) {
    const int HALVES = MANY ? 2 : 1;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4, dim = source.dim, shared_by = shape.queries / shape.kv_heads;
    long long width = shape.stride;
    const uint4 nothing = make_uint4(0, 0, 0, 0);
    float s[4][4];
#pragma unroll
    for (int i = 0; i < 16; i++) s[i / 4][i % 4] = 0;
    for (int base = 0; base < dim; base += 128) {
        uint4 q[2][4], k[2][4];
        auto fetch = [&](int tile) {
            int key = warp * 32 + tile * 8 + group;
#pragma unroll
            for (int b = 0; b < 4; b++) {
                int at = base + b * 32 + quad * 8;
                k[tile % 2][b] = key < source.n && at < dim ? source.key(key, at) : nothing;
            }
        };
        fetch(0);
        fetch(1);
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
            int query = h * 8 + group;
            const float* x = heads + (run.first + (from + query) / shared_by) * width + ((shape.first_head + source.of_head) * shared_by + (from + query) % shared_by) * dim;
            float none = 0;
#pragma unroll
            for (int b = 0; b < 4; b++) {
                int at = base + b * 32 + quad * 8;
                q[h][b] = query < count && at < dim ? take(x + at, nullptr, none) : nothing;
            }
        }
#pragma unroll
        for (int tile = 0; tile < 4; tile++) {
            uint4 now[4];
#pragma unroll
            for (int b = 0; b < 4; b++) now[b] = k[tile % 2][b];
            if (tile < 2) fetch(tile + 2);
#pragma unroll
            for (int b = 0; b < 4; b++) {
                uint4 other = MANY ? q[1][b] : nothing;
                mma(s[tile], q[0][b].x, other.x, q[0][b].y, other.y, now[b].x, now[b].y);
                mma(s[tile], q[0][b].z, other.z, q[0][b].w, other.w, now[b].z, now[b].w);
            }
        }
    }
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        float most = -INFINITY_F, total = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float& x = s[i / 2][h * 2 + i % 2];
            x *= shape.scale;
            if (shape.cap > 0) x = shape.cap * tanhf(x / shape.cap);
            if (i / 2 * 8 + quad * 2 + i % 2 >= source.n - warp * 32) x = -INFINITY_F;
            most = fmaxf(most, x);
        }
        most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 1));
        most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, 2));
#pragma unroll
        for (int tile = 0; tile < 4; tile++) {
            float a = s[tile][h * 2] == -INFINITY_F ? 0.0f : expf(s[tile][h * 2] - most), b = s[tile][h * 2 + 1] == -INFINITY_F ? 0.0f : expf(s[tile][h * 2 + 1] - most);
            total += a;
            total += b;
            p[h][tile] = pack(a, b);
        }
        total += __shfl_xor_sync(0xffffffff, total, 1);
        total += __shfl_xor_sync(0xffffffff, total, 2);
        if (quad == 0) { joining.peaks[warp][h * 8 + group] = most; joining.totals[warp][h * 8 + group] = total; }
    }
}

// Adds up the values of the warps' keys, of up to 128 dimensions, and writes them.
template <bool MANY, class Source>
__device__ inline void attend_values(const Source& source, float* sums, float* outputs, const Run& run, const Shape& shape, int split, int base, int from, int count, const u32 (*p)[4], Joining& joining) {
    const int HALVES = MANY ? 2 : 1;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4, dim = source.dim;
    int splits = (run.count + run.more + shape.split_tokens - 1) / shape.split_tokens;
    const uint4 nothing = make_uint4(0, 0, 0, 0);
    float c[HALVES][2][4][4];
#pragma unroll
    for (int i = 0; i < HALVES * 32; i++) c[i / 32][i / 16 % 2][i / 4 % 4][i % 4] = 0;
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
        uint4 v[2][4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int key = warp * 32 + pair * 16 + quad * 2 + i / 2 * 8 + i % 2;
#pragma unroll
            for (int unit = 0; unit < 2; unit++) {
                int at = base + unit * 64 + group * 8;
                v[unit][i] = key < source.n && at < dim ? source.value(key, at) : nothing;
            }
        }
#pragma unroll
        for (int unit = 0; unit < 2; unit++) {
            const u32 *x = (const u32*)&v[unit][0], *y = (const u32*)&v[unit][1], *z = (const u32*)&v[unit][2], *u = (const u32*)&v[unit][3];
#pragma unroll
            for (int t = 0; t < 4; t++)
#pragma unroll
                for (int h = 0; h < HALVES; h++)
                    mma(c[h][unit][t], __byte_perm(x[t], y[t], 0x5410), __byte_perm(x[t], y[t], 0x7632), __byte_perm(z[t], u[t], 0x5410), __byte_perm(z[t], u[t], 0x7632), p[h][pair * 2], p[h][pair * 2 + 1]);
        }
    }
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        if (h * 8 >= count) break;
#pragma unroll
        for (int i = 0; i < 16; i++) {
            int query = quad * 2 + i % 2;
            if (h * 8 + query < count) *(float2*)&joining.outputs[warp][query][i / 8 * 64 + group * 8 + i / 2 % 4 * 2] = make_float2(c[h][i / 8][i / 2 % 4][i % 2], c[h][i / 8][i / 2 % 4][i % 2 + 2]);
        }
        sync_workers();
        if (threadIdx.x < ATTEND_WARPS * 8) {
            int query = threadIdx.x % 8;
            float most = -INFINITY_F;
#pragma unroll
            for (int w = 0; w < ATTEND_WARPS; w++) most = fmaxf(most, joining.peaks[w][h * 8 + query]);
            joining.factors[threadIdx.x / 8][query] = expf(joining.peaks[threadIdx.x / 8][h * 8 + query] - most);
            if (threadIdx.x < 8) joining.most[query] = most;
        }
        sync_workers();
        int wide = min(128, dim - base);
        for (int i = threadIdx.x; i < min(8, count - h * 8) * wide; i += ATTEND_WARPS * 32) {
            int query = i / wide, d = i % wide;
            float total = 0, sum = 0;
#pragma unroll
            for (int w = 0; w < ATTEND_WARPS; w++) {
                float factor = joining.factors[w][query];
                total = fmaf(joining.totals[w][h * 8 + query], factor, total);
                sum = fmaf(joining.outputs[w][query][d], factor, sum);
            }
            long long to = run.partial + ((long long)(from + h * 8 + query) * shape.heads + source.of_head) * splits + split;
            outputs[to * dim + base + d] = sum;
            if (base + d == 0) { sums[2 * to] = joining.most[query]; sums[2 * to + 1] = total; }
        }
        sync_workers();
    }
}

// A block takes a split, a head and 8 or 16 queries; a warp has 32 of the keys, all that it needs in registers, and the warps' sums are joined.
template <bool MANY>
__device__ inline void attend_block(const float* heads, float* sums, float* outputs, const Runs& runs, int run_count, const Shape& shape) {
    const int QUERIES = MANY ? 16 : 8;
    __shared__ Joining joining;
    let_next_start();
    const Run& run = run_of(runs, run_count, blockIdx.x);
    int dim = shape.dim, all = run.rows * (shape.queries / shape.kv_heads);
    int split = blockIdx.x - run.split, of_head = blockIdx.y, start = split * shape.split_tokens;
    int n = min(shape.split_tokens, run.count + run.more - start);
    // Earlier tokens do not depend on the kernel before.
    for (int i = threadIdx.x; i < 2 * min(n, run.count - start); i += blockDim.x) {
        const char* p = (const char*)((const element*)((i % 2 ? run.values : run.keys) + of_head * run.head) + (long long)(start + i / 2) * dim);
        for (int at = 0; at < dim * (int)sizeof(element); at += 128) asm volatile("prefetch.global.L2 [%0];" :: "l"(p + at));
    }
    wait_for_last();
    InMemory source = {run, start, n, of_head, dim};
    for (int from = blockIdx.z * QUERIES; from < all; from += gridDim.z * QUERIES) {
        int count = min(QUERIES, all - from);
        u32 p[2][4];
        attend_keys<MANY>(source, heads, run, shape, from, count, p, joining);
        for (int base = 0; base < dim; base += 128) attend_values<MANY>(source, sums, outputs, run, shape, split, base, from, count, p, joining);
    }
}

#define ATTEND(NAME, MANY)                                                                                                             \
    extern "C" __global__ void __launch_bounds__(ATTEND_WARPS * 32, 2) NAME(                                                           \
        const float* heads, float* sums, float* outputs, Runs runs, int run_count, Shape shape) {                                      \
        attend_block<MANY>(heads, sums, outputs, runs, run_count, shape);                                                              \
    }

ATTEND(attend_8, false)
ATTEND(attend_16, true)

// ---- Where the GPU copies by itself ----

#if __CUDA_ARCH__ >= 900
#define MOST_PIECES 32

__device__ inline void prefetch(const void* from, int bytes) { asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" :: "l"(from), "r"(bytes)); }

// Up to 8 queries. Blocks stay and take a split of a head after another. The last warp copies the keys and then the values of the
// others' parts into a ring of pieces, at least one for each warp, ahead of them. Sums are attend_block's. More queries are slower so.
extern "C" __global__ void __launch_bounds__((ATTEND_WARPS + 1) * 32, 1) attend_stream(
    const float* heads, float* sums, float* outputs, Runs runs, int run_count, Shape shape, int splits, int pieces) {
    extern __shared__ uint4 ring[]; // [pieces][32 keys or values]
    __shared__ Joining joining;
    __shared__ u64 barriers[2 * MOST_PIECES];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = shape.dim, size = 32 * dim * (int)sizeof(element), items = splits * shape.heads;
    u32 base = (u32)__cvta_generic_to_shared(ring), full = (u32)__cvta_generic_to_shared(barriers), empty = full + 8 * MOST_PIECES;
    if (threadIdx.x == 0) {
        for (int i = 0; i < pieces; i++) { make_barrier(full + 8 * i, 1); make_barrier(empty + 8 * i, 1); }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    let_next_start();
    int of_warp = warp == ATTEND_WARPS ? lane % ATTEND_WARPS : warp, next = of_warp; // piece of a warp's next keys, counted on
    for (int item = blockIdx.x; item < items; item += gridDim.x, next += 2 * ATTEND_WARPS) {
        const Run& run = run_of(runs, run_count, item / shape.heads);
        int split = item / shape.heads - run.split, of_head = item % shape.heads, start = split * shape.split_tokens;
        int n = min(shape.split_tokens, run.count + run.more - start), count = run.rows * (shape.queries / shape.kv_heads);
        if (warp == ATTEND_WARPS) {
            int first = of_warp * 32, some = max(0, min(32, n - first)), earlier = max(0, min(some, run.count - start - first));
            bool values = lane >= ATTEND_WARPS; // a lane copies the keys of a warp, or its values
            const element* from = (const element*)((values ? run.values : run.keys) + of_head * run.head) + (long long)(start + first) * dim;
            const element* more = (const element*)((values ? run.more_values : run.more_keys) + of_head * run.more_head) + (long long)max(0, start + first - run.count) * dim;
            int bytes = earlier * dim * (int)sizeof(element), other = (some - earlier) * dim * (int)sizeof(element);
            if (item == blockIdx.x) {
                if (lane < 2 * ATTEND_WARPS && bytes > 0) prefetch(from, bytes);
                wait_for_last(); // tokens of this step may be among those that are neighbours
                asm volatile("fence.proxy.async;" ::: "memory");
            }
            for (int of = 0; of < 2; of++) {
                if (lane / ATTEND_WARPS == of) {
                    int own = next + of * ATTEND_WARPS, at = own % pieces;
                    await(empty + 8 * at, own / pieces % 2 ^ 1);
                    expect(full + 8 * at, bytes + other);
                    if (bytes > 0) copy(base + at * size, from, bytes, full + 8 * at);
                    if (other > 0) copy(base + at * size + bytes, more, other, full + 8 * at);
                }
                __syncwarp();
            }
            continue;
        }
        if (item == blockIdx.x) wait_for_last();
        int keys = next % pieces, last = next + ATTEND_WARPS, values = last % pieces;
        InRing source = {(const element*)((const char*)ring + keys * size), (const element*)((const char*)ring + values * size), start, n, of_head, dim};
        u32 p[2][4];
        await(full + 8 * keys, next / pieces % 2);
        attend_keys<false>(source, heads, run, shape, 0, count, p, joining);
        __syncwarp();
        if (lane == 0) arrive(empty + 8 * keys);
        // A barrier's parity tells the last two times apart. Where a piece has another warp's keys first, these must have come.
        if (pieces < 2 * ATTEND_WARPS) sync_workers();
        await(full + 8 * values, last / pieces % 2);
        for (int at = 0; at < dim; at += 128) attend_values<false>(source, sums, outputs, run, shape, split, at, 0, count, p, joining);
        __syncwarp();
        if (lane == 0) arrive(empty + 8 * values);
    }
}
#endif

#endif
