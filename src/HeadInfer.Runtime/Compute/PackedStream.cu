// Packed weights times one row, where the GPU copies by itself; appended to PackedKernels.cu.

#if !defined(ELEMENT_FLOAT32)

#if __CUDA_ARCH__ >= 900
#define MOST_SLOTS 8
#define TILE_BYTES (STAGE_UNITS * (CODE_BYTES + 16 * SCALE_BYTES)) // of a stage's units: codes, then scales

__device__ inline Unit take_unit(const char* codes, const char* scales, int unit, int lane) {
    Unit x;
#pragma unroll
    for (int i = 0; i < BITS / 4; i++) x.codes[i] = *(const uint4*)(codes + unit * CODE_BYTES + lane * 16 + i * 512);
#pragma unroll
    for (int high = 0; high < 2; high++) load_scales<false>(scales + (unit * 16 + lane / 4 + 8 * high) * SCALE_BYTES, x.scales[high]);
    return x;
}

// One row, as stream_block: blocks stay, the last warp copies ahead of the others, and sums are those of packed_block.
template <bool GATE>
__device__ inline void packed_stream(const float* x, const element* norm, float epsilon, const Weights* weights, const Result& to, int tiles, int slots) {
    extern __shared__ uint4 ring[]; // [slots][tiles of a stage][TILE_BYTES], then the row as whole numbers
    __shared__ float sums[WARPS][GATE ? 32 : 16][1];
    __shared__ float all_squares[WARPS];
    __shared__ u64 barriers[2 * MOST_SLOTS];
    const int TILES = GATE ? 2 : 1, columns = to.columns, units = columns / UNIT, stages = (units + STAGE_UNITS - 1) / STAGE_UNITS;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = lane / 4, quad = lane % 4;
    Word* words = (Word*)((char*)ring + slots * TILES * TILE_BYTES);
    Scaled* scaled = (Scaled*)(words + units * GROUPS * 8);
    u32 base = (u32)__cvta_generic_to_shared(ring), full = (u32)__cvta_generic_to_shared(barriers), empty = full + 8 * MOST_SLOTS;
    if (threadIdx.x == 0) {
        for (int i = 0; i < slots; i++) { make_barrier(full + 8 * i, 1); make_barrier(empty + 8 * i, WARPS); }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    let_next_start();
    if (warp == WARPS) {
        int slot = 0, parity = 1;
        for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
            for (int first = 0; first < units; first += STAGE_UNITS) {
                int count = min(STAGE_UNITS, units - first);
                await(empty + 8 * slot, parity);
                if (lane == 0) expect(full + 8 * slot, TILES * count * (CODE_BYTES + 16 * SCALE_BYTES));
                __syncwarp();
                if (lane < TILES) {
                    const Weights& from = weights[lane];
                    u32 at = base + (slot * TILES + lane) * TILE_BYTES;
                    long long unit = (long long)tile * units + first;
                    copy(at, from.codes + unit * CODE_BYTES, count * CODE_BYTES, full + 8 * slot);
                    copy(at + STAGE_UNITS * CODE_BYTES, from.scales + unit * 16 * SCALE_BYTES, count * 16 * SCALE_BYTES, full + 8 * slot);
                }
                if (++slot == slots) { slot = 0; parity ^= 1; }
            }
        }
        wait_for_last();
        return;
    }
    wait_for_last();
    float squares = warp_sum(fix_row(x, norm, columns, words, scaled));
    if (lane == 0) all_squares[warp] = squares;
    sync_workers();
    float factor = norm ? norm_factor(all_squares, columns, epsilon) : 1.0f;
    int slot = 0, parity = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        float total[TILES][2];
#pragma unroll
        for (int i = 0; i < TILES * 2; i++) total[i / 2][i % 2] = 0;
        for (int stage = 0; stage < stages; stage++) {
            await(full + 8 * slot, parity);
#pragma unroll
            for (int of_stage = 0; of_stage < STAGE_UNITS; of_stage += WARPS) {
                int own = of_stage + warp, unit = stage * STAGE_UNITS + own;
                if (unit >= units) break;
                Unit now[TILES];
#pragma unroll
                for (int t = 0; t < TILES; t++) {
                    const char* at = (const char*)ring + (slot * TILES + t) * TILE_BYTES;
                    now[t] = take_unit(at, at + STAGE_UNITS * CODE_BYTES, own, lane);
                }
#pragma unroll
                for (int group = 0; group < GROUPS; group++) {
                    int at = unit * GROUPS + group; // all pairs of columns are this row's, and all lanes have its sums
                    Word b = words[at * 8 + column % 2 * 4 + quad];
                    Scaled of_row = scaled[at];
#pragma unroll
                    for (int t = 0; t < TILES; t++) add_group(now[t], group, b, of_row, total[t]);
                }
            }
            __syncwarp();
            if (lane == 0) arrive(empty + 8 * slot);
            if (++slot == slots) { slot = 0; parity ^= 1; }
        }
        if (quad == 0) {
#pragma unroll
            for (int t = 0; t < TILES; t++) { sums[warp][t * 16 + column][0] = total[t][0]; sums[warp][t * 16 + column + 8][0] = total[t][1]; }
        }
        sync_workers();
        if (threadIdx.x < 16) finish_packed<GATE>(to, weights, sums, factor, tile, threadIdx.x, 0);
        sync_workers();
    }
}

#define PACKED_STREAM(NAME, GATE)                                                                                                      \
    extern "C" __global__ void __launch_bounds__((WARPS + 1) * 32) NAME(                                                               \
        const float* x, const element* norm, float epsilon, Weights first, Weights second, float* out, int tiles, int stride, int columns, int add, int kind, int slots) { \
        Weights both[2] = {first, second};                                                                                             \
        packed_stream<GATE>(x, norm, epsilon, both, {out, stride, columns, add, kind}, tiles, slots);                                    \
    }

PACKED_STREAM(stream_packed, false)
PACKED_STREAM(stream_packed_gate, true)
#endif

#endif
