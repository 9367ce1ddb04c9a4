// A product with few rows, `y = activate(alpha · a · b + bias + beta · c)`: as fast as b can be read.
//
// Before it: types T of elements, C of sums; M rows, N columns, K; A_STEP and B_STEP, elements from row to row (of b's
// transpose in thin_rows); C_STEP, those of c; PACK neighbours that are read at once; SPLITS parts of K and CHUNK, the
// length of one; BIAS, ADDED (0 or 1); the function activate.

#define WARPS 8

static INLINE T finished(C sum, const T* bias, const T* c, int row, int col, C alpha, C beta) {
    sum *= alpha;
    if (BIAS) sum += Io<T>::get(bias[col]);
    if (ADDED) sum += beta * Io<T>::get(c[(i64)row * C_STEP + col]);
    return Io<T>::put(activate(sum));
}

// Rows of b are columns of the result: a warp for each.
KERNEL thin_rows(const T* a, const T* b, const T* bias, const T* c, T* y, f32 alpha, f32 beta) {
    const int lane = threadIdx.x % 32;
    const int col = blockIdx.x * WARPS + threadIdx.x / 32;
    if (col >= N) return;
    const T* row = b + (i64)col * B_STEP;
    C sums[M];
#pragma unroll
    for (int m = 0; m < M; ++m) sums[m] = 0;
#pragma unroll 4
    for (int i = lane * PACK; i < K; i += 32 * PACK) {
        const Pack<T, PACK> right = load_pack<T, PACK>(row + i);
#pragma unroll
        for (int m = 0; m < M; ++m) {
            const Pack<T, PACK> left = load_pack<T, PACK>(a + (i64)m * A_STEP + i);
#pragma unroll
            for (int j = 0; j < PACK; ++j) sums[m] += (C)Io<T>::get(left.at[j]) * Io<T>::get(right.at[j]);
        }
    }
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int step = 16; step > 0; step /= 2) sums[m] += __shfl_xor_sync(0xffffffffu, sums[m], step);
        if (lane == m) y[(i64)m * N + col] = finished(sums[m], bias, c, m, col, alpha, beta);
    }
}

// Rows of b lie one behind the other: a warp takes every so many of them, of 32 · PACK columns. Parts of K that other
// blocks take are added up by thin_sum.
KERNEL thin_columns(const T* a, const T* b, const T* bias, const T* c, T* y, C* parts, f32 alpha, f32 beta) {
    __shared__ C shared[WARPS][32 * PACK];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int col = (blockIdx.x * 32 + lane) * PACK;
    const int start = blockIdx.y * CHUNK, end = start + CHUNK < K ? start + CHUNK : K;
    C sums[M][PACK];
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int j = 0; j < PACK; ++j) sums[m][j] = 0;
    }
    if (col < N) {
#pragma unroll 8
        for (int i = start + warp; i < end; i += WARPS) {
            const Pack<T, PACK> right = load_pack<T, PACK>(b + (i64)i * B_STEP + col);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                const C left = Io<T>::get(a[(i64)m * A_STEP + i]);
#pragma unroll
                for (int j = 0; j < PACK; ++j) sums[m][j] += left * Io<T>::get(right.at[j]);
            }
        }
    }
#pragma unroll
    for (int m = 0; m < M; ++m) {
        __syncthreads();
#pragma unroll
        for (int j = 0; j < PACK; ++j) shared[warp][lane * PACK + j] = sums[m][j];
        __syncthreads();
        for (int at = threadIdx.x; at < 32 * PACK; at += 32 * WARPS) {
            const int own = blockIdx.x * 32 * PACK + at;
            if (own >= N) continue;
            C sum = 0;
#pragma unroll
            for (int w = 0; w < WARPS; ++w) sum += shared[w][at];
            if (SPLITS == 1) y[(i64)m * N + own] = finished(sum, bias, c, m, own, alpha, beta);
            else parts[((i64)blockIdx.y * M + m) * N + own] = sum;
        }
    }
}

KERNEL thin_sum(const C* parts, const T* bias, const T* c, T* y, f32 alpha, f32 beta) {
    const i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (i64)M * N) return;
    C sum = 0;
#pragma unroll 8
    for (int split = 0; split < SPLITS; ++split) sum += parts[(i64)split * M * N + at];
    y[at] = finished(sum, bias, c, (int)(at / N), (int)(at % N), alpha, beta);
}
