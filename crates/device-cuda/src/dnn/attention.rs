//! Attention in one pass, of half-precision values: scores are never stored.
//!
//! The library recognises the pattern of operations that follows, from the product of query and keys to that of weights
//! and values, and has engines for it as a whole.

use super::Dnn;
use super::convolution::Layout;
use super::descriptor::Descriptor;
use super::engine::{self, EngineChoice, Subject};
use super::graph::{Graph, Making, Part};
use super::plan::{Plan, PlanCall};
use crate::driver::{Address, CudaError};
use crate::program::Enqueue;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind, cudnnBackendNumericalNote_t as Numerical,
    cudnnDataType_t as DataType, cudnnPointwiseMode_t as Pointwise,
    cudnnReduceTensorOp_t as Reduction,
};
use sublet_graph::DType;

/// `softmax(scale · q · kᵀ + bias) · v`. Layouts over `[batch, heads, sequence, size]`, last axis innermost.
#[derive(Clone, Debug, PartialEq)]
pub struct SdpAttention {
    pub dtype: DType,
    pub q: Layout,
    pub k: Layout,
    pub v: Layout,
    pub y: Layout,
    /// Added to the scores; of 1 batch entry or head where it is the same for all.
    pub bias: Option<Layout>,
    /// Query `i` sees keys up to `i`.
    pub causal: bool,
    pub scale: f32,
}

const Q: i64 = 1;
const K: i64 = 2;
const V: i64 = 3;
const Y: i64 = 4;
const BIAS: i64 = 5;
/// What every address is a multiple of, in bytes.
const ALIGNMENT: usize = 16;

impl SdpAttention {
    /// Engines, best first as the library guesses.
    pub fn choices(&self, dnn: &Dnn) -> Result<Vec<EngineChoice>, CudaError> {
        engine::choices(dnn, self)
    }

    /// Operands: q, k, v, y, then the bias.
    pub fn call(
        &self,
        dnn: &Dnn,
        choice: &EngineChoice,
        operands: &[Address],
        scratch: Address,
    ) -> Result<Box<dyn Enqueue>, CudaError> {
        let plan = Plan::of(dnn, self, choice)?;
        let sizes: Vec<String> = self.q.sizes.iter().map(i64::to_string).collect();
        let name = format!("attention {}", sizes.join("x"));
        Ok(Box::new(PlanCall::new(dnn, plan, operands, scratch, name)?))
    }
}

impl Subject for SdpAttention {
    fn key(&self) -> String {
        format!("{self:?}")
    }

    fn graph(&self, dnn: &Dnn, _unused_residual: bool) -> Result<Graph, CudaError> {
        let mut making = Making::new(self.dtype, ALIGNMENT)?;
        let mut operands = vec![Q, K, V, Y];
        let q = making.stored(Q, &self.q)?;
        // The keys' transpose.
        let mut transposed = self.k.clone();
        transposed.sizes.swap(2, 3);
        transposed.steps.swap(2, 3);
        let k = making.stored(K, &transposed)?;
        let v = making.stored(V, &self.v)?;
        let y = making.stored(Y, &self.y)?;
        let [batch, heads, queries] = [0, 1, 2].map(|axis| self.q.sizes[axis]);
        let keys = self.k.sizes[2];
        let packed = |last: i64| Layout {
            sizes: vec![batch, heads, queries, last],
            steps: vec![heads * queries * last, queries * last, last, 1],
        };
        let scores = packed(keys);
        let product = making.inner(&scores)?;
        multiply(&mut making, [q, k, product])?;
        let scale = making.number(self.scale, 4)?;
        let mut value = making.inner(&scores)?;
        making.pointwise(Pointwise::CUDNN_POINTWISE_MUL, product, &[(scale, 1.0)], value)?;
        if let Some(bias) = &self.bias {
            operands.push(BIAS);
            let bias = making.stored(BIAS, bias)?;
            let sum = making.inner(&scores)?;
            making.pointwise(Pointwise::CUDNN_POINTWISE_ADD, value, &[(bias, 1.0)], sum)?;
            value = sum;
        }
        if self.causal {
            value = causal(&mut making, value, &scores)?;
        }
        let weights = softmax(&mut making, value, &scores, &packed(1))?;
        multiply(&mut making, [weights, v, y])?;
        making.finished(dnn, operands)
    }

    fn takes_unused_residual(&self) -> bool {
        false
    }

    fn allows(&self, note: u32) -> bool {
        note != Numerical::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC as u32
    }

    fn is_compiled(&self) -> bool {
        true
    }
}

