// Packed weights: their products with few rows on tensor cores, and their numbers; appended to RowProducts.cu.
// BITS (of a code: 4 or 8), GROUPS (that have a scale, of 64 columns: 2 or 4) and PAIR say which packing:
//   PAIR 0: a float16 scale a group; a number is scale * (code - 8), or scale * (code - 128)
//   PAIR 1: float32 scale and offset a group; a number is scale * code + offset, 128 less the code of 8 bits
// A tile is 16 rows, a unit 64 columns of it: the codes of a unit lie as the lanes of a warp take them, four neighbours of
// sixteen columns a lane, rows eight apart in the same lane. Codes are multiplied, exactly; scales are applied to sums.

#if !defined(ELEMENT_FLOAT32)

#define UNIT 64
#define STEPS 4                 // of 16 columns
#define CODE_BYTES (16 * UNIT * BITS / 8)
#define SCALE_BYTES (PAIR ? 8 * GROUPS : 2 * GROUPS)

#if defined(ELEMENT_BFLOAT16)
#define ONES 0x3F803F80u
#define NIBBLES 0x43004300u     // 128 and what is in the lowest bits
#define NIBBLES_LESS (PAIR ? 0xC300C300u : 0xC308C308u)
__device__ inline u32 less(u32 x) { u32 y; asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(x), "r"(ONES), "r"(NIBBLES_LESS)); return y; }
#else
#define ONES 0x3C003C00u
#define NIBBLES 0x64006400u     // 1024 and what is in the lowest bits
#define NIBBLES_LESS (PAIR ? 0xE400E400u : 0xE408E408u)
__device__ inline u32 less(u32 x) { u32 y; asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(x), "r"(ONES), "r"(NIBBLES_LESS)); return y; }
#endif

// What a lane has of a unit of a tile: codes of its two rows, and their scales as they lie.
struct Unit { uint4 codes[BITS / 4]; uint4 scales[2][PAIR ? GROUPS / 2 : 1]; };

__device__ inline Unit load_unit(const char* codes, const char* scales, int unit, int lane) {
    Unit x;
    const char* from = codes + (long long)unit * CODE_BYTES + lane * 16;
#pragma unroll
    for (int i = 0; i < BITS / 4; i++) x.codes[i] = load_weights(from + i * 512);
#pragma unroll
    for (int high = 0; high < 2; high++) {
        const char* of_row = scales + ((long long)unit * 16 + lane / 4 + 8 * high) * SCALE_BYTES;
#if PAIR
#pragma unroll
        for (int i = 0; i < GROUPS / 2; i++) x.scales[high][i] = load_weights(of_row + i * 16);
#else
        x.scales[high][0] = make_uint4(*(const u32*)of_row, GROUPS == 4 ? *(const u32*)(of_row + 4) : 0, 0, 0);
#endif
    }
    return x;
}

__device__ inline u32 word(const uint4& x, int i) { return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w; }

// Two neighbouring codes of a row as numbers: pair 0 or 1 of a step.
__device__ inline u32 two_codes(const Unit& x, int high, int step, int pair) {
#if BITS == 4
    return less(((word(x.codes[0], high * 2 + step / 2) >> (4 * (step % 2 * 2 + pair))) & 0x000F000F) | NIBBLES);
#else
    u32 four = word(x.codes[high], step);
    float first = __uint_as_float(__byte_perm(four, 0x4B000000, 0x7540 + pair * 2)), second = __uint_as_float(__byte_perm(four, 0x4B000000, 0x7541 + pair * 2));
    return pack(first - 8388736.0f, second - 8388736.0f);
#endif
}

__device__ inline float scale_of(const Unit& x, int high, int group) {
#if PAIR
    return __uint_as_float(word(x.scales[high][group / 2], group % 2 * 2));
#else
    u32 both = word(x.scales[high][0], group / 2);
    float y;
    asm("{.reg .b16 low, high;\nmov.b32 {low, high}, %1;\ncvt.f32.f16 %0, low;}" : "=f"(y) : "r"(group % 2 ? both >> 16 : both));
    return y;
#endif
}

__device__ inline float offset_of(const Unit& x, int high, int group) {
#if PAIR
    return __uint_as_float(word(x.scales[high][group / 2], group % 2 * 2 + 1));
#else
    return 0.0f;
#endif
}

// Four of a row, times the norm's weights, packed; and the sum of their squares is added.
__device__ inline uint2 take_four(const float* x, const element* norm, float& squares) {
    float4 a = *(const float4*)x;
    if (norm) {
        squares += fmaf(a.x, a.x, fmaf(a.y, a.y, fmaf(a.z, a.z, a.w * a.w)));
        ushort4 w = *(const ushort4*)norm;
        a.x *= widen(w.x); a.y *= widen(w.y); a.z *= widen(w.z); a.w *= widen(w.w);
    }
    return make_uint2(pack(a.x, a.y), pack(a.z, a.w));
}

// Where a product goes, and what is done to it.
struct Result { const element* norm; float epsilon; float* out; int stride, columns, add, kind; };

