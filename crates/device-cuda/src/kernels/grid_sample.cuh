// The elements around a coordinate along one axis, with weights; −1: outside. Before this: MODE (0 nearest, 1 linear,
// 2 cubic), PADDING (0 zeros, 1 border, 2 reflection), CORNERS, CUBIC_A.

struct Taps { i64 at[4]; f32 weight[4]; };

// Mirrors a coordinate at the borders until it lies between them.
static INLINE f32 reflect(f32 at, f32 low, f32 high) {
    const f32 span = high - low;
    if (span <= 0) return low;
    f32 distance;
    bool from_low;
    if (at < low) { distance = low - at; from_low = true; }
    else if (at > high) { distance = at - high; from_low = false; }
    else return at;
    const f32 bounces = truncf(distance / span);
    const f32 rest = distance - bounces * span;
    const bool even = fmodf(bounces, 2.0f) == 0;
    return even == from_low ? low + rest : high - rest;
}

static INLINE i64 pixel(f32 at, f32 low, f32 high, i64 size) {
    if (PADDING == 0) return at >= 0 && at < (f32)size ? (i64)at : -1;
    if (PADDING == 2) at = reflect(at, low, high);
    const i64 whole = saturate<i64>(at > 0 ? at : 0.0f);
    return whole < size - 1 ? whole : size - 1;
}

static INLINE void taps_of(Taps& taps, i64 size, f32 at) {
    const f32 len = (f32)size;
    const f32 low = CORNERS ? 0.0f : -0.5f, high = CORNERS ? len - 1.0f : len - 0.5f;
    at = CORNERS ? (at + 1.0f) / 2.0f * (len - 1.0f) : ((at + 1.0f) * len - 1.0f) / 2.0f;
    if (MODE == 0) at = rintf(at);
    if (!(at >= low && at <= high)) {
        if (PADDING == 1) at = Clip<f32>(at, 0.0f, len - 1.0f);
        if (PADDING == 2) at = reflect(at, low, high);
    }
    const f32 floor_at = floorf(at), fraction = at - floor_at;
    if (MODE == 0) {
        taps.at[0] = pixel(at, low, high, size);
        taps.weight[0] = 1.0f;
    } else if (MODE == 1) {
        for (int tap = 0; tap < 2; ++tap) taps.at[tap] = pixel(floor_at + (f32)tap, low, high, size);
        taps.weight[0] = 1.0f - fraction;
        taps.weight[1] = fraction;
    } else {
        const f32 a = CUBIC_A;
        for (int tap = 0; tap < 4; ++tap) {
            taps.at[tap] = pixel(floor_at + (f32)(tap - 1), low, high, size);
            const f32 x = tap == 0 ? fraction + 1.0f : tap == 1 ? fraction : tap == 2 ? 1.0f - fraction : 2.0f - fraction;
            const bool far = tap == 0 || tap == 3;
            taps.weight[tap] = far ? ((a * x - 5.0f * a) * x + 8.0f * a) * x - 4.0f * a : ((a + 2.0f) * x - (a + 3.0f)) * x * x + 1.0f;
        }
    }
}
