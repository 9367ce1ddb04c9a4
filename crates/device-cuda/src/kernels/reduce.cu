// Reductions: LANES threads combine the elements of each output, each of them every LANES-th, then pairwise. The order
// depends on nothing but the number of elements.
// Before this: T and U (stored types of input and output), A (what is accumulated), Index, N outputs of R elements each,
// LANES, OUTS (outputs of a block), ALONG (whether lanes, not outputs, are neighbours), base(o), at(r), place(o) (offsets
// of an output's elements, of the r-th of them, and of the output), start(), step(acc, x, r), merge(a, b), finish(acc).

template <class F> static INLINE A tree(F combine, A acc, A* partial, const int lane, const int out) {
    if (LANES == 1) return acc;
    __syncthreads();
    partial[lane * OUTS + out] = acc;
    for (int width = LANES / 2; width > 0; width /= 2) {
        __syncthreads();
        if (lane < width) {
            partial[lane * OUTS + out] = combine(partial[lane * OUTS + out], partial[(lane + width) * OUTS + out]);
        }
    }
    __syncthreads();
    return partial[out];
}

KERNEL_OF(LANES * OUTS) reduce(const T* x, U* y) {
    __shared__ A partial[LANES * OUTS];
    const int lane = ALONG ? threadIdx.x % LANES : threadIdx.x / OUTS;
    const int out = ALONG ? threadIdx.x / LANES : threadIdx.x % OUTS;
    const Index o = (Index)blockIdx.x * OUTS + out;
    const T* from = x + (o < N ? base(o) : 0);
    const Index count = o < N ? R : 0;
    A acc = start();
#ifdef LOG_SUM_EXP
    // The first pass finds the shift.
    A shift = Limits<A>::low();
    for (Index r = lane; r < count; r += LANES) shift = Max<A>(shift, (A)Io<T>::get(from[at(r)]));
    shift = tree([](A a, A b) { return Max<A>(a, b); }, shift, partial, lane, out);
    if (shift == Limits<A>::low() || shift == Limits<A>::high()) shift = 0;
    for (Index r = lane; r < count; r += LANES) acc += Exp((A)Io<T>::get(from[at(r)]) - shift);
    acc = tree([](A a, A b) { return merge(a, b); }, acc, partial, lane, out);
    acc = Log(acc) + shift;
#else
#pragma unroll 4
    for (Index r = lane; r < count; r += LANES) acc = step(acc, Io<T>::get(from[at(r)]), r);
    acc = tree([](A a, A b) { return merge(a, b); }, acc, partial, lane, out);
#endif
    if (lane == 0 && o < N) y[place(o)] = Io<U>::put(finish(acc));
}
