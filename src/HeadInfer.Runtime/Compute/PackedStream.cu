// Packed weights times one row, where the GPU copies by itself; appended to PackedKernels.cu.

#if !defined(ELEMENT_FLOAT32)

#if __CUDA_ARCH__ >= 900
#define MOST_SLOTS 8
#define TILE_BYTES (STAGE_UNITS * (CODE_BYTES + 16 * SCALE_BYTES)) // of a stage's units: codes, then scales

// A lane's codes of a unit.
__device__ inline Unit take_codes(const char* codes, int lane) {
    Unit x;
#pragma unroll
    for (int i = 0; i < BITS / 4; i++) x.codes[i] = *(const uint4*)(codes + lane * 16 + i * 512);
    return x;
}

// One row, as stream_block: blocks stay, the last warp copies ahead of the others, and sums are those of packed_block.
template <bool GATE>
__device__ inline void packed_stream(const float* x, const element* norm, float epsilon, const Weights* weights, const Result& to, int tiles, int slots) {
    extern __shared__ uint4 ring[]; // [slots][tiles of a stage][TILE_BYTES], then the row as whole numbers
    __shared__ float sums[2][WARPS][GATE ? 32 : 16][1]; // of tiles by turns
    __shared__ float all_squares[WARPS];
    __shared__ u64 barriers[2 * MOST_SLOTS];
    const int TILES = GATE ? 2 : 1, STAGE_GROUPS = STAGE_UNITS / WARPS * GROUPS, columns = to.columns, units = columns / UNIT, stages = (units + STAGE_UNITS - 1) / STAGE_UNITS;
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
    int slot = 0, parity = 0, turn = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        float total[TILES][2], before = threadIdx.x < 16 ? before_packed(to, tile, threadIdx.x, 0) : 0.0f;
#pragma unroll
        for (int i = 0; i < TILES * 2; i++) total[i / 2][i % 2] = 0;
        for (int stage = 0; stage < stages; stage++) {
            await(full + 8 * slot, parity);
            // Four groups at once, a pair of columns each: where others have theirs, theirs are zeros. So a lane has the sums of one
            // group alone, and scales no others.
#pragma unroll
            for (int four = 0; four < STAGE_GROUPS; four += 4) {
                auto unit_of = [&](int of) { return (four + of) / GROUPS * WARPS + warp; };
                int pair = column / 2, given = unit_of(pair), taken = unit_of(quad), first = stage * STAGE_UNITS;
                Word own = {};
                Scaled of_row = {};
                if (first + given < units) own = words[((first + given) * GROUPS + pair % GROUPS) * 8 + column % 2 * 4 + quad];
                if (first + taken < units) of_row = scaled[(first + taken) * GROUPS + quad % GROUPS];
                else taken = 0; // finite where all is, and nothing comes of it
                Sum less = -ZERO * of_row.sum;
#pragma unroll
                for (int t = 0; t < TILES; t++) {
                    const char *codes = (const char*)ring + (slot * TILES + t) * TILE_BYTES, *scales = codes + STAGE_UNITS * CODE_BYTES;
                    Sum c[4] = {0, less, 0, less};
#pragma unroll
                    for (int part = 0; part < 4 / GROUPS; part++) {
                        int unit = unit_of(part * GROUPS);
                        Unit now = take_codes(codes + (first + unit < units ? unit : 0) * CODE_BYTES, lane);
#pragma unroll
                        for (int group = 0; group < GROUPS; group++) multiply_codes(c, now, group, pair == part * GROUPS + group ? own : Word{});
                    }
#pragma unroll
                    for (int high = 0; high < 2; high++) {
                        float2 factors = factors_of(scales + (taken * 16 + column + 8 * high) * SCALE_BYTES, quad % GROUPS);
                        add_product(total[t][high], c[2 * high], c[2 * high + 1], factors.x, factors.y, of_row);
                    }
                }
            }
            __syncwarp();
            if (lane == 0) arrive(empty + 8 * slot);
            if (++slot == slots) { slot = 0; parity ^= 1; }
        }
#pragma unroll
        for (int i = 0; i < TILES * 2; i++) {
            float& all = total[i / 2][i % 2];
            all += __shfl_xor_sync(0xffffffff, all, 1); // as all_four does
            all += __shfl_xor_sync(0xffffffff, all, 2);
            if (quad == 0) sums[turn][warp][i / 2 * 16 + i % 2 * 8 + column][0] = all;
        }
        sync_workers(); // those of the tile before last were finished before this
        if (threadIdx.x < 16) finish_packed<GATE>(to, weights, sums[turn], factor, before, tile, threadIdx.x, 0);
        turn ^= 1;
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
