// Attention of many rows on tensor cores, for what libtorch's fused kernels do not take: soft caps, and heads of more than 256 dimensions.
// Appended to Kernels.cu; told HEAD_DIM, BLOCK_ROWS and BLOCK_KEYS. Scores and sums are float32; a weight is rounded before it multiplies a
// value. On an H200 it computes at 200 to 235 Tflop/s with heads of 256 dimensions, and 165 with 512: there shared memory bounds it, from
// which each warp reads all keys and values for 16 rows. Rows of more than that, and reading ahead of the products, gained nothing.
// A block has some rows of a head, and keys and values come by turns into two places: one is filled while the other is attended.
// Wide heads' outputs do not fit a warp's registers: there two warps have the same rows, half of the keys each, and half of the outputs each.

#if defined(ELEMENT_BFLOAT16)
#define MMA_TYPE "bf16"
__device__ inline u32 pack(float low, float high) { u32 y; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low)); return y; }
#else
#define MMA_TYPE "f16"
__device__ inline u32 pack(float low, float high) { u32 y; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low)); return y; }
#endif

#define CHUNKS (HEAD_DIM / 8)               // of 16 bytes
#define SPLIT (HEAD_DIM > 256 ? 2 : 1)      // warps with the same rows
#define PITCH (HEAD_DIM % 64 ? HEAD_DIM + 8 : HEAD_DIM)
#define ATTEND_THREADS (BLOCK_ROWS / 16 * SPLIT * 32)
#define SCORE_TILES (BLOCK_KEYS / 8 / SPLIT) // of 8 keys, a warp's
#define OUTPUT_TILES (HEAD_DIM / 8 / SPLIT)  // of 8 dimensions, a warp's
#define WEIGHT_PITCH (BLOCK_KEYS + 8)
#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f
#define NO_SCORE (-__int_as_float(0x7f800000))

struct Heads { long long batch, group, row; }; // distances in elements
struct Part { int rows, keys, first_row, first_key, window; float scale, cap; }; // positions of the first row and key; a window or a cap of 0 is none

__device__ inline u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Where 8 elements lie, so that 8 rows of a column lie in all banks: rows are turned, or where their chunks are no multiple of 8, longer by one.
__device__ inline int place(int row, int chunk) { return row * PITCH + (HEAD_DIM % 64 ? chunk : chunk ^ row & 7) * 8; }

__device__ inline void load_matrices(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}

__device__ inline void load_transposed(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}

__device__ inline void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32." MMA_TYPE "." MMA_TYPE ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Rows to shared memory; those that are not there become zeros.
template <int ROWS>
__device__ inline void fetch(element* to, const element* from, long long stride, int first, int count) {
#pragma unroll 4
    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += ATTEND_THREADS) {
        int row = i / CHUNKS, chunk = i % CHUNKS;
        bool there = first + row < count;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::
            "r"(shared_address(to + place(row, chunk))), "l"(from + (there ? first + row : 0) * stride + chunk * 8), "r"(there ? 16 : 0) : "memory");
    }
}

