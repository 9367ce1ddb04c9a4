// A product of integers, `y[row, col] = Σ (a[row, i] − a_zero[row]) · (b[i, col] − b_zero[col])`, wrapping at Y's width.
//
// Before it: types A and B of the factors, and Y of the sums. Blocks are TILE × TILE threads, one for each element.

#define TILE 16

KERNEL product_integer(
    const A* a, const B* b, Y* y,
    const A* a_zero, i64 a_zero_step, const B* b_zero, i64 b_zero_step,
    i64 m, i64 n, i64 k, i64 rows_of_one,
    i64 a_row, i64 a_col, i64 a_batch,
    i64 b_row, i64 b_col, i64 b_batch,
    i64 y_batch
) {
    __shared__ Y a_tile[TILE][TILE + 1];
    __shared__ Y b_tile[TILE][TILE + 1];
    const i64 row = (i64)blockIdx.x * TILE + threadIdx.y;
    const i64 col = (i64)blockIdx.y * TILE + threadIdx.x;
    a += (i64)blockIdx.z * a_batch;
    b += (i64)blockIdx.z * b_batch;
    y += (i64)blockIdx.z * y_batch;
    const Y a_point = a_zero && row < m ? (Y)a_zero[row % rows_of_one * a_zero_step] : (Y)0;
    const Y b_point = b_zero && col < n ? (Y)b_zero[col * b_zero_step] : (Y)0;
    Y sum = 0;
    for (i64 start = 0; start < k; start += TILE) {
        const i64 a_at = start + threadIdx.x, b_at = start + threadIdx.y;
        // What lies outside adds nothing.
        Y left = 0, right = 0;
        if (row < m && a_at < k) left = Sub<Y>((Y)a[row * a_row + a_at * a_col], a_point);
        if (col < n && b_at < k) right = Sub<Y>((Y)b[b_at * b_row + col * b_col], b_point);
        a_tile[threadIdx.y][threadIdx.x] = left;
        b_tile[threadIdx.y][threadIdx.x] = right;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; ++i) {
            sum = Add<Y>(sum, Mul<Y>(a_tile[threadIdx.y][i], b_tile[i][threadIdx.x]));
        }
        __syncthreads();
    }
    if (row < m && col < n) y[row * n + col] = sum;
}
