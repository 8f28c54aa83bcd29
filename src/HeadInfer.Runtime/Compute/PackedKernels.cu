// Products of packed weights with few rows on tensor cores, and whole tiles as numbers; appended to PackedCodes.cu.
// A group of a row is brought to whole numbers of 16 bits first, as parts of its largest: their error is 1/65,278 of that, where
// bfloat16 has 1/512 of each. Their two bytes are columns of their own to the tensor cores, which multiply codes and bytes and add
// them up without error. Scales are applied to these sums. So codes stay bytes, and a row's bits do not depend on who adds.
// Codes of E4M3 are float16 but for a factor of 256, and so are bytes beside them; sums are float32 then.

#if !defined(ELEMENT_FLOAT32)

#define MOST_FIXED 32639.0f     // 256 * 127 + 127

#if FLOAT8
typedef uint4 Word;             // what a lane takes of a group of a row
#elif GROUPS == 2
typedef uint2 Word;
#else
typedef u32 Word;
#endif

struct Scaled { float factor; int sum; }; // of a group of a row: what one is, and the sum of its whole numbers

// Rows as whole numbers. words: [rows, groups, 2: high bytes and low, 4 lanes]; scaled: [rows, groups]; factors: of the norm, [rows].
struct Fixed { Word* words; Scaled* scaled; float* factors; };

// Brings a row to whole numbers, a group a thread, by 256 threads. Words lie as codes do: where two steps share bytes, by turns.
// What is not finite makes its group's factor infinite, and so what comes of it. Returns the squares of the thread's numbers.
__device__ inline float fix_row(const float* x, const element* norm, int columns, Word* words, Scaled* scaled) {
    float squares = 0;
    for (int group = threadIdx.x; group < columns / GROUP; group += WARPS * 32) {
        float a[GROUP], most = 0, all = 0;
#pragma unroll
        for (int i = 0; i < GROUP; i += 4) {
            float4 four = *(const float4*)(x + group * GROUP + i);
            a[i] = four.x; a[i + 1] = four.y; a[i + 2] = four.z; a[i + 3] = four.w;
        }
        if (norm) {
#pragma unroll
            for (int i = 0; i < GROUP; i += 8) {
                uint4 eight = *(const uint4*)(norm + group * GROUP + i);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    squares = fmaf(a[i + j], a[i + j], squares);
                    a[i + j] *= widen((element)(word(eight, j / 2) >> (j % 2 * 16)));
                }
            }
        }
#pragma unroll
        for (int i = 0; i < GROUP; i++) {
            most = fmaxf(most, fabsf(a[i]));
            all += fabsf(a[i]);
        }
        if (!(all < INFINITY_F)) most = INFINITY_F;
        bool some = most > 1e-30f;
        float inverse = some ? MOST_FIXED / most : 0.0f;
        int v[GROUP], sum = 0;
#pragma unroll
        for (int i = 0; i < GROUP; i++) {
            v[i] = __float2int_rn(a[i] * inverse);
            sum += v[i];
        }
        // Lowest bytes, and those above, which count the carry of a low one that is negative.
#pragma unroll
        for (int plane = 0; plane < 2; plane++) {
            auto own = [&](int i) { return plane ? v[i] : v[i] + 128 >> 8; };
            alignas(16) Word made[4];
#if FLOAT8
            auto two_of = [&](int i) {
                u32 y;
                asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"((float)(signed char)own(i + 1)), "f"((float)(signed char)own(i)));
                return y;
            };
#else
            auto four_of = [&](int i, int j, int k, int l) { return __byte_perm(__byte_perm(own(i), own(j), 0x0040), __byte_perm(own(k), own(l), 0x0040), 0x5410); };
#endif
#pragma unroll
            for (int quad = 0; quad < 4; quad++) {
                int at = quad * 4;
#if FLOAT8
                made[quad] = make_uint4(two_of(at), two_of(at + 2), two_of(at + 16), two_of(at + 18));
#elif GROUPS == 4
                made[quad] = four_of(at, at + 1, at + 2, at + 3);
#elif BITS == 8
                made[quad] = make_uint2(four_of(at, at + 1, at + 2, at + 3), four_of(at + 16, at + 17, at + 18, at + 19));
#elif TABLE
                made[quad] = make_uint2(four_of(at, at + 2, at + 16, at + 18), four_of(at + 1, at + 3, at + 17, at + 19));
#else
                made[quad] = make_uint2(four_of(at, at + 16, at + 1, at + 17), four_of(at + 2, at + 18, at + 3, at + 19));
#endif
            }
#pragma unroll
            for (int i = 0; i < (int)sizeof(Word) / 4; i++) ((uint4*)(words + (long long)group * 8 + plane * 4))[i] = ((const uint4*)made)[i];
        }
        scaled[group] = {some ? most / MOST_FIXED : 0.0f, sum};
    }
    return squares;
}

