//! Resizing, sampling and undoing windows.

use super::{assert_close, check, check_invalid, evaluate, i64s, one, random_floats};
use sublet_graph::{
    CoordinateTransform, DType, GridPadding, Interpolation, KeepAspect, Literal, NearestMode, Op,
    Resize,
};

fn plain(mode: Interpolation) -> Resize {
    Resize {
        mode,
        coordinates: CoordinateTransform::HalfPixel,
        nearest: NearestMode::RoundPreferFloor,
        antialias: false,
        axes: Vec::new(),
        exclude_outside: false,
        extrapolation: 0.0,
        keep_aspect: KeepAspect::Stretch,
    }
}

fn by_scales(options: Resize, x: &Literal, scales: &[f32]) -> Literal {
    let scales = Literal::f32(&[scales.len()], scales);
    evaluate(&Op::Resize(options), &[Some(x), None, Some(&scales)], 1).unwrap().remove(0)
}

#[test]
fn nearest_repeats_pixels() {
    let x = Literal::f32(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let expected = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0].repeat(2);
    let expected = [expected, [3.0, 3.0, 3.0, 4.0, 4.0, 4.0].repeat(2)].concat();
    let y = by_scales(plain(Interpolation::Nearest), &x, &[1.0, 1.0, 2.0, 3.0]);
    assert_eq!(y, Literal::f32(&[1, 1, 4, 6], &expected));
    let modes = [
        (NearestMode::Floor, [0, 0, 1, 1, 2, 3]),
        (NearestMode::Ceil, [0, 1, 2, 2, 3, 3]),
        (NearestMode::RoundPreferFloor, [0, 0, 1, 2, 2, 3]),
        (NearestMode::RoundPreferCeil, [0, 1, 1, 2, 3, 3]),
    ];
    let x = Literal::i64(&[4], &[0, 1, 2, 3]);
    for (nearest, expected) in modes {
        let options = Resize { nearest, ..plain(Interpolation::Nearest) };
        let sizes = i64s(&[6]);
        let given = [Some(&x), None, None, Some(&sizes)];
        let y = evaluate(&Op::Resize(options), &given, 1).unwrap().remove(0);
        assert_eq!(y, i64s(&expected), "{nearest:?}");
    }
}

#[test]
fn linear_and_cubic_blend() {
    let x = Literal::f32(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let expected = [
        [1.0, 1.25, 1.75, 2.0],
        [1.5, 1.75, 2.25, 2.5],
        [2.5, 2.75, 3.25, 3.5],
        [3.0, 3.25, 3.75, 4.0],
    ];
    let expected = Literal::f32(&[1, 1, 4, 4], expected.as_flattened());
    let y = by_scales(plain(Interpolation::Linear), &x, &[1.0, 1.0, 2.0, 2.0]);
    assert_close(&y, &expected, "linear");
    let aligned =
        Resize { coordinates: CoordinateTransform::AlignCorners, ..plain(Interpolation::Linear) };
    let y = by_scales(aligned, &Literal::f32(&[2], &[0.0, 3.0]), &[2.0]);
    assert_close(&y, &Literal::f32(&[4], &[0.0, 1.0, 2.0, 3.0]), "align corners");
    let cubic = plain(Interpolation::Cubic { a: -0.75 });
    let y = by_scales(cubic.clone(), &Literal::f32(&[4], &[1.0, 2.0, 3.0, 4.0]), &[0.8]);
    assert_close(&y, &Literal::f32(&[3], &[1.094_238_3, 2.404_296_9, 3.705_566_4]), "cubic");
    let outside = Resize { exclude_outside: true, ..cubic };
    let y = by_scales(outside, &Literal::f32(&[2], &[5.0, 5.0]), &[4.0]);
    assert_close(&y, &Literal::f32(&[8], &[5.0; 8]), "weights add up");
    let antialias = Resize { antialias: true, ..plain(Interpolation::Linear) };
    let y = by_scales(antialias, &Literal::f32(&[4], &[1.0, 2.0, 3.0, 4.0]), &[0.5]);
    assert_close(&y, &Literal::f32(&[2], &[1.625, 3.375]), "antialias");
}

/// Each axis alone and both at once give the same, whatever the layout around them.
#[test]
fn resizing_is_separable() {
    let mut random = fastrand::Rng::with_seed(10);
    for mode in [Interpolation::Linear, Interpolation::Cubic { a: -0.5 }, Interpolation::Nearest] {
        for scales in [[1.0, 0.6, 1.7, 1.0], [1.0, 2.0, 2.0, 1.0], [1.0, 1.0, 0.5, 3.0]] {
            let x = random_floats(&mut random, &[2, 7, 9, 5]);
            let both = by_scales(plain(mode), &x, &scales);
            let mut steps = x.clone();
            for axis in [3, 1, 2, 0] {
                let mut alone = [1.0; 4];
                alone[axis] = scales[axis];
                steps = by_scales(plain(mode), &steps, &alone);
            }
            assert_close(&both, &steps, &format!("{mode:?} {scales:?}"));
        }
    }
}

#[test]
fn crops_extrapolate() {
    let options = Resize {
        coordinates: CoordinateTransform::TfCropAndResize,
        extrapolation: 10.0,
        ..plain(Interpolation::Linear)
    };
    let x = Literal::f32(&[3], &[0.0, 1.0, 2.0]);
    let (roi, sizes) = (Literal::f32(&[2], &[0.5, 1.5]), i64s(&[3]));
    let given = [Some(&x), Some(&roi), None, Some(&sizes)];
    let y = evaluate(&Op::Resize(options.clone()), &given, 1).unwrap().remove(0);
    assert_close(&y, &Literal::f32(&[3], &[1.0, 2.0, 10.0]), "crop");
    let nearest = Resize { mode: Interpolation::Nearest, ..options };
    let y = evaluate(&Op::Resize(nearest), &given, 1).unwrap().remove(0);
    assert_close(&y, &Literal::f32(&[3], &[1.0, 2.0, 10.0]), "nearest crop");
}

#[test]
fn bytes_round_and_saturate() {
    let x = Literal::from_values::<u8>(DType::U8, &[2], &[0, 255]);
    let cubic = plain(Interpolation::Cubic { a: -0.75 });
    let y = by_scales(cubic, &x, &[2.0]);
    assert_eq!(y.to_vec::<u8>(), [0, 58, 197, 255]);
}

fn sample(mode: Interpolation, padding: GridPadding, align_corners: bool) -> Op {
    Op::GridSample { mode, padding, align_corners }
}

#[test]
fn the_identity_grid_gives_the_image() {
    let mut random = fastrand::Rng::with_seed(11);
    for (shape, dims) in [(vec![1, 2, 3, 4], 2), (vec![1, 2, 3, 4, 5], 3)] {
        let x = random_floats(&mut random, &shape);
        let mut theta = vec![0.0; dims * (dims + 1)];
        (0..dims).for_each(|axis| theta[axis * (dims + 2)] = 1.0);
        let theta = Literal::f32(&[1, dims, dims + 1], &theta);
        let size: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        for align_corners in [false, true] {
            let grid = one(&Op::AffineGrid { align_corners }, &[&theta, &i64s(&size)]);
            for mode in
                [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic { a: -0.75 }]
            {
                for padding in [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection] {
                    let y = one(&sample(mode, padding, align_corners), &[&x, &grid]);
                    let (found, wanted): (Vec<f32>, Vec<f32>) = (y.to_vec(), x.to_vec());
                    assert!(
                        found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-4),
                        "{mode:?} {padding:?} {align_corners}"
                    );
                }
            }
        }
    }
}

