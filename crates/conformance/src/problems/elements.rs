//! Problems that work element by element, alone and in chains that devices fuse.

use super::builder::Builder;
use sublet_graph::{Binary, Compare, DType, Literal, Op, Unary, ValueId};

/// Defined everywhere, and smooth enough that a rounding before it stays a rounding after it.
const SMOOTH: &[Unary] = &[
    Unary::Abs,
    Unary::Atan,
    Unary::Cos,
    Unary::Elu { alpha: 0.7 },
    Unary::Erf,
    Unary::Gelu { tanh: false },
    Unary::Gelu { tanh: true },
    Unary::HardSigmoid { alpha: 0.3, beta: 0.4 },
    Unary::HardSwish,
    Unary::LeakyRelu { alpha: 0.1 },
    Unary::Mish,
    Unary::Neg,
    Unary::Relu,
    Unary::Sigmoid,
    Unary::Sin,
    Unary::Softplus,
    Unary::Softsign,
    Unary::Swish { alpha: 1.3 },
    Unary::Tanh,
];

/// The others, with where they are defined.
const BOUNDED: &[(Unary, f32, f32)] = &[
    (Unary::Acos, -1.0, 1.0),
    (Unary::Acosh, 1.1, 4.0),
    (Unary::Asin, -1.0, 1.0),
    (Unary::Asinh, -3.0, 3.0),
    (Unary::Atanh, -0.9, 0.9),
    (Unary::Ceil, -9.0, 9.0),
    (Unary::Celu { alpha: 1.5 }, -3.0, 3.0),
    (Unary::Cosh, -3.0, 3.0),
    (Unary::Exp, -3.0, 3.0),
    (Unary::Floor, -9.0, 9.0),
    (Unary::Log, 0.1, 9.0),
    (Unary::Reciprocal, 0.2, 9.0),
    (Unary::Round, -9.0, 9.0),
    (Unary::Selu { alpha: 1.6732, gamma: 1.0507 }, -3.0, 3.0),
    (Unary::Shrink { bias: 0.5, lambd: 1.0 }, -3.0, 3.0),
    (Unary::Sign, -3.0, 3.0),
    (Unary::Sinh, -3.0, 3.0),
    (Unary::Sqrt, 0.0, 9.0),
    (Unary::Tan, -1.2, 1.2),
    (Unary::ThresholdedRelu { alpha: 0.8 }, -3.0, 3.0),
];

pub fn unary(b: &mut Builder) {
    let (dtype, shape) = (b.float(), b.any_shape());
    let (unary, low, high) = match b.draw.bool() {
        true => (b.pick(SMOOTH), -3.0, 3.0),
        false => b.pick(BOUNDED),
    };
    let value = b.values_in(dtype, &shape, low, high);
    let input = b.input(value);
    b.node(Op::Unary(unary), &[input]);
}

/// A shape that broadcasts with this one to this one.
fn narrower(b: &mut Builder, shape: &[usize]) -> Vec<usize> {
    let from = b.draw.usize(..=shape.len());
    shape[from..].iter().map(|&size| if b.draw.u8(..3) == 0 { 1 } else { size }).collect()
}

pub fn binary(b: &mut Builder) {
    let shape = b.any_shape();
    let other = narrower(b, &shape);
    let int = b.draw.u8(..3) == 0;
    let dtype = if int { b.pick(&[DType::I64, DType::I32, DType::U8]) } else { b.float() };
    let floats = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min, Binary::Max];
    let ints = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Min,
        Binary::Max,
        Binary::BitwiseAnd,
        Binary::BitwiseXor,
    ];
    let op = match int {
        true => b.pick(&ints),
        false => b.pick(&floats),
    };
    let one = b.values(dtype, &shape);
    // Not near zero, for divisions.
    let two = b.values_in(dtype, &other, 0.5, 2.0);
    let (one, two) = (b.input(one), b.either(two));
    let swap = b.draw.bool() && op != Binary::Div;
    b.node(Op::Binary(op), &if swap { [two, one] } else { [one, two] });
}