// What a block's warps have of one output of one row, added up.
template <bool GATE, int OUTPUTS, int WIDTH>
__device__ inline void finish_packed(const Result& to, const Weights* weights, const float (*sums)[OUTPUTS][WIDTH], const float* squares, int squares_stride, int tile, int output, int row) {
    int at = tile * 16 + output;
    float factor = 1, y = 0, up = 0;
    if (to.norm) {
        float all = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) all += squares[w * squares_stride + row];
        factor = rsqrtf(all / to.columns + to.epsilon);
    }
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        y += sums[w][output][row];
        if (GATE) up += sums[w][OUTPUTS - 16 + output][row];
    }
    y = y * factor + (weights[0].bias ? widen(weights[0].bias[at]) : 0.0f);
    if (GATE) y = gated(y, up * factor + (weights[1].bias ? widen(weights[1].bias[at]) : 0.0f), to.kind);
    float* place = to.out + (long long)row * to.stride + at;
    *place = to.add ? *place + y : y;
}

// A unit's group ends: its sums are scaled, and added to what the tile has.
template <int NT>
__device__ inline void add_group(const Unit& unit, int group, const float (*c)[4], const float (*x_sums)[4], float (*total)[4]) {
#pragma unroll
    for (int high = 0; high < 2; high++) {
        float scale = scale_of(unit, high, group), offset = offset_of(unit, high, group);
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float& to = total[n][high * 2 + i];
                to = fmaf(scale, c[n][high * 2 + i], to);
                if (PAIR) to = fmaf(offset, x_sums[n][i], to);
            }
    }
}

// A block makes 16 outputs of NT times 8 rows, its warps take units in turn. Of a gate it takes a tile of gates and one of what they are for.
template <int NT, bool GATE>
__device__ inline void packed_block(const float* x, const Weights* weights, const Result& to, int rows) {
    const int TILES = GATE ? 2 : 1, columns = to.columns;
    const element* norm = to.norm;
    __shared__ float sums[WARPS][TILES * 16][NT * 8 + 1];
    __shared__ float all_squares[WARPS][NT * 8];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4, units = columns / UNIT, tile = blockIdx.x;
    const char *codes[TILES], *scales[TILES];
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        codes[t] = weights[t].codes + (long long)tile * units * CODE_BYTES;
        scales[t] = weights[t].scales + (long long)tile * units * 16 * SCALE_BYTES;
    }
    float total[TILES][NT][4], squares[NT];
#pragma unroll
    for (int n = 0; n < NT; n++) {
        squares[n] = 0;
#pragma unroll
        for (int i = 0; i < TILES * 4; i++) total[i / 4][n][i % 4] = 0;
    }
    Unit next[TILES];
    auto fetch = [&](int unit) {
#pragma unroll
        for (int t = 0; t < TILES; t++) if (unit < units) next[t] = load_unit(codes[t], scales[t], unit, lane);
    };
    let_next_start();
    fetch(warp);
    wait_for_last();
    for (int unit = warp; unit < units; unit += WARPS) {
        Unit now[TILES];
#pragma unroll
        for (int t = 0; t < TILES; t++) now[t] = next[t];
        fetch(unit + WARPS);
        float c[TILES][NT][4], x_sums[NT][4];
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            const int per_group = STEPS / GROUPS;
            if (step % per_group == 0) {
#pragma unroll
                for (int i = 0; i < NT * 4; i++) {
                    x_sums[i / 4][i % 4] = 0;
#pragma unroll
                    for (int t = 0; t < TILES; t++) c[t][i / 4][i % 4] = 0;
                }
            }
            uint2 b[NT];
            int at = unit * UNIT + step * 16 + quad * 4;
#pragma unroll
            for (int n = 0; n < NT; n++) {
                int row = n * 8 + group;
                b[n] = row < rows ? take_four(x + (long long)row * columns + at, norm ? norm + at : nullptr, squares[n]) : make_uint2(0, 0);
                if (PAIR) mma(x_sums[n], ONES, ONES, ONES, ONES, b[n].x, b[n].y);
            }
#pragma unroll
            for (int t = 0; t < TILES; t++) {
                u32 a0 = two_codes(now[t], 0, step, 0), a1 = two_codes(now[t], 1, step, 0), a2 = two_codes(now[t], 0, step, 1), a3 = two_codes(now[t], 1, step, 1);
#pragma unroll
                for (int n = 0; n < NT; n++) mma(c[t][n], a0, a1, a2, a3, b[n].x, b[n].y);
            }
            if (step % per_group == per_group - 1) {
#pragma unroll
                for (int t = 0; t < TILES; t++) add_group<NT>(now[t], step / per_group, c[t], x_sums, total[t]);
            }
        }
    }
#pragma unroll
    for (int n = 0; n < NT; n++) {
        float s = squares[n];
        s += __shfl_xor_sync(0xffffffff, s, 1);
        s += __shfl_xor_sync(0xffffffff, s, 2);
        if (quad == 0) all_squares[warp][n * 8 + group] = s;
#pragma unroll
        for (int i = 0; i < TILES * 4; i++) sums[warp][i / 4 * 16 + i % 4 / 2 * 8 + group][n * 8 + quad * 2 + i % 2] = total[i / 4][n][i % 4];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 16 * NT * 8; i += WARPS * 32)
        if (i / 16 < rows) finish_packed<GATE>(to, weights, sums, all_squares[0], NT * 8, tile, i % 16, i / 16);
}

