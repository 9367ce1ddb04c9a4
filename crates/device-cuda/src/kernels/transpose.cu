// Copies between two orders of elements through shared memory, so that both reading and writing go along neighbours.
// Before this: T, Index, A and B (lengths of the axes that lie contiguously in the input and in the output), FROM_B and
// TO_A (their strides on the other side), and outer(rest, from, to), which adds the offsets of all other axes.

#define TILE 32

KERNEL_OF(256) transpose(const T* from, T* to) {
    __shared__ T tile[TILE][TILE + 1];
    const Index tiles_a = (A + TILE - 1) / TILE, tiles_b = (B + TILE - 1) / TILE;
    Index rest = blockIdx.x;
    const Index a0 = rest % tiles_a * TILE;
    rest /= tiles_a;
    const Index b0 = rest % tiles_b * TILE;
    rest /= tiles_b;
    Index from_at = 0, to_at = 0;
    outer(rest, from_at, to_at);
    const int x = threadIdx.x % TILE, y = threadIdx.x / TILE;
    for (int row = y; row < TILE; row += 8) {
        if (b0 + row < B && a0 + x < A) tile[row][x] = from[from_at + (b0 + row) * FROM_B + a0 + x];
    }
    __syncthreads();
    for (int row = y; row < TILE; row += 8) {
        if (a0 + row < A && b0 + x < B) to[to_at + (a0 + row) * TO_A + b0 + x] = tile[x][row];
    }
}
