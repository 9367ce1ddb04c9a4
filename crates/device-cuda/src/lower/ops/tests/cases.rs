//! Problems: operators with inputs, of several shapes and types each.

use half::{bf16, f16};
use sublet_graph::{
    AutoPad, Binary, Compare, CoordinateTransform, DType, GridPadding, Interpolation, KeepAspect,
    Literal, NearestMode, Op, PadMode, Pool, Reduce, Resize, Scalar, ScatterReduction, Unary,
};

pub struct Case {
    pub op: Op,
    pub inputs: Vec<Option<Literal>>,
    pub outputs: usize,
    /// Inputs that lowering sees the values of.
    pub known: Vec<usize>,
    /// How many times the usual tolerance is allowed.
    pub loose: f64,
    /// Values of rank four lie channels last.
    pub channels_last: bool,
}

impl Case {
    pub fn new(op: Op, inputs: Vec<Option<Literal>>) -> Case {
        Case { op, inputs, outputs: 1, known: Vec::new(), loose: 1.0, channels_last: false }
    }

    pub fn known(mut self, known: &[usize]) -> Case {
        self.known = known.to_vec();
        self
    }

    pub fn outputs(mut self, outputs: usize) -> Case {
        self.outputs = outputs;
        self
    }

    pub fn loose(mut self, loose: f64) -> Case {
        self.loose = loose;
        self
    }

    pub fn channels_last(mut self) -> Case {
        self.channels_last = true;
        self
    }
}

/// Numbers that look random and are always the same.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// A tensor with values between two bounds.
pub fn between(dtype: DType, shape: &[usize], low: f64, high: f64) -> Literal {
    let len: usize = shape.iter().product();
    let mut noise = Noise(len as u64 * 31 + shape.len() as u64 + dtype.size() as u64);
    let mut bytes = Vec::new();
    for _ in 0..len {
        let x = low + (high - low) * noise.next();
        match dtype {
            DType::F32 => bytes.extend((x as f32).to_le_bytes()),
            DType::F64 => bytes.extend(x.to_le_bytes()),
            DType::F16 => bytes.extend(f16::from_f64(x).to_le_bytes()),
            DType::BF16 => bytes.extend(bf16::from_f64(x).to_le_bytes()),
            DType::Bool => bytes.push(u8::from(x > (low + high) / 2.0)),
            other => bytes.extend(&(x.floor() as i64).to_le_bytes()[..other.size()]),
        }
    }
    Literal::new(dtype, shape.to_vec(), bytes.into()).unwrap()
}

pub fn x(dtype: DType, shape: &[usize]) -> Option<Literal> {
    Some(match dtype {
        _ if dtype.is_float() => between(dtype, shape, -3.0, 3.0),
        _ if dtype.is_signed_int() => between(dtype, shape, -9.0, 9.0),
        _ => between(dtype, shape, 0.0, 9.0),
    })
}

/// Away from zero.
fn positive(dtype: DType, shape: &[usize]) -> Option<Literal> {
    Some(between(dtype, shape, 1.0, 5.0))
}

pub fn ints(values: &[i64]) -> Option<Literal> {
    Some(Literal::i64(&[values.len()], values))
}

pub fn scalar(value: i64) -> Option<Literal> {
    Some(Literal::i64(&[], &[value]))
}

/// Floats that conversions have trouble with.
fn hard_floats() -> Literal {
    let values = [
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        126.9,
        127.5,
        128.0,
        -128.9,
        -129.0,
        255.9,
        256.0,
        -1.0,
        65504.0,
        65519.9,
        65520.0,
        70000.0,
        1e-8,
        6e-8,
        3e9,
        -3e9,
        1e19,
        -1e19,
        1e30,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.1,
        1.0 + 1.0 / 2048.0,
        1.0 + 3.0 / 2048.0,
    ];
    Literal::f32(&[values.len()], &values)
}

