//! Data movement against naive loops.

use super::{
    check, check_invalid, evaluate, i64s, indices, linear, numbered, one, picked, random_shape,
};
use sublet_graph::{DType, Literal, Op, PadMode};

const SIZES: [DType; 4] = [DType::U8, DType::F16, DType::F32, DType::I64];

#[test]
fn transposes_move_every_element() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..200 {
        let rank = random.usize(0..=5);
        let shape = random_shape(&mut random, rank, if round % 2 == 0 { 5 } else { 19 });
        if shape.iter().product::<usize>() > 20_000 {
            continue;
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        random.shuffle(&mut perm);
        let x = numbered(SIZES[round % 4], &shape);
        let y_shape: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
        let expected = picked(&x, &y_shape, |index| {
            let mut from = vec![0; rank];
            perm.iter().zip(index).for_each(|(&axis, &at)| from[axis] = at);
            Some(from)
        });
        check(&Op::Transpose { perm }, &[&x], &expected);
    }
}

/// Large enough for several threads and whole tiles.
#[test]
fn large_transposes_move_every_element() {
    let cases: [(&[usize], &[usize], DType); 5] = [
        (&[2, 40, 50, 48], &[0, 2, 3, 1], DType::F32),
        (&[2, 50, 48, 40], &[0, 3, 1, 2], DType::F32),
        (&[3, 65, 12, 64], &[0, 2, 1, 3], DType::F16),
        (&[700, 300], &[1, 0], DType::I64),
        (&[700, 300], &[1, 0], DType::U8),
    ];
    for (shape, perm, dtype) in cases {
        let x = numbered(dtype, shape);
        let y = one(&Op::Transpose { perm: perm.to_vec() }, &[&x]);
        let size = dtype.size();
        for (at, index) in indices(y.shape()).into_iter().enumerate() {
            let mut from = vec![0; shape.len()];
            perm.iter().zip(&index).for_each(|(&axis, &at)| from[axis] = at);
            let from = linear(shape, &from);
            assert!(
                y.bytes()[at * size..][..size] == x.bytes()[from * size..][..size],
                "{shape:?} by {perm:?} at {index:?}"
            );
        }
    }
}

#[test]
fn slices_take_every_step() {
    let mut random = fastrand::Rng::with_seed(2);
    for round in 0..200 {
        let rank = random.usize(1..=4);
        let shape = random_shape(&mut random, rank, 7);
        let x = numbered(SIZES[round % 4], &shape);
        // Whole ranges in each axis, some backwards.
        let (mut starts, mut ends, mut steps, mut lens) = (vec![], vec![], vec![], vec![]);
        for &dim in &shape {
            let dim = dim as i64;
            let step = [1, 1, 2, 3, -1, -2][random.usize(0..6)];
            let first = random.i64(0..dim);
            let len = if step > 0 { (dim - first + step - 1) / step } else { first / -step + 1 };
            starts.push(if random.bool() { first } else { first - dim });
            ends.push(if step > 0 { i64::MAX } else { i64::MIN });
            steps.push(step);
            lens.push(len as usize);
        }
        let expected = picked(&x, &lens, |index| {
            let along = index.iter().zip(&starts).zip(&steps).zip(&shape);
            let place = along.map(|(((&at, &start), &step), &dim)| {
                (start.rem_euclid(dim as i64) + at as i64 * step) as usize
            });
            Some(place.collect())
        });
        let axes: Vec<i64> = (0..rank as i64).collect();
        let inputs = [&x, &i64s(&starts), &i64s(&ends), &i64s(&axes), &i64s(&steps)];
        check(&Op::Slice, &inputs, &expected);
    }
}