__device__ inline float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ inline float quad_sum(float x) {
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

__device__ inline float power_of_2(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }

// A score in units of log2(e). The approximate tanh of the hardware is too coarse; this one errs by some 1e-7 of the cap.
__device__ inline float score(float x, float scale, float cap) {
    return cap == 0 ? x * scale : cap - __fdividef(2 * cap, 1 + power_of_2(x * scale));
}

// Waits for the warps that have the same rows.
__device__ inline void meet(int tile) {
    if (SPLIT > 1) asm volatile("bar.sync %0, %1;" :: "r"(tile + 1), "n"(SPLIT * 32) : "memory");
}

// queries: [batch, group, rows, dim]; keys, values: [batch, keys, dim]; outputs like queries, their log-sum-exps [batch, group, rows].
extern "C" __global__ void __launch_bounds__(ATTEND_THREADS, 1) attend_segment(
    const element* queries, const element* keys, const element* values, element* outputs, float* lse, Heads q_at, Heads k_at, Heads v_at, Heads o_at, int groups, Part part) {
    extern __shared__ __align__(16) element memory[];
    element *q = memory, *ring = q + BLOCK_ROWS * PITCH, *shared_weights = ring + 4 * BLOCK_KEYS * PITCH;
    float* shared_numbers = (float*)(shared_weights + BLOCK_ROWS * WEIGHT_PITCH); // [2][rows], where warps share rows
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, tile = warp / SPLIT, half = warp % SPLIT;
    int first = (gridDim.x - 1 - blockIdx.x) * BLOCK_ROWS, batch = blockIdx.y / groups, group = blockIdx.y % groups; // the last rows see most: they begin
    queries += batch * q_at.batch + group * q_at.group;
    keys += batch * k_at.batch;
    values += batch * v_at.batch;

    // Keys that some row of the block sees.
    int low = part.first_row + first, high = part.first_row + min(first + BLOCK_ROWS, part.rows) - 1; // positions
    int end = min(part.keys, high - part.first_key + 1), begin = part.window ? max(0, low - part.window + 1 - part.first_key) / BLOCK_KEYS * BLOCK_KEYS : 0;
    int turns = (end - begin + BLOCK_KEYS - 1) / BLOCK_KEYS;

    auto turn = [&](int at) {
        element* to = ring + at % 2 * 2 * BLOCK_KEYS * PITCH;
        fetch<BLOCK_KEYS>(to, keys, k_at.row, begin + at * BLOCK_KEYS, end);
        fetch<BLOCK_KEYS>(to + BLOCK_KEYS * PITCH, values, v_at.row, begin + at * BLOCK_KEYS, end);
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    fetch<BLOCK_ROWS>(q, queries, q_at.row, first, part.rows);
    turn(0);

    float o[OUTPUT_TILES][4] = {}, peak[2] = {NO_SCORE, NO_SCORE}, total[2] = {};
    float scale = part.cap == 0 ? part.scale * LOG2_E : 2 * part.scale / part.cap * LOG2_E, cap = part.cap * LOG2_E;
    int own_row = tile * 16 + lane / 4; // of the block, and the one 8 below
    for (int at = 0; at < turns; at++) {
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        __syncthreads(); // the other place has been attended, and this one is there
        if (at + 1 < turns) turn(at + 1);
        const element *k = ring + at % 2 * 2 * BLOCK_KEYS * PITCH, *v = k + BLOCK_KEYS * PITCH;

        float s[SCORE_TILES][4] = {};
#pragma unroll
        for (int step = 0; step < HEAD_DIM / 16; step++) {
            u32 a[4];
            load_matrices(a, shared_address(q + place(tile * 16 + lane % 16, step * 2 + lane / 16)));
#pragma unroll
            for (int n = 0; n + 1 < SCORE_TILES; n += 2) {
                u32 b[4];
                load_matrices(b, shared_address(k + place((half * SCORE_TILES + n) * 8 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2)));
                multiply(s[n], a, b[0], b[1]);
                multiply(s[n + 1], a, b[2], b[3]);
            }
            if (SCORE_TILES % 2) {
                u32 b[4];
                load_matrices(b, shared_address(k + place((half * SCORE_TILES + SCORE_TILES - 1) * 8 + lane % 8, step * 2 + lane / 8 % 2)));
                multiply(s[SCORE_TILES - 1], a, b[0], b[1]);
            }
        }

        int from = begin + at * BLOCK_KEYS, position = part.first_key + from;
        bool whole = from + BLOCK_KEYS <= part.keys && position + BLOCK_KEYS - 1 <= low && (!part.window || position > high - part.window);
        float most[2] = {NO_SCORE, NO_SCORE};
#pragma unroll
        for (int n = 0; n < SCORE_TILES; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x = score(s[n][i], scale, cap);
                if (!whole) {
                    int column = (half * SCORE_TILES + n) * 8 + lane % 4 * 2 + i % 2, row = low + own_row + i / 2 * 8;
                    bool seen = from + column < part.keys && position + column <= row && (!part.window || position + column > row - part.window);
                    x = seen ? x : NO_SCORE;
                }
                s[n][i] = x;
                most[i / 2] = fmaxf(most[i / 2], x);
            }
        }
        most[0] = quad_max(most[0]);
        most[1] = quad_max(most[1]);
        if (SPLIT > 1) {
            if (lane % 4 == 0) {
                shared_numbers[half * BLOCK_ROWS + own_row] = most[0];
                shared_numbers[half * BLOCK_ROWS + own_row + 8] = most[1];
            }
            meet(tile);
            most[0] = fmaxf(most[0], shared_numbers[(1 - half) * BLOCK_ROWS + own_row]);
            most[1] = fmaxf(most[1], shared_numbers[(1 - half) * BLOCK_ROWS + own_row + 8]);
        }

#pragma unroll
        for (int r = 0; r < 2; r++) {
            float raised = fmaxf(peak[r], most[r]), base = raised == NO_SCORE ? 0 : raised, factor = power_of_2(peak[r] - base), sum = 0;
            peak[r] = raised;
#pragma unroll
            for (int n = 0; n < SCORE_TILES; n++) {
                s[n][2 * r] = power_of_2(s[n][2 * r] - base);
                s[n][2 * r + 1] = power_of_2(s[n][2 * r + 1] - base);
                sum += s[n][2 * r] + s[n][2 * r + 1];
            }
            total[r] = total[r] * factor + sum;
            if (__any_sync(~0u, factor != 1)) {
#pragma unroll
                for (int n = 0; n < OUTPUT_TILES; n++) {
                    o[n][2 * r] *= factor;
                    o[n][2 * r + 1] *= factor;
                }
            }
        }
        if (SPLIT > 1) {
#pragma unroll
            for (int n = 0; n < SCORE_TILES; n++) {
                element* to = shared_weights + own_row * WEIGHT_PITCH + (half * SCORE_TILES + n) * 8 + lane % 4 * 2;
                *(u32*)to = pack(s[n][0], s[n][1]);
                *(u32*)(to + 8 * WEIGHT_PITCH) = pack(s[n][2], s[n][3]);
            }
            meet(tile);
        }

#pragma unroll
        for (int step = 0; step < BLOCK_KEYS / 16; step++) {
            u32 a[4];
            if (SPLIT > 1) {
                load_matrices(a, shared_address(shared_weights + (tile * 16 + lane % 16) * WEIGHT_PITCH + step * 16 + lane / 16 * 8));
            } else {
                float (*w)[4] = s + 2 * step % SCORE_TILES;
                a[0] = pack(w[0][0], w[0][1]);
                a[1] = pack(w[0][2], w[0][3]);
                a[2] = pack(w[1][0], w[1][1]);
                a[3] = pack(w[1][2], w[1][3]);
            }
#pragma unroll
            for (int n = 0; n < OUTPUT_TILES; n += 2) {
                u32 b[4];
                load_transposed(b, shared_address(v + place(step * 16 + lane % 16, half * OUTPUT_TILES + n + lane / 16)));
                multiply(o[n], a, b[0], b[1]);
                multiply(o[n + 1], a, b[2], b[3]);
            }
        }
    }

    total[0] = quad_sum(total[0]);
    total[1] = quad_sum(total[1]);
    if (SPLIT > 1) {
        if (lane % 4 == 0) {
            shared_numbers[half * BLOCK_ROWS + own_row] = total[0];
            shared_numbers[half * BLOCK_ROWS + own_row + 8] = total[1];
        }
        meet(tile);
        total[0] += shared_numbers[(1 - half) * BLOCK_ROWS + own_row];
        total[1] += shared_numbers[(1 - half) * BLOCK_ROWS + own_row + 8];
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int row = first + own_row + r * 8;
        if (row >= part.rows) continue;
        element* to = outputs + batch * o_at.batch + group * o_at.group + row * o_at.row + half * OUTPUT_TILES * 8 + lane % 4 * 2;
        float inverse = 1 / total[r];
#pragma unroll
        for (int n = 0; n < OUTPUT_TILES; n++) *(u32*)(to + n * 8) = pack(o[n][2 * r] * inverse, o[n][2 * r + 1] * inverse);
        if (half == 0 && lane % 4 == 0) lse[(long long)blockIdx.y * part.rows + row] = (peak[r] + log2f(total[r])) * LN_2;
    }
}
