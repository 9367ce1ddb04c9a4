//! Convolutions and pooling against loops that follow the definition, for every algorithm that may be chosen.

use super::{check, evaluate, indices, linear, numbered, random_floats};
use sublet_graph::shape::{Window, conv_geometry, conv_transpose_geometry, pool_geometry};
use sublet_graph::{Activation, AutoPad, Conv, DType, Literal, Op, Pool};

/// A random convolution over `rank` spatial axes, and shapes of its input and weights.
fn random_conv(random: &mut fastrand::Rng, rank: usize) -> (Conv, Vec<usize>, Vec<usize>) {
    let auto_pads = [
        AutoPad::Explicit,
        AutoPad::Explicit,
        AutoPad::SameUpper,
        AutoPad::SameLower,
        AutoPad::Valid,
    ];
    let group = [1, 1, 2, 5][random.usize(0..4)];
    let depthwise = group > 1 && random.bool();
    let per_group = if depthwise { 1 } else { random.usize(1..5) };
    let filters = group * random.usize(1..if depthwise { 3 } else { 9 });
    let kernel: Vec<usize> = (0..rank).map(|_| random.usize(1..5)).collect();
    let conv = Conv {
        kernel: vec![],
        strides: (0..rank).map(|_| random.usize(1..4)).collect(),
        dilations: (0..rank).map(|_| random.usize(1..3)).collect(),
        pads: (0..2 * rank).map(|_| random.usize(0..3)).collect(),
        auto_pad: auto_pads[random.usize(0..5)],
        group,
    };
    let x = [random.usize(1..3), group * per_group]
        .into_iter()
        .chain((0..rank).map(|_| random.usize(9..if rank == 3 { 12 } else { 33 })))
        .collect();
    let w = [filters, per_group].into_iter().chain(kernel).collect();
    (conv, x, w)
}

/// What output `out` reads through `tap`, along each axis; `None` in the padding.
fn source(windows: &[Window], out: &[usize], tap: &[usize]) -> Option<Vec<usize>> {
    let axes = windows.iter().zip(out.iter().zip(tap));
    let at = axes.map(|(window, (&out, &tap))| {
        (out * window.stride + tap * window.dilation)
            .checked_sub(window.pad_begin)
            .filter(|&at| at < window.input)
    });
    at.collect()
}

fn naive(conv: &Conv, x: &Literal, w: &Literal, bias: &[f32]) -> Literal {
    let windows = conv_geometry(conv, x.shape(), w.shape()).expect("fits");
    let spatial: Vec<usize> = windows.iter().map(|window| window.output).collect();
    let (filters, channels) = (w.shape()[0], w.shape()[1]);
    let shape: Vec<usize> = [x.shape()[0], filters].into_iter().chain(spatial).collect();
    let taps = indices(&w.shape()[2..]);
    let (xs, ws) = (x.to_vec::<f32>(), w.to_vec::<f32>());
    let value = |index: &Vec<usize>| -> f32 {
        let group = index[1] / (filters / conv.group);
        let mut sum = f64::from(bias[index[1]]);
        for channel in 0..channels {
            for tap in &taps {
                let Some(at) = source(&windows, &index[2..], tap) else { continue };
                let from: Vec<usize> =
                    [index[0], group * channels + channel].into_iter().chain(at).collect();
                let weight: Vec<usize> =
                    [index[1], channel].into_iter().chain(tap.iter().copied()).collect();
                sum += f64::from(xs[linear(x.shape(), &from)])
                    * f64::from(ws[linear(w.shape(), &weight)]);
            }
        }
        sum as f32
    };
    Literal::f32(&shape, &indices(&shape).iter().map(value).collect::<Vec<_>>())
}

#[test]
fn convolutions_of_random_geometry() {
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..150 {
        let (conv, x, w) = random_conv(&mut random, [1, 2, 2, 2, 3][round % 5]);
        let (x, w) = (random_floats(&mut random, &x), random_floats(&mut random, &w));
        let bias = random_floats(&mut random, &w.shape()[..1]);
        let plain = naive(&conv, &x, &w, &bias.to_vec::<f32>());
        let op = Op::Conv { conv: conv.clone(), activation: Activation::None };
        check(&op, &[&x, &w, &bias], &plain);
        let residual = random_floats(&mut random, plain.shape());
        let added: Vec<f32> = plain
            .to_vec::<f32>()
            .iter()
            .zip(residual.to_vec::<f32>())
            .map(|(x, y)| (x + y).max(0.0))
            .collect();
        let op = Op::Conv { conv: conv.clone(), activation: Activation::Relu };
        let added = Literal::f32(plain.shape(), &added);
        check(&op, &[&x, &w, &bias, &residual], &added);
        let wide = |x: &Literal| {
            let values: Vec<f64> = x.to_vec::<f32>().iter().map(|&x| f64::from(x)).collect();
            Literal::from_values(DType::F64, x.shape(), &values)
        };
        let op = Op::Conv { conv, activation: Activation::None };
        check(&op, &[&wide(&x), &wide(&w), &wide(&bias)], &wide(&plain));
    }
}