/// `c = a · b`.
fn multiply(making: &mut Making, [a, b, c]: [Part; 3]) -> Result<(), CudaError> {
    let description = Descriptor::new(Kind::CUDNN_BACKEND_MATMUL_DESCRIPTOR)?
        .with_code(
            Name::CUDNN_ATTR_MATMUL_COMP_TYPE,
            Type::CUDNN_TYPE_DATA_TYPE,
            making.compute as u32,
        )?
        .finalize()?;
    let description = making.keep(description);
    let operation = Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR)?
        .with_descriptors(Name::CUDNN_ATTR_OPERATION_MATMUL_ADESC, &[making.part(a)])?
        .with_descriptors(Name::CUDNN_ATTR_OPERATION_MATMUL_BDESC, &[making.part(b)])?
        .with_descriptors(Name::CUDNN_ATTR_OPERATION_MATMUL_CDESC, &[making.part(c)])?
        .with_descriptors(Name::CUDNN_ATTR_OPERATION_MATMUL_DESC, &[making.part(description)])?
        .finalize()?;
    making.operation(operation);
    Ok(())
}

/// Scores of keys behind their query become the least number there is.
fn causal(making: &mut Making, scores: Part, layout: &Layout) -> Result<Part, CudaError> {
    let index = DataType::CUDNN_DATA_INT32;
    let (row, col) = (making.inner_of(layout, index)?, making.inner_of(layout, index)?);
    making.index(scores, 2, row)?;
    making.index(scores, 3, col)?;
    let seen = making.inner_of(layout, DataType::CUDNN_DATA_BOOLEAN)?;
    making.compare(Pointwise::CUDNN_POINTWISE_CMP_GE, row, col, seen)?;
    let hidden = making.number(f32::MIN, 4)?;
    let masked = making.inner(layout)?;
    making.select([scores, hidden, seen], masked)?;
    Ok(masked)
}

/// Softmax along the last axis, into the operands' type. `rows`: the layout of one number for each row.
fn softmax(
    making: &mut Making,
    scores: Part,
    layout: &Layout,
    rows: &Layout,
) -> Result<Part, CudaError> {
    let largest = making.inner(rows)?;
    reduce(making, Reduction::CUDNN_REDUCE_TENSOR_MAX, scores, largest)?;
    let shifted = making.inner(layout)?;
    making.pointwise(Pointwise::CUDNN_POINTWISE_SUB, scores, &[(largest, 1.0)], shifted)?;
    let powers = making.inner(layout)?;
    making.pointwise(Pointwise::CUDNN_POINTWISE_EXP, shifted, &[], powers)?;
    let sum = making.inner(rows)?;
    reduce(making, Reduction::CUDNN_REDUCE_TENSOR_ADD, powers, sum)?;
    // Nobody reads it, but it is part of the pattern.
    let logarithm = making.inner(rows)?;
    making.pointwise(Pointwise::CUDNN_POINTWISE_LOG, sum, &[], logarithm)?;
    let statistics = making.inner(rows)?;
    making.pointwise(Pointwise::CUDNN_POINTWISE_ADD, largest, &[(logarithm, 1.0)], statistics)?;
    let weights = making.inner_of(layout, making.dtype)?;
    making.pointwise(Pointwise::CUDNN_POINTWISE_DIV, powers, &[(sum, 1.0)], weights)?;
    Ok(weights)
}

fn reduce(making: &mut Making, by: Reduction, x: Part, y: Part) -> Result<(), CudaError> {
    let description = Descriptor::new(Kind::CUDNN_BACKEND_REDUCTION_DESCRIPTOR)?
        .with_code(
            Name::CUDNN_ATTR_REDUCTION_OPERATOR,
            Type::CUDNN_TYPE_REDUCTION_OPERATOR_TYPE,
            by as u32,
        )?
        .with_code(
            Name::CUDNN_ATTR_REDUCTION_COMP_TYPE,
            Type::CUDNN_TYPE_DATA_TYPE,
            making.compute as u32,
        )?
        .finalize()?;
    let description = making.keep(description);
    let operation = Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR)?
        .with_descriptors(Name::CUDNN_ATTR_OPERATION_REDUCTION_XDESC, &[making.part(x)])?
        .with_descriptors(Name::CUDNN_ATTR_OPERATION_REDUCTION_YDESC, &[making.part(y)])?
        .with_descriptors(Name::CUDNN_ATTR_OPERATION_REDUCTION_DESC, &[making.part(description)])?
        .finalize()?;
    making.operation(operation);
    Ok(())
}
