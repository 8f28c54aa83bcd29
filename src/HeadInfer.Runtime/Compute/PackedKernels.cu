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

// Within a unit in the last place, which does not reach whole numbers.
__device__ inline float reciprocal(float x) { float y; asm("rcp.approx.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }

// Brings a row to whole numbers, four a thread, by 256 threads: a group is neighbouring lanes. Words lie as codes do: where two
// steps share bytes, by turns. What is not finite makes its group's factor infinite, and so what comes of it. Returns the squares
// of the thread's numbers. All of a thread's next numbers are asked for before it needs the first of them.
__device__ inline float fix_row(const float* x, const element* norm, int columns, Word* words, Scaled* scaled) {
    const int AHEAD = 4, LANES_OF_GROUP = GROUP / 4;
    int lane = threadIdx.x % 32, of_group = lane % LANES_OF_GROUP, quad = of_group % 4, upper = of_group / 4, step = WARPS * 128;
    float4 next[AHEAD];
    uint2 next_norm[AHEAD];
    auto ask = [&](int first) {
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            int at = first + i * step;
            next[i] = at < columns ? *(const float4*)(x + at) : make_float4(0, 0, 0, 0);
            next_norm[i] = norm && at < columns ? *(const uint2*)(norm + at) : make_uint2(0, 0);
        }
    };
    float squares = 0;
    ask(threadIdx.x * 4);
    for (int begin = threadIdx.x * 4; begin - lane * 4 < columns; begin += AHEAD * step) {
        float4 numbers[AHEAD];
        uint2 norms[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) { numbers[i] = next[i]; norms[i] = next_norm[i]; }
        ask(begin + AHEAD * step);
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            int at = begin + i * step, group = at / GROUP;
            float4 a = numbers[i];
            if (norm) {
                squares = fmaf(a.x, a.x, fmaf(a.y, a.y, fmaf(a.z, a.z, fmaf(a.w, a.w, squares))));
                a.x *= widen((element)norms[i].x); a.y *= widen((element)(norms[i].x >> 16));
                a.z *= widen((element)norms[i].y); a.w *= widen((element)(norms[i].y >> 16));
            }
            float sizes = fabsf(a.x) + fabsf(a.y) + fabsf(a.z) + fabsf(a.w), most = fmaxf(fmaxf(fabsf(a.x), fabsf(a.y)), fmaxf(fabsf(a.z), fabsf(a.w)));
            if (!(sizes < INFINITY_F)) most = INFINITY_F;
#pragma unroll
            for (int j = 1; j < LANES_OF_GROUP; j *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, j));
            bool some = most > 1e-30f;
            float inverse = some ? MOST_FIXED * reciprocal(most) : 0.0f;
            int v[4] = {__float2int_rn(a.x * inverse), __float2int_rn(a.y * inverse), __float2int_rn(a.z * inverse), __float2int_rn(a.w * inverse)};
            int sum = v[0] + v[1] + v[2] + v[3];
#pragma unroll
            for (int j = 1; j < LANES_OF_GROUP; j *= 2) sum += __shfl_xor_sync(0xffffffff, sum, j);
            // Bytes above the lowest, which count the carry of a low one that is negative; then the lowest.
#pragma unroll
            for (int plane = 0; plane < 2; plane++) {
                int own[4];
#pragma unroll
                for (int j = 0; j < 4; j++) own[j] = plane ? v[j] : v[j] + 128 >> 8;
                Word* to = words + (long long)group * 8 + plane * 4 + quad;
#if FLOAT8
                u32 low, high;
                asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(low) : "f"((float)(signed char)own[1]), "f"((float)(signed char)own[0]));
                asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(high) : "f"((float)(signed char)own[3]), "f"((float)(signed char)own[2]));
                if (at < columns) ((uint2*)to)[upper] = make_uint2(low, high);
#else
                u32 four = __byte_perm(__byte_perm(own[0], own[1], 0x0040), __byte_perm(own[2], own[3], 0x0040), 0x5410);
#if GROUPS == 2 && BITS == 4
                u32 other = __shfl_xor_sync(0xffffffff, four, 4), lower = upper ? other : four, higher = upper ? four : other; // sixteen columns apart
                four = __byte_perm(lower, higher, TABLE ? (upper ? 0x7531 : 0x6420) : upper ? 0x7362 : 0x5140);
#endif
                if (at < columns) ((u32*)to)[upper] = four;
#endif
            }
            if (at < columns && of_group == 0) scaled[group] = {some ? most * (1 / MOST_FIXED) : 0.0f, sum};
        }
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