/// An image gives the same bits in a batch, alone, and on any number of threads.
#[test]
fn batch_and_threads_do_not_change_bits() {
    let mut random = fastrand::Rng::with_seed(7);
    let pools: Vec<rayon::ThreadPool> = [1, 3]
        .map(|count| rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("starts"))
        .into();
    for round in 0..40 {
        let (conv, mut x, w) = random_conv(&mut random, 2);
        x[0] = 3;
        if round % 4 == 0 {
            (x[2], x[3]) = (61, 67);
        }
        let (x, w) = (random_floats(&mut random, &x), random_floats(&mut random, &w));
        let op = Op::Conv { conv, activation: Activation::Swish { alpha: 1.0 } };
        let run = |x: &Literal, pool: usize| -> Vec<u32> {
            let out =
                pools[pool].install(|| evaluate(&op, &[Some(x), Some(&w)], 1).expect("computes"));
            out[0].to_vec()
        };
        let all = run(&x, 0);
        assert_eq!(all, run(&x, 1), "{op} over {:?} by {:?}", x.shape(), w.shape());
        let image: Vec<usize> = [1].iter().chain(&x.shape()[1..]).copied().collect();
        let len = x.len() / 3;
        for index in 0..3 {
            let alone = Literal::f32(&image, &x.to_vec::<f32>()[index * len..][..len]);
            let share = all.len() / 3;
            let part = &all[index * share..][..share];
            assert_eq!(run(&alone, 1), part, "{op} over {:?}, image {index}", x.shape());
        }
    }
}

#[test]
fn integer_convolutions_are_exact() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..40 {
        let (conv, x, w) = random_conv(&mut random, 2);
        let (x, w) = (numbered(DType::U8, &x), numbered(DType::I8, &w));
        let filters = w.shape()[0];
        let (x_zero, w_zeros) = (random.u8(..), numbered(DType::I8, &[filters]));
        let centred = |x: &Literal, zero: &dyn Fn(usize) -> f32, values: Vec<f32>| {
            let values: Vec<f32> = values.iter().enumerate().map(|(at, x)| x - zero(at)).collect();
            Literal::f32(x.shape(), &values)
        };
        let x_values = x.to_vec::<u8>().iter().map(|&x| f32::from(x)).collect();
        let w_values = w.to_vec::<i8>().iter().map(|&x| f32::from(x)).collect();
        let zeros = w_zeros.to_vec::<i8>();
        let per_filter = w.len() / filters;
        let expected = naive(
            &conv,
            &centred(&x, &|_| f32::from(x_zero), x_values),
            &centred(&w, &|at| f32::from(zeros[at / per_filter]), w_values),
            &vec![0.0; filters],
        );
        let sums: Vec<i32> = expected.to_vec::<f32>().iter().map(|&x| x as i32).collect();
        let sums = Literal::from_values(DType::I32, expected.shape(), &sums);
        let x_zero = Literal::from_values(DType::U8, &[], &[x_zero]);
        check(&Op::ConvInteger(conv), &[&x, &w, &x_zero, &w_zeros], &sums);
    }
}

#[test]
fn transposed_convolutions_of_random_geometry() {
    let mut random = fastrand::Rng::with_seed(12);
    for round in 0..60 {
        let rank = [1, 2, 2, 3][round % 4];
        let (mut conv, x_shape, mut w_shape) = random_conv(&mut random, rank);
        conv.pads = vec![random.usize(0..2); 2 * rank];
        let channels = x_shape[1];
        let filters = random.usize(1..4);
        (w_shape[0], w_shape[1]) = (channels, filters);
        let x = random_floats(&mut random, &x_shape);
        let w = random_floats(&mut random, &w_shape);
        let Ok(windows) = conv_transpose_geometry(&conv, &[], None, &x_shape, &w_shape) else {
            continue;
        };
        let shape: Vec<usize> = [x_shape[0], filters * conv.group]
            .into_iter()
            .chain(windows.iter().map(|window| window.output))
            .collect();
        let mut sums = vec![0f64; shape.iter().product()];
        let per_group = channels / conv.group;
        let (xs, ws) = (x.to_vec::<f32>(), w.to_vec::<f32>());
        for from in indices(&x_shape) {
            for weight in indices(&w_shape[1..]) {
                let axes = windows.iter().zip(from[2..].iter().zip(&weight[1..]));
                let at: Option<Vec<usize>> = axes
                    .map(|(window, (&at, &tap))| {
                        (at * window.stride + tap * window.dilation)
                            .checked_sub(window.pad_begin)
                            .filter(|&at| at < window.output)
                    })
                    .collect();
                let Some(at) = at else { continue };
                let filter = from[1] / per_group * filters + weight[0];
                let to: Vec<usize> = [from[0], filter].into_iter().chain(at).collect();
                let weight: Vec<usize> = [from[1]].into_iter().chain(weight).collect();
                sums[linear(&shape, &to)] += f64::from(xs[linear(&x_shape, &from)])
                    * f64::from(ws[linear(&w_shape, &weight)]);
            }
        }
        let sums: Vec<f32> = sums.iter().map(|&x| x as f32).collect();
        let op = Op::ConvTranspose { conv, output_padding: vec![], output_shape: None };
        check(&op, &[&x, &w], &Literal::f32(&shape, &sums));
    }
}

