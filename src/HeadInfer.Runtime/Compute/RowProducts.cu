// Products of few rows on tensor cores; appended to RowKernels.cu.

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

// All but a warp that copies.
__device__ inline void sync_workers() { asm volatile("bar.sync 1, %0;" :: "n"(WARPS * 32) : "memory"); }

// Weights are read once: they need no place in the first cache, where the rows are. Lines of 128 bytes are asked for whole:
// halves of them alone cost a seventh of the memory's rate.
__device__ inline uint4 load_weights(const void* p) {
    uint4 x;
    asm("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(p));
    return x;
}

// Eight of a row, times the norm's weights, packed; and the sum of their squares is added.
__device__ inline uint4 take(const float* x, const element* norm, float& squares) {
    float4 a = *(const float4*)x, b = *((const float4*)x + 1);
    if (norm) {
        float own = fmaf(a.x, a.x, fmaf(a.y, a.y, fmaf(a.z, a.z, a.w * a.w)));
        squares += fmaf(b.x, b.x, fmaf(b.y, b.y, fmaf(b.z, b.z, fmaf(b.w, b.w, own))));
        Lanes w = load(norm);
        a.x *= w.at[0]; a.y *= w.at[1]; a.z *= w.at[2]; a.w *= w.at[3];
        b.x *= w.at[4]; b.y *= w.at[5]; b.z *= w.at[6]; b.w *= w.at[7];
    }
    return make_uint4(pack(a.x, a.y), pack(a.z, a.w), pack(b.x, b.y), pack(b.z, b.w));
}

// What a block's warps have of one output of one row, added up.
struct Product { const element* norm; float epsilon; const element* bias; float* out; int outputs, columns, add, kind; };

template <bool GATE, int WIDTH>
__device__ inline void finish(const Product& to, const float (*sums)[16][WIDTH], const float* squares, int squares_stride, int first, int output, int row) {
    int limit = GATE ? to.outputs / 2 : to.outputs;
    float factor = 1, y = 0, up = 0;
    if (to.norm) {
        float total = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) total += squares[w * squares_stride + row];
        factor = rsqrtf(total / to.columns + to.epsilon);
    }
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        y += sums[w][output][row];
        if (GATE) up += sums[w][output + 8][row];
    }
    y = fmaf(y, factor, to.bias ? widen(to.bias[first + output]) : 0.0f); // by name: the same bits in all kernels
    if (GATE) y = gated(y, fmaf(up, factor, to.bias ? widen(to.bias[limit + first + output]) : 0.0f), to.kind);
    float* at = to.out + (long long)row * limit + first + output;
    *at = to.add ? *at + y : y;
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
            next[half][0] = at < columns && has_low ? load_weights(w0 + at) : nothing;
            next[half][1] = both && at < columns && has_high ? load_weights(w1 + at) : nothing;
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
        if (row < rows && first + output < limit) finish<GATE>({norm, epsilon, bias, out, outputs, columns, add, kind}, sums, all_squares[0], NT * 8, first, output, row);
    }
}

#define MULTIPLY(NAME, NT, OUTPUTS, GATE)                                                                                              \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) NAME(                                                                     \
        const float* x, const element* norm, float epsilon, const element* weight, const element* bias, float* out, int rows, int outputs, int columns, int add, int kind) { \
        multiply_block<NT, OUTPUTS, GATE>(x, norm, epsilon, weight, bias, out, rows, outputs, columns, add, kind);                       \
    }

#if !defined(BITS) // packed weights have kernels of their own
MULTIPLY(multiply_8_by_8, 1, 8, false)
MULTIPLY(multiply_8_by_16, 1, 16, false)
MULTIPLY(multiply_16_by_16, 2, 16, false)
MULTIPLY(gate_8, 1, 8, true)
MULTIPLY(gate_16, 2, 8, true)

// Of chosen experts, a row each: x [rows, columns] and out [rows, per row, outputs]; or x [rows, per row, columns].
extern "C" __global__ void __launch_bounds__(WARPS * 32) experts_gate(
    const float* x, const element* norm, float epsilon, const Expert* experts, const int* chosen, float* out, int per_row, int outputs, int columns, int kind) {
    let_next_start();
    wait_for_last();
    const Weights& weights = experts[chosen[blockIdx.y]].gate;
    multiply_block<1, 8, true>(x + (long long)(blockIdx.y / per_row) * columns, norm, epsilon, (const element*)weights.codes, weights.bias, out + (long long)blockIdx.y * outputs, 1, 2 * outputs, columns, 0, kind);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32) experts_down(const float* x, const Expert* experts, const int* chosen, float* out, int outputs, int columns) {
    let_next_start();
    wait_for_last();
    const Weights& weights = experts[chosen[blockIdx.y]].down;
    multiply_block<1, 8, false>(x + (long long)blockIdx.y * columns, nullptr, 0, (const element*)weights.codes, weights.bias, out + (long long)blockIdx.y * outputs, 1, outputs, columns, 0, 0);
}
#endif

// ---- One row, where the GPU copies by itself: the same sums, and a third more of the memory's rate ----

#if __CUDA_ARCH__ >= 900
#define SLOTS 4 // stages under way
#define GATE_SLOTS 2
#define STAGE_UNITS 16 // of 64 columns
#define LINE (STAGE_UNITS * 128 + 64) // bytes of a stage's output: neighbours begin in other banks