// A row as whole numbers in a block's own memory, of [columns] words and their groups: where a kernel for it would take longer.
__device__ inline Fixed fix_own(const float* x, const element* norm, float epsilon, int columns) {
    extern __shared__ uint4 row[];
    __shared__ float all_squares[WARPS], factor;
    Word* words = (Word*)row;
    Fixed own = {words, (Scaled*)(words + columns / GROUP * 8), &factor};
    float squares = warp_sum(fix_row(x, norm, columns, own.words, own.scaled));
    if (threadIdx.x % 32 == 0) all_squares[threadIdx.x / 32] = squares;
    __syncthreads();
    if (threadIdx.x == 0) factor = norm ? norm_factor(all_squares, columns, epsilon) : 1.0f; // it is read after another barrier
    return own;
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

// A group's product with a row, of sums of both bytes, scaled and added to what there is of an output.
__device__ inline void add_product(float& total, Sum high, Sum low, float scale, float offset, Scaled scaled) {
    float factor = FLOAT8 ? scaled.factor * 256 : scaled.factor;
    total = fmaf(scale * factor, (float)(high * 256 + low), total);
    if (OFFSETS) total = fmaf(offset * factor, (float)scaled.sum, total);
}

// Groups are summed in fours, first each of the four by itself: a warp's group of a turn is one of them.
__device__ inline float all_four(const float (&of)[4]) { return (of[0] + of[1]) + (of[2] + of[3]); }

// Where a product goes, and what is done to it.
struct Result { float* out; int stride, columns, add, kind; };

// What a block's warps have of one output of one row, added up.
template <bool GATE, int OUTPUTS, int WIDTH>
__device__ inline void finish_packed(const Result& to, const Weights* weights, const float (*sums)[OUTPUTS][WIDTH], float factor, float before, int tile, int output, int row) {
    int at = tile * 16 + output;
    float y = 0, up = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        y += sums[w][output][row];
        if (GATE) up += sums[w][OUTPUTS - 16 + output][row];
    }
    y = fmaf(y, factor, weights[0].bias ? widen(weights[0].bias[at]) : 0.0f); // by name, or compilers may round once here and twice there
    if (GATE) y = gated(y, fmaf(up, factor, weights[1].bias ? widen(weights[1].bias[at]) : 0.0f), to.kind);
    to.out[(long long)row * to.stride + at] = to.add ? before + y : y;
}

// What is there already of what finish_packed makes: asked for early, as it takes a while.
__device__ inline float before_packed(const Result& to, int tile, int output, int row) { return to.add ? to.out[(long long)row * to.stride + tile * 16 + output] : 0.0f; }

// A block makes 16 outputs of NT times 4 rows, its warps take units in turn. Of a gate it takes a tile of gates and one of what they are for.
// Rows are asked for when weights are on their way.
template <int NT, bool GATE, class Rows>
__device__ inline void packed_block(Rows ask, const Weights* weights, const Result& to, int rows) {
    const int TILES = GATE ? 2 : 1, groups = to.columns / GROUP;
    __shared__ float sums[WARPS][TILES * 16][NT * 4 + 1];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = lane / 4, quad = lane % 4, units = to.columns / UNIT, tile = blockIdx.x;
    const char *codes[TILES], *scales[TILES];
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        codes[t] = weights[t].codes + (long long)tile * units * CODE_BYTES;
        scales[t] = weights[t].scales + (long long)tile * units * 16 * SCALE_BYTES;
    }
    float total[TILES][NT][2][4];
