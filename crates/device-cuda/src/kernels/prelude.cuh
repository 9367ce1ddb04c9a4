// Element types, conversions and packs of elements: stands before every kernel. Needs no headers.
//
// Half-precision elements are computed in f32 and rounded when they are stored; booleans take one byte.

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;

struct f16 { u16 bits; };
struct bf16 { u16 bits; };
struct b8 { u8 bits; };

#define INLINE __device__ __forceinline__
#define KERNEL extern "C" __global__ void
// A kernel whose blocks have so many threads: the compiler then gives each as many registers as there are.
#define KERNEL_OF(threads) KERNEL __launch_bounds__(threads)

INLINE f32 f32_bits(u32 bits) { return __uint_as_float(bits); }
INLINE f64 f64_bits(u64 bits) { return __longlong_as_double((i64)bits); }

#ifdef ON_HOST
INLINE f32 widen(f16 x) { return host_widen_f16(x.bits); }
INLINE f16 to_f16(f32 x) { f16 r = {host_round_f16(x)}; return r; }
INLINE bf16 to_bf16(f32 x) { bf16 r = {host_round_bf16(x)}; return r; }
#else
INLINE f32 widen(f16 x) {
    f32 r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x.bits));
    return r;
}
INLINE f16 to_f16(f32 x) {
    f16 r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
    return r;
}
INLINE bf16 to_bf16(f32 x) {
    bf16 r;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
    return r;
}
#endif
INLINE f32 widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// The f32 that rounds to the same half-precision number as `x` does: truncated, with the last bit telling that
// something was cut off.
INLINE f32 to_odd(f64 x) {
    f32 cut = __double2float_rz(x);
    bool exact = (f64)cut == x || !(x == x);
    return exact ? cut : __uint_as_float(__float_as_uint(cut) | 1u);
}

// `C` is the type that elements of a type are computed in; `get` and `put` convert.
template <class T> struct Io {
    typedef T C;
    static INLINE T get(T x) { return x; }
    static INLINE T put(T x) { return x; }
};
template <> struct Io<f16> {
    typedef f32 C;
    static INLINE f32 get(f16 x) { return widen(x); }
    static INLINE f16 put(f32 x) { return to_f16(x); }
};
template <> struct Io<bf16> {
    typedef f32 C;
    static INLINE f32 get(bf16 x) { return widen(x); }
    static INLINE bf16 put(f32 x) { return to_bf16(x); }
};
template <> struct Io<b8> {
    typedef bool C;
    static INLINE bool get(b8 x) { return x.bits != 0; }
    static INLINE b8 put(bool x) { b8 r = {(u8)(x ? 1 : 0)}; return r; }
};

// Neighbouring elements that are read or written together; their address is a multiple of the whole size.
template <class T, int N> struct alignas(sizeof(T) * N) Pack { T at[N]; };

template <class T, int N> INLINE Pack<T, N> load_pack(const T* from) { return *(const Pack<T, N>*)from; }
template <class T, int N> INLINE void store_pack(T* to, const Pack<T, N>& pack) { *(Pack<T, N>*)to = pack; }

// Leaves a fault's code in the lane's word, unless another one is there.
INLINE void report(u32* fault, u32 code) { atomicCAS(fault, 0u, code); }