#[test]
fn grids_reach_outside() {
    let x = Literal::f32(&[1, 1, 1, 3], &[1.0, 2.0, 3.0]);
    let grid = Literal::f32(&[1, 1, 3, 2], &[-2.0, 0.0, 2.0, 0.0, f32::NAN, 0.0]);
    let cases = [
        (GridPadding::Zeros, [0.0, 0.0]),
        (GridPadding::Border, [1.0, 3.0]),
        (GridPadding::Reflection, [2.0, 2.0]),
    ];
    for (padding, expected) in cases {
        let y: Vec<f32> =
            one(&sample(Interpolation::Linear, padding, false), &[&x, &grid]).to_vec();
        assert_eq!(y[..2], expected, "{padding:?}");
    }
    let flat = Literal::f32(&[1, 1, 3], &[0.0; 3]);
    let linear = sample(Interpolation::Linear, GridPadding::Zeros, false);
    assert!(evaluate(&linear, &[Some(&flat), Some(&grid)], 1).is_err());
}

#[test]
fn regions_are_averaged() {
    let values: Vec<f32> = (0..16).map(|at| at as f32).collect();
    let x = Literal::f32(&[1, 1, 4, 4], &values);
    let regions = Literal::f32(&[1, 4], &[0.0, 0.0, 4.0, 4.0]);
    let align = |average| Op::RoiAlign {
        output: [2, 2],
        sampling_ratio: 2,
        spatial_scale: 1.0,
        average,
        half_pixel: true,
    };
    let expected = Literal::f32(&[1, 1, 2, 2], &[2.5, 4.5, 10.5, 12.5]);
    check(&align(true), &[&x, &regions, &i64s(&[0])], &expected);
    let expected = Literal::f32(&[1, 1, 2, 2], &[5.0, 7.0, 13.0, 15.0]);
    check(&align(false), &[&x, &regions, &i64s(&[0])], &expected);
    check_invalid(&align(true), &[&x, &regions, &i64s(&[1])]);
}

#[test]
fn columns_add_up_to_an_image() {
    let x = Literal::f32(&[1, 4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let op = Op::Col2Im { dilations: vec![], pads: vec![], strides: vec![] };
    let expected = Literal::f32(&[1, 1, 2, 3], &[1.0, 5.0, 4.0, 5.0, 13.0, 8.0]);
    check(&op, &[&x, &i64s(&[2, 3]), &i64s(&[2, 2])], &expected);
    let padded = Op::Col2Im { dilations: vec![1], pads: vec![1, 0], strides: vec![2] };
    let x = Literal::f32(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0]);
    check(&padded, &[&x, &i64s(&[3]), &i64s(&[2])], &Literal::f32(&[1, 1, 3], &[3.0, 2.0, 4.0]));
    let wrong = Literal::f32(&[1, 2, 3], &[0.0; 6]);
    let given = [Some(&wrong), Some(&i64s(&[3])), Some(&i64s(&[2]))].map(|x| x.cloned());
    let given: Vec<Option<&Literal>> = given.iter().map(Option::as_ref).collect();
    assert!(evaluate(&padded, &given, 1).is_err());
}

#[test]
fn maxima_return_to_their_places() {
    let x = Literal::f32(&[1, 1, 1, 2], &[5.0, 7.0]);
    let op = Op::MaxUnpool { kernel: vec![2, 2], strides: vec![2, 2], pads: vec![] };
    let at = Literal::i64(&[1, 1, 1, 2], &[1, 6]);
    let expected = Literal::f32(&[1, 1, 2, 4], &[0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 7.0, 0.0]);
    check(&op, &[&x, &at], &expected);
    check_invalid(&op, &[&x, &Literal::i64(&[1, 1, 1, 2], &[1, 8])]);
}
