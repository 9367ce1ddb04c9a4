// Functions of one, two and three elements, with the meaning that ONNX gives them. Integers wrap; NaN passes through
// minimum and maximum.

template <class T> struct Limits;
template <> struct Limits<i8> { typedef u8 U; static INLINE i8 low() { return -128; } static INLINE i8 high() { return 127; } enum { IS_SIGNED = 1 }; };
template <> struct Limits<i16> { typedef u16 U; static INLINE i16 low() { return -32768; } static INLINE i16 high() { return 32767; } enum { IS_SIGNED = 1 }; };
template <> struct Limits<i32> { typedef u32 U; static INLINE i32 low() { return (i32)0x80000000u; } static INLINE i32 high() { return 0x7fffffff; } enum { IS_SIGNED = 1 }; };
template <> struct Limits<i64> { typedef u64 U; static INLINE i64 low() { return (i64)0x8000000000000000ull; } static INLINE i64 high() { return 0x7fffffffffffffffll; } enum { IS_SIGNED = 1 }; };
template <> struct Limits<u8> { typedef u8 U; static INLINE u8 low() { return 0; } static INLINE u8 high() { return 255; } enum { IS_SIGNED = 0 }; };
template <> struct Limits<u16> { typedef u16 U; static INLINE u16 low() { return 0; } static INLINE u16 high() { return 65535; } enum { IS_SIGNED = 0 }; };
template <> struct Limits<u32> { typedef u32 U; static INLINE u32 low() { return 0; } static INLINE u32 high() { return 0xffffffffu; } enum { IS_SIGNED = 0 }; };
template <> struct Limits<u64> { typedef u64 U; static INLINE u64 low() { return 0; } static INLINE u64 high() { return 0xffffffffffffffffull; } enum { IS_SIGNED = 0 }; };
template <> struct Limits<f32> { static INLINE f32 low() { return __uint_as_float(0xff800000u); } static INLINE f32 high() { return __uint_as_float(0x7f800000u); } };
template <> struct Limits<f64> { static INLINE f64 low() { return __longlong_as_double((i64)0xfff0000000000000ull); } static INLINE f64 high() { return __longlong_as_double(0x7ff0000000000000ll); } };
template <> struct Limits<bool> { static INLINE bool low() { return false; } static INLINE bool high() { return true; } };

// Arithmetic.
template <class T> INLINE T Add(T a, T b) { typedef typename Limits<T>::U U; return (T)(U)((u64)(U)a + (u64)(U)b); }
template <class T> INLINE T Sub(T a, T b) { typedef typename Limits<T>::U U; return (T)(U)((u64)(U)a - (u64)(U)b); }
template <class T> INLINE T Mul(T a, T b) { typedef typename Limits<T>::U U; return (T)(U)((u64)(U)a * (u64)(U)b); }
template <> INLINE i32 Add(i32 a, i32 b) { return (i32)((u32)a + (u32)b); }
template <> INLINE i32 Sub(i32 a, i32 b) { return (i32)((u32)a - (u32)b); }
template <> INLINE i32 Mul(i32 a, i32 b) { return (i32)((u32)a * (u32)b); }
template <> INLINE f32 Add(f32 a, f32 b) { return a + b; }
template <> INLINE f32 Sub(f32 a, f32 b) { return a - b; }
template <> INLINE f32 Mul(f32 a, f32 b) { return a * b; }
template <> INLINE f64 Add(f64 a, f64 b) { return a + b; }
template <> INLINE f64 Sub(f64 a, f64 b) { return a - b; }
template <> INLINE f64 Mul(f64 a, f64 b) { return a * b; }
INLINE f32 Div(f32 a, f32 b) { return a / b; }
INLINE f64 Div(f64 a, f64 b) { return a / b; }

