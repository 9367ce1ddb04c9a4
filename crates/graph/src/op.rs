//! The closed set of operators.
//!
//! Each variant has the meaning of the newest ONNX operator of that name (<https://onnx.ai/onnx/operators/>)
//! unless its comment says otherwise, and inputs in ONNX's order. `import` rewrites older forms into these:
//! an attribute that later became an input (axes, pads, split, …) is an input here. Each device matches on
//! [`Op`] exhaustively, so a new variant does not compile until every device has answered.

use crate::{DType, Graph};
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Op {
    // Element by element, with broadcasting where there are several inputs.
    Identity,
    Unary(Unary),
    Binary(Binary),
    /// Result is `bool`.
    Compare(Compare),
    /// Condition, then, else.
    Where,
    /// Value, lowest, highest; both bounds optional.
    Clip,
    /// Float to integer truncates; out of range saturates.
    Cast {
        to: DType,
    },
    /// The type is that of the second input.
    CastLike,

    // Products.
    /// As `numpy.matmul`.
    MatMul,
    /// `activation(x · w + bias)`: x `[…, k]`, w `[k, n]`, bias `[n]` optional. Made by fusion.
    Linear {
        activation: Activation,
    },
    /// `alpha · a' · b' + beta · c`.
    Gemm {
        alpha: f32,
        beta: f32,
        trans_a: bool,
        trans_b: bool,
    },
    MatMulInteger,
    QLinearMatMul,
    Einsum {
        equation: String,
    },
    /// Query, key, value, mask, past key, past value; ONNX opset 23 and later.
    Attention(Attention),
    /// x, cos cache, sin cache, position ids.
    RotaryEmbedding {
        interleaved: bool,
        num_heads: usize,
        rotary_dim: usize,
    },

    // Convolution and pooling, channels first: `[n, c, spatial…]`.
    /// x, w `[m, c/group, kernel…]`, bias optional; fusion may add a residual input (4th) added before the activation.
    Conv {
        conv: Conv,
        activation: Activation,
    },
    /// x, w `[c, m/group, kernel…]`, bias optional.
    ConvTranspose {
        conv: Conv,
        output_padding: Vec<usize>,
        output_shape: Option<Vec<usize>>,
    },
    ConvInteger(Conv),
    QLinearConv(Conv),
    /// Second output, if any: indices.
    MaxPool {
        pool: Pool,
        column_major: bool,
    },
    AveragePool {
        pool: Pool,
        count_include_pad: bool,
    },
    LpPool {
        pool: Pool,
        p: i64,
    },
    GlobalAveragePool,
    GlobalMaxPool,
    GlobalLpPool {
        p: i64,
    },
    MaxUnpool {
        kernel: Vec<usize>,
        strides: Vec<usize>,
        pads: Vec<usize>,
    },
    /// Image columns, image shape, block shape.
    Col2Im {
        dilations: Vec<usize>,
        pads: Vec<usize>,
        strides: Vec<usize>,
    },
    RoiAlign {
        output: [usize; 2],
        sampling_ratio: usize,
        spatial_scale: f32,
        average: bool,
        half_pixel: bool,
    },

    // Normalisation.
    /// Inference form: x, scale, bias, mean, variance.
    BatchNorm {
        epsilon: f32,
    },
    InstanceNorm {
        epsilon: f32,
    },
    /// Outputs: y, mean, inverse standard deviation. Bias optional.
    LayerNorm {
        axis: i64,
        epsilon: f32,
    },
    /// Scale and bias `[c]`.
    GroupNorm {
        groups: usize,
        epsilon: f32,
    },
    RmsNorm {
        axis: i64,
        epsilon: f32,
    },
    LpNormalization {
        axis: i64,
        p: i64,
    },
    MeanVarianceNormalization {
        axes: Vec<i64>,
    },
    Lrn {
        alpha: f32,
        beta: f32,
        bias: f32,
        size: usize,
    },
    Softmax {
        axis: i64,
    },
    LogSoftmax {
        axis: i64,
    },
    Hardmax {
        axis: i64,
    },

    // Reduction.
    /// Data, axes (optional).
    Reduce {
        reduce: Reduce,
        keep_dims: bool,
        noop_with_empty_axes: bool,
    },
    ArgMax {
        axis: i64,
        keep_dims: bool,
        last: bool,
    },
    ArgMin {
        axis: i64,
        keep_dims: bool,
        last: bool,
    },
    /// Data, axis.
    CumSum {
        exclusive: bool,
        reverse: bool,
    },
    CumProd {
        exclusive: bool,
        reverse: bool,
    },
    /// Data, k. Outputs: values, indices.
    TopK {
        axis: i64,
        largest: bool,
        sorted: bool,
    },
    Unique {
        axis: Option<i64>,
        sorted: bool,
    },
    NonZero,
    Det,

    // Shape and movement.
    Shape {
        start: i64,
        end: Option<i64>,
    },
    Size,
    Reshape {
        allow_zero: bool,
    },
    Flatten {
        axis: i64,
    },
    /// Data, axes (optional).
    Squeeze,
    Unsqueeze,
    /// Empty: reverse the axes.
    Transpose {
        perm: Vec<usize>,
    },
    Expand,
    Tile,
    Concat {
        axis: i64,
    },
    /// Data, sizes (optional; else equal parts, the last one smaller).
    Split {
        axis: i64,
        parts: usize,
    },
    /// Data, starts, ends, axes, steps.
    Slice,
    /// Data, pads, constant value, axes.
    Pad {
        mode: PadMode,
    },
    Gather {
        axis: i64,
    },
    GatherElements {
        axis: i64,
    },
    GatherND {
        batch_dims: usize,
    },
    ScatterElements {
        axis: i64,
        reduction: ScatterReduction,
    },
    ScatterND {
        reduction: ScatterReduction,
    },
    /// Past cache, update, write indices.
    TensorScatter {
        axis: i64,
        circular: bool,
    },
    Compress {
        axis: Option<i64>,
    },
    DepthToSpace {
        block: usize,
        column_row_depth: bool,
    },
    SpaceToDepth {
        block: usize,
    },
    ReverseSequence {
        batch_axis: i64,
        time_axis: i64,
    },
    CenterCropPad {
        axes: Option<Vec<i64>>,
    },
    Trilu {
        upper: bool,
    },

    // Generation.
    /// Shape.
    ConstantOfShape {
        value: Scalar,
    },
    Range,
    OneHot {
        axis: i64,
    },
    EyeLike {
        dtype: Option<DType>,
        k: i64,
    },
    HannWindow {
        periodic: bool,
        dtype: DType,
    },
    HammingWindow {
        periodic: bool,
        dtype: DType,
    },
    BlackmanWindow {
        periodic: bool,
        dtype: DType,
    },
    MelWeightMatrix {
        dtype: DType,
    },

    // Images and signals.
    /// x, roi, scales, sizes.
    Resize(Resize),
    GridSample {
        mode: Interpolation,
        padding: GridPadding,
        align_corners: bool,
    },
    AffineGrid {
        align_corners: bool,
    },
    NonMaxSuppression {
        center_point_box: bool,
    },
    /// Signal, dft length, axis.
    Dft {
        inverse: bool,
        onesided: bool,
    },
    /// Signal, frame step, window, frame length.
    Stft {
        onesided: bool,
    },

    // Recurrent.
    Rnn(Rnn),

    // Quantisation. Scale and zero point are one value, one per index of `axis`, or one per block of `block` along it.
    QuantizeLinear {
        axis: i64,
        block: usize,
        to: Option<DType>,
    },
    DequantizeLinear {
        axis: i64,
        block: usize,
    },
    DynamicQuantizeLinear,

    // Control flow. Bodies are closed graphs: see [`Graph`].
    /// Inputs: condition, then what the bodies read (the same list for both).
    If {
        then_branch: Box<Graph>,
        else_branch: Box<Graph>,
    },
    /// Inputs: trip count, condition, `carried` loop values, then what the body reads from outside. Body inputs:
    /// iteration, condition, carried…, outer…. Body outputs: condition, carried…, scans….
    Loop {
        body: Box<Graph>,
        carried: usize,
    },
    /// Inputs: `states` initial states, scanned inputs, then what the body reads from outside.
    Scan(ScanOptions),
}

