// Runs kernels on the host, one thread after another: every thread of a block is a fiber that gives way at barriers.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#define ON_HOST
#define __device__
#define __forceinline__ inline
#define __global__
#define __shared__ static
#define __restrict__
#define __launch_bounds__(...)

struct Dim { unsigned x, y, z; };
static Dim blockIdx, blockDim, gridDim, threadIdx;

// Fibers.
static const size_t STACK = 128 << 10;
struct Fiber { ucontext_t context; bool done; Dim index; };
static std::vector<Fiber> fibers;
static std::vector<char> stacks;
static ucontext_t scheduler;
static size_t current;
static std::function<void()> body;
struct Barrier { unsigned arrived, alive, generation; };
static Barrier block_barrier;
static Barrier warp_barriers[32];

static void give_way() { swapcontext(&fibers[current].context, &scheduler); }
static void wait_at(Barrier& barrier) {
    unsigned generation = barrier.generation;
    if (++barrier.arrived == barrier.alive) { barrier.arrived = 0; ++barrier.generation; return; }
    while (barrier.generation == generation) give_way();
}
static void leave(Barrier& barrier) {
    --barrier.alive;
    if (barrier.alive > 0 && barrier.arrived == barrier.alive) { barrier.arrived = 0; ++barrier.generation; }
}
static void fiber_main() {
    body();
    leave(block_barrier);
    leave(warp_barriers[current / 32]);
    fibers[current].done = true;
    give_way();
}
static void run_block(bool synchronises) {
    const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    if (!synchronises) {
        for (unsigned t = 0; t < threads; ++t) { threadIdx = {t, 0, 0}; body(); }
        return;
    }
    fibers.resize(threads);
    stacks.resize(threads * STACK);
    block_barrier = {0, threads, 0};
    for (unsigned warp = 0; warp < 32; ++warp) {
        unsigned first = warp * 32, last = first + 32 < threads ? first + 32 : threads;
        warp_barriers[warp] = {0, last > first ? last - first : 0, 0};
    }
    for (unsigned t = 0; t < threads; ++t) {
        fibers[t].done = false;
        fibers[t].index = {t, 0, 0};
        getcontext(&fibers[t].context);
        fibers[t].context.uc_stack.ss_sp = &stacks[t * STACK];
        fibers[t].context.uc_stack.ss_size = STACK;
        fibers[t].context.uc_link = nullptr;
        makecontext(&fibers[t].context, fiber_main, 0);
    }
    for (bool any = true; any;) {
        any = false;
        for (unsigned t = 0; t < threads; ++t) {
            if (fibers[t].done) continue;
            any = true;
            current = t;
            threadIdx = fibers[t].index;
            swapcontext(&scheduler, &fibers[t].context);
        }
    }
}
static void launch(unsigned grid, unsigned block, bool synchronises, std::function<void()> call) {
    body = call;
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    for (unsigned b = 0; b < grid; ++b) { blockIdx = {b, 0, 0}; run_block(synchronises); }
}

// What kernels call.
static void __syncthreads() { wait_at(block_barrier); }
static void __syncwarp(unsigned = 0) { wait_at(warp_barriers[current / 32]); }
static unsigned long long exchange[1024];
template <class T> static T __shfl_sync(unsigned, T value, int from, int width = 32) {
    std::memcpy(&exchange[current], &value, sizeof value);
    __syncwarp();
    T other;
    std::memcpy(&other, &exchange[current / width * width + from % width], sizeof other);
    __syncwarp();
    return other;
}
template <class T> static T __shfl_xor_sync(unsigned mask, T value, int step) {
    return __shfl_sync(mask, value, (int)(current % 32) ^ step);
}
static unsigned atomicCAS(unsigned* at, unsigned was, unsigned now) {
    unsigned old = *at;
    if (old == was) *at = now;
    return old;
}
static int atomicMax(int* at, int value) { int old = *at; if (value > old) *at = value; return old; }
static float __uint_as_float(unsigned bits) { float x; std::memcpy(&x, &bits, 4); return x; }
static unsigned __float_as_uint(float x) { unsigned bits; std::memcpy(&bits, &x, 4); return bits; }
static double __longlong_as_double(long long bits) { double x; std::memcpy(&x, &bits, 8); return x; }
static long long __double_as_longlong(double x) { long long bits; std::memcpy(&bits, &x, 8); return bits; }
static float __double2float_rz(double x) {
    float r = (float)x;
    if (std::fabs((double)r) > std::fabs(x)) r = std::nextafterf(r, 0.0f);
    return r;
}
static float host_widen_f16(unsigned short bits) {
    unsigned sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
    float magnitude = exponent ? std::ldexp(1024.0f + fraction, (int)exponent - 25) : std::ldexp((float)fraction, -24);
    return sign ? -magnitude : magnitude;
}
static unsigned short host_round_f16(float x) {
    unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u;
    if (x != x) return sign | 0x7e00u;
    double magnitude = std::fabs((double)x);
    if (magnitude >= 65520.0) return sign | 0x7c00u;
    int exponent;
    std::frexp(magnitude, &exponent);
    if (exponent < -13) exponent = -13;
    // Units of the last place at this exponent.
    double units = std::nearbyint(std::ldexp(magnitude, 11 - exponent));
    unsigned whole = (unsigned)units;
    if (whole < 1024) return sign | whole;
    if (whole == 2048) { whole = 1024; ++exponent; }
    return sign | (unsigned)(exponent + 14) << 10 | (whole - 1024);
}
static unsigned short host_round_bf16(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return (bits >> 16) | 0x40u;
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

// An address that is whatever pointer a kernel takes.
struct Anywhere {
    unsigned long long address;
    template <class T> operator T*() const { return (T*)address; }
};