#[test]
fn a_slice_may_be_empty_or_step_far() {
    let x = Literal::i64(&[3], &[1, 2, 3]);
    let slice = |start: i64, end: i64, step: i64| {
        one(&Op::Slice, &[&x, &i64s(&[start]), &i64s(&[end]), &i64s(&[0]), &i64s(&[step])])
    };
    assert_eq!(slice(2, 1, 1), i64s(&[]));
    assert_eq!(slice(1, 100, i64::MAX), i64s(&[2]));
    assert_eq!(slice(-1, i64::MIN, -2), i64s(&[3, 1]));
    let empty = Literal::f32(&[0, 3], &[]);
    check(
        &Op::Slice,
        &[&empty, &i64s(&[1]), &i64s(&[3]), &i64s(&[1])],
        &Literal::f32(&[0, 2], &[]),
    );
}

/// Walks outwards one step at a time.
fn padded_index(mode: PadMode, at: i64, len: i64) -> Option<i64> {
    let mut at = at;
    while !(0..len).contains(&at) {
        at = match mode {
            PadMode::Constant => return None,
            PadMode::Edge => at.clamp(0, len - 1),
            PadMode::Wrap => at + if at < 0 { len } else { -len },
            PadMode::Reflect if len == 1 => 0,
            PadMode::Reflect => {
                if at < 0 {
                    -at
                } else {
                    2 * (len - 1) - at
                }
            }
        };
    }
    Some(at)
}

#[test]
fn pads_in_every_mode() {
    let mut random = fastrand::Rng::with_seed(3);
    let modes = [PadMode::Constant, PadMode::Edge, PadMode::Wrap, PadMode::Reflect];
    for round in 0..200 {
        let mode = modes[round % 4];
        let rank = random.usize(1..=4);
        let shape = random_shape(&mut random, rank, 5);
        let x = numbered(SIZES[random.usize(0..4)], &shape);
        // Some axes stay, some lose their ends.
        let mut amount = |dim: usize| match random.usize(0..4) {
            0 => 0,
            1 if dim > 2 => -1,
            _ => random.i64(0..=6),
        };
        let before: Vec<i64> = shape.iter().map(|&dim| amount(dim)).collect();
        let after: Vec<i64> = shape.iter().map(|&dim| amount(dim)).collect();
        let y_shape: Vec<usize> = (0..rank)
            .map(|axis| (shape[axis] as i64 + before[axis] + after[axis]) as usize)
            .collect();
        let expected = picked(&x, &y_shape, |index| {
            (0..rank)
                .map(|axis| {
                    let crop = (-before[axis]).max(0);
                    let len = shape[axis] as i64 - crop - (-after[axis]).max(0);
                    let at = index[axis] as i64 - before[axis].max(0);
                    padded_index(mode, at, len).map(|at| (at + crop) as usize)
                })
                .collect()
        });
        check(&Op::Pad { mode }, &[&x, &i64s(&[before, after].concat())], &expected);
    }
}

#[test]
fn pads_with_a_value_on_some_axes() {
    let x = Literal::f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let seven = Literal::f32(&[], &[7.0]);
    let expected = Literal::f32(&[2, 3], &[7.0, 1.0, 2.0, 7.0, 3.0, 4.0]);
    let pad = Op::Pad { mode: PadMode::Constant };
    check(&pad, &[&x, &i64s(&[1, 0]), &seven, &i64s(&[-1])], &expected);
    let none = Literal::f32(&[0], &[]);
    check(&pad, &[&none, &i64s(&[2, 0]), &seven], &Literal::f32(&[2], &[7.0, 7.0]));
    check_invalid(&Op::Pad { mode: PadMode::Edge }, &[&none, &i64s(&[2, 0])]);
}

