// Softmax, its logarithm and the one-hot maximum down columns: each thread takes one of `columns` columns of LEN elements
// that lie INNER apart. Before this: T, C, LEN, INNER, KIND (0 softmax, 1 logarithm, 2 one-hot maximum).

KERNEL columns(const T* x, T* y, const i64 columns) {
    const i64 column = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) return;
    const i64 base = column / INNER * (LEN * INNER) + column % INNER;
    x += base;
    y += base;
    if (KIND == 2) {
        i64 best = 0;
        for (i64 at = 1; at < LEN; ++at) {
            if (Io<T>::get(x[at * INNER]) > Io<T>::get(x[best * INNER])) best = at;
        }
        for (i64 at = 0; at < LEN; ++at) y[at * INNER] = Io<T>::put(at == best ? (C)1 : (C)0);
        return;
    }
    C largest = Limits<C>::low();
    for (i64 at = 0; at < LEN; ++at) largest = Max<C>(largest, Io<T>::get(x[at * INNER]));
    C sum = 0;
    for (i64 at = 0; at < LEN; ++at) sum += Exp(Io<T>::get(x[at * INNER]) - largest);
    const C logarithm = Log(sum);
    for (i64 at = 0; at < LEN; ++at) {
        const C shifted = Io<T>::get(x[at * INNER]) - largest;
        y[at * INNER] = Io<T>::put(KIND == 1 ? shifted - logarithm : Exp(shifted) / sum);
    }
}
