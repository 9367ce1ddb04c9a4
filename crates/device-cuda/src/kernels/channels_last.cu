// Elements `[image, channel, position]` become `[image, position, channel]`, with zeros in channels that are added.
//
// Before it: type T of elements; CHANNELS there are, and WIDE that there shall be; POSITIONS; elements between images,
// channels and positions of the source, IMAGE_STEP, CHANNEL_STEP and POSITION_STEP; the tile of a block, TILE_CHANNELS ×
// TILE_POSITIONS.

#define THREADS 256

KERNEL channels_last(const T* x, T* y) {
    __shared__ T tile[TILE_CHANNELS][TILE_POSITIONS + 1];
    const int first_channel = blockIdx.y * TILE_CHANNELS;
    const i64 first = (i64)blockIdx.x * TILE_POSITIONS;
    const i64 image = blockIdx.z;
    for (int i = threadIdx.x; i < TILE_CHANNELS * TILE_POSITIONS; i += THREADS) {
        const int own = i / TILE_POSITIONS, channel = first_channel + own;
        const i64 position = first + i % TILE_POSITIONS;
        T value = 0;
        if (channel < CHANNELS && position < POSITIONS) {
            value = x[image * IMAGE_STEP + channel * CHANNEL_STEP + position * POSITION_STEP];
        }
        tile[own][i % TILE_POSITIONS] = value;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TILE_CHANNELS * TILE_POSITIONS; i += THREADS) {
        const int own = i % TILE_CHANNELS, channel = first_channel + own;
        const i64 position = first + i / TILE_CHANNELS;
        if (channel < WIDE && position < POSITIONS) {
            y[(image * POSITIONS + position) * WIDE + channel] = tile[own][i / TILE_CHANNELS];
        }
    }
}