#define PACKED(NAME, NT, GATE)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) NAME(                                                                     \
        const float* x, const element* norm, float epsilon, Weights first, Weights second, float* out, int rows, int stride, int columns, int add, int kind) { \
        Weights both[2] = {first, second};                                                                                             \
        packed_block<NT, GATE>(x, both, {norm, epsilon, out, stride, columns, add, kind}, rows);                                       \
    }

PACKED(packed_8, 1, false)
PACKED(packed_16, 2, false)
PACKED(packed_gate_8, 1, true)
PACKED(packed_gate_16, 2, true)

// Of chosen experts, a row each: x [rows, columns] and out [rows, per row, outputs]; or x [rows, per row, columns].
extern "C" __global__ void __launch_bounds__(WARPS * 32) experts_packed_gate(
    const float* x, const element* norm, float epsilon, const Expert* experts, const int* chosen, float* out, int per_row, int outputs, int columns, int kind) {
    wait_for_last();
    const Expert& expert = experts[chosen[blockIdx.y]];
    Weights both[2] = {expert.gate, expert.up};
    packed_block<1, true>(x + (long long)(blockIdx.y / per_row) * columns, both, {norm, epsilon, out + (long long)blockIdx.y * outputs, outputs, columns, 0, kind}, 1);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32) experts_packed(const float* x, const Expert* experts, const int* chosen, float* out, int outputs, int columns) {
    wait_for_last();
    packed_block<1, false>(x + (long long)blockIdx.y * columns, &experts[chosen[blockIdx.y]].down, {nullptr, 0, out + (long long)blockIdx.y * outputs, outputs, columns, 0, 0}, 1);
}

// The number of a code: four of a step.
__device__ inline float4 four_numbers(const Unit& x, int high, int step) {
    float y[4];
    int of = step * GROUPS / STEPS;
    float scale = scale_of(x, high, of), offset = offset_of(x, high, of);
#pragma unroll
    for (int i = 0; i < 4; i++) {
#if BITS == 4
        int code = (word(x.codes[0], high * 2 + step / 2) >> (4 * (step % 2 * 2 + i / 2) + 16 * (i % 2))) & 15;
        y[i] = PAIR ? fmaf(scale, (float)code, offset) : scale * (float)(code - 8);
#else
        int code = (int)((word(x.codes[high], step) >> (8 * i)) & 255) - 128;
        y[i] = fmaf(scale, (float)code, offset);
#endif
    }
    return make_float4(y[0], y[1], y[2], y[3]);
}

// Whole tiles, a warp a unit; out [rows, columns].
extern "C" __global__ void unpack_tiles(const char* codes, const char* scales, element* out, long long all_units, int columns) {
    long long number = INDEX / 32;
    int lane = threadIdx.x % 32, units = columns / UNIT;
    if (number >= all_units) return;
    long long tile = number / units;
    int unit = (int)(number % units);
    Unit x = load_unit(codes + tile * units * CODE_BYTES, scales + tile * units * 16 * SCALE_BYTES, unit, lane);
#pragma unroll
    for (int high = 0; high < 2; high++)
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            float4 y = four_numbers(x, high, step);
            element* to = out + (tile * 16 + high * 8 + lane / 4) * columns + unit * UNIT + step * 16 + lane % 4 * 4;
            *(uint2*)to = make_uint2(pack(y.x, y.y), pack(y.z, y.w));
        }
}

// Some rows, a block each, by their numbers: `many`, or the few. out [rows, columns]: of elements, or of floats.
extern "C" __global__ void lookup_packed(const char* codes, const char* scales, const long long* many, Tokens few, void* out, int columns, float factor, int as_element) {
    let_next_start();
    wait_for_last();
    long long number = many ? many[blockIdx.x] : few.at[blockIdx.x], tile = number / 16;
    int in_tile = (int)(number % 16), units = columns / UNIT, high = in_tile / 8;
    for (int i = threadIdx.x; i < units * 4; i += blockDim.x) {
        int unit = i / 4;
        Unit x = load_unit(codes + tile * units * CODE_BYTES, scales + tile * units * 16 * SCALE_BYTES, unit, in_tile % 8 * 4 + i % 4);
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            float4 low = four_numbers(x, 0, step), y = high ? four_numbers(x, 1, step) : low;
            long long at = (long long)blockIdx.x * columns + unit * UNIT + step * 16 + i % 4 * 4;
            if (as_element) *(uint2*)((element*)out + at) = make_uint2(pack(y.x * factor, y.y * factor), pack(y.z * factor, y.w * factor));
            else *(float4*)((float*)out + at) = make_float4(y.x * factor, y.y * factor, y.z * factor, y.w * factor);
        }
    }
}

#endif
