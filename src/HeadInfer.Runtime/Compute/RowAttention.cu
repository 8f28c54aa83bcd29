// Attention of few rows on tensor cores; appended to RowProducts.cu.

#if !defined(ELEMENT_FLOAT32)

#define ATTEND_WARPS 8
#define ATTEND_KEYS 256 // of a split

__device__ inline uint4 load_once(const void* p) {
    uint4 x;
    asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(p));
    return x;
}

// A block takes a split, a head and 8 or 16 queries; a warp has 32 of the keys, all that it needs in registers, and the warps' sums are joined.
// Scores are queries by keys, and outputs dimensions by queries: then the weights are where both products have them.
template <bool MANY>
__device__ inline void attend_block(const float* heads, float* sums, float* outputs, const Runs& runs, int run_count, const Shape& shape) {
    const int QUERIES = MANY ? 16 : 8, HALVES = MANY ? 2 : 1;
    __shared__ float joined[ATTEND_WARPS][8][132];
    __shared__ float peaks[ATTEND_WARPS][16], totals[ATTEND_WARPS][16];
    let_next_start();
    const Run& run = run_of(runs, run_count, blockIdx.x);
    int dim = shape.dim, shared_by = shape.queries / shape.kv_heads, all = run.rows * shared_by;
    int split = blockIdx.x - run.split, of_head = blockIdx.y, start = split * shape.split_tokens;
    int n = min(shape.split_tokens, run.count + run.more - start);
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4;
    long long width = (long long)(shape.queries + 2 * shape.kv_heads) * dim;
    const uint4 nothing = make_uint4(0, 0, 0, 0);
    // Earlier tokens do not depend on the kernel before.
    for (int i = threadIdx.x; i < 2 * min(n, run.count - start); i += blockDim.x) {
        const char* p = (const char*)((const element*)((i % 2 ? run.values : run.keys) + of_head * run.head) + (long long)(start + i / 2) * dim);
        for (int at = 0; at < dim * (int)sizeof(element); at += 128) asm volatile("prefetch.global.L2 [%0];" :: "l"(p + at));
    }
    wait_for_last();
    for (int from = blockIdx.z * QUERIES; from < all; from += gridDim.z * QUERIES) {
        int count = min(QUERIES, all - from);
        float s[4][4];
#pragma unroll
        for (int i = 0; i < 16; i++) s[i / 4][i % 4] = 0;
        int of_warp = n - warp * 32;
        for (int base = 0; base < dim; base += 128) {
            uint4 q[2][4], k[2][4];
            auto fetch = [&](int tile) {
                int key = warp * 32 + tile * 8 + group;
                const element* from_key = row_of(run.keys, run.head, run.more_keys, run.more_head, run.count, start + key, of_head, dim);
#pragma unroll
                for (int b = 0; b < 4; b++) {
                    int at = base + b * 32 + quad * 8;
                    k[tile % 2][b] = key < n && at < dim ? load_once(from_key + at) : nothing;
                }
            };
            fetch(0);
            fetch(1);
#pragma unroll
            for (int h = 0; h < HALVES; h++) {
                int query = h * 8 + group;
                const float* x = heads + (run.first + (from + query) / shared_by) * width + ((shape.first_head + of_head) * shared_by + (from + query) % shared_by) * dim;
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
        u32 p[2][4];
#pragma unroll
        for (int h = 0; h < HALVES; h++) {
            float most = -INFINITY_F, total = 0;
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float& x = s[i / 2][h * 2 + i % 2];
                x *= shape.scale;
                if (shape.cap > 0) x = shape.cap * tanhf(x / shape.cap);
                if (i / 2 * 8 + quad * 2 + i % 2 >= of_warp) x = -INFINITY_F;
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
            if (quad == 0) { peaks[warp][h * 8 + group] = most; totals[warp][h * 8 + group] = total; }
        }
        int splits = (run.count + run.more + shape.split_tokens - 1) / shape.split_tokens;
        for (int base = 0; base < dim; base += 128) {
            float c[HALVES][2][4][4];
#pragma unroll
            for (int i = 0; i < HALVES * 32; i++) c[i / 32][i / 16 % 2][i / 4 % 4][i % 4] = 0;
#pragma unroll
            for (int pair = 0; pair < 2; pair++) {
                uint4 v[2][4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    int key = warp * 32 + pair * 16 + quad * 2 + i / 2 * 8 + i % 2;
                    const element* row = row_of(run.values, run.head, run.more_values, run.more_head, run.count, start + key, of_head, dim);
#pragma unroll
                    for (int unit = 0; unit < 2; unit++) {
                        int at = base + unit * 64 + group * 8;
                        v[unit][i] = key < n && at < dim ? load_once(row + at) : nothing;
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
                    if (h * 8 + query < count) *(float2*)&joined[warp][query][i / 8 * 64 + group * 8 + i / 2 % 4 * 2] = make_float2(c[h][i / 8][i / 2 % 4][i % 2], c[h][i / 8][i / 2 % 4][i % 2 + 2]);
                }
                __syncthreads();
                int wide = min(128, dim - base);
                for (int i = threadIdx.x; i < min(8, count - h * 8) * wide; i += blockDim.x) {
                    int query = i / wide, d = i % wide;
                    float most = -INFINITY_F, total = 0, sum = 0;
#pragma unroll
                    for (int w = 0; w < ATTEND_WARPS; w++) most = fmaxf(most, peaks[w][h * 8 + query]);
#pragma unroll
                    for (int w = 0; w < ATTEND_WARPS; w++) {
                        float factor = expf(peaks[w][h * 8 + query] - most);
                        total = fmaf(totals[w][h * 8 + query], factor, total);
                        sum = fmaf(joined[w][query][d], factor, sum);
                    }
                    long long to = run.partial + ((long long)(from + h * 8 + query) * shape.heads + of_head) * splits + split;
                    outputs[to * dim + base + d] = sum;
                    if (base + d == 0) { sums[2 * to] = most; sums[2 * to + 1] = total; }
                }
                __syncthreads();
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(ATTEND_WARPS * 32, 2) attend_8(const float* heads, float* sums, float* outputs, Runs runs, int run_count, Shape shape) {
    attend_block<false>(heads, sums, outputs, runs, run_count, shape);
}

extern "C" __global__ void __launch_bounds__(ATTEND_WARPS * 32, 2) attend_16(const float* heads, float* sums, float* outputs, Runs runs, int run_count, Shape shape) {
    attend_block<true>(heads, sums, outputs, runs, run_count, shape);
}

#endif
