//! Normalisation, softmax, recurrence, attention, rotary embeddings and quantisation: known results, definitions
//! written out, and independence of the batch.

use super::{assert_close, check, check_invalid, evaluate, i64s, one, random_floats};
use sublet_graph::{Attention, DType, Direction, Literal, Op, Rnn, RnnKind, Unary};

fn f(shape: &[usize], values: &[f32]) -> Literal {
    Literal::f32(shape, values)
}

#[test]
fn normalisations_with_known_results() {
    let x = f(&[1, 2, 2], &[1.0, 3.0, 2.0, 6.0]);
    let (scale, bias) = (f(&[2], &[1.0, 2.0]), f(&[2], &[0.0, 1.0]));
    let (mean, variance) = (f(&[2], &[1.0, 2.0]), f(&[2], &[4.0, 16.0]));
    let batch = Op::BatchNorm { epsilon: 0.0 };
    let expected = f(&[1, 2, 2], &[0.0, 1.0, 1.0, 3.0]);
    check(&batch, &[&x, &scale, &bias, &mean, &variance], &expected);
    let expected = f(&[1, 2, 2], &[-1.0, 1.0, -1.0, 3.0]);
    check(&Op::InstanceNorm { epsilon: 0.0 }, &[&x, &scale, &bias], &expected);
    check(&Op::GroupNorm { groups: 2, epsilon: 0.0 }, &[&x, &scale, &bias], &expected);
    let layer = Op::LayerNorm { axis: -1, epsilon: 0.0 };
    let found = evaluate(&layer, &[Some(&x), Some(&scale), Some(&bias)], 3).expect("computes");
    assert_close(&found[0], &f(&[1, 2, 2], &[-1.0, 3.0, -1.0, 3.0]), "LayerNorm");
    assert_close(&found[1], &f(&[1, 2, 1], &[2.0, 4.0]), "mean");
    assert_close(&found[2], &f(&[1, 2, 1], &[1.0, 0.5]), "inverse deviation");
    let rms = f(&[1, 2, 2], &[0.447_213_6, 2.683_281_6, 0.447_213_6, 2.683_281_6]);
    check(&Op::RmsNorm { axis: -1, epsilon: 0.0 }, &[&x, &scale], &rms);
    let lp = Op::LpNormalization { axis: 1, p: 2 };
    let y = f(&[2, 2], &[3.0, 4.0, 0.0, 0.0]);
    check(&lp, &[&y], &f(&[2, 2], &[0.6, 0.8, 0.0, 0.0]));
    let over_channels = Op::MeanVarianceNormalization { axes: vec![0, 2] };
    check(&over_channels, &[&x], &f(&[1, 2, 2], &[-1.0, 1.0, -1.0, 1.0]));
    let lrn = Op::Lrn { alpha: 3.0, beta: 1.0, bias: 1.0, size: 3 };
    let z = f(&[1, 3, 1], &[1.0, 2.0, 3.0]);
    check(&lrn, &[&z], &f(&[1, 3, 1], &[1.0 / 6.0, 2.0 / 15.0, 3.0 / 14.0]));
}

#[test]
fn softmax_along_any_axis() {
    let x = f(&[2, 2], &[0.0, 1000.0, 0.0, 1000.0]);
    check(&Op::Softmax { axis: 1 }, &[&x], &f(&[2, 2], &[0.0, 1.0, 0.0, 1.0]));
    check(&Op::Softmax { axis: 0 }, &[&x], &f(&[2, 2], &[0.5; 4]));
    let log = f(&[2, 2], &[-1000.0, 0.0, -1000.0, 0.0]);
    check(&Op::LogSoftmax { axis: -1 }, &[&x], &log);
    check(&Op::Hardmax { axis: 0 }, &[&x], &f(&[2, 2], &[1.0, 1.0, 0.0, 0.0]));
    let mut random = fastrand::Rng::with_seed(1);
    let x = random_floats(&mut random, &[3, 37, 5]);
    let values = x.to_vec::<f32>();
    for (axis, step, len) in [(0, 185, 3), (1, 5, 37), (2, 1, 5)] {
        let softmax: Vec<f32> = (0..values.len())
            .map(|at| {
                let first = at - at / step % len * step;
                let sum: f32 = (0..len).map(|i| values[first + i * step].exp()).sum();
                values[at].exp() / sum
            })
            .collect();
        check(&Op::Softmax { axis }, &[&x], &f(&[3, 37, 5], &softmax));
        let logs: Vec<f32> = softmax.iter().map(|x| x.ln()).collect();
        check(&Op::LogSoftmax { axis }, &[&x], &f(&[3, 37, 5], &logs));
    }
}