pub fn all() -> Vec<Case> {
    [
        elementwise(),
        casts(),
        movement(),
        reductions(),
        rows(),
        pooling(),
        indexing(),
        images(),
        others(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn elementwise() -> Vec<Case> {
    use DType::{BF16, Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    let mut cases = Vec::new();
    let reals = [
        Unary::Abs,
        Unary::Asinh,
        Unary::Atan,
        Unary::Ceil,
        Unary::Celu { alpha: 1.5 },
        Unary::Cos,
        Unary::Cosh,
        Unary::Elu { alpha: 0.5 },
        Unary::Erf,
        Unary::Exp,
        Unary::Floor,
        Unary::Gelu { tanh: false },
        Unary::Gelu { tanh: true },
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Unary::HardSwish,
        Unary::IsInf { negative: true, positive: false },
        Unary::IsNaN,
        Unary::LeakyRelu { alpha: 0.1 },
        Unary::Mish,
        Unary::Neg,
        Unary::Reciprocal,
        Unary::Relu,
        Unary::Round,
        Unary::Selu { alpha: 1.6, gamma: 1.05 },
        Unary::Shrink { bias: 0.5, lambd: 1.0 },
        Unary::Sigmoid,
        Unary::Sign,
        Unary::Sin,
        Unary::Sinh,
        Unary::Softplus,
        Unary::Softsign,
        Unary::Swish { alpha: 1.2 },
        Unary::Tanh,
        Unary::ThresholdedRelu { alpha: 1.0 },
    ];
    for unary in reals {
        for dtype in [F32, F64, F16] {
            cases.push(Case::new(Op::Unary(unary), vec![x(dtype, &[3, 37])]).loose(2.0));
        }
    }
    for unary in [Unary::Log, Unary::Sqrt, Unary::Acosh] {
        cases.push(Case::new(Op::Unary(unary), vec![positive(F32, &[77])]).loose(2.0));
    }
    for unary in [Unary::Acos, Unary::Asin, Unary::Atanh] {
        let values = Some(between(F32, &[77], -0.9, 0.9));
        cases.push(Case::new(Op::Unary(unary), vec![values]).loose(2.0));
    }
    for unary in
        [Unary::IsNaN, Unary::Relu, Unary::Sign, Unary::IsInf { negative: true, positive: true }]
    {
        cases.push(Case::new(Op::Unary(unary), vec![Some(hard_floats())]));
    }
    for dtype in [I8, I32, I64, U8] {
        for unary in [Unary::Abs, Unary::Sign, Unary::Relu, Unary::BitwiseNot, Unary::Neg] {
            cases.push(Case::new(Op::Unary(unary), vec![x(dtype, &[33])]));
        }
    }
    cases.push(Case::new(Op::Unary(Unary::Not), vec![x(Bool, &[33])]));
    let binaries = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min, Binary::Max];
    for binary in binaries {
        for dtype in [F32, F16, BF16, F64, I8, I16, I32, I64, U8, U16, U32, U64] {
            let inputs = vec![x(dtype, &[4, 5, 6]), positive(dtype, &[5, 1])];
            cases.push(Case::new(Op::Binary(binary), inputs));
        }
        let inputs = vec![x(F32, &[130, 520]), x(F32, &[130, 520])];
        cases.push(Case::new(Op::Binary(binary), inputs));
        cases.push(Case::new(Op::Binary(binary), vec![x(F16, &[67, 1024]), x(F16, &[1024])]));
        cases
            .push(Case::new(Op::Binary(binary), vec![x(F32, &[2, 3, 4]), x(F32, &[])]).known(&[1]));
        let inputs = vec![x(F32, &[2, 8, 5, 7]), x(F32, &[1, 8, 1, 1])];
        cases.push(Case::new(Op::Binary(binary), inputs).channels_last());
    }
    for fmod in [false, true] {
        for dtype in [F32, I8, I32, I64] {
            let by = Some(between(dtype, &[40], -5.0, -1.0));
            cases.push(Case::new(Op::Binary(Binary::Mod { fmod }), vec![x(dtype, &[40]), by]));
        }
        let inputs = vec![x(U8, &[40]), positive(U8, &[40])];
        cases.push(Case::new(Op::Binary(Binary::Mod { fmod }), inputs));
    }
    for (base, exponent) in [(F32, F32), (F32, I64), (I32, I32), (I64, F32), (F64, I32), (F16, F16)]
    {
        let inputs = vec![positive(base, &[3, 20]), x(exponent, &[20])];
        // Powers of halves are as wrong as their bases are rounded.
        cases.push(Case::new(Op::Binary(Binary::Pow), inputs).loose(8.0));
    }
    let two = Some(Literal::f32(&[], &[2.0]));
    cases.push(Case::new(Op::Binary(Binary::Pow), vec![x(F32, &[64]), two]).known(&[1]));
    cases.push(Case::new(Op::Binary(Binary::PRelu), vec![x(F32, &[2, 3, 4]), x(F32, &[3, 1])]));
    for binary in [Binary::And, Binary::Or, Binary::Xor] {
        cases.push(Case::new(Op::Binary(binary), vec![x(Bool, &[4, 9]), x(Bool, &[9])]));
    }
    for binary in [Binary::BitwiseAnd, Binary::BitwiseOr, Binary::BitwiseXor] {
        cases.push(Case::new(Op::Binary(binary), vec![x(I32, &[4, 9]), x(I32, &[9])]));
    }
    for left in [false, true] {
        let inputs = vec![x(U8, &[40]), x(U8, &[40])];
        cases.push(Case::new(Op::Binary(Binary::BitShift { left }), inputs));
        let inputs = vec![x(U64, &[40]), x(U64, &[40])];
        cases.push(Case::new(Op::Binary(Binary::BitShift { left }), inputs));
    }
    for compare in [
        Compare::Equal,
        Compare::Less,
        Compare::LessOrEqual,
        Compare::Greater,
        Compare::GreaterOrEqual,
    ] {
        cases.push(Case::new(Op::Compare(compare), vec![x(I64, &[6, 30]), x(I64, &[30])]));
        cases.push(Case::new(Op::Compare(compare), vec![x(F32, &[6, 30]), x(F32, &[6, 1])]));
    }
    for dtype in [F32, F16, I64, U8, Bool] {
        let inputs = vec![x(Bool, &[5, 1, 7]), x(dtype, &[5, 3, 7]), x(dtype, &[3, 1])];
        cases.push(Case::new(Op::Where, inputs));
    }
    for dtype in [F32, F16, I8, I64] {
        let bound = |value: f64| Some(between(dtype, &[], value, value));
        cases.push(
            Case::new(Op::Clip, vec![x(dtype, &[50]), bound(-1.0), bound(2.0)]).known(&[1, 2]),
        );
        cases.push(Case::new(Op::Clip, vec![x(dtype, &[50]), None, bound(2.0)]));
        cases.push(Case::new(Op::Clip, vec![x(dtype, &[50]), bound(-1.0)]));
    }
    for last in [false, true] {
        let c = || x(F32, &[6]);
        let inputs = vec![x(F32, &[2, 6, 3, 5]), c(), c(), c(), positive(F32, &[6])];
        let case = Case::new(Op::BatchNorm { epsilon: 1e-5 }, inputs).loose(4.0);
        cases.push(if last { case.channels_last() } else { case });
    }
    cases
}

fn casts() -> Vec<Case> {
    let mut cases = Vec::new();
    for to in DType::ALL {
        cases.push(Case::new(Op::Cast { to }, vec![Some(hard_floats())]));
        for from in DType::ALL {
            cases.push(Case::new(Op::Cast { to }, vec![x(from, &[41])]));
        }
    }
    let large = Some(Literal::i64(&[3], &[(1 << 40) + 12345, -7, 300]));
    for to in [DType::F16, DType::F32, DType::BF16, DType::I8, DType::U32] {
        cases.push(Case::new(Op::Cast { to }, vec![large.clone()]));
    }
    cases
}

fn movement() -> Vec<Case> {
    use DType::{Bool, F16, F32, F64, I64, U8};
    let mut cases = Vec::new();
    for dtype in [F32, F16, U8, F64] {
        for (shape, perm) in [
            (&[2usize, 3, 5, 8][..], &[0usize, 2, 1, 3][..]),
            (&[2, 3, 5, 8], &[0, 3, 1, 2]),
            (&[70, 300], &[1, 0]),
            (&[3, 64, 130], &[0, 2, 1]),
            (&[2, 40, 3, 90], &[3, 0, 2, 1]),
            (&[4, 5], &[]),
        ] {
            cases.push(Case::new(Op::Transpose { perm: perm.to_vec() }, vec![x(dtype, shape)]));
        }
    }
    let perm = vec![0, 2, 3, 1];
    cases.push(Case::new(Op::Transpose { perm }, vec![x(F32, &[2, 40, 20, 20])]).channels_last());
    cases.push(Case::new(Op::Identity, vec![x(F32, &[2, 3, 4])]));
    cases.push(
        Case::new(Op::Reshape { allow_zero: false }, vec![x(F32, &[2, 3, 4]), ints(&[6, 4])])
            .known(&[1]),
    );
    cases.push(
        Case::new(Op::Reshape { allow_zero: false }, vec![x(F32, &[2, 3, 4, 5]), ints(&[6, 20])])
            .known(&[1])
            .channels_last(),
    );
    cases.push(Case::new(Op::Expand, vec![x(F16, &[3, 1, 5]), ints(&[2, 3, 4, 5])]).known(&[1]));
    cases.push(Case::new(Op::Tile, vec![x(F32, &[2, 3]), ints(&[3, 2])]).known(&[1]));
    for dtype in [F32, F16, U8, Bool, I64] {
        let inputs = vec![x(dtype, &[2, 3, 8]), x(dtype, &[2, 5, 8]), x(dtype, &[2, 1, 8])];
        cases.push(Case::new(Op::Concat { axis: 1 }, inputs));
        let inputs = vec![x(dtype, &[2, 3, 3]), x(dtype, &[2, 3, 5])];
        cases.push(Case::new(Op::Concat { axis: -1 }, inputs));
    }
    let inputs = vec![x(F32, &[2, 8, 3, 4]), x(F32, &[2, 16, 3, 4])];
    cases.push(Case::new(Op::Concat { axis: 1 }, inputs).channels_last());
    let op = Op::Split { axis: 1, parts: 3 };
    cases.push(Case::new(op, vec![x(F32, &[4, 8, 6])]).outputs(3));
    let op = Op::Split { axis: 2, parts: 2 };
    cases.push(Case::new(op, vec![x(F16, &[2, 3, 9]), ints(&[4, 5])]).outputs(2).known(&[1]));
    for (starts, ends, axes, steps) in [
        ([1i64, 0], [3i64, 4], [0i64, 2], [1i64, 1]),
        ([-1, 0], [-100, 100], [1, 2], [-2, 3]),
        ([0, 5], [2, 1], [0, 2], [1, -1]),
    ] {
        let inputs =
            vec![x(F32, &[3, 5, 6]), ints(&starts), ints(&ends), ints(&axes), ints(&steps)];
        cases.push(Case::new(Op::Slice, inputs).known(&[1, 2, 3, 4]));
    }
    for column_row_depth in [false, true] {
        let op = Op::DepthToSpace { block: 2, column_row_depth };
        cases.push(Case::new(op.clone(), vec![x(F32, &[2, 12, 3, 5])]));
        cases.push(Case::new(op, vec![x(F32, &[2, 12, 3, 5])]).channels_last());
    }
    cases.push(Case::new(Op::SpaceToDepth { block: 2 }, vec![x(F32, &[2, 3, 4, 6])]));
    cases.push(
        Case::new(Op::SpaceToDepth { block: 2 }, vec![x(F32, &[2, 3, 4, 6])]).channels_last(),
    );
    cases
}

fn reductions() -> Vec<Case> {
    use DType::{Bool, F16, F32, F64, I32, I64, U8};
    let mut cases = Vec::new();
    let kinds = [
        Reduce::Sum,
        Reduce::Mean,
        Reduce::Max,
        Reduce::Min,
        Reduce::Prod,
        Reduce::L1,
        Reduce::L2,
        Reduce::LogSumExp,
        Reduce::SumSquare,
        Reduce::LogSum,
    ];
    for reduce in kinds {
        let op = |keep_dims| Op::Reduce { reduce, keep_dims, noop_with_empty_axes: false };
        for dtype in [F32, F64, I32] {
            let data = match reduce {
                Reduce::Prod | Reduce::LogSum => positive(dtype, &[3, 4, 5]),
                _ => x(dtype, &[3, 4, 5]),
            };
            for axes in [&[1i64][..], &[2], &[0, 2], &[0, 1, 2]] {
                let inputs = vec![data.clone(), ints(axes)];
                cases.push(Case::new(op(axes.len() != 2), inputs).known(&[1]).loose(20.0));
            }
        }
    }
    for reduce in [Reduce::Sum, Reduce::Mean, Reduce::Max, Reduce::LogSumExp] {
        let op = |keep_dims| Op::Reduce { reduce, keep_dims, noop_with_empty_axes: false };
        for (shape, axes) in [
            (&[5usize, 300][..], &[1i64][..]),
            (&[3, 5000], &[1]),
            (&[70000], &[0]),
            (&[300, 40], &[0]),
            (&[2, 2000, 40], &[1]),
            (&[2, 6, 7, 7], &[2, 3]),
        ] {
            for dtype in [F32, F16] {
                let inputs = vec![x(dtype, shape), ints(axes)];
                cases.push(Case::new(op(true), inputs).known(&[1]).loose(100.0));
            }
        }
        let inputs = vec![x(F32, &[2, 6, 7, 7]), ints(&[2, 3])];
        cases.push(Case::new(op(true), inputs).known(&[1]).loose(100.0).channels_last());
    }
    for reduce in [Reduce::Max, Reduce::Min] {
        let op = Op::Reduce { reduce, keep_dims: false, noop_with_empty_axes: false };
        cases.push(Case::new(op.clone(), vec![x(Bool, &[4, 6]), ints(&[1])]).known(&[1]));
        cases.push(Case::new(op, vec![x(U8, &[4, 6]), ints(&[0])]).known(&[1]));
    }
    for last in [false, true] {
        for keep_dims in [false, true] {
            for (dtype, shape, axis) in [
                (F32, &[3usize, 50][..], 1),
                (F32, &[3, 50], 0),
                (I64, &[2, 300, 5], 1),
                (F16, &[4, 4], -1),
            ] {
                let inputs = || vec![x(dtype, shape)];
                cases.push(Case::new(Op::ArgMax { axis, keep_dims, last }, inputs()));
                cases.push(Case::new(Op::ArgMin { axis, keep_dims, last }, inputs()));
            }
        }
        let nan = Some(Literal::f32(&[5], &[1.0, f32::NAN, 3.0, f32::NAN, 3.0]));
        cases.push(Case::new(Op::ArgMax { axis: 0, keep_dims: true, last }, vec![nan.clone()]));
        cases.push(Case::new(Op::ArgMin { axis: 0, keep_dims: true, last }, vec![nan]));
    }
    cases
}

fn rows() -> Vec<Case> {
    use DType::{F16, F32, F64};
    let mut cases = Vec::new();
    for dtype in [F32, F16, F64] {
        for (shape, axis) in [
            (&[3usize, 10][..], -1),
            (&[7, 384], 1),
            (&[5, 1000], 1),
            (&[2, 5000], 1),
            (&[1, 40000], 1),
            (&[2, 7, 5], 1),
            (&[3, 37], -1),
        ] {
            for op in [Op::Softmax { axis }, Op::LogSoftmax { axis }, Op::Hardmax { axis }] {
                cases.push(Case::new(op, vec![x(dtype, shape)]).loose(8.0));
            }
        }
        for (shape, axis) in [
            (&[3usize, 768][..], -1),
            (&[3, 10], -1),
            (&[2, 5, 6], 1),
            (&[2, 1026], -1),
            (&[1, 40001], -1),
            (&[2, 4096], -1),
        ] {
            let inner = &shape[if axis < 0 { 1 } else { axis as usize }..];
            let inputs = vec![x(dtype, shape), x(dtype, inner), x(dtype, inner)];
            let op = Op::LayerNorm { axis, epsilon: 1e-5 };
            cases.push(Case::new(op.clone(), inputs.clone()).loose(20.0));
            cases.push(Case::new(op.clone(), inputs[..2].to_vec()).loose(20.0));
            if dtype == F32 {
                cases.push(Case::new(op, inputs.clone()).outputs(3).loose(20.0));
            }
            let op = Op::RmsNorm { axis, epsilon: 1e-5 };
            cases.push(Case::new(op, inputs[..2].to_vec()).loose(20.0));
        }
        let c = || x(dtype, &[8]);
        for last in [false, true] {
            let inputs = vec![x(dtype, &[2, 8, 6, 5]), c(), c()];
            let instance =
                Case::new(Op::InstanceNorm { epsilon: 1e-5 }, inputs.clone()).loose(20.0);
            let group = Case::new(Op::GroupNorm { groups: 2, epsilon: 1e-5 }, inputs).loose(20.0);
            for case in [instance, group] {
                cases.push(if last { case.channels_last() } else { case });
            }
        }
    }
    cases
}

fn pooling() -> Vec<Case> {
    use DType::{F16, F32, U8};
    let mut cases = Vec::new();
    let pools = [
        (&[2usize, 8, 9, 11][..], vec![3, 3], vec![2, 2], vec![1, 1], vec![1, 1, 1, 1], false),
        (&[1, 3, 12, 10], vec![2, 3], vec![1, 2], vec![2, 1], vec![0, 1, 0, 1], true),
        (&[2, 4, 17], vec![3], vec![2], vec![1], vec![1, 0], true),
        (&[1, 2, 5, 6, 7], vec![2, 2, 3], vec![2, 1, 2], vec![1, 1, 1], vec![0; 6], false),
    ];
    for (shape, kernel, strides, dilations, pads, ceil_mode) in pools {
        let auto_pad = AutoPad::Explicit;
        let pool = Pool { kernel, strides, dilations, pads, auto_pad, ceil_mode };
        for dtype in [F32, F16] {
            for last in [false, true] {
                let of = |op: Op| {
                    let case = Case::new(op, vec![x(dtype, shape)]).loose(4.0);
                    if last { case.channels_last() } else { case }
                };
                cases.push(of(Op::MaxPool { pool: pool.clone(), column_major: false }));
                cases.push(of(Op::MaxPool { pool: pool.clone(), column_major: false }).outputs(2));
                cases.push(of(Op::AveragePool { pool: pool.clone(), count_include_pad: false }));
                cases.push(of(Op::AveragePool { pool: pool.clone(), count_include_pad: true }));
                cases.push(of(Op::LpPool { pool: pool.clone(), p: 2 }));
            }
        }
        let op = Op::MaxPool { pool, column_major: true };
        cases.push(Case::new(op, vec![x(U8, shape)]).outputs(2));
    }
    for last in [false, true] {
        for op in [Op::GlobalAveragePool, Op::GlobalMaxPool] {
            let case = Case::new(op, vec![x(F32, &[2, 16, 7, 7])]).loose(20.0);
            cases.push(if last { case.channels_last() } else { case });
        }
    }
    cases
}

/// Indices into an axis, from its back too.
fn indices(dtype: DType, shape: &[usize], len: i64) -> Option<Literal> {
    Some(between(dtype, shape, -len as f64, len as f64))
}

fn indexing() -> Vec<Case> {
    use DType::{Bool, F16, F32, F64, I32, I64, U8};
    let mut cases = Vec::new();
    for dtype in [F32, F16, U8, F64, Bool] {
        for (shape, axis) in [(&[9usize, 16][..], 0), (&[9, 3], 0), (&[3, 7, 5], 1), (&[3, 7], -1)]
        {
            let len = shape[if axis < 0 { shape.len() - 1 } else { axis as usize }] as i64;
            let inputs = vec![x(dtype, shape), indices(I64, &[2, 4], len)];
            cases.push(Case::new(Op::Gather { axis }, inputs));
        }
        cases.push(Case::new(
            Op::Gather { axis: 0 },
            vec![x(dtype, &[9, 8]), indices(I32, &[5], 9)],
        ));
        cases
            .push(Case::new(Op::Gather { axis: 0 }, vec![x(dtype, &[9, 8]), indices(I32, &[], 9)]));
        let inputs = vec![x(dtype, &[4, 5, 6]), indices(I64, &[3, 2], 4)];
        cases.push(Case::new(Op::GatherND { batch_dims: 0 }, inputs));
        let inputs = vec![x(dtype, &[2, 5, 6]), indices(I64, &[2, 3, 1], 5)];
        cases.push(Case::new(Op::GatherND { batch_dims: 1 }, inputs));
        let inputs = vec![x(dtype, &[4, 5, 6]), indices(I64, &[4, 9, 3], 5)];
        cases.push(Case::new(Op::GatherElements { axis: 1 }, inputs));
    }
    let reductions = [
        ScatterReduction::None,
        ScatterReduction::Add,
        ScatterReduction::Mul,
        ScatterReduction::Max,
        ScatterReduction::Min,
    ];
    for reduction in reductions {
        for dtype in [F32, I64, Bool] {
            let inputs =
                vec![x(dtype, &[3, 5, 4]), indices(I64, &[3, 7, 2], 5), x(dtype, &[3, 7, 2])];
            cases.push(Case::new(Op::ScatterElements { axis: 1, reduction }, inputs));
            let inputs = vec![x(dtype, &[4, 5, 6]), indices(I64, &[7, 1], 4), x(dtype, &[7, 5, 6])];
            cases.push(Case::new(Op::ScatterND { reduction }, inputs));
            let inputs = vec![x(dtype, &[4, 5]), indices(I64, &[9, 2], 4), x(dtype, &[9])];
            cases.push(Case::new(Op::ScatterND { reduction }, inputs));
        }
    }
    let inputs = vec![x(F16, &[4, 5]), indices(I64, &[9, 2], 4), x(F16, &[9])];
    cases.push(Case::new(Op::ScatterND { reduction: ScatterReduction::None }, inputs));
    for circular in [false, true] {
        let op = Op::TensorScatter { axis: -2, circular };
        let starts = if circular { ints(&[4, 3]) } else { ints(&[1, 3]) };
        cases.push(Case::new(op, vec![x(F16, &[2, 3, 5, 4]), x(F16, &[2, 3, 2, 4]), starts]));
    }
    for (batch_axis, time_axis) in [(0, 1), (1, 0)] {
        let op = Op::ReverseSequence { batch_axis, time_axis };
        cases.push(Case::new(op, vec![x(F32, &[4, 4, 3]), ints(&[1, 2, 3, 4])]));
    }
    cases
}

fn images() -> Vec<Case> {
    use DType::{F16, F32, U8};
    let mut cases = Vec::new();
    for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        for dtype in [F32, F16, U8] {
            let pads = ints(&[0, 1, 2, 0, 3, -1]);
            let inputs = vec![x(dtype, &[2, 5, 6]), pads];
            cases.push(Case::new(Op::Pad { mode }, inputs).known(&[1]));
        }
        let value = Some(Literal::f32(&[], &[7.5]));
        let inputs = vec![x(F32, &[3, 5, 6]), ints(&[1, 2]), value, ints(&[-1])];
        cases.push(Case::new(Op::Pad { mode }, inputs).known(&[1, 3]));
    }
    let op = Op::CenterCropPad { axes: None };
    cases.push(Case::new(op, vec![x(F32, &[5, 8, 3]), ints(&[8, 5, 3])]).known(&[1]));
    let coordinates = [
        CoordinateTransform::HalfPixel,
        CoordinateTransform::HalfPixelSymmetric,
        CoordinateTransform::PytorchHalfPixel,
        CoordinateTransform::AlignCorners,
        CoordinateTransform::Asymmetric,
        CoordinateTransform::TfCropAndResize,
    ];
    let modes = [Interpolation::Nearest, Interpolation::Linear, Interpolation::Cubic { a: -0.75 }];
    for mode in modes {
        for coordinates in coordinates {
            for (dtype, height, width) in [(F32, 7, 9), (F16, 3, 2), (U8, 6, 11)] {
                let options = Resize {
                    mode,
                    coordinates,
                    nearest: NearestMode::RoundPreferFloor,
                    antialias: false,
                    axes: vec![2, 3],
                    exclude_outside: false,
                    extrapolation: 0.0,
                    keep_aspect: KeepAspect::Stretch,
                };
                let crop = coordinates == CoordinateTransform::TfCropAndResize;
                let roi = crop.then(|| Literal::f32(&[4], &[0.1, -0.2, 0.9, 1.1]));
                let inputs = vec![x(dtype, &[2, 3, 4, 5]), roi, None, ints(&[height, width])];
                cases.push(Case::new(Op::Resize(options), inputs).known(&[1, 2, 3]).loose(4.0));
            }
        }
        if mode != Interpolation::Nearest {
            for antialias in [false, true] {
                let options = Resize {
                    mode,
                    coordinates: CoordinateTransform::HalfPixel,
                    nearest: NearestMode::Floor,
                    antialias,
                    axes: vec![],
                    exclude_outside: true,
                    extrapolation: 0.0,
                    keep_aspect: KeepAspect::Stretch,
                };
                let scales = Some(Literal::f32(&[4], &[1.0, 1.0, 0.6, 0.4]));
                let inputs = vec![x(F32, &[1, 2, 10, 12]), None, scales];
                cases.push(Case::new(Op::Resize(options), inputs).known(&[2]).loose(8.0));
            }
        }
        for padding in [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection] {
            for align_corners in [false, true] {
                let op = Op::GridSample { mode, padding, align_corners };
                let grid = Some(between(F32, &[2, 4, 3, 2], -1.6, 1.6));
                cases.push(Case::new(op, vec![x(F32, &[2, 3, 5, 6]), grid]).loose(30.0));
            }
        }
    }
    cases
}

fn others() -> Vec<Case> {
    use DType::{BF16, Bool, F16, F32, F64, I8, I32, I64, U8};
    let mut cases = Vec::new();
    for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
        for dtype in [F32, F16, I64, U8] {
            for axis in [0, 1] {
                let op = Op::CumSum { exclusive, reverse };
                let axis = scalar(axis);
                let inputs = vec![x(dtype, &[4, 7, 3]), axis.clone()];
                cases.push(Case::new(op.clone(), inputs.clone()).known(&[1]).loose(4.0));
                cases.push(Case::new(op, inputs).loose(4.0));
                let op = Op::CumProd { exclusive, reverse };
                let inputs = vec![x(dtype, &[4, 3]), axis];
                cases.push(Case::new(op, inputs).known(&[1]).loose(8.0));
            }
        }
    }
    for p in [1, 2, 3] {
        for axis in [0, -1] {
            if p < 3 {
                let op = Op::LpNormalization { axis, p };
                cases.push(Case::new(op, vec![x(F32, &[4, 7, 3])]).loose(4.0));
            }
        }
        let op = Op::GlobalLpPool { p };
        cases.push(Case::new(op, vec![x(F32, &[2, 3, 5, 4])]).loose(8.0));
    }
    for dtype in [F32, F16] {
        let op = Op::MeanVarianceNormalization { axes: vec![0, 2, 3] };
        cases.push(Case::new(op, vec![x(dtype, &[2, 3, 4, 5])]).loose(8.0));
        let op = Op::Lrn { alpha: 0.1, beta: 0.75, bias: 1.0, size: 4 };
        cases.push(Case::new(op, vec![x(dtype, &[2, 7, 3, 4])]).loose(8.0));
        for interleaved in [false, true] {
            let op =
                |num_heads, rotary_dim| Op::RotaryEmbedding { interleaved, num_heads, rotary_dim };
            let tables = || x(dtype, &[10, 4]);
            let positions = || Some(between(I64, &[2, 3], 0.0, 10.0));
            let inputs = vec![x(dtype, &[2, 5, 3, 8]), tables(), tables(), positions()];
            cases.push(Case::new(op(0, 0), inputs).loose(8.0));
            let inputs = vec![x(dtype, &[2, 3, 20]), tables(), tables(), positions()];
            cases.push(Case::new(op(2, 8), inputs).loose(8.0));
        }
    }
    for largest in [false, true] {
        for (dtype, shape, axis) in [
            (F32, &[3usize, 40][..], -1),
            (I64, &[30, 4], 0),
            (F16, &[2, 30, 3], 1),
            (U8, &[50], 0),
        ] {
            let op = Op::TopK { axis, largest, sorted: true };
            cases.push(Case::new(op, vec![x(dtype, shape), ints(&[7])]).outputs(2).known(&[1]));
        }
        let nan = Some(Literal::f32(&[5], &[1.0, f32::NAN, 3.0, f32::NAN, 3.0]));
        let op = Op::TopK { axis: 0, largest, sorted: true };
        cases.push(Case::new(op, vec![nan, ints(&[4])]).outputs(2).known(&[1]));
    }
    for align_corners in [false, true] {
        let op = Op::AffineGrid { align_corners };
        let inputs = vec![x(F32, &[2, 2, 3]), ints(&[2, 3, 4, 5])];
        cases.push(Case::new(op.clone(), inputs).known(&[1]).loose(4.0));
        let inputs = vec![x(F32, &[1, 3, 4]), ints(&[1, 2, 3, 4, 5])];
        cases.push(Case::new(op, inputs).known(&[1]).loose(4.0));
    }
    let op = Op::MaxUnpool { kernel: vec![2, 2], strides: vec![2, 2], pads: vec![] };
    let places = Some(between(I64, &[1, 2, 2, 3], 0.0, 48.0));
    cases.push(Case::new(op, vec![x(F32, &[1, 2, 2, 3]), places]));
    let op = Op::Col2Im { dilations: vec![1, 2], pads: vec![1, 0, 0, 1], strides: vec![2, 1] };
    // Two taps high, three wide and two apart: 3 rows and 3 columns.
    let inputs = vec![x(F32, &[2, 18, 9]), ints(&[6, 6]), ints(&[2, 3])];
    cases.push(Case::new(op, inputs).known(&[1, 2]).loose(4.0));
    for (dtype, bits) in [(F32, 1.5f32.to_bits().into()), (I64, 7), (U8, 0)] {
        let op = Op::ConstantOfShape { value: Scalar { dtype, bits } };
        cases.push(Case::new(op, vec![ints(&[3, 50])]).known(&[0]));
    }
    let range = |start: &Literal, limit: &Literal, delta: &Literal| {
        let inputs = [start, limit, delta].map(|value| Some(value.clone())).to_vec();
        Case::new(Op::Range, inputs)
    };
    let [a, b, c] = [1.5f32, 9.0, 0.7].map(|value| Literal::f32(&[], &[value]));
    cases.push(range(&a, &b, &c));
    let [a, b, c] = [10i64, -3, -2].map(|value| Literal::i64(&[], &[value]));
    cases.push(range(&a, &b, &c));
    for (dtype, axis) in [(I64, -1), (F32, 0), (I32, 1)] {
        let indices = Some(between(dtype, &[2, 5], -4.0, 6.0));
        let inputs = vec![indices, scalar(4), Some(Literal::f32(&[2], &[0.5, 2.0]))];
        cases.push(Case::new(Op::OneHot { axis }, inputs).known(&[1]));
    }
    for dtype in [F32, BF16, F64, I8, Bool] {
        let op = Op::EyeLike { dtype: Some(dtype), k: 1 };
        cases.push(Case::new(op, vec![x(F32, &[4, 6])]));
    }
    for upper in [false, true] {
        for k in [-2, 0, 3] {
            let inputs = vec![x(F16, &[2, 5, 7]), scalar(k)];
            cases.push(Case::new(Op::Trilu { upper }, inputs.clone()));
            cases.push(Case::new(Op::Trilu { upper }, inputs).known(&[1]));
        }
        cases.push(Case::new(Op::Trilu { upper }, vec![x(F32, &[5, 7])]));
    }
    cases.push(Case::new(Op::DynamicQuantizeLinear, vec![x(F32, &[5, 70])]).outputs(3));
    for (dtype, along) in [(U8, -1), (I8, 0)] {
        let quantize = |block| Op::QuantizeLinear { axis: along, block, to: None };
        let dequantize = |block| Op::DequantizeLinear { axis: along, block };
        let count = if along == 0 { 6 } else { 8 };
        let zero = |shape: &[usize]| Some(between(dtype, shape, 0.0, 9.0));
        let scales = |shape: &[usize]| Some(between(F32, shape, 0.1, 0.5));
        let data = || x(F32, &[6, 5, 8]);
        let small = || Some(between(dtype, &[6, 5, 8], 0.0, 100.0));
        for shape in [&[][..], &[count]] {
            let case = Case::new(quantize(0), vec![data(), scales(shape), zero(shape)]);
            cases.push(case);
            cases.push(Case::new(dequantize(0), vec![small(), scales(shape), zero(shape)]));
        }
        let shape = if along == 0 { [3, 5, 8] } else { [6, 5, 4] };
        cases.push(Case::new(quantize(2), vec![data(), scales(&shape), zero(&shape)]));
        cases.push(Case::new(dequantize(2), vec![small(), scales(&shape), zero(&shape)]));
    }
    cases
}
