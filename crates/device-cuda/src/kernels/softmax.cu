// Softmax and its logarithm along contiguous rows. After rows.cuh's definitions: T, C, LEN, LANES, ROWS, PACK, HELD,
// LOGARITHM (0 or 1).

KERNEL_OF(LANES * ROWS) softmax(const T* x, T* y, const i64 rows) {
    __shared__ C shared[32];
    const int lane = threadIdx.x % LANES;
    const i64 row = (i64)blockIdx.x * ROWS + threadIdx.x / LANES;
    const bool active = row < rows;
    x += active ? row * LEN : 0;
    y += active ? row * LEN : 0;
    C largest = Limits<C>::low();
#if HELD
    C values[HELD_PACKS][PACK];
#pragma unroll
    for (int k = 0; k < HELD_PACKS; ++k) {
        const int at = k * LANES + lane;
        if (at < PACKS) {
            const Pack<T, PACK> pack = load_pack<T, PACK>(x + at * PACK);
#pragma unroll
            for (int j = 0; j < PACK; ++j) values[k][j] = Io<T>::get(pack.at[j]);
        } else {
#pragma unroll
            for (int j = 0; j < PACK; ++j) values[k][j] = Limits<C>::low();
        }
#pragma unroll
        for (int j = 0; j < PACK; ++j) largest = Max<C>(largest, values[k][j]);
    }
    largest = lanes_max(largest, shared);
    C sum = 0;
#pragma unroll
    for (int k = 0; k < HELD_PACKS; ++k) {
        if (k * LANES + lane < PACKS) {
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                const C power = Exp(values[k][j] - largest);
                sum += power;
                if (!LOGARITHM) values[k][j] = power;
            }
        }
    }
    sum = lanes_sum(sum, shared);
    const C shift = largest + Log(sum), inverse = (C)1 / sum;
    if (!active) return;
#pragma unroll
    for (int k = 0; k < HELD_PACKS; ++k) {
        const int at = k * LANES + lane;
        if (at < PACKS) {
            Pack<T, PACK> pack;
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                pack.at[j] = Io<T>::put(LOGARITHM ? values[k][j] - shift : values[k][j] * inverse);
            }
            store_pack<T, PACK>(y + at * PACK, pack);
        }
    }
#else
    for (i64 at = lane; at < LEN; at += LANES) largest = Max<C>(largest, Io<T>::get(x[at]));
    largest = lanes_max(largest, shared);
    C sum = 0;
    for (i64 at = lane; at < LEN; at += LANES) sum += Exp(Io<T>::get(x[at]) - largest);
    sum = lanes_sum(sum, shared);
    const C shift = largest + Log(sum);
    if (!active) return;
    for (i64 at = lane; at < LEN; at += LANES) {
        const C value = Io<T>::get(x[at]);
        y[at] = Io<T>::put(LOGARITHM ? value - shift : Exp(value - largest) / sum);
    }
#endif
}