fn rnn(kind: RnnKind, hidden: usize, direction: Direction) -> Rnn {
    Rnn { kind, hidden, direction, activations: vec![], clip: None, batch_first: false }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// One unit, one input, two steps: small enough to write out.
#[test]
fn recurrent_layers_with_one_unit() {
    let x = f(&[2, 1, 1], &[1.0, -0.5]);
    let all = |op: &Rnn, w: &[f32], r: &[f32], b: &[f32]| -> Vec<f32> {
        let gates = w.len();
        let (w, r) = (f(&[1, gates, 1], w), f(&[1, gates, 1], r));
        let b = f(&[1, 2 * gates], b);
        let inputs = [Some(&x), Some(&w), Some(&r), Some(&b)];
        let found = evaluate(&Op::Rnn(op.clone()), &inputs, 2).expect("computes");
        assert_eq!(found[0].to_vec::<f32>()[1], found[1].to_vec::<f32>()[0], "the last state");
        found[0].to_vec()
    };
    let near = |found: Vec<f32>, expected: [f32; 2]| {
        assert_close(&f(&[2], &found), &f(&[2], &expected), "states");
    };
    let simple = rnn(RnnKind::Simple, 1, Direction::Forward);
    let first = 0.8f32.tanh();
    let states = [first, (-0.25 + 2.0 * first + 0.3).tanh()];
    near(all(&simple, &[0.5], &[2.0], &[0.1, 0.2]), states);

    let lstm = rnn(RnnKind::Lstm { couple_input_forget: false }, 1, Direction::Forward);
    let (w, r) = ([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]);
    let (mut h, mut c) = (0f32, 0f32);
    let mut states = [0.0; 2];
    for (state, x) in states.iter_mut().zip([1.0, -0.5]) {
        let gate = |index: usize| w[index] * x + r[index] * h;
        c = sigmoid(gate(2)) * c + sigmoid(gate(0)) * gate(3).tanh();
        h = sigmoid(gate(1)) * c.tanh();
        *state = h;
    }
    near(all(&lstm, &w, &r, &[0.0; 8]), states);

    for linear_before_reset in [false, true] {
        let gru = rnn(RnnKind::Gru { linear_before_reset }, 1, Direction::Forward);
        let b = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];
        let mut h = 0f32;
        for (state, x) in states.iter_mut().zip([1.0, -0.5]) {
            let update = sigmoid(w[0] * x + r[0] * h + b[0] + b[3]);
            let reset = sigmoid(w[1] * x + r[1] * h + b[1] + b[4]);
            let inner = if linear_before_reset {
                reset * (r[2] * h + b[5])
            } else {
                reset * h * r[2] + b[5]
            };
            let candidate = (w[2] * x + inner + b[2]).tanh();
            h = (1.0 - update) * candidate + update * h;
            *state = h;
        }
        near(all(&gru, &w[..3], &r[..3], &b), states);
    }
}