// A divisor of zero is a fault; the least number by minus one wraps.
template <class T> INLINE T IntDiv(T a, T b, u32* fault, u32 code) {
    if (b == 0) { report(fault, code); return 0; }
    if (Limits<T>::IS_SIGNED && b == (T)-1) return Sub<T>(0, a);
    return (T)(a / b);
}
template <class T> INLINE T IntFmod(T a, T b, u32* fault, u32 code) {
    if (b == 0) { report(fault, code); return 0; }
    if (Limits<T>::IS_SIGNED && b == (T)-1) return 0;
    return (T)(a % b);
}
template <class T> INLINE T IntMod(T a, T b, u32* fault, u32 code) {
    T rest = IntFmod<T>(a, b, fault, code);
    if (Limits<T>::IS_SIGNED && rest != 0 && (rest < 0) != (b < 0)) return Add<T>(rest, b);
    return rest;
}
INLINE f32 Fmod(f32 a, f32 b) { return fmodf(a, b); }
INLINE f64 Fmod(f64 a, f64 b) { return fmod(a, b); }
template <class T> INLINE T Mod(T a, T b) {
    T rest = Fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

template <class T> INLINE bool is_nan(T) { return false; }
template <> INLINE bool is_nan(f32 x) { return x != x; }
template <> INLINE bool is_nan(f64 x) { return x != x; }
template <class T> INLINE T Min(T a, T b) { return a < b || is_nan<T>(a) ? a : b; }
template <class T> INLINE T Max(T a, T b) { return a > b || is_nan<T>(a) ? a : b; }
template <class T> INLINE T PRelu(T a, T b) { return a < 0 ? Mul<T>(a, b) : a; }
template <class T> INLINE T Clip(T x, T low, T high) { x = x < low ? low : x; return x > high ? high : x; }
template <class T> INLINE T AtLeast(T x, T low) { return x < low ? low : x; }
template <class T> INLINE T AtMost(T x, T high) { return x > high ? high : x; }

// Floats become integers by cutting off, saturating, and zero for NaN.
template <class T> INLINE T saturate(f64 x) {
    if (!(x == x)) return 0;
    if (x <= (f64)Limits<T>::low()) return Limits<T>::low();
    if (x >= (f64)Limits<T>::high()) return Limits<T>::high();
    return (T)x;
}
template <class T> INLINE T saturate(f32 x) {
    if (!(x == x)) return 0;
    if (x <= (f32)Limits<T>::low()) return Limits<T>::low();
    if (x >= (f32)Limits<T>::high()) return Limits<T>::high();
    return (T)x;
}

// Conversion from the type that one element type is computed in to that of another.
template <class To, class From> struct Cast { static INLINE To of(From x) { return (To)x; } };
#define CAST_FROM_FLOAT(T) \
    template <> struct Cast<T, f32> { static INLINE T of(f32 x) { return saturate<T>(x); } }; \
    template <> struct Cast<T, f64> { static INLINE T of(f64 x) { return saturate<T>(x); } };
CAST_FROM_FLOAT(i8) CAST_FROM_FLOAT(i16) CAST_FROM_FLOAT(i32) CAST_FROM_FLOAT(i64)
CAST_FROM_FLOAT(u8) CAST_FROM_FLOAT(u16) CAST_FROM_FLOAT(u32) CAST_FROM_FLOAT(u64)
template <class From> struct Cast<bool, From> { static INLINE bool of(From x) { return x != 0; } };
// To half precision, in the f32 that such values are computed in.
template <class From> struct ToF16 { static INLINE f32 of(From x) { return widen(to_f16(to_odd((f64)x))); } };
template <> struct ToF16<f32> { static INLINE f32 of(f32 x) { return widen(to_f16(x)); } };
template <class From> struct ToBf16 { static INLINE f32 of(From x) { return widen(to_bf16(to_odd((f64)x))); } };
template <> struct ToBf16<f32> { static INLINE f32 of(f32 x) { return widen(to_bf16(x)); } };

// Powers.
INLINE f32 real_pow(f32 x, f32 e) { return powf(x, e); }
INLINE f64 real_pow(f64 x, f64 e) { return pow(x, e); }
template <class T> INLINE T Pow(T x, f64 e) {
    if (e >= 0 && e <= 63 && e == trunc(e)) {
        T result = 1, base = x;
        for (u32 rest = (u32)e; rest; rest >>= 1) {
            if (rest & 1) result = Mul<T>(result, base);
            base = Mul<T>(base, base);
        }
        return result;
    }
    return saturate<T>(pow((f64)x, e));
}
template <> INLINE f32 Pow(f32 x, f64 e) { return powf(x, (f32)e); }
template <> INLINE f64 Pow(f64 x, f64 e) { return pow(x, e); }

// Bits.
template <class T> INLINE T ShiftLeft(T a, T b) { return b >= sizeof(T) * 8 ? (T)0 : (T)((u64)a << b); }
template <class T> INLINE T ShiftRight(T a, T b) { return b >= sizeof(T) * 8 ? (T)0 : (T)((u64)a >> b); }

// Of one element, any type of numbers.
template <class T> INLINE T Neg(T x) { return Sub<T>(0, x); }
template <> INLINE f32 Neg(f32 x) { return -x; }
template <> INLINE f64 Neg(f64 x) { return -x; }
template <class T> INLINE T Abs(T x) { return x < 0 ? Neg<T>(x) : x; }
template <> INLINE f32 Abs(f32 x) { return fabsf(x); }
template <> INLINE f64 Abs(f64 x) { return fabs(x); }
template <class T> INLINE T Sign(T x) { return x > 0 ? (T)1 : x < 0 ? (T)-1 : x; }
template <class T> INLINE T Relu(T x) { return x < 0 ? (T)0 : x; }

// Of one real number.
#define REAL(Name, single, twice) \
    INLINE f32 Name(f32 x) { return single(x); } \
    INLINE f64 Name(f64 x) { return twice(x); }
REAL(Acos, acosf, acos) REAL(Acosh, acoshf, acosh) REAL(Asin, asinf, asin) REAL(Asinh, asinhf, asinh)
REAL(Atan, atanf, atan) REAL(Atanh, atanhf, atanh) REAL(Ceil, ceilf, ceil) REAL(Cos, cosf, cos)
REAL(Cosh, coshf, cosh) REAL(Erf, erff, erf) REAL(Exp, expf, exp) REAL(Expm1, expm1f, expm1)
REAL(Floor, floorf, floor) REAL(Log, logf, log) REAL(Log1p, log1pf, log1p) REAL(Round, rintf, rint)
REAL(Sin, sinf, sin) REAL(Sinh, sinhf, sinh) REAL(Sqrt, sqrtf, sqrt) REAL(Tan, tanf, tan) REAL(Tanh, tanhf, tanh)

template <class T> INLINE bool IsInf(T x, bool negative, bool positive) {
    return (positive && x == Limits<T>::high()) || (negative && x == Limits<T>::low());
}
template <class T> INLINE T Celu(T x, T alpha) { return x < 0 ? alpha * Expm1(x / alpha) : x; }
template <class T> INLINE T Elu(T x, T alpha) { return x < 0 ? alpha * Expm1(x) : x; }
template <class T> INLINE T Gelu(T x) { return (T)0.5 * x * ((T)1 + Erf(x * Sqrt((T)0.5))); }
template <class T> INLINE T GeluTanh(T x) {
    T inner = (T)0.7978845608028654 * (x + (T)0.044715 * x * x * x);
    return (T)0.5 * x * ((T)1 + Tanh(inner));
}
template <class T> INLINE T HardSigmoid(T x, T alpha, T beta) { return Clip<T>(alpha * x + beta, (T)0, (T)1); }
template <class T> INLINE T HardSwish(T x) { return x * HardSigmoid<T>(x, (T)1 / (T)6, (T)0.5); }
template <class T> INLINE T LeakyRelu(T x, T alpha) { return x < 0 ? alpha * x : x; }
template <class T> INLINE T Sigmoid(T x) { return (T)1 / ((T)1 + Exp(-x)); }
template <class T> INLINE T Softplus(T x) { return (x < 0 ? (T)0 : x) + Log1p(Exp(-Abs<T>(x))); }
template <class T> INLINE T Mish(T x) { return x * Tanh(Softplus<T>(x)); }
template <class T> INLINE T Selu(T x, T alpha, T gamma) { return x > 0 ? gamma * x : gamma * alpha * Expm1(x); }
template <class T> INLINE T Shrink(T x, T bias, T lambd) { return x < -lambd ? x + bias : x > lambd ? x - bias : (T)0; }
template <class T> INLINE T Softsign(T x) { return x / ((T)1 + Abs<T>(x)); }
template <class T> INLINE T Swish(T x, T alpha) { return x * Sigmoid<T>(alpha * x); }
template <class T> INLINE T ThresholdedRelu(T x, T alpha) { return x > alpha ? x : (T)0; }

// Quantisation.
template <class T> INLINE T Quantize(f32 x, f32 scale, f32 zero) {
    f32 low = (f32)Limits<T>::low(), high = (f32)Limits<T>::high();
    f32 bounded = Clip<f32>(x / scale, low - zero, high - zero);
    return bounded == bounded ? (T)(i32)(rintf(bounded) + zero) : (T)0;
}