__device__ inline void make_barrier(u32 barrier, int arrivals) { asm volatile("mbarrier.init.shared.b64 [%0], %1;" :: "r"(barrier), "r"(arrivals) : "memory"); }
__device__ inline void expect(u32 barrier, int bytes) { asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" :: "r"(barrier), "r"(bytes) : "memory"); }
__device__ inline void arrive(u32 barrier) { asm volatile("mbarrier.arrive.shared.b64 _, [%0];" :: "r"(barrier) : "memory"); }

__device__ inline void await(u32 barrier, int parity) {
    asm volatile("{\n.reg .pred done;\nagain_%=:\nmbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n@!done bra again_%=;\n}" :: "r"(barrier), "r"(parity) : "memory");
}

__device__ inline void copy(u32 to, const void* from, int bytes, u32 barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}

// A block stays and makes 8 outputs after another. Its last warp copies weights ahead of the others, who multiply; it needs no
// kernel before, and so begins at once. The row is packed once a block. Units are summed in multiply_block's order.
template <bool GATE>
__device__ inline void stream_block(const float* x, const element* weight, const Product& to) {
    extern __shared__ uint4 ring[]; // [slots][outputs][LINE], then the row and the squares of each eight of it
    __shared__ float sums[WARPS][16][1];
    __shared__ float all_squares[WARPS];
    __shared__ u64 barriers[2 * SLOTS];
    const int lines = GATE ? 16 : 8, slots = GATE ? GATE_SLOTS : SLOTS, size = lines * LINE;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4, columns = to.columns;
    int limit = GATE ? to.outputs / 2 : to.outputs, tiles = (limit + 7) / 8, chunks = columns / 8;
    int units = (columns + 63) / 64, stages = (units + STAGE_UNITS - 1) / STAGE_UNITS;
    uint4* packed = ring + slots * size / 16;
    float* chunk_squares = (float*)(packed + chunks);
    u32 base = (u32)__cvta_generic_to_shared(ring), full = (u32)__cvta_generic_to_shared(barriers), empty = full + 8 * SLOTS;
    if (threadIdx.x == 0) {
        for (int i = 0; i < slots; i++) { make_barrier(full + 8 * i, 1); make_barrier(empty + 8 * i, WARPS); }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    let_next_start();
    if (warp == WARPS) {
        int slot = 0, parity = 1;
        for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
            int some = min(8, limit - tile * 8);
            bool mine = lane < lines && lane % 8 < some;
            const element* from = weight + (long long)(tile * 8 + lane % 8 + (lane < 8 ? 0 : limit)) * columns;
            for (int stage = 0; stage < stages; stage++) {
                int at = stage * STAGE_UNITS * 64, bytes = min(STAGE_UNITS * 128, (columns - at) * 2);
                await(empty + 8 * slot, parity);
                if (lane == 0) expect(full + 8 * slot, bytes * some * (GATE ? 2 : 1));
                __syncwarp();
                if (mine) copy(base + slot * size + lane * LINE, from + at, bytes, full + 8 * slot);
                if (++slot == slots) { slot = 0; parity ^= 1; }
            }
        }
        wait_for_last();
        return;
    }
    wait_for_last();
    for (int i = threadIdx.x; i < chunks; i += WARPS * 32) {
        float squares = 0;
        packed[i] = take(x + i * 8, to.norm ? to.norm + i * 8 : nullptr, squares);
        chunk_squares[i] = squares;
    }
    sync_workers();
    float squares = 0;
    for (int unit = to.norm ? warp : units; unit < units; unit += WARPS)
        for (int chunk = unit * 8 + quad; chunk < min(chunks, unit * 8 + 8); chunk += 4) squares += chunk_squares[chunk];
    squares += __shfl_xor_sync(0xffffffff, squares, 1);
    squares += __shfl_xor_sync(0xffffffff, squares, 2);
    if (lane == 0) all_squares[warp] = squares;
    const uint4 nothing = make_uint4(0, 0, 0, 0);
    int slot = 0, parity = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        float c[4] = {0, 0, 0, 0};
        for (int stage = 0; stage < stages; stage++) {
            await(full + 8 * slot, parity);
            const char* from = (const char*)ring + slot * size + group * LINE + warp * 128 + quad * 16;
#pragma unroll
            for (int part = 0; part < STAGE_UNITS / 4; part++) {
                int chunk = (stage * STAGE_UNITS + warp + part / 2 * WARPS) * 8 + part % 2 * 4 + quad;
                const char* at = from + part / 2 * WARPS * 128 + part % 2 * 64;
                bool inside = chunk < chunks;
                uint4 low = inside ? *(const uint4*)at : nothing, high = GATE && inside ? *(const uint4*)(at + 8 * LINE) : nothing;
                uint4 b = group == 0 && inside ? packed[chunk] : nothing;
                mma(c, low.x, high.x, low.y, high.y, b.x, b.y);
                mma(c, low.z, high.z, low.w, high.w, b.z, b.w);
            }
            __syncwarp();
            if (lane == 0) arrive(empty + 8 * slot);
            if (++slot == slots) { slot = 0; parity ^= 1; }
        }
        if (quad == 0) { sums[warp][group][0] = c[0]; sums[warp][group + 8][0] = c[2]; }
        sync_workers();
        if (threadIdx.x < min(8, limit - tile * 8)) finish<GATE>(to, sums, all_squares, 1, tile * 8, threadIdx.x, 0);
        sync_workers();
    }
}

#define STREAM(NAME, GATE)                                                                                                             \
    extern "C" __global__ void __launch_bounds__((WARPS + 1) * 32) NAME(                                                               \
        const float* x, const element* norm, float epsilon, const element* weight, const element* bias, float* out, int outputs, int columns, int add, int kind) { \
        stream_block<GATE>(x, weight, {norm, epsilon, bias, out, outputs, columns, add, kind});                                        \
    }

#if !defined(BITS)
STREAM(stream_row, false)
STREAM(stream_gate, true)
#endif
#endif

#endif
