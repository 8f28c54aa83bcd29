// What is chosen on the GPU in a step: the best token of a row, and the experts that see it; appended to RowKernels.cu.

// ---- The best token ----

struct Best { int column; float value; };

// What is no number is larger than all that are.
__device__ inline bool is_better(Best a, Best b) {
    bool none = isnan(a.value), other = isnan(b.value);
    return none != other ? none : a.value > b.value || (!(b.value > a.value) && a.column < b.column);
}

__device__ inline Best best_of_block(Best own) {
    __shared__ Best bests[32];
#pragma unroll
    for (int far = 16; far > 0; far >>= 1) {
        Best other = {__shfl_xor_sync(0xffffffff, own.column, far), __shfl_xor_sync(0xffffffff, own.value, far)};
        if (is_better(other, own)) own = other;
    }
    if (threadIdx.x % 32 == 0) bests[threadIdx.x / 32] = own;
    __syncthreads();
    for (int i = 0; i < blockDim.x / 32; i++) if (is_better(bests[i], own)) own = bests[i];
    return own;
}

// Of a piece of each row: parts [rows, pieces].
extern "C" __global__ void best_of_pieces(const float* x, Best* parts, int width) {
    let_next_start();
    wait_for_last();
    int piece = (width + gridDim.x - 1) / gridDim.x, start = blockIdx.x * piece, end = min(width, start + piece);
    const float* from = x + (long long)blockIdx.y * width;
    Best own = {0x7fffffff, -INFINITY_F};
    for (int i = start + threadIdx.x; i < end; i += blockDim.x) {
        Best other = {i, from[i]};
        if (is_better(other, own)) own = other;
    }
    own = best_of_block(own);
    if (threadIdx.x == 0) parts[blockIdx.y * gridDim.x + blockIdx.x] = own;
}

// Of the pieces, a thread each; a block a row. It is written to host memory.
extern "C" __global__ void best_of_rows(const Best* parts, Best* best) {
    let_next_start();
    wait_for_last();
    Best own = best_of_block(parts[blockIdx.x * blockDim.x + threadIdx.x]);
    if (threadIdx.x == 0) best[blockIdx.x] = own;
}

// ---- Experts of a mixture ----

struct Routing { const float *correction, *factors; int experts, per_row, of_chosen, sigmoid, groups, kept; float scale; };

// The largest of what a warp's lanes have, of equals the first.
__device__ inline void best_of_warp(float& best, int& at) {
#pragma unroll
    for (int far = 16; far > 0; far >>= 1) {
        float other = __shfl_xor_sync(0xffffffff, best, far);
        int its = __shfl_xor_sync(0xffffffff, at, far);
        if (other > best || (other == best && its < at)) { best = other; at = its; }
    }
}

// The experts that a router's logits choose, the best first, and their shares. A warp a row.
extern "C" __global__ void route_rows(const float* logits, int* chosen, float* shares, Routing routing) {
    extern __shared__ float left[]; // [experts] what they are compared by, then [groups]
    int experts = routing.experts, per_row = routing.per_row, lane = threadIdx.x;
    float* groups = left + experts;
    let_next_start();
    wait_for_last();
    const float* from = logits + (long long)blockIdx.x * experts;
    float most = -INFINITY_F, total = 0;
    for (int i = lane; i < experts; i += 32) most = fmaxf(most, from[i]);
    most = warp_max(most);
    for (int i = lane; i < experts; i += 32) total += expf(from[i] - most);
    total = warp_sum(total);
    for (int i = lane; i < experts; i += 32) { // logits tell apart what softmax and sigmoids make equal
        left[i] = !routing.correction ? from[i] : (routing.sigmoid ? 1.0f / (1.0f + expf(-from[i])) : expf(from[i] - most) / total) + routing.correction[i];
    }
    __syncwarp();
    if (routing.kept < routing.groups) {
        int size = experts / routing.groups;
        for (int g = lane; g < routing.groups; g += 32) {
            float first = -INFINITY_F, second = -INFINITY_F;
            for (int i = g * size; i < (g + 1) * size; i++) {
                if (left[i] > first) { second = first; first = left[i]; }
                else if (left[i] > second) second = left[i];
            }
            groups[g] = size > 1 && routing.sigmoid ? first + second : first;
        }
        __syncwarp();
        for (int j = 0; j < routing.groups - routing.kept; j++) { // the worst go, of equals the last
            float worst = -INFINITY_F;
            int at = 0;
            for (int g = lane; g < routing.groups; g += 32) {
                bool there = groups[g] != INFINITY_F;
                if (there && (-groups[g] > worst || (-groups[g] == worst && -g < at))) { worst = -groups[g]; at = -g; }
            }
            best_of_warp(worst, at);
            for (int i = -at * size + lane; i < (1 - at) * size; i += 32) left[i] = -INFINITY_F;
            if (lane == 0) groups[-at] = INFINITY_F;
            __syncwarp();
        }
    }
    float sum = 0;
    for (int j = 0; j < per_row; j++) {
        float best = -INFINITY_F;
        int at = experts;
        for (int i = lane; i < experts; i += 32) if (left[i] > best || (at == experts && left[i] == best)) { best = left[i]; at = i; }
        best_of_warp(best, at);
        at = min(at, experts - 1); // where nothing is a number
        float share = routing.sigmoid ? 1.0f / (1.0f + expf(-from[at])) : expf(from[at] - most) / total;
        sum += share;
        __syncwarp();
        if (lane == 0) { chosen[blockIdx.x * per_row + j] = at; shares[blockIdx.x * per_row + j] = share; left[at] = -INFINITY_F; }
        __syncwarp();
    }
    float factor = routing.scale / (routing.of_chosen ? sum : 1.0f);
    for (int j = lane; j < per_row; j += 32) shares[blockIdx.x * per_row + j] *= factor * (routing.factors ? routing.factors[chosen[blockIdx.x * per_row + j]] : 1.0f);
}

// out (+)= what the chosen experts made, by their shares; parts [rows, per row, width].
extern "C" __global__ void mix_rows(const float* parts, const float* shares, float* out, int per_row, int width, int add) {
    let_next_start();
    wait_for_last();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= width) return;
    float sum = 0;
    for (int j = 0; j < per_row; j++) sum = fmaf(shares[blockIdx.y * per_row + j], parts[((long long)blockIdx.y * per_row + j) * width + i], sum);
    float* to = out + (long long)blockIdx.y * width + i;
    *to = add ? *to + sum : sum;
}

// Where an expert's matrices lie: of dense ones gates and what they are for lie end to end.
struct Weights { const char *codes, *scales; const element* bias; };
struct Expert { Weights gate, up, down; };