pub fn compare(b: &mut Builder) {
    let shape = b.any_shape();
    let other = narrower(b, &shape);
    let dtype = b.pick(&[DType::F32, DType::F16, DType::I64, DType::I32]);
    let (one, two) = (b.values(dtype, &shape), b.values(dtype, &other));
    let (one, two) = (b.input(one), b.either(two));
    let compare = b.pick(&[
        Compare::Equal,
        Compare::Less,
        Compare::LessOrEqual,
        Compare::Greater,
        Compare::GreaterOrEqual,
    ]);
    // Equal is rarely true for reals; compared with itself it always is.
    let other = if compare == Compare::Equal { one } else { two };
    let condition = b.node(Op::Compare(compare), &[one, other]);
    b.node(Op::Where, &[condition, one, two]);
}

/// Several operators in a row, with values that are read again further on.
pub fn chain(b: &mut Builder) {
    let (dtype, shape) = (b.float(), b.any_shape());
    let first = b.values(dtype, &shape);
    let mut known = vec![b.input(first)];
    for _ in 0..b.draw.usize(2..=8) {
        let last = known[known.len() - 1];
        let next = if b.draw.bool() {
            let unary = b.pick(SMOOTH);
            b.node(Op::Unary(unary), &[last])
        } else {
            let other = operand(b, dtype, &shape, &known);
            // No quotients: what lies near zero would blow roundings up.
            let binary = b.pick(&[Binary::Add, Binary::Sub, Binary::Mul, Binary::Min, Binary::Max]);
            b.node(Op::Binary(binary), &[last, other])
        };
        // Kept within bounds, so that half precision holds it.
        let next = if b.draw.u8(..3) == 0 { b.node(Op::Unary(Unary::Tanh), &[next]) } else { next };
        known.push(next);
    }
    let last = b.node(Op::Unary(Unary::Softsign), &[known[known.len() - 1]]);
    b.output(last);
    if b.draw.bool() {
        let middle = b.node(Op::Unary(Unary::Softsign), &[known[known.len() / 2]]);
        b.output(middle);
    }
}

fn operand(b: &mut Builder, dtype: DType, shape: &[usize], known: &[ValueId]) -> ValueId {
    if b.draw.bool() {
        return b.pick(known);
    }
    let narrow = narrower(b, shape);
    let value = b.values(dtype, &narrow);
    b.either(value)
}

pub fn cast(b: &mut Builder) {
    let types = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::I8,
        DType::U8,
        DType::Bool,
    ];
    let (from, to) = (b.pick(&types), b.pick(&types));
    b.computes(if from == DType::F32 { to } else { from });
    let shape = b.any_shape();
    // Negative reals have no value in unsigned types.
    let low = if to == DType::U8 { 0.0 } else { -2.0 };
    let value = b.values_in(from, &shape, low, 12.0);
    let input = b.input(value);
    b.node(Op::Cast { to }, &[input]);
}

pub fn clip(b: &mut Builder) {
    let (dtype, shape) = (b.float(), b.any_shape());
    let value = b.values(dtype, &shape);
    let input = b.input(value);
    let bound = |b: &mut Builder, at: f32| {
        let value = super::builder::literal(dtype, &[], &[at]);
        b.draw.bool().then(|| b.weight(value))
    };
    let (low, high) = (bound(b, -0.5), bound(b, 0.75));
    b.node_with(Op::Clip, vec![Some(input), low, high], 1);
}

/// To eight bits and back.
pub fn quantize(b: &mut Builder) {
    b.computes(DType::F32);
    let shape = b.shape(3);
    let value = b.values(DType::F32, &shape);
    let input = b.input(value);
    let to = b.pick(&[DType::I8, DType::U8]);
    let per_axis = b.draw.bool();
    let count = if per_axis { shape[1] } else { 1 };
    let scales: Vec<f32> = (0..count).map(|_| 0.01 + 0.03 * b.draw.f32()).collect();
    let dims: &[usize] = if per_axis { &[count] } else { &[] };
    let scale = b.weight(Literal::f32(dims, &scales));
    let zero = b.values_in(to, dims, 0.0, 3.0);
    let zero = b.weight(zero);
    let rounded = b.node(Op::QuantizeLinear { axis: 1, block: 0, to: None }, &[input, scale, zero]);
    b.output(rounded);
    let back = b.node(Op::DequantizeLinear { axis: 1, block: 0 }, &[rounded, scale, zero]);
    b.output(back);
}
