// Pooling over up to three spatial axes: each thread computes PACK neighbouring channels (or one element) of an output.
// Before this: T and U (stored types), A (what is accumulated), Index, N outputs, PACK, locate(thread, n, c, z, y, x), the
// strides X_N … X_X and Y_N … Y_X, and for each axis its input size, kernel, stride, dilation and padding (I_Z, K_Z, S_Z,
// D_Z, P_Z, E_Z, …), PADDING (whether the padding counts), start(), step(acc, x), finish(acc, count).

KERNEL pool(const T* input, U* output) {
    const Index thread = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= N) return;
    Index n, c, oz, oy, ox;
    locate(thread, n, c, oz, oy, ox);
    const Index z0 = oz * S_Z - P_Z, y0 = oy * S_Y - P_Y, x0 = ox * S_X - P_X;
    const T* from = input + (n * X_N + c * X_C);
    A acc[PACK];
#pragma unroll
    for (int j = 0; j < PACK; ++j) acc[j] = start();
    int count_z = 0, count_y = 0, count_x = 0;
    for (int k = 0; k < K_Z; ++k) count_z += counts(z0 + k * D_Z, I_Z, E_Z);
    for (int k = 0; k < K_Y; ++k) count_y += counts(y0 + k * D_Y, I_Y, E_Y);
    for (int k = 0; k < K_X; ++k) count_x += counts(x0 + k * D_X, I_X, E_X);
    for (int kz = 0; kz < K_Z; ++kz) {
        const Index z = z0 + kz * D_Z;
        if (z < 0 || z >= I_Z) continue;
        for (int ky = 0; ky < K_Y; ++ky) {
            const Index y = y0 + ky * D_Y;
            if (y < 0 || y >= I_Y) continue;
            for (int kx = 0; kx < K_X; ++kx) {
                const Index x = x0 + kx * D_X;
                if (x < 0 || x >= I_X) continue;
                const Pack<T, PACK> pack = load_pack<T, PACK>(from + (z * X_Z + y * X_Y + x * X_X));
#pragma unroll
                for (int j = 0; j < PACK; ++j) acc[j] = step(acc[j], Io<T>::get(pack.at[j]));
            }
        }
    }
    Pack<U, PACK> result;
#pragma unroll
    for (int j = 0; j < PACK; ++j) result.at[j] = Io<U>::put(finish(acc[j], count_z * count_y * count_x));
    store_pack<U, PACK>(output + (n * Y_N + c * Y_C + oz * Y_Z + oy * Y_Y + ox * Y_X), result);
}
