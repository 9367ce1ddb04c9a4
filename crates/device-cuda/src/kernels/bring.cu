// Copies from pinned host memory, which the device reads over the link: `bytes` from `from` to `to`, both aligned to 16.
// A copy engine would do it too, but only behind the weights that are queued there.
#define KERNEL extern "C" __global__ void

KERNEL bring(uint4 *to, const uint4 *from, unsigned long long bytes) {
    unsigned long long whole = bytes / 16;
    unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;
    unsigned long long at = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
    unsigned long long first = at;
    for (; at + 3 * step < whole; at += 4 * step) {
        uint4 a = from[at], b = from[at + step], c = from[at + 2 * step], d = from[at + 3 * step];
        to[at] = a;
        to[at + step] = b;
        to[at + 2 * step] = c;
        to[at + 3 * step] = d;
    }
    for (; at < whole; at += step) to[at] = from[at];
    if (first < bytes % 16) {
        ((char *)to)[whole * 16 + first] = ((const char *)from)[whole * 16 + first];
    }
}