#pragma unroll
    for (int i = 0; i < TILES * NT * 8; i++) total[i / (NT * 8)][i / 8 % NT][i / 4 % 2][i % 4] = 0;
    Unit next[TILES];
    auto fetch = [&](int unit) {
#pragma unroll
        for (int t = 0; t < TILES; t++) if (unit < units) next[t] = load_unit(codes[t], scales[t], unit, lane);
    };
    let_next_start();
    fetch(warp);
    wait_for_last();
    const Fixed x = ask();
    for (int first = warp; first < units; first += 2 * WARPS) {
#pragma unroll
        for (int turn = 0; turn < 2; turn++) {
            int unit = first + turn * WARPS;
            if (unit >= units) break;
            Unit now[TILES];
#pragma unroll
            for (int t = 0; t < TILES; t++) now[t] = next[t];
            fetch(unit + WARPS);
#pragma unroll
            for (int group = 0; group < GROUPS; group++)
#pragma unroll
                for (int n = 0; n < NT; n++) {
                    // A row's bytes are two columns, and its sums lie in the lanes of those.
                    int from = n * 4 + column / 2, into = n * 4 + quad, at = unit * GROUPS + group, of = GROUPS == 4 ? group : turn * 2 + group;
                    Word b = {};
                    Scaled scaled = {};
                    if (from < rows) b = x.words[((long long)from * groups + at) * 8 + column % 2 * 4 + quad];
                    if (into < rows) scaled = x.scaled[(long long)into * groups + at];
#pragma unroll
                    for (int t = 0; t < TILES; t++) {
                        Sum less = -ZERO * scaled.sum, c[4] = {0, less, 0, less};
                        multiply_codes(c, now[t], group, b);
#pragma unroll
                        for (int high = 0; high < 2; high++)
                            add_product(total[t][n][high][of], c[2 * high], c[2 * high + 1], scale_of(now[t], high, group), offset_of(now[t], high, group), scaled);
                    }
                }
        }
    }
#pragma unroll
    for (int i = 0; i < TILES * NT * 2; i++) sums[warp][i / (NT * 2) * 16 + i % 2 * 8 + column][i / 2 % NT * 4 + quad] = all_four(total[i / (NT * 2)][i / 2 % NT][i % 2]);
    __syncthreads();
    for (int i = threadIdx.x; i < 16 * NT * 4; i += WARPS * 32)
        if (i / 16 < rows) finish_packed<GATE>(to, weights, sums, x.factors[i / 16], before_packed(to, tile, i % 16, i / 16), tile, i % 16, i / 16);
}

#define PACKED(NAME, NT, GATE)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(WARPS * 32) NAME(                                                                     \
        Fixed x, Weights first, Weights second, float* out, int rows, int stride, int columns, int add, int kind) {                    \
        Weights both[2] = {first, second};                                                                                             \
        packed_block<NT, GATE>([&] { return x; }, both, {out, stride, columns, add, kind}, rows);                                          \
    }

PACKED(packed_4, 1, false)
PACKED(packed_8, 2, false)
PACKED(packed_16, 4, false)
PACKED(packed_gate_4, 1, true)
PACKED(packed_gate_8, 2, true)
PACKED(packed_gate_16, 4, true)

// Of chosen experts, a row each: x [rows, columns] and out [rows, per row, outputs]; or x [rows, per row, columns].
extern "C" __global__ void __launch_bounds__(WARPS * 32) experts_packed_gate(
    const float* x, const element* norm, float epsilon, const Expert* experts, const int* chosen, float* out, int per_row, int outputs, int columns, int kind) {
    let_next_start();
    wait_for_last();
    const Expert& expert = experts[chosen[blockIdx.y]];
    Weights both[2] = {expert.gate, expert.up};
    packed_block<1, true>([&] { return fix_own(x + (long long)(blockIdx.y / per_row) * columns, norm, epsilon, columns); }, both, {out + (long long)blockIdx.y * outputs, outputs, columns, 0, kind}, 1);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32) experts_packed(const float* x, const Expert* experts, const int* chosen, float* out, int outputs, int columns) {
    let_next_start();
    wait_for_last();
    packed_block<1, false>([&] { return fix_own(x + (long long)blockIdx.y * columns, nullptr, 0, columns); }, &experts[chosen[blockIdx.y]].down, {out + (long long)blockIdx.y * outputs, outputs, columns, 0, 0}, 1);
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
