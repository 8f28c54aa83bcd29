// Packed weights as they lie on a GPU: their codes, scales and numbers; appended to RowProducts.cu.
// BITS (of a code: 4 or 8), GROUPS (that have a scale, of 64 columns: 2 or 4), SCALES and NUMBERS say which packing.
//   SCALES 0, 1, 2: a scale a group, in float16, bfloat16, float32; a number is scale * what its code is
//   3: float32 scale and offset a group; a number is scale * code + offset
//   4, 5: float16 factors a unit, of scales and of offsets (4 has none), and a byte more than it says by 128 for each group
//   NUMBERS 0: a code is an integer, more by 8 or 128, and of 4 bits with offsets by none; 1: a place among the sixteen bytes of
//   TABLE_0 to 3; 2: E4M3
// A tile is 16 rows, a unit 64 columns of it: the codes of a unit lie as the lanes of a warp take them, four neighbours of
// sixteen columns a lane, rows eight apart in the same lane.

#if !defined(ELEMENT_FLOAT32)

#define UNIT 64
#define STEPS 4                 // of 16 columns
#define CODE_BYTES (16 * UNIT * BITS / 8)
#define OFFSETS (SCALES == 3 || SCALES == 5)
#define SCALE_WORDS (SCALES == 2 ? GROUPS : SCALES == 3 ? 2 * GROUPS : SCALES == 5 ? 1 + GROUPS / 2 : GROUPS / 2)
#define SCALE_BYTES (4 * SCALE_WORDS)
#define GROUP (UNIT / GROUPS)   // columns
#define TABLE (NUMBERS == 1)
#define FLOAT8 (NUMBERS == 2)
#define ZERO (NUMBERS ? 0 : BITS == 8 ? 128 : OFFSETS ? 0 : 8) // the code of zero, but for offsets

// What a lane has of a unit of a tile: codes of its two rows, and their scales as they lie.
struct Unit { uint4 codes[BITS / 4]; u32 scales[2][SCALE_WORDS]; };

// Scales of a row, in the widest words that lie evenly.
template <bool FAR>
__device__ inline void load_scales(const char* from, u32* to) {
#if SCALE_WORDS % 4 == 0
#pragma unroll
    for (int i = 0; i < SCALE_WORDS; i += 4) {
        uint4 x = FAR ? load_weights(from + i * 4) : *(const uint4*)(from + i * 4);
        to[i] = x.x; to[i + 1] = x.y; to[i + 2] = x.z; to[i + 3] = x.w;
    }
#elif SCALE_WORDS == 2
    uint2 x = *(const uint2*)from;
    to[0] = x.x; to[1] = x.y;
#else
#pragma unroll
    for (int i = 0; i < SCALE_WORDS; i++) to[i] = *(const u32*)(from + i * 4);
#endif
}

__device__ inline Unit load_unit(const char* codes, const char* scales, int unit, int lane) {
    Unit x;
    const char* from = codes + (long long)unit * CODE_BYTES + lane * 16;
#pragma unroll
    for (int i = 0; i < BITS / 4; i++) x.codes[i] = load_weights(from + i * 512);
#pragma unroll
    for (int high = 0; high < 2; high++) load_scales<true>(scales + ((long long)unit * 16 + lane / 4 + 8 * high) * SCALE_BYTES, x.scales[high]);
    return x;
}

__device__ inline u32 word(const uint4& x, int i) { return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w; }

#if TABLE
// What places in the table say, each four bits of a word: those of its lower half, or of its upper one.
__device__ inline u32 look_up(u32 places, int upper) {
    u32 in_half = (places & 0x77777777) >> 16 * upper, which = (places >> 1 & 0x44444444 | 0x32103210) >> 16 * upper;
    return __byte_perm(__byte_perm(TABLE_0, TABLE_1, in_half), __byte_perm(TABLE_2, TABLE_3, in_half), which);
}
#endif

// Bytes of a lane's codes of a row: of a group, in the order of a row's.
__device__ inline u32 codes_of(const Unit& x, int high, int group, int slot) {
#if BITS == 8
    return word(x.codes[high], group * 4 / GROUPS + slot);
#elif TABLE
    u32 both = word(x.codes[0], high * 2 + group * 2 / GROUPS);
#if GROUPS == 2
    return look_up(both, slot);
#else
    return __byte_perm(look_up(both, 0), look_up(both, 1), group % 2 ? 0x7362 : 0x5140); // two groups' by turns
#endif
#elif GROUPS == 2
    return (word(x.codes[0], high * 2 + group) >> (4 * slot)) & 0x0F0F0F0F;
#else
    u32 both = word(x.codes[0], high * 2 + group / 2); // two groups' by turns
    return __byte_perm(both & 0x0F0F0F0F, (both >> 4) & 0x0F0F0F0F, group % 2 ? 0x7531 : 0x6420);
#endif
}

