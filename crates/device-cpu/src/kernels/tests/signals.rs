//! Fourier transforms against their definition.

use super::{assert_close, check, evaluate, i64s, one, random_floats};
use sublet_graph::{DType, Literal, Op};

fn dft(inverse: bool, onesided: bool) -> Op {
    Op::Dft { inverse, onesided }
}

fn defined(signal: &[[f64; 2]], sign: f64) -> Vec<[f64; 2]> {
    let len = signal.len();
    let at = |bin: usize| {
        signal.iter().enumerate().fold([0.0, 0.0], |[re, im], (index, [a, b])| {
            let angle = sign * std::f64::consts::TAU * (bin * index) as f64 / len as f64;
            let (sin, cos) = angle.sin_cos();
            [re + a * cos - b * sin, im + a * sin + b * cos]
        })
    };
    (0..len).map(at).collect()
}

/// Doubles, compared to 1e-9.
fn assert_near(found: &Literal, expected: &[[f64; 2]], what: &str) {
    let found: Vec<f64> = found.to_vec();
    let expected = expected.as_flattened();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{what}: {found:?}, not {expected:?}");
    }
}

#[test]
fn transforms_of_every_length() {
    let mut random = fastrand::Rng::with_seed(12);
    for len in (1..=40).chain([97, 100, 128, 400]) {
        let signal: Vec<[f64; 2]> = (0..len).map(|_| [random.f64(), random.f64()]).collect();
        let x = Literal::from_values(DType::F64, &[1, len, 2], signal.as_flattened());
        let y = one(&dft(false, false), &[&x]);
        assert_near(&y, &defined(&signal, -1.0), &format!("length {len}"));
        assert_near(&one(&dft(true, false), &[&y]), &signal, &format!("inverse of length {len}"));
    }
}

#[test]
fn one_side_is_enough_for_real_signals() {
    let mut random = fastrand::Rng::with_seed(13);
    for len in [2, 8, 9, 30] {
        let x = random_floats(&mut random, &[3, len, 1]);
        let side = one(&dft(false, true), &[&x]);
        assert_eq!(side.shape(), [3, len / 2 + 1, 2]);
        let len = Literal::i64(&[], &[len as i64]);
        let axis = Literal::i64(&[], &[1]);
        check(&dft(true, true), &[&side, &len, &axis], &x);
    }
}

#[test]
fn signals_are_padded_or_cut_along_any_axis() {
    let x = Literal::f32(&[3, 2, 1], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    let axis = Literal::i64(&[], &[0]);
    let two = Literal::i64(&[], &[2]);
    let expected = [3.0, 0.0, 30.0, 0.0, -1.0, 0.0, -10.0, 0.0];
    check(&dft(false, false), &[&x, &two, &axis], &Literal::f32(&[2, 2, 2], &expected));
    let four = Literal::i64(&[], &[4]);
    let y = one(&dft(false, false), &[&x, &four, &axis]);
    assert_eq!(y.shape(), [4, 2, 2]);
    let values: Vec<f32> = y.to_vec();
    assert_eq!((values[0], values[2]), (6.0, 60.0));
}

#[test]
fn frames_are_weighted_transforms() {
    let mut random = fastrand::Rng::with_seed(14);
    let x = random_floats(&mut random, &[2, 50, 1]);
    let window = random_floats(&mut random, &[16]);
    let step = Literal::i64(&[], &[5]);
    let given = [Some(&x), Some(&step), Some(&window)];
    let y = evaluate(&Op::Stft { onesided: true }, &given, 1).unwrap().remove(0);
    assert_eq!(y.shape(), [2, 7, 9, 2]);
    let (signal, weights, found): (Vec<f32>, Vec<f32>, Vec<f32>) =
        (x.to_vec(), window.to_vec(), y.to_vec());
    for frame in 0..14 {
        let start = frame / 7 * 50 + frame % 7 * 5;
        let part: Vec<[f64; 2]> = signal[start..start + 16]
            .iter()
            .zip(&weights)
            .map(|(a, b)| [f64::from(*a) * f64::from(*b), 0.0])
            .collect();
        let expected: Vec<f32> =
            defined(&part, -1.0)[..9].as_flattened().iter().map(|&x| x as f32).collect();
        let found = Literal::f32(&[9, 2], &found[frame * 18..][..18]);
        assert_close(&found, &Literal::f32(&[9, 2], &expected), "frame");
    }
    let far = i64s(&[100]);
    assert!(
        evaluate(&Op::Stft { onesided: true }, &[Some(&x), Some(&step), None, Some(&far)], 1)
            .is_err()
    );
}
