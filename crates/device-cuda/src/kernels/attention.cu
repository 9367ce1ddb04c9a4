// Scores of attention become weights: soft cap, mask, causal limit, softmax over the keys.
//
// Before it: types S of scores, T of everything else, C of computation, M of the mask; LEN keys, QUERIES and HEADS; the
// arrangement that rows.cuh wants; MASK (0 none, 1 added, 2 tells what is seen) which speaks of MASK_KEYS keys; CAUSAL;
// SOFTCAP; KEPT, the stage at which scores are kept (0 scaled, 1 capped, 2 masked, 3 weights; -1 none).

struct Scores {
    const S* row;
    const M* mask;
    T* kept;
    // Keys from here on are not seen.
    i64 visible;
    C cap;

    INLINE C at(C x, int key) const {
        if (KEPT == 0) kept[key] = Io<T>::put(x);
        if (SOFTCAP) x = cap * Tanh(x / cap);
        if (KEPT == 1) kept[key] = Io<T>::put(x);
        const C hidden = Limits<C>::low();
        if (MASK == 1) x = key < MASK_KEYS ? x + (C)Io<M>::get(mask[key]) : hidden;
        if (MASK == 2) x = key < MASK_KEYS && Io<M>::get(mask[key]) ? x : hidden;
        if (key >= visible) x = hidden;
        if (KEPT == 2) kept[key] = Io<T>::put(x);
        return x;
    }

    INLINE void pack(int pack, C* values) const {
        const Pack<S, PACK> scores = load_pack<S, PACK>(row + pack * PACK);
#pragma unroll
        for (int i = 0; i < PACK; ++i) values[i] = at((C)Io<S>::get(scores.at[i]), pack * PACK + i);
    }
};

KERNEL attention(
    const S* scores, T* weights, T* kept,
    const M* mask, i64 mask_batch, i64 mask_head, i64 mask_query,
    const i64* lengths, i64 first_batch, i64 past, f32 cap, i64 rows
) {
    __shared__ C shared[32];
    const int lane = threadIdx.x % LANES;
    const i64 row = (i64)blockIdx.x * ROWS + threadIdx.x / LANES;
    if (row >= rows) return;
    const i64 query = row % QUERIES, head = row / QUERIES % HEADS;
    const i64 batch = row / QUERIES / HEADS + first_batch;
    Scores of;
    of.row = scores + row * LEN;
    of.mask = mask + batch * mask_batch + head * mask_head + query * mask_query;
    of.kept = kept + (row + first_batch * HEADS * QUERIES) * LEN;
    of.visible = LEN;
    of.cap = cap;
    if (CAUSAL && query + past + 1 < of.visible) of.visible = query + past + 1;
    if (lengths && lengths[batch] < of.visible) of.visible = lengths[batch];
    T* to = weights + row * LEN;

    C values[HELD ? HELD_PACKS : 1][PACK];
    C top = Limits<C>::low();
#pragma unroll
    for (int turn = 0; turn < HELD_PACKS; ++turn) {
        const int pack = turn * LANES + lane;
        if (pack < PACKS) {
            C* own = values[HELD ? turn : 0];
            of.pack(pack, own);
#pragma unroll
            for (int i = 0; i < PACK; ++i) top = Max<C>(top, own[i]);
        }
    }
    top = lanes_max(top, shared);
    C sum = 0;
#pragma unroll
    for (int turn = 0; turn < HELD_PACKS; ++turn) {
        const int pack = turn * LANES + lane;
        if (pack < PACKS) {
            C* own = values[HELD ? turn : 0];
            if (!HELD) of.pack(pack, own);
#pragma unroll
            for (int i = 0; i < PACK; ++i) {
                own[i] = Exp(own[i] - top);
                sum += own[i];
            }
        }
    }
    const C total = lanes_sum(sum, shared);
#pragma unroll
    for (int turn = 0; turn < HELD_PACKS; ++turn) {
        const int pack = turn * LANES + lane;
        if (pack < PACKS) {
            C* own = values[HELD ? turn : 0];
            Pack<T, PACK> result;
            if (!HELD) {
                of.pack(pack, own);
#pragma unroll
                for (int i = 0; i < PACK; ++i) own[i] = Exp(own[i] - top);
            }
#pragma unroll
            for (int i = 0; i < PACK; ++i) result.at[i] = Io<T>::put(own[i] / total);
            store_pack<T, PACK>(to + pack * PACK, result);
            if (KEPT == 3) {
                for (int i = 0; i < PACK; ++i) of.kept[pack * PACK + i] = result.at[i];
            }
        }
    }
}