// 1 / rms of a row, by the squares that warps have of it.
__device__ inline float norm_factor(const float* squares, int columns, float epsilon) {
    float all = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) all += squares[w];
    return rsqrtf(all / columns + epsilon);
}

// Rows as whole numbers, a block each.
extern "C" __global__ void __launch_bounds__(WARPS * 32) fix_rows(const float* x, const element* norm, float epsilon, Fixed to, int columns) {
    __shared__ float all_squares[WARPS];
    let_next_start();
    wait_for_last();
    int row = blockIdx.x, groups = columns / GROUP;
    float squares = warp_sum(fix_row(x + (long long)row * columns, norm, columns, to.words + (long long)row * groups * 8, to.scaled + (long long)row * groups));
    if (threadIdx.x % 32 == 0) all_squares[threadIdx.x / 32] = squares;
    __syncthreads();
    if (threadIdx.x == 0) to.factors[row] = norm ? norm_factor(all_squares, columns, epsilon) : 1.0f;
}

#if FLOAT8
typedef float Sum;
#else
typedef int Sum;
#endif

// c [16, 8] += codes [16, a group] * bytes [a group, 8]
__device__ inline void multiply_codes(Sum (&c)[4], const Unit& codes, int group, Word b) {
#if FLOAT8
#pragma unroll
    for (int slot = 0; slot < 2; slot++) {
        u32 low = codes_of(codes, 0, group, slot), high = codes_of(codes, 1, group, slot);
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(halves_of(low, 0)), "r"(halves_of(high, 0)), "r"(halves_of(low, 1)), "r"(halves_of(high, 1)), "r"(slot ? b.z : b.x), "r"(slot ? b.w : b.y));
    }
#else
#if TABLE
#define CODE_TYPE "s8"
#else
#define CODE_TYPE "u8"
#endif
#if GROUPS == 2
    asm("mma.sync.aligned.m16n8k32.row.col.s32." CODE_TYPE ".s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(codes_of(codes, 0, group, 0)), "r"(codes_of(codes, 1, group, 0)), "r"(codes_of(codes, 0, group, 1)), "r"(codes_of(codes, 1, group, 1)), "r"(b.x), "r"(b.y));
#else
    asm("mma.sync.aligned.m16n8k16.row.col.s32." CODE_TYPE ".s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(codes_of(codes, 0, group, 0)), "r"(codes_of(codes, 1, group, 0)), "r"(b));
#endif
#endif
}

// A group's product with a row, scaled, and added to what the lane has of its two outputs. A lane has both bytes' sums.
__device__ inline void add_group(const Unit& codes, int group, Word b, Scaled scaled, float (&total)[2]) {
    Sum less = -ZERO * scaled.sum, c[4] = {0, less, 0, less};
    multiply_codes(c, codes, group, b);
    float factor = FLOAT8 ? scaled.factor * 256 : scaled.factor;
#pragma unroll
    for (int high = 0; high < 2; high++) {
        total[high] = fmaf(scale_of(codes, high, group) * factor, (float)(c[2 * high] * 256 + c[2 * high + 1]), total[high]);
        if (OFFSETS) total[high] = fmaf(offset_of(codes, high, group) * factor, (float)scaled.sum, total[high]);
    }
}

// Where a product goes, and what is done to it.
struct Result { float* out; int stride, columns, add, kind; };

// What a block's warps have of one output of one row, added up.
template <bool GATE, int OUTPUTS, int WIDTH>
__device__ inline void finish_packed(const Result& to, const Weights* weights, const float (*sums)[OUTPUTS][WIDTH], float factor, int tile, int output, int row) {
    int at = tile * 16 + output;
    float y = 0, up = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        y += sums[w][output][row];
        if (GATE) up += sums[w][OUTPUTS - 16 + output][row];
    }
    y = fmaf(y, factor, weights[0].bias ? widen(weights[0].bias[at]) : 0.0f); // by name, or compilers may round once here and twice there
    if (GATE) y = gated(y, fmaf(up, factor, weights[1].bias ? widen(weights[1].bias[at]) : 0.0f), to.kind);
    float* place = to.out + (long long)row * to.stride + at;
    *place = to.add ? *place + y : y;
}

