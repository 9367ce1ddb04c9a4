// A convolution whose every filter sees one channel, with bias, residual and activation.
//
// Before it: type T of elements, C of sums; CHANNELS of the result, MULTIPLE of them for each channel of the input; IH, IW, OH,
// OW; R, S of the filter; SH, SW strides; DH, DW dilations; PH, PW pads before; BIAS, RESIDUAL (0 or 1); the function
// activate; LAST, whether channels are last. A thread takes COLUMNS neighbours of a row of the result and, where channels
// are last, LANE neighbouring channels.

// Columns of the input that a thread reads of each row, and how many threads share a row of the result.
#define READ ((COLUMNS - 1) * SW + (S - 1) * DW + 1)
#define STRIPS ((OW + COLUMNS - 1) / COLUMNS)
#define THREADS 128

// Adds what one row of the filter makes of one row of the input. `line` is the row's first element.
static INLINE void add_row(const T* line, i64 step, int first, const C (&weights)[S][LANE], C (&sums)[COLUMNS][LANE]) {
#pragma unroll
    for (int c = 0; c < READ; ++c) {
        const int column = first + c;
        if (column < 0 || column >= IW) continue;
        const Pack<T, LANE> pack = load_pack<T, LANE>(line + column * step);
#pragma unroll
        for (int t = 0; t < COLUMNS; ++t) {
#pragma unroll
            for (int s = 0; s < S; ++s) {
                if (t * SW + s * DW != c) continue;
#pragma unroll
                for (int v = 0; v < LANE; ++v) sums[t][v] += (C)Io<T>::get(pack.at[v]) * weights[s][v];
            }
        }
    }
}

static INLINE void finish(C (&sums)[COLUMNS][LANE], const C (&bias)[LANE], const T* residual, T* y, i64 at, i64 step, int first) {
#pragma unroll
    for (int t = 0; t < COLUMNS; ++t) {
        if (first + t >= OW) continue;
        Pack<T, LANE> result, added;
        if (RESIDUAL) added = load_pack<T, LANE>(residual + at + t * step);
#pragma unroll
        for (int v = 0; v < LANE; ++v) {
            C value = sums[t][v] + bias[v];
            if (RESIDUAL) value += Io<T>::get(added.at[v]);
            result.at[v] = Io<T>::put(activate(value));
        }
        store_pack<T, LANE>(y + at + t * step, result);
    }
}

KERNEL depthwise(const T* x, const T* w, const T* bias, const T* residual, T* y, i64 strips) {
    C sums[COLUMNS][LANE], weights[S][LANE], biases[LANE];
#pragma unroll
    for (int t = 0; t < COLUMNS; ++t) {
#pragma unroll
        for (int v = 0; v < LANE; ++v) sums[t][v] = 0;
    }
#if LAST
    // Weights of the block's channels, neighbours side by side.
    __shared__ C filter[R * S][BLOCK_CHANNELS];
    const int block_first = blockIdx.y * BLOCK_CHANNELS;
    for (int i = threadIdx.x; i < BLOCK_CHANNELS * R * S; i += THREADS) {
        const int channel = block_first + i / (R * S);
        filter[i % (R * S)][i / (R * S)] = channel < CHANNELS ? (C)Io<T>::get(w[(i64)channel * (R * S) + i % (R * S)]) : (C)0;
    }
    __syncthreads();
    const int lane = threadIdx.x % (BLOCK_CHANNELS / LANE) * LANE;
    const i64 strip = (i64)blockIdx.x * (THREADS / (BLOCK_CHANNELS / LANE)) + threadIdx.x / (BLOCK_CHANNELS / LANE);
    const int channel = block_first + lane;
    if (strip >= strips || channel >= CHANNELS) return;
    const int column = (int)(strip % STRIPS) * COLUMNS, row = (int)(strip / STRIPS % OH);
    const i64 image = strip / STRIPS / OH;
#pragma unroll
    for (int r = 0; r < R; ++r) {
        const int line = row * SH - PH + r * DH;
        if (line < 0 || line >= IH) continue;
#pragma unroll
        for (int s = 0; s < S; ++s) {
#pragma unroll
            for (int v = 0; v < LANE; ++v) weights[s][v] = filter[r * S + s][lane + v];
        }
        add_row(x + (image * IH + line) * IW * CHANNELS + channel, CHANNELS, column * SW - PW, weights, sums);
    }
#pragma unroll
    for (int v = 0; v < LANE; ++v) biases[v] = BIAS ? (C)Io<T>::get(bias[channel + v]) : (C)0;
    finish(sums, biases, residual, y, ((image * OH + row) * OW + column) * CHANNELS + channel, CHANNELS, column);
#else
    const i64 strip = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (strip >= strips) return;
    const int column = (int)(strip % STRIPS) * COLUMNS, row = (int)(strip / STRIPS % OH);
    const i64 plane = strip / STRIPS / OH;
    const int channel = (int)(plane % CHANNELS);
    const i64 image = plane / CHANNELS;
    const T* filter = w + (i64)channel * (R * S);
    const T* from = x + (image * (CHANNELS / MULTIPLE) + channel / MULTIPLE) * IH * IW;
#pragma unroll
    for (int r = 0; r < R; ++r) {
        const int line = row * SH - PH + r * DH;
        if (line < 0 || line >= IH) continue;
#pragma unroll
        for (int s = 0; s < S; ++s) weights[s][0] = Io<T>::get(filter[r * S + s]);
        add_row(from + (i64)line * IW, 1, column * SW - PW, weights, sums);
    }
    biases[0] = BIAS ? (C)Io<T>::get(bias[channel]) : (C)0;
    finish(sums, biases, residual, y, (plane * OH + row) * OW + column, 1, column);
#endif
}