#[test]
fn recurrent_layers_in_a_batch_alone_reversed_and_cut() {
    let mut random = fastrand::Rng::with_seed(2);
    let (steps, batch, inputs, hidden) = (5, 3, 7, 9);
    let kinds = [
        (RnnKind::Simple, 1),
        (RnnKind::Lstm { couple_input_forget: false }, 4),
        (RnnKind::Lstm { couple_input_forget: true }, 4),
        (RnnKind::Gru { linear_before_reset: false }, 3),
        (RnnKind::Gru { linear_before_reset: true }, 3),
    ];
    for (kind, gates) in kinds {
        let w = random_floats(&mut random, &[2, gates * hidden, inputs]);
        let r = random_floats(&mut random, &[2, gates * hidden, hidden]);
        let b = random_floats(&mut random, &[2, 2 * gates * hidden]);
        let x = random_floats(&mut random, &[batch, steps, inputs]);
        let mut layer = rnn(kind, hidden, Direction::Bidirectional);
        layer.batch_first = true;
        let lengths = Literal::from_values(DType::I32, &[batch], &[5i32, 2, 4]);
        let run = |x: &Literal, lengths: &Literal| -> Vec<f32> {
            let given = [Some(x), Some(&w), Some(&r), Some(&b), Some(lengths)];
            evaluate(&Op::Rnn(layer.clone()), &given, 1).expect("computes")[0].to_vec()
        };
        let all = run(&x, &lengths);
        let (row, states) = (steps * inputs, steps * 2 * hidden);
        for entry in 0..batch {
            let length = lengths.to_vec::<i32>()[entry];
            let alone = f(&[1, steps, inputs], &x.to_vec::<f32>()[entry * row..][..row]);
            let one_length = Literal::from_values(DType::I32, &[1], &[length]);
            let part = &all[entry * states..][..states];
            assert_eq!(run(&alone, &one_length), part, "{kind:?}, entry {entry}");
            // Beyond its length there are zeros, and what stands there in x does not matter.
            let cut = length as usize;
            assert!(part[cut * 2 * hidden..].iter().all(|&x| x == 0.0));
            let kept = f(&[1, cut, inputs], &x.to_vec::<f32>()[entry * row..][..cut * inputs]);
            assert_eq!(run(&kept, &one_length), part[..cut * 2 * hidden], "{kind:?} cut");
        }
    }
}

#[test]
fn recurrent_layers_take_states_peepholes_clips_and_functions() {
    let mut layer = rnn(RnnKind::Lstm { couple_input_forget: false }, 1, Direction::Forward);
    layer.clip = Some(0.5);
    layer.activations =
        vec![Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }, Unary::Tanh, Unary::Relu];
    let (w, r) = (f(&[1, 4, 1], &[9.0, 0.1, -9.0, 9.0]), f(&[1, 4, 1], &[0.0; 4]));
    let (h, c) = (f(&[1, 1, 1], &[0.0]), f(&[1, 1, 1], &[2.0]));
    let peepholes = f(&[1, 3], &[0.0, 0.05, 0.0]);
    let x = f(&[1, 1, 1], &[1.0]);
    let inputs = [Some(&x), Some(&w), Some(&r), None, None, Some(&h), Some(&c), Some(&peepholes)];
    let found = evaluate(&Op::Rnn(layer), &inputs, 3).expect("computes");
    // Input gate 0.6, forget gate 0.4, candidate tanh 0.5; output gate from 0.1 + 0.05 · cell.
    let cell = 0.4 * 2.0 + 0.6 * 0.5f32.tanh();
    assert_close(&found[2], &f(&[1, 1, 1], &[cell]), "cell");
    let output = 0.2 * (0.1 + 0.05 * cell) + 0.5;
    assert_close(&found[1], &f(&[1, 1, 1], &[output * cell]), "state");
}

fn attention() -> Attention {
    Attention {
        scale: None,
        is_causal: false,
        q_num_heads: 0,
        kv_num_heads: 0,
        softcap: 0.0,
        qk_output_mode: 0,
    }
}

/// Scores as the definition has them, for `[batch, heads, …]` operands.
fn naive_attention(
    q: &Literal,
    k: &Literal,
    v: &Literal,
    bias: impl Fn(usize, usize, usize, usize) -> f32,
) -> Literal {
    let (&[batch, heads, queries, size], &[_, kv_heads, keys, _]) = (q.shape(), k.shape()) else {
        panic!("rank 4")
    };
    let out_size = v.shape()[3];
    let (qs, ks, vs) = (q.to_vec::<f32>(), k.to_vec::<f32>(), v.to_vec::<f32>());
    let mut out = Vec::new();
    for b in 0..batch {
        for h in 0..heads {
            let shared = b * kv_heads + h / (heads / kv_heads);
            for i in 0..queries {
                let query = &qs[((b * heads + h) * queries + i) * size..][..size];
                let score = |j: usize| -> f32 {
                    let key = &ks[(shared * keys + j) * size..][..size];
                    let product: f32 = query.iter().zip(key).map(|(x, y)| x * y).sum();
                    (product / (size as f32).sqrt() + bias(b, h, i, j)).exp()
                };
                let powers: Vec<f32> = (0..keys).map(score).collect();
                let sum: f32 = powers.iter().sum();
                for d in 0..out_size {
                    let value = |j: usize| vs[(shared * keys + j) * out_size + d];
                    out.push((0..keys).map(|j| powers[j] / sum * value(j)).sum());
                }
            }
        }
    }
    f(&[batch, heads, queries, out_size], &out)
}