// A block makes 16 outputs of NT times 4 rows, its warps take units in turn. Of a gate it takes a tile of gates and one of what they are for.
template <int NT, bool GATE>
__device__ inline void packed_block(const Fixed& x, const Weights* weights, const Result& to, int rows) {
    const int TILES = GATE ? 2 : 1, groups = to.columns / GROUP;
    __shared__ float sums[WARPS][TILES * 16][NT * 4 + 1];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = lane / 4, quad = lane % 4, units = to.columns / UNIT, tile = blockIdx.x;
    const char *codes[TILES], *scales[TILES];
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        codes[t] = weights[t].codes + (long long)tile * units * CODE_BYTES;
        scales[t] = weights[t].scales + (long long)tile * units * 16 * SCALE_BYTES;
    }
    float total[TILES][NT][2];
#pragma unroll
    for (int i = 0; i < TILES * NT * 2; i++) total[i / (NT * 2)][i / 2 % NT][i % 2] = 0;
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
#pragma unroll
        for (int group = 0; group < GROUPS; group++)
#pragma unroll
            for (int n = 0; n < NT; n++) {
                // A row's bytes are two columns, and its sums lie in the lanes of those.
                int from = n * 4 + column / 2, into = n * 4 + quad, at = unit * GROUPS + group;
                Word b = {};
                Scaled scaled = {};
                if (from < rows) b = x.words[((long long)from * groups + at) * 8 + column % 2 * 4 + quad];
                if (into < rows) scaled = x.scaled[(long long)into * groups + at];
#pragma unroll
                for (int t = 0; t < TILES; t++) add_group(now[t], group, b, scaled, total[t][n]);
            }
    }
#pragma unroll
    for (int i = 0; i < TILES * NT * 2; i++) sums[warp][i / (NT * 2) * 16 + i % 2 * 8 + column][i / 2 % NT * 4 + quad] = total[i / (NT * 2)][i / 2 % NT][i % 2];
    __syncthreads();
    for (int i = threadIdx.x; i < 16 * NT * 4; i += WARPS * 32)
        if (i / 16 < rows) finish_packed<GATE>(to, weights, sums, x.factors[i / 16], tile, i % 16, i / 16);
}

#define PACKED(NAME, NT, GATE)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) NAME(                                                                     \
        Fixed x, Weights first, Weights second, float* out, int rows, int stride, int columns, int add, int kind) {                    \
        Weights both[2] = {first, second};                                                                                             \
        packed_block<NT, GATE>(x, both, {out, stride, columns, add, kind}, rows);                                                      \
    }

PACKED(packed_4, 1, false)
PACKED(packed_8, 2, false)
PACKED(packed_16, 4, false)
PACKED(packed_gate_4, 1, true)
PACKED(packed_gate_8, 2, true)
PACKED(packed_gate_16, 4, true)

// A row of those that were brought to whole numbers.
__device__ inline Fixed row_of(const Fixed& x, int row, int columns) {
    long long groups = columns / GROUP;
    return {x.words + row * groups * 8, x.scaled + row * groups, x.factors + row};
}

// Of chosen experts, a row each: x of [rows] and out [rows, per row, outputs]; or x of [rows, per row].
extern "C" __global__ void __launch_bounds__(WARPS * 32) experts_packed_gate(
    Fixed x, const Expert* experts, const int* chosen, float* out, int per_row, int outputs, int columns, int kind) {
    wait_for_last();
    const Expert& expert = experts[chosen[blockIdx.y]];
    Weights both[2] = {expert.gate, expert.up};
    packed_block<1, true>(row_of(x, blockIdx.y / per_row, columns), both, {out + (long long)blockIdx.y * outputs, outputs, columns, 0, kind}, 1);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32) experts_packed(Fixed x, const Expert* experts, const int* chosen, float* out, int outputs, int columns) {
    wait_for_last();
    packed_block<1, false>(row_of(x, blockIdx.y, columns), &experts[chosen[blockIdx.y]].down, {out + (long long)blockIdx.y * outputs, outputs, columns, 0, 0}, 1);
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