// One of two float16.
__device__ inline float half_of(u32 both, int upper) {
    float y;
    asm("{.reg .b16 low, high;\nmov.b32 {low, high}, %1;\ncvt.f32.f16 %0, low;}" : "=f"(y) : "r"(upper ? both >> 16 : both));
    return y;
}

// A byte less 128: as the last bits of a float that they are added to.
__device__ inline float byte_of(u32 four, int i) { return __uint_as_float(__byte_perm(four, 0x4B000000, 0x7440 | i)) - 8388736.0f; }

__device__ inline float scale_of(const Unit& x, int high, int group) {
    const u32* at = x.scales[high];
#if SCALES == 0
    return half_of(at[group / 2], group % 2);
#elif SCALES == 1
    return __uint_as_float(group % 2 ? at[group / 2] & 0xFFFF0000 : at[group / 2] << 16);
#elif SCALES == 2
    return __uint_as_float(at[group]);
#elif SCALES == 3
    return __uint_as_float(at[2 * group]);
#elif SCALES == 4 && GROUPS == 2
    return half_of(at[0], 0) * byte_of(at[0], 2 + group);
#else
    return half_of(at[0], 0) * byte_of(at[1], group);
#endif
}

__device__ inline float offset_of(const Unit& x, int high, int group) {
    const u32* at = x.scales[high];
#if SCALES == 3
    return __uint_as_float(at[2 * group + 1]);
#elif SCALES == 5
    return half_of(at[0], 1) * byte_of(at[GROUPS / 2], GROUPS == 2 ? 2 + group : group);
#else
    return 0.0f;
#endif
}

// The same of a group that is known later, where scales are near.
__device__ inline float2 factors_of(const char* of_row, int group) {
#if SCALES == 0
    return make_float2(half_of(*(const u16*)(of_row + 2 * group), 0), 0);
#elif SCALES == 1
    return make_float2(__uint_as_float(*(const u16*)(of_row + 2 * group) << 16), 0);
#elif SCALES == 2
    return make_float2(*(const float*)(of_row + 4 * group), 0);
#elif SCALES == 3
    return *(const float2*)(of_row + 8 * group);
#else
    u32 both = *(const u32*)of_row;
    float scale = half_of(both, 0) * byte_of(*(const unsigned char*)(of_row + (SCALES == 4 && GROUPS == 2 ? 2 : 4) + group), 0);
    return make_float2(scale, SCALES == 4 ? 0 : half_of(both, 1) * byte_of(*(const unsigned char*)(of_row + 4 + GROUPS + group), 0));
#endif
}

#if FLOAT8
// Codes of E4M3 as float16, which are 256 times as large: two of a word. What is no number has scales that are none.
__device__ inline u32 halves_of(u32 codes, int upper) {
    u32 x = __byte_perm(codes, 0, upper ? 0x3424 : 0x1404);
    return x & 0x80008000 | x >> 1 & 0x3F803F80;
}
#endif

// The number of a code: four of a step.
__device__ inline float4 four_numbers(const Unit& x, int high, int step) {
    float y[4];
    int of = step * GROUPS / STEPS;
    float scale = scale_of(x, high, of), offset = offset_of(x, high, of);
#pragma unroll
    for (int i = 0; i < 4; i++) {
#if FLOAT8
        y[i] = half_of(halves_of(word(x.codes[high], step), i / 2), i % 2) * 256 * scale;
#else
#if BITS == 8
        int code = (word(x.codes[high], step) >> (8 * i)) & 255;
#else
        int code = (word(x.codes[0], high * 2 + step / 2) >> (4 * (step % 2 * 2 + i / 2) + 16 * (i % 2))) & 15;
#endif
#if TABLE
        code = (signed char)look_up(code, 0);
#endif
        y[i] = OFFSETS ? fmaf(scale, (float)(code - ZERO), offset) : scale * (float)(code - ZERO);
#endif
    }
    return make_float4(y[0], y[1], y[2], y[3]);
}

#endif