#[test]
fn attention_with_masks_groups_and_a_cache() {
    let mut random = fastrand::Rng::with_seed(3);
    let q = random_floats(&mut random, &[2, 4, 5, 8]);
    let k = random_floats(&mut random, &[2, 2, 7, 8]);
    let v = random_floats(&mut random, &[2, 2, 7, 3]);
    let plain = Op::Attention(attention());
    check(&plain, &[&q, &k, &v], &naive_attention(&q, &k, &v, |_, _, _, _| 0.0));
    let causal = Op::Attention(Attention { is_causal: true, ..attention() });
    let later = |i: usize, j: usize| if j > i { f32::NEG_INFINITY } else { 0.0 };
    check(&causal, &[&q, &k, &v], &naive_attention(&q, &k, &v, |_, _, i, j| later(i, j)));

    let added = random_floats(&mut random, &[2, 1, 5, 7]);
    let values = added.to_vec::<f32>();
    let expected = naive_attention(&q, &k, &v, |b, _, i, j| values[(b * 5 + i) * 7 + j]);
    check(&plain, &[&q, &k, &v, &added], &expected);
    // A mask of fewer keys hides the rest.
    let allowed: Vec<bool> = (0..25).map(|at| at % 5 == 0 || random.bool()).collect();
    let mask = Literal::bool(&[5, 5], &allowed);
    let expected = naive_attention(&q, &k, &v, |_, _, i, j| {
        if j < 5 && allowed[i * 5 + j] { 0.0 } else { f32::NEG_INFINITY }
    });
    check(&plain, &[&q, &k, &v, &mask], &expected);

    // Keys and values cut in two: the first part comes as the past.
    let cut = |x: &Literal, from: usize, to: usize| -> Literal {
        let width = x.shape()[3];
        let heads = x.to_vec::<f32>();
        let rows = heads.chunks(7 * width).flat_map(|head| &head[from * width..to * width]);
        f(&[2, 2, to - from, width], &rows.copied().collect::<Vec<_>>())
    };
    let (past_k, past_v) = (cut(&k, 0, 4), cut(&v, 0, 4));
    let (new_k, new_v) = (cut(&k, 4, 7), cut(&v, 4, 7));
    let inputs = [Some(&q), Some(&new_k), Some(&new_v), None, Some(&past_k), Some(&past_v)];
    let found = evaluate(&causal, &inputs, 4).expect("computes");
    let expected = naive_attention(&q, &k, &v, |_, _, i, j| later(i + 4, j));
    assert_close(&found[0], &expected, "with a past");
    assert_eq!((&found[1], &found[2]), (&k, &v), "present keys and values");
    assert_eq!(found[3].shape(), [2, 4, 5, 7]);
}

#[test]
fn attention_layouts_agree_and_batches_do_not_matter() {
    let mut random = fastrand::Rng::with_seed(4);
    let (batch, heads, sequence, size) = (3, 2, 70, 16);
    let q = random_floats(&mut random, &[batch, sequence, heads * size]);
    let k = random_floats(&mut random, &[batch, sequence, heads * size]);
    let v = random_floats(&mut random, &[batch, sequence, heads * size]);
    let split = |x: &Literal| {
        let reshape = i64s(&[batch as i64, sequence as i64, heads as i64, size as i64]);
        let x = one(&Op::Reshape { allow_zero: false }, &[x, &reshape]);
        one(&Op::Transpose { perm: vec![0, 2, 1, 3] }, &[&x])
    };
    let flat = Attention { q_num_heads: heads, kv_num_heads: heads, ..attention() };
    let flat = Op::Attention(Attention { softcap: 2.0, ..flat });
    let heads_first = Op::Attention(Attention { softcap: 2.0, ..attention() });
    let found = one(&flat, &[&q, &k, &v]);
    let expected = one(&heads_first, &[&split(&q), &split(&k), &split(&v)]);
    assert_eq!(split(&found), expected, "the two layouts");
    let row = sequence * heads * size;
    for entry in 0..batch {
        let part =
            |x: &Literal| f(&[1, sequence, heads * size], &x.to_vec::<f32>()[entry * row..][..row]);
        let alone = one(&flat, &[&part(&q), &part(&k), &part(&v)]);
        assert_eq!(alone, part(&found), "entry {entry}");
    }
}

