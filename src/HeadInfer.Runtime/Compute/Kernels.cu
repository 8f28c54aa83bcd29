// The few steps of a decoder layer that libtorch does in several passes over memory, each in one.
// Compiled at run time with ELEMENT_BFLOAT16, ELEMENT_FLOAT16 or ELEMENT_FLOAT32. Arithmetic is float32 throughout and is
// rounded once, at the end. A thread moves 16 bytes; the caller sees to it that rows are multiples of that.

typedef unsigned int u32;
typedef unsigned short u16;

#if defined(ELEMENT_BFLOAT16)
typedef u16 element;
__device__ inline float widen(element x) { return __uint_as_float((u32)x << 16); }
__device__ inline element narrow(float x) { element y; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x)); return y; }
#elif defined(ELEMENT_FLOAT16)
typedef u16 element;
__device__ inline float widen(element x) { float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x)); return y; }
__device__ inline element narrow(float x) { element y; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x)); return y; }
#else
typedef float element;
__device__ inline float widen(element x) { return x; }
__device__ inline element narrow(float x) { return x; }
#endif

#define LANES (16 / (int)sizeof(element))

struct alignas(16) Pack { element at[LANES]; };
struct Lanes { float at[LANES]; };

__device__ inline Lanes load(const element* p) {
    Pack pack = *(const Pack*)p;
    Lanes x;
#pragma unroll
    for (int i = 0; i < LANES; i++) x.at[i] = widen(pack.at[i]);
    return x;
}

__device__ inline void store(element* p, const Lanes& x) {
    Pack pack;
#pragma unroll
    for (int i = 0; i < LANES; i++) pack.at[i] = narrow(x.at[i]);
    *(Pack*)p = pack;
}

__device__ inline Lanes load_float(const float* p) {
    Lanes x;
#pragma unroll
    for (int i = 0; i < LANES; i += 4) {
        float4 four = *(const float4*)(p + i);
        x.at[i] = four.x; x.at[i + 1] = four.y; x.at[i + 2] = four.z; x.at[i + 3] = four.w;
    }
    return x;
}

__device__ inline void store_float(float* p, const Lanes& x) {
#pragma unroll
    for (int i = 0; i < LANES; i += 4) *(float4*)(p + i) = make_float4(x.at[i], x.at[i + 1], x.at[i + 2], x.at[i + 3]);
}

// The thread's number over the whole grid.
#define INDEX ((long long)blockIdx.x * blockDim.x + threadIdx.x)

// activation(x) * up. kind: 0 silu, 1 gelu, 2 gelu by tanh, 3 gpt-oss's: clamped silu of a slope of 1.702, and up is clamped and one more.
__device__ inline float gated(float x, float up, int kind) {
    if (kind == 3) {
        x = fminf(x, 7.0f);
        return x / (1.0f + expf(-1.702f * x)) * (fminf(fmaxf(up, -7.0f), 7.0f) + 1.0f);
    }
    float y = kind == 0 ? x / (1.0f + expf(-x))
        : kind == 1 ? 0.5f * x * (1.0f + erff(x * 0.70710678f))
        : 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    return y * up;
}

// out[row, i] = activation(in[row, i]) * in[row, width + i]; in [rows, 2 * width], out [rows, width].
extern "C" __global__ void gate(const element* in, element* out, long long rows, int width, int kind) {
    int packs = width / LANES;
    long long index = INDEX;
    if (index >= rows * packs) return;
    long long row = index / packs;
    int column = (int)(index % packs) * LANES;
    const element* from = in + row * 2 * width + column;
    Lanes g = load(from), u = load(from + width);
#pragma unroll
    for (int i = 0; i < LANES; i++) g.at[i] = gated(g.at[i], u.at[i], kind);
    store(out + row * width + column, g);
}

