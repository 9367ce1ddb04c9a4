// Normalisation of contiguous rows by their own statistics. After rows.cuh's definitions: T, C, S and B (stored types of
// scale and bias), M (of the statistics), LEN, LANES, ROWS, PACK, HELD, EPSILON, CENTRED (whether the mean is taken away),
// ADDED (whether a second input is added first), SUM (whether that sum is stored), BIAS, MEAN, INVERSE (whether they are
// there), scale_at(row, at) (which scale and bias an element has), and BY_ELEMENT when that is `at`, in packs.

KERNEL_OF(LANES * ROWS) normalize(const T* x, const T* added, T* total, const S* scale, const B* bias, T* y, M* means, M* inverses, const i64 rows) {
    __shared__ C shared[32];
    const int lane = threadIdx.x % LANES;
    const i64 row = (i64)blockIdx.x * ROWS + threadIdx.x / LANES;
    const bool active = row < rows;
    const i64 first = active ? row * LEN : 0;
    C sum = 0, squares = 0;
#if HELD
    C values[HELD_PACKS][PACK];
#pragma unroll
    for (int k = 0; k < HELD_PACKS; ++k) {
        const int at = k * LANES + lane;
        if (at < PACKS) {
            const Pack<T, PACK> pack = load_pack<T, PACK>(x + first + at * PACK);
#pragma unroll
            for (int j = 0; j < PACK; ++j) values[k][j] = Io<T>::get(pack.at[j]);
            if (ADDED) {
                const Pack<T, PACK> more = load_pack<T, PACK>(added + first + at * PACK);
#pragma unroll
                for (int j = 0; j < PACK; ++j) values[k][j] += Io<T>::get(more.at[j]);
            }
            if (SUM && active) {
                Pack<T, PACK> both;
#pragma unroll
                for (int j = 0; j < PACK; ++j) both.at[j] = Io<T>::put(values[k][j]);
                store_pack<T, PACK>(total + first + at * PACK, both);
            }
        } else {
#pragma unroll
            for (int j = 0; j < PACK; ++j) values[k][j] = 0;
        }
        if (CENTRED) {
#pragma unroll
            for (int j = 0; j < PACK; ++j) sum += values[k][j];
        }
    }
    const C mean = CENTRED ? lanes_sum(sum, shared) / (C)LEN : (C)0;
#pragma unroll
    for (int k = 0; k < HELD_PACKS; ++k) {
        if (k * LANES + lane < PACKS) {
#pragma unroll
            for (int j = 0; j < PACK; ++j) squares += (values[k][j] - mean) * (values[k][j] - mean);
        }
    }
#else
    if (CENTRED) {
        for (i64 at = lane; at < LEN; at += LANES) sum += Io<T>::get(x[first + at]);
    }
    const C mean = CENTRED ? lanes_sum(sum, shared) / (C)LEN : (C)0;
    for (i64 at = lane; at < LEN; at += LANES) {
        const C value = Io<T>::get(x[first + at]) - mean;
        squares += value * value;
    }
#endif
    const C inverse = (C)1 / Sqrt(lanes_sum(squares, shared) / (C)LEN + EPSILON);
    if (!active) return;
    if (lane == 0) {
        if (MEAN) means[row] = Io<M>::put(mean);
        if (INVERSE) inverses[row] = Io<M>::put(inverse);
    }
#if HELD
#pragma unroll
    for (int k = 0; k < HELD_PACKS; ++k) {
        const int at = k * LANES + lane;
        if (at < PACKS) {
            Pack<T, PACK> pack;
#if BY_ELEMENT
            const Pack<S, PACK> scales = load_pack<S, PACK>(scale + at * PACK);
            Pack<B, PACK> biases;
            if (BIAS) biases = load_pack<B, PACK>(bias + at * PACK);
#endif
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
                C value = (values[k][j] - mean) * inverse;
#if BY_ELEMENT
                value *= (C)Io<S>::get(scales.at[j]);
                if (BIAS) value += (C)Io<B>::get(biases.at[j]);
#else
                const i64 place = scale_at(row, at * PACK + j);
                value *= (C)Io<S>::get(scale[place]);
                if (BIAS) value += (C)Io<B>::get(bias[place]);
#endif
                pack.at[j] = Io<T>::put(value);
            }
            store_pack<T, PACK>(y + first + at * PACK, pack);
        }
    }
#else
    for (i64 at = lane; at < LEN; at += LANES) {
        const i64 place = scale_at(row, at);
        C value = ((C)Io<T>::get(x[first + at]) - mean) * inverse * (C)Io<S>::get(scale[place]);
        if (BIAS) value += (C)Io<B>::get(bias[place]);
        y[first + at] = Io<T>::put(value);
    }
#endif
}