#[test]
fn rotary_embeddings_turn_pairs() {
    let (cos, sin) = (f(&[2, 1], &[1.0, 0.0]), f(&[2, 1], &[0.0, 1.0]));
    let x = f(&[1, 1, 2, 3], &[1.0, 2.0, 9.0, 3.0, 4.0, 9.0]);
    let op = Op::RotaryEmbedding { interleaved: false, num_heads: 0, rotary_dim: 2 };
    let positions = Literal::i64(&[1, 2], &[1, 0]);
    let expected = f(&[1, 1, 2, 3], &[-2.0, 1.0, 9.0, 3.0, 4.0, 9.0]);
    check(&op, &[&x, &cos, &sin, &positions], &expected);
    let outside = Literal::i64(&[1, 2], &[2, 0]);
    check_invalid(&op, &[&x, &cos, &sin, &outside]);
    // Two heads inside the hidden axis, a table per batch entry and place, pairs side by side.
    let x = f(&[1, 1, 8], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let (cos, sin) = (f(&[1, 1, 2], &[0.0, 1.0]), f(&[1, 1, 2], &[1.0, 0.0]));
    let op = Op::RotaryEmbedding { interleaved: true, num_heads: 2, rotary_dim: 0 };
    let expected = f(&[1, 1, 8], &[-2.0, 1.0, 3.0, 4.0, -6.0, 5.0, 7.0, 8.0]);
    check(&op, &[&x, &cos, &sin], &expected);
}

#[test]
fn quantisation_with_known_results() {
    let bytes = |shape: &[usize], values: &[u8]| Literal::from_values(DType::U8, shape, values);
    let quantize = |axis, block| Op::QuantizeLinear { axis, block, to: None };
    let x = f(&[2, 2], &[0.5, 1.5, -300.0, 300.0]);
    let (scale, zero) = (f(&[], &[1.0]), bytes(&[], &[2]));
    check(&quantize(1, 0), &[&x, &scale, &zero], &bytes(&[2, 2], &[2, 4, 0, 255]));
    let (scales, zeros) = (f(&[2], &[0.5, 2.0]), bytes(&[2], &[0, 200]));
    check(&quantize(0, 0), &[&x, &scales, &zeros], &bytes(&[2, 2], &[1, 3, 50, 255]));
    check(&quantize(1, 0), &[&x, &scales, &zeros], &bytes(&[2, 2], &[1, 201, 0, 255]));
    let blocks = f(&[1, 2], &[0.5, 3.0]);
    let none = Literal::from_values(DType::U8, &[1, 2], &[0u8, 0]);
    check(&quantize(0, 2), &[&x, &blocks, &none], &bytes(&[2, 2], &[1, 0, 0, 100]));
    let dequantize = |axis, block| Op::DequantizeLinear { axis, block };
    let y = bytes(&[2, 2], &[1, 2, 3, 4]);
    check(&dequantize(1, 0), &[&y, &scales, &zeros], &f(&[2, 2], &[0.5, -396.0, 1.5, -392.0]));
    check(&dequantize(0, 2), &[&y, &blocks], &f(&[2, 2], &[0.5, 6.0, 1.5, 12.0]));
    let sums = Literal::from_values(DType::I32, &[1], &[-8i32]);
    check(&dequantize(1, 0), &[&sums, &f(&[1], &[0.25])], &f(&[1], &[-2.0]));
    let found = evaluate(&Op::DynamicQuantizeLinear, &[Some(&f(&[3], &[-1.0, 0.0, 4.1]))], 3);
    let found = found.expect("computes");
    assert_eq!(found[0], bytes(&[3], &[0, 50, 255]));
    assert_close(&found[1], &f(&[], &[0.02]), "scale");
    assert_eq!(found[2], bytes(&[], &[50]));
    let zeros = evaluate(&Op::DynamicQuantizeLinear, &[Some(&f(&[2], &[0.0, 0.0]))], 3);
    assert_eq!(zeros.expect("computes")[0], bytes(&[2], &[0, 0]));
}