// Splits projected heads and rotates queries and keys by their positions.
// in [tokens, heads + 2 * kv_heads, dim]; queries [tokens, heads, dim]; rows [kv_heads, 2, capacity, dim] from its row
// `first` on; cosines and sines [tokens, rotary / 2], float32.
extern "C" __global__ void rotate(
    const element* in, element* queries, element* rows, const float* cosines, const float* sines,
    long long tokens, int heads, int kv_heads, int dim, int rotary, long long capacity, long long first) {
    int packs = dim / LANES, all = heads + 2 * kv_heads;
    long long index = INDEX;
    if (index >= tokens * all * packs) return;
    int at = (int)(index % packs) * LANES;
    int head = (int)(index / packs % all);
    long long token = index / packs / all;
    const element* from = in + (token * all + head) * dim;
    Lanes x = load(from + at);
    if (head < heads + kv_heads && at < rotary) {
        int half = rotary / 2;
        bool second = at >= half;
        int angle = second ? at - half : at;
        Lanes other = load(from + (second ? at - half : at + half));
        const float* c = cosines + token * half + angle;
        const float* s = sines + token * half + angle;
#pragma unroll
        for (int i = 0; i < LANES; i++) x.at[i] = x.at[i] * c[i] + (second ? other.at[i] : -other.at[i]) * s[i];
    }
    element* to;
    if (head < heads) {
        to = queries + (token * heads + head) * dim;
    } else {
        int row = head - heads;
        long long part = row < kv_heads ? 2LL * row : 2LL * (row - kv_heads) + 1;
        to = rows + (part * capacity + first + token) * dim;
    }
    store(to + at, x);
}

struct Strides { long long batch, group, row; };

// Joins two parts of attention: [batch, group, rows, dim] with their log-sum-exps [batch, group, rows].
// The sum's log-sum-exp goes to a place of its own, as other threads may still read the old one.
#define MERGE(NAME, A, LOAD_A, OUT, STORE_OUT)                                                                              \
    extern "C" __global__ void NAME(                                                                                       \
        const A* a, const float* lse_a, const element* b, const float* lse_b, OUT* out, float* lse_out, Strides sa,         \
        Strides sla, Strides sb, Strides slb, Strides so, Strides slo, long long batches, int groups, long long rows, int dim) { \
        int packs = dim / LANES;                                                                                           \
        long long index = INDEX;                                                                                           \
        if (index >= batches * groups * rows * packs) return;                                                              \
        int at = (int)(index % packs) * LANES;                                                                             \
        long long group = index / packs % groups, row = index / packs / groups % rows, batch = index / packs / groups / rows; \
        float la = lse_a[batch * sla.batch + group * sla.group + row * sla.row];                                           \
        float lb = lse_b[batch * slb.batch + group * slb.group + row * slb.row];                                           \
        float most = fmaxf(la, lb);                                                                                        \
        bool none = most == -INFINITY_F;                                                                                   \
        float ea = none ? 0.0f : expf(la - most), eb = none ? 0.0f : expf(lb - most);                                      \
        float total = none ? 1.0f : ea + eb, wa = ea / total, wb = eb / total;                                             \
        Lanes x = LOAD_A(a + batch * sa.batch + group * sa.group + row * sa.row + at);                                     \
        Lanes y = load(b + batch * sb.batch + group * sb.group + row * sb.row + at);                                       \
        _Pragma("unroll") for (int i = 0; i < LANES; i++) x.at[i] = wa * x.at[i] + wb * y.at[i];                            \
        STORE_OUT(out + batch * so.batch + group * so.group + row * so.row + at, x);                                       \
        if (at == 0 && lse_out) lse_out[batch * slo.batch + group * slo.group + row * slo.row] = none ? most : most + logf(total); \
    }

#define INFINITY_F __int_as_float(0x7f800000)

MERGE(merge_element_float, element, load, float, store_float)
MERGE(merge_element_element, element, load, element, store)
MERGE(merge_float_float, float, load_float, float, store_float)
MERGE(merge_float_element, float, load_float, element, store)