/// One value with its type.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Scalar {
    pub dtype: DType,
    /// The element's little-endian bytes, zero-extended to eight.
    pub bits: u64,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Unary {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    BitwiseNot,
    Ceil,
    Celu {
        alpha: f32,
    },
    Cos,
    Cosh,
    Elu {
        alpha: f32,
    },
    Erf,
    Exp,
    Floor,
    Gelu {
        tanh: bool,
    },
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    IsInf {
        negative: bool,
        positive: bool,
    },
    IsNaN,
    LeakyRelu {
        alpha: f32,
    },
    Log,
    Mish,
    Neg,
    Not,
    Reciprocal,
    Relu,
    Round,
    Selu {
        alpha: f32,
        gamma: f32,
    },
    Shrink {
        bias: f32,
        lambd: f32,
    },
    Sigmoid,
    Sign,
    Sin,
    Sinh,
    Softplus,
    Softsign,
    Sqrt,
    /// `x · sigmoid(alpha · x)`.
    Swish {
        alpha: f32,
    },
    Tan,
    Tanh,
    ThresholdedRelu {
        alpha: f32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// Integers truncate towards zero.
    Div,
    Pow,
    /// `fmod`: the sign of the dividend; else of the divisor.
    Mod {
        fmod: bool,
    },
    Min,
    Max,
    And,
    Or,
    Xor,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    BitShift {
        left: bool,
    },
    PRelu,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a fused product applies to its result.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub enum Activation {
    #[default]
    None,
    Relu,
    Clip {
        low: f32,
        high: f32,
    },
    LeakyRelu {
        alpha: f32,
    },
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    Sigmoid,
    Tanh,
    Gelu {
        tanh: bool,
    },
    Swish {
        alpha: f32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AutoPad {
    Explicit,
    Valid,
    SameUpper,
    SameLower,
}

/// Attributes of a convolution. Empty vectors mean ones (strides, dilations) or zeros (pads).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conv {
    /// From the weights when empty.
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// All starts, then all ends. Negative pads are refused.
    pub pads: Vec<usize>,
    pub auto_pad: AutoPad,
    pub group: usize,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pool {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub pads: Vec<usize>,
    pub auto_pad: AutoPad,
    pub ceil_mode: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Attention {
    /// `None`: `1/√(head size)`.
    pub scale: Option<f32>,
    pub is_causal: bool,
    /// Needed when query, key and value are `[batch, sequence, hidden]`; 0 for `[batch, heads, sequence, size]`.
    pub q_num_heads: usize,
    pub kv_num_heads: usize,
    /// 0: off.
    pub softcap: f32,
    /// What the fourth output holds: 0 raw products, 1 after soft cap, 2 with mask, 3 after softmax.
    pub qk_output_mode: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reduce {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ScatterReduction {
    None,
    Add,
    Mul,
    Max,
    Min,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PadMode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GridPadding {
    Zeros,
    Border,
    Reflection,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Interpolation {
    Nearest,
    Linear,
    Cubic { a: f32 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NearestMode {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CoordinateTransform {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfCropAndResize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeepAspect {
    Stretch,
    NotLarger,
    NotSmaller,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Resize {
    pub mode: Interpolation,
    pub coordinates: CoordinateTransform,
    pub nearest: NearestMode,
    pub antialias: bool,
    /// Empty: all axes.
    pub axes: Vec<i64>,
    pub exclude_outside: bool,
    pub extrapolation: f32,
    pub keep_aspect: KeepAspect,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Direction {
    Forward,
    Reverse,
    Bidirectional,
}

/// A recurrent layer. Inputs as ONNX: x, w, r, b, sequence lengths, initial h, (LSTM) initial c, peepholes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Rnn {
    pub kind: RnnKind,
    pub hidden: usize,
    pub direction: Direction,
    /// Per direction, ONNX's order of gates; empty: the defaults.
    pub activations: Vec<Unary>,
    pub clip: Option<f32>,
    /// Batch first: x `[batch, sequence, input]`.
    pub batch_first: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RnnKind {
    Simple,
    Lstm { couple_input_forget: bool },
    Gru { linear_before_reset: bool },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ScanOptions {
    pub body: Box<Graph>,
    pub states: usize,
    pub scan_inputs: usize,
    pub input_axes: Vec<i64>,
    pub input_reverse: Vec<bool>,
    pub output_axes: Vec<i64>,
    pub output_reverse: Vec<bool>,
}

impl Op {
    /// The nested graphs of a control-flow operator.
    pub fn bodies(&self) -> Vec<&Graph> {
        match self {
            Op::If { then_branch, else_branch } => vec![then_branch, else_branch],
            Op::Loop { body, .. } => vec![body],
            Op::Scan(scan) => vec![&scan.body],
            _ => Vec::new(),
        }
    }

    pub fn bodies_mut(&mut self) -> Vec<&mut Graph> {
        match self {
            Op::If { then_branch, else_branch } => vec![then_branch, else_branch],
            Op::Loop { body, .. } => vec![body],
            Op::Scan(scan) => vec![&mut scan.body],
            _ => Vec::new(),
        }
    }

    /// The operator's name alone, without attributes.
    pub fn name(&self) -> String {
        let mut name = self.to_string();
        name.truncate(name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len()));
        name
    }

    /// Whether output shapes depend on the values of computed inputs in a way that only running the operator tells.
    pub fn shape_depends_on_data(&self) -> bool {
        matches!(
            self,
            Op::NonZero
                | Op::Unique { .. }
                | Op::Compress { .. }
                | Op::NonMaxSuppression { .. }
                | Op::If { .. }
                | Op::Loop { .. }
        )
    }
}

/// The operator and its attributes, without the text of nested graphs.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Unary(unary) => write!(f, "{unary:?}"),
            Op::Binary(binary) => write!(f, "{binary:?}"),
            Op::Compare(compare) => write!(f, "{compare:?}"),
            Op::If { then_branch, else_branch } => {
                write!(
                    f,
                    "If {{ then: {} nodes, else: {} nodes }}",
                    then_branch.nodes.len(),
                    else_branch.nodes.len()
                )
            }
            Op::Loop { body, carried } => {
                write!(f, "Loop {{ body: {} nodes, carried: {carried} }}", body.nodes.len())
            }
            Op::Scan(scan) => write!(
                f,
                "Scan {{ body: {} nodes, states: {} }}",
                scan.body.nodes.len(),
                scan.states
            ),
            other => write!(f, "{other:?}"),
        }
    }
}
