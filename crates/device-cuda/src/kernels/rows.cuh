// What kernels over contiguous rows share. LANES threads take a row of LEN elements, PACK neighbours at a time; a block
// takes ROWS rows. With HELD, a thread keeps its elements in registers. Sums and maxima combine in an order that depends on
// LEN alone.

#define PACKS (LEN / PACK)
#define HELD_PACKS ((PACKS + LANES - 1) / LANES)

static INLINE C lanes_sum(C value, C* shared) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    if (LANES > 32) {
        __syncthreads();
        if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
        __syncthreads();
        value = 0;
        for (int warp = 0; warp < LANES / 32; ++warp) value += shared[warp];
    }
    return value;
}

static INLINE C lanes_max(C value, C* shared) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value = Max<C>(value, __shfl_xor_sync(0xffffffffu, value, step));
    if (LANES > 32) {
        __syncthreads();
        if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
        __syncthreads();
        value = shared[0];
        for (int warp = 1; warp < LANES / 32; ++warp) value = Max<C>(value, shared[warp]);
    }
    return value;
}