fn pool(kernel: usize, stride: usize, pad: usize, ceil_mode: bool) -> Pool {
    Pool {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![],
        pads: vec![pad; 4],
        auto_pad: AutoPad::Explicit,
        ceil_mode,
    }
}

#[test]
fn pools_of_random_geometry() {
    let mut random = fastrand::Rng::with_seed(13);
    for round in 0..80 {
        let kernel = random.usize(1..5);
        let attributes = pool(kernel, random.usize(1..4), random.usize(0..kernel), round % 3 == 0);
        let shape = [2, 3, random.usize(6..20), random.usize(6..20)];
        let x = random_floats(&mut random, &shape);
        let values = x.to_vec::<f32>();
        let windows = pool_geometry(&attributes, &shape).expect("fits");
        let out = [2, 3, windows[0].output, windows[1].output];
        let taps = indices(&[kernel, kernel]);
        let seen = |index: &[usize]| -> Vec<usize> {
            taps.iter()
                .filter_map(|tap| source(&windows, &index[2..], tap))
                .map(|at| linear(&shape, &[index[0], index[1], at[0], at[1]]))
                .collect()
        };
        let (mut largest, mut places, mut means, mut norms) = (vec![], vec![], vec![], vec![]);
        for index in indices(&out) {
            let seen = seen(&index);
            let best = seen
                .iter()
                .copied()
                .reduce(|best, at| if values[at] > values[best] { at } else { best });
            let best = best.expect("every window sees an element");
            largest.push(values[best]);
            places.push(best as i64);
            means.push(seen.iter().map(|&at| values[at]).sum::<f32>() / seen.len() as f32);
            norms.push(seen.iter().map(|&at| values[at] * values[at]).sum::<f32>().sqrt());
        }
        let op = Op::MaxPool { pool: attributes.clone(), column_major: false };
        let found = evaluate(&op, &[Some(&x)], 2).expect("computes");
        assert_eq!(found[0], Literal::f32(&out, &largest), "{op} of {shape:?}");
        assert_eq!(found[1], Literal::i64(&out, &places), "{op} of {shape:?}");
        let op = Op::AveragePool { pool: attributes.clone(), count_include_pad: false };
        check(&op, &[&x], &Literal::f32(&out, &means));
        check(&Op::LpPool { pool: attributes, p: 2 }, &[&x], &Literal::f32(&out, &norms));
    }
}

#[test]
fn pools_with_known_results() {
    let x = Literal::f32(&[1, 1, 3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let padded = Op::AveragePool { pool: pool(2, 2, 1, false), count_include_pad: true };
    let expected = Literal::f32(&[1, 1, 2, 2], &[0.25, 1.25, 2.75, 7.0]);
    check(&padded, &[&x], &expected);
    // Rounded up, the last windows reach beyond the padding, which then does not count.
    let ceil = Op::AveragePool { pool: pool(2, 2, 0, true), count_include_pad: true };
    check(&ceil, &[&x], &Literal::f32(&[1, 1, 2, 2], &[3.0, 4.5, 7.5, 9.0]));
    let columns = Op::MaxPool { pool: pool(2, 1, 0, false), column_major: true };
    let found = evaluate(&columns, &[Some(&x)], 2).expect("computes");
    assert_eq!(found[1], Literal::i64(&[1, 1, 2, 2], &[4, 7, 5, 8]));
    let bytes = Literal::from_values(DType::I8, &[1, 1, 2, 2], &[-5i8, -3, -9, -7]);
    let op = Op::MaxPool { pool: pool(2, 1, 0, false), column_major: false };
    check(&op, &[&bytes], &Literal::from_values(DType::I8, &[1, 1, 1, 1], &[-3i8]));
    let x = Literal::f32(&[1, 2, 1, 2], &[3.0, -4.0, 1.0, 5.0]);
    let out = |values: &[f32]| Literal::f32(&[1, 2, 1, 1], values);
    check(&Op::GlobalAveragePool, &[&x], &out(&[-0.5, 3.0]));
    check(&Op::GlobalMaxPool, &[&x], &out(&[3.0, 5.0]));
    check(&Op::GlobalLpPool { p: 2 }, &[&x], &out(&[5.0, 5.099_019_5]));
    check(&Op::GlobalLpPool { p: 1 }, &[&x], &out(&[7.0, 6.0]));
}