#[test]
fn concat_undoes_split() {
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..100 {
        let rank = random.usize(1..=4);
        let mut shape = random_shape(&mut random, rank, 6);
        let axis = random.usize(0..rank);
        let sizes: Vec<usize> = (0..random.usize(1..=4)).map(|_| random.usize(0..4)).collect();
        shape[axis] = sizes.iter().sum();
        let x = numbered(SIZES[round % 4], &shape);
        let lens: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let along = axis as i64 - rank as i64;
        let split = Op::Split { axis: along, parts: sizes.len() };
        let parts = evaluate(&split, &[Some(&x), Some(&i64s(&lens))], sizes.len()).unwrap();
        let mut start = 0;
        for (part, &size) in parts.iter().zip(&sizes) {
            let mut part_shape = shape.clone();
            part_shape[axis] = size;
            let expected = picked(&x, &part_shape, |index| {
                let mut from = index.to_vec();
                from[axis] += start;
                Some(from)
            });
            assert_eq!(*part, expected, "{shape:?} along {axis} into {sizes:?}");
            start += size;
        }
        let parts: Vec<&Literal> = parts.iter().collect();
        check(&Op::Concat { axis: along }, &parts, &x);
    }
}

#[test]
fn expands_and_tiles() {
    let x = Literal::i64(&[2, 1], &[1, 2]);
    let expanded = Literal::i64(&[2, 2, 3], &[1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2]);
    check(&Op::Expand, &[&x, &i64s(&[2, 1, 3])], &expanded);
    check(&Op::Expand, &[&Literal::i64(&[], &[4]), &i64s(&[2])], &i64s(&[4, 4]));
    let tiled = Literal::i64(&[4, 2], &[1, 1, 2, 2, 1, 1, 2, 2]);
    check(&Op::Tile, &[&x, &i64s(&[2, 2])], &tiled);
    check(&Op::Tile, &[&x, &i64s(&[0, 2])], &Literal::i64(&[0, 2], &[]));
}

#[test]
fn blocks_move_between_depth_and_space() {
    let x = Literal::i64(&[1, 4, 1, 2], &[0, 1, 10, 11, 20, 21, 30, 31]);
    let spread = Literal::i64(&[1, 1, 2, 4], &[0, 10, 1, 11, 20, 30, 21, 31]);
    for column_row_depth in [false, true] {
        check(&Op::DepthToSpace { block: 2, column_row_depth }, &[&x], &spread);
    }
    check(&Op::SpaceToDepth { block: 2 }, &[&spread], &x);
    let deep = numbered(DType::F32, &[2, 8, 3, 2]);
    for column_row_depth in [false, true] {
        let expected = picked(&deep, &[2, 2, 6, 4], |index| {
            let [n, c, h, w] = index.try_into().unwrap();
            let block = h % 2 * 2 + w % 2;
            Some(vec![
                n,
                if column_row_depth { c * 4 + block } else { block * 2 + c },
                h / 2,
                w / 2,
            ])
        });
        check(&Op::DepthToSpace { block: 2, column_row_depth }, &[&deep], &expected);
    }
}

#[test]
fn crops_and_pads_around_the_centre() {
    let x = i64s(&[1, 2, 3, 4]);
    let crop = Op::CenterCropPad { axes: None };
    check(&crop, &[&x, &i64s(&[1])], &i64s(&[2]));
    check(&crop, &[&x, &i64s(&[7])], &i64s(&[0, 1, 2, 3, 4, 0, 0]));
    let x = Literal::i64(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let one_axis = Op::CenterCropPad { axes: Some(vec![-1]) };
    check(&one_axis, &[&x, &i64s(&[2])], &Literal::i64(&[2, 2], &[1, 2, 4, 5]));
}

#[test]
fn sequences_turn_around() {
    let x = Literal::i64(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let reverse = |batch_axis, time_axis| Op::ReverseSequence { batch_axis, time_axis };
    let lengths = i64s(&[3, 2]);
    check(&reverse(0, 1), &[&x, &lengths], &Literal::i64(&[2, 3], &[3, 2, 1, 5, 4, 6]));
    let lengths = i64s(&[1, 2, 0]);
    check(&reverse(1, 0), &[&x, &lengths], &Literal::i64(&[2, 3], &[1, 5, 3, 4, 2, 6]));
    check_invalid(&reverse(0, 1), &[&x, &i64s(&[4, 1])]);
}
