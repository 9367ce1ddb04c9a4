//! A convolution as the library is asked for it.

use super::Dnn;
use super::convolution_graph::graph;
use super::engine::{self, EngineChoice, Subject};
use super::graph::Graph;
use super::plan::{Plan, PlanCall};
use crate::driver::{Address, CudaError};
use crate::program::Enqueue;
use crate::tune::Problem;
use cudarc::cudnn::sys::cudnnBackendNumericalNote_t as Numerical;
use sublet_graph::DType;

/// A convolution, or the inverse that a transposed convolution is. Groups follow from the channels of `x` and `w`.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    pub direction: Direction,
    pub dtype: DType,
    /// Whether the factors may be rounded to TF32.
    pub tf32: bool,
    /// `[n, c, spatial…]`, what is read going forward and written going backward.
    pub x: Layout,
    /// `[k, c / group, kernel…]`.
    pub w: Layout,
    /// `[n, k, spatial…]`.
    pub y: Layout,
    pub pad_begin: Vec<i64>,
    pub pad_end: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    /// What is done with the result in the same pass; going forward only.
    pub fused: Option<Fused>,
    /// What every address is a multiple of, in bytes.
    pub alignment: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    /// From `y` to `x`.
    BackwardData,
}

/// `relu(y + residual + bias)`: the bias `[k]`, residual and result as `y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fused {
    pub residual: bool,
    pub relu: bool,
}

/// Sizes, and elements from one index of each axis to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub sizes: Vec<i64>,
    pub steps: Vec<i64>,
}

impl Layout {
    pub fn new(sizes: &[usize], steps: &[usize]) -> Layout {
        let numbers = |of: &[usize]| of.iter().map(|&size| size as i64).collect();
        Layout { sizes: numbers(sizes), steps: numbers(steps) }
    }

    fn bytes(&self, dtype: DType) -> usize {
        self.sizes.iter().product::<i64>() as usize * dtype.size()
    }
}

/// A convolution with the library that computes it. Operands: x, w, y, then bias and residual where they are fused.
pub struct WithDnn<'a> {
    pub dnn: &'a Dnn,
    pub convolution: &'a Convolution,
}

impl Dnn {
    pub fn problem<'a>(&'a self, convolution: &'a Convolution) -> WithDnn<'a> {
        WithDnn { dnn: self, convolution }
    }
}

impl Subject for Convolution {
    fn key(&self) -> String {
        let c = self;
        let numbers = |of: &[i64]| of.iter().map(i64::to_string).collect::<Vec<_>>().join("x");
        let layout = |of: &Layout| format!("{}/{}", numbers(&of.sizes), numbers(&of.steps));
        format!(
            "conv {:?} {}{} x{} w{} y{} pad{}-{} stride{} dilation{} {} align{}",
            c.direction,
            c.dtype.wire_name(),
            if c.tf32 { " tf32" } else { "" },
            layout(&c.x),
            layout(&c.w),
            layout(&c.y),
            numbers(&c.pad_begin),
            numbers(&c.pad_end),
            numbers(&c.strides),
            numbers(&c.dilations),
            match c.fused {
                None => "plain".to_owned(),
                Some(Fused { residual, relu }) => format!(
                    "bias{}{}",
                    if residual { " residual" } else { "" },
                    if relu { " relu" } else { "" }
                ),
            },
            c.alignment,
        )
    }

    fn graph(&self, dnn: &Dnn, unused_residual: bool) -> Result<Graph, CudaError> {
        graph(dnn, self, unused_residual)
    }

    fn takes_unused_residual(&self) -> bool {
        self.fused.is_some_and(|fused| !fused.residual)
    }

    fn allows(&self, note: u32) -> bool {
        let is = |known: Numerical| note == known as u32;
        let full_f32 = self.dtype == DType::F32 && !self.tf32;
        let forbidden = is(Numerical::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            || is(Numerical::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
            || is(Numerical::CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13)
            || is(Numerical::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS) && self.dtype == DType::F32
            || is(Numerical::CUDNN_NUMERICAL_NOTE_TENSOR_CORE) && full_f32;
        !forbidden
    }

    fn is_compiled(&self) -> bool {
        false
    }
}

impl Problem for WithDnn<'_> {
    type Choice = EngineChoice;

    fn key(&self) -> String {
        // With more scratch memory other engines may be chosen.
        let scratch_mib = self.dnn.workspace_bytes_max >> 20;
        format!("{} scratch{scratch_mib}", self.convolution.key())
    }

    fn operands(&self) -> Vec<(usize, DType)> {
        let c = self.convolution;
        let mut operands: Vec<_> =
            [&c.x, &c.w, &c.y].iter().map(|layout| (layout.bytes(c.dtype), c.dtype)).collect();
        if let Some(fused) = c.fused {
            operands.push((c.y.sizes[1] as usize * c.dtype.size(), c.dtype));
            operands.extend(fused.residual.then_some(operands[2]));
        }
        operands
    }

    fn choices(&self) -> Result<Vec<EngineChoice>, CudaError> {
        engine::choices(self.dnn, self.convolution)
    }

    fn scratch_bytes(&self, choice: &EngineChoice) -> usize {
        choice.workspace_bytes
    }

    fn calls(
        &self,
        choice: &EngineChoice,
        operands: &[Address],
        scratch: Address,
    ) -> Result<Vec<Box<dyn Enqueue>>, CudaError> {
        let plan = Plan::of(self.dnn, self.convolution, choice)?;
        let mut addresses = operands.to_vec();
        if choice.unused_residual {
            // It is multiplied by zero, without being read.
            addresses.push(operands[2]);
        }
        let name = name(self.convolution);
        let call = PlanCall::new(self.dnn, plan, &addresses, scratch, name)?;
        Ok(vec![Box::new(call)])
    }
}

fn name(c: &Convolution) -> String {
    let numbers = |of: &[i64]| of.iter().map(i64::to_string).collect::<Vec<_>>().join("x");
    format!("conv {} by {}", numbers(&c.x.sizes), numbers(&c.w.sizes))
}
