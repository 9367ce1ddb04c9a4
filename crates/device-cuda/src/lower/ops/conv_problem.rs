//! The ways to compute a convolution with its epilogue, to be measured against each other.

use super::conv::finish;
use super::conv_depthwise::{Depthwise, DepthwiseChoice};
use super::conv_layout::ToChannelsLast;
use super::product::compute;
use super::product_calls::Recorder;
use super::product_thin::Thin;
use super::target::Target;
use crate::blas::{Matrix, Product, ProductChoice, Round};
use crate::dnn::{Convolution, Direction, EngineChoice, Fused};
use crate::driver::{Address, CudaError};
use crate::lower::{Gpu, LowerError};
use crate::options::Tf32;
use crate::program::Enqueue;
use crate::tune::Problem;
use serde::{Deserialize, Serialize};
use sublet_graph::{Activation, DType};

/// `activation(conv(x, w) + bias + residual)`. Operands: x, w, y, then bias and residual where there are such.
pub struct WithEpilogue<'a> {
    pub gpu: &'a Gpu,
    pub convolution: Convolution,
    pub form: Form,
    pub bias: bool,
    pub residual: bool,
    pub activation: Activation,
}

/// What [`Convolution`] does not say.
pub struct Form {
    pub channels_last: bool,
    pub group: usize,
    /// What brings the weights into order, in every run: weights come and go.
    pub filter: Option<ToChannelsLast>,
}

/// Who does how much.
#[derive(Clone, Serialize, Deserialize)]
pub enum ConvChoice {
    /// An engine does all.
    Fused(EngineChoice),
    /// An engine convolves, a kernel does the rest.
    Engine(EngineChoice),
    /// The window is one element: a product does all.
    ProductFused(ProductChoice),
    /// The product alone; a kernel does the rest.
    Product(ProductChoice),
    /// A kernel of our own does all.
    Depthwise(DepthwiseChoice),
    /// The same for few positions.
    Thin,
}

/// How many of the library's algorithms for products are tried.
const PRODUCTS: usize = 8;

impl WithEpilogue<'_> {
    fn fused(&self) -> Option<Convolution> {
        let relu = match self.activation {
            Activation::None => false,
            Activation::Relu => true,
            _ => return None,
        };
        let c = &self.convolution;
        let suits = self.bias && c.direction == Direction::Forward && c.dtype != DType::F64;
        let fused = Some(Fused { residual: self.residual, relu });
        suits.then(|| Convolution { fused, ..c.clone() })
    }

    /// The convolution as a product, when its window is one element that moves by one.
    fn product(&self) -> Option<Product> {
        let c = &self.convolution;
        let ones = |of: &[i64]| of.iter().all(|&value| value == 1);
        let zeros = |of: &[i64]| of.iter().all(|&value| value == 0);
        let suits = c.direction == Direction::Forward
            && self.form.group == 1
            && ones(&c.w.sizes[2..])
            && ones(&c.strides)
            && zeros(&c.pad_begin)
            && zeros(&c.pad_end);
        if !suits {
            return None;
        }
        let [n, k] = [c.y.sizes[0] as usize, c.y.sizes[1] as usize];
        let channels = c.x.sizes[1] as usize;
        let positions = c.y.sizes[2..].iter().product::<i64>() as usize;
        let mut arithmetic = compute(self.gpu, c.dtype);
        if c.dtype == DType::F32 && self.gpu.precision.tf32 != Tf32::Off {
            arithmetic = crate::blas::Compute::Tf32;
        }
        let product = if self.rows_are_positions() {
            let product = Product::dense(c.dtype, [n * positions, k, channels], arithmetic);
            Product { b: Matrix::columns(channels), ..product }
        } else {
            let product = Product::dense(c.dtype, [k, positions, channels], arithmetic);
            Product {
                batch: n,
                b: Matrix::rows(positions).every(channels * positions),
                d: Matrix::rows(positions).every(k * positions),
                ..product
            }
        };
        Some(Product { alignment: c.alignment, ..product })
    }

    /// The product with all the rest, where the library does that.
    fn product_fused(&self) -> Option<Product> {
        let product = self.product_added()?;
        let round = match self.activation {
            Activation::None => Round::None,
            Activation::Relu => Round::Relu,
            _ => return None,
        };
        Some(Product { bias: self.bias, round, ..product })
    }

    /// The product plus the residual.
    fn product_added(&self) -> Option<Product> {
        let product = self.product().filter(|_| self.rows_are_positions())?;
        let c = self.residual.then_some(product.d);
        let beta = if self.residual { 1.0 } else { 0.0 };
        Some(Product { c, beta, ..product })
    }

    /// Whether rows of the result as a matrix are positions rather than channels. A single position is both.
    fn rows_are_positions(&self) -> bool {
        self.form.channels_last || self.convolution.y.sizes[2..].iter().all(|&size| size == 1)
    }

    /// Operands of [`WithEpilogue::product_added`] with a bias: residual before bias.
    fn product_operands(&self, operands: &[Address]) -> Vec<Address> {
        let mut all = operands[..3].to_vec();
        let mut rest = operands[3..].iter().copied();
        let bias = if self.bias { rest.next() } else { None };
        all.extend(rest);
        all.extend(bias);
        all
    }

    fn depthwise(&self) -> Option<Depthwise<'_>> {
        let Form { channels_last, group, .. } = self.form;
        Depthwise::new(&self.convolution, group, channels_last, self.activation)
    }

    /// Bytes at the start of the scratch memory for weights in another order.
    fn filter_bytes(&self) -> usize {
        let filter = self.form.filter.as_ref();
        filter.map_or(0, |filter| filter.bytes().next_multiple_of(256))
    }

    fn finish(&self, operands: &[Address]) -> Result<Vec<Box<dyn Enqueue>>, CudaError> {
        let mut rest = operands[3..].iter().copied();
        let bias = if self.bias { rest.next() } else { None };
        let residual = if self.residual { rest.next() } else { None };
        let result = match self.convolution.direction {
            Direction::Forward => operands[2],
            Direction::BackwardData => operands[0],
        };
        finish(&self.convolution, result, bias, residual, self.activation).calls(self.gpu)
    }

    /// The kernel that reorders weights, and where they lie then.
    fn filter(
        &self,
        from: Address,
        to: Address,
    ) -> Result<(Vec<Box<dyn Enqueue>>, Address), CudaError> {
        let Some(filter) = &self.form.filter else { return Ok((Vec::new(), from)) };
        let launch = filter.launch(from, to);
        let launch =
            launch.ok_or_else(|| CudaError::unsupported("reordering weights", "too many"))?;
        let mut recorder = Recorder::new(self.gpu);
        recorder.launch(launch).map_err(recorded)?;
        Ok((recorder.calls, to))
    }
}

impl Problem for WithEpilogue<'_> {
    type Choice = ConvChoice;

    fn key(&self) -> String {
        let residual = if self.residual { " residual" } else { "" };
        let bias = if self.bias { " bias" } else { "" };
        let filter = if self.form.filter.is_some() { " reordered" } else { "" };
        let problem = self.gpu.dnn.problem(&self.convolution).key();
        format!("{problem}{bias}{residual} {:?}{filter}", self.activation)
    }

    fn operands(&self) -> Vec<(usize, DType)> {
        let c = &self.convolution;
        let mut operands = self.gpu.dnn.problem(c).operands();
        let (result, channels) = match c.direction {
            Direction::Forward => (operands[2], c.y.sizes[1]),
            Direction::BackwardData => (operands[0], c.x.sizes[1]),
        };
        operands.extend(self.bias.then_some((channels as usize * c.dtype.size(), c.dtype)));
        operands.extend(self.residual.then_some(result));
        operands
    }

    fn choices(&self) -> Result<Vec<ConvChoice>, CudaError> {
        let (dnn, blas) = (&self.gpu.dnn, &self.gpu.blas);
        let mut choices = Vec::new();
        if let Some(depthwise) = self.depthwise() {
            choices.extend(depthwise.choices().into_iter().map(ConvChoice::Depthwise));
        }
        if let Some(product) = self.product_added() {
            let thin = Thin::new(&product, self.bias, self.activation);
            choices.extend(thin.map(|_| ConvChoice::Thin));
        }
        if let Some(fused) = self.fused() {
            choices.extend(dnn.problem(&fused).choices()?.into_iter().map(ConvChoice::Fused));
        }
        if let Some(product) = self.product_fused() {
            let offered = blas.problem(&product).choices()?;
            choices.extend(offered.into_iter().take(PRODUCTS).map(ConvChoice::ProductFused));
        } else if let Some(product) = self.product() {
            let offered = blas.problem(&product).choices()?;
            choices.extend(offered.into_iter().take(PRODUCTS).map(ConvChoice::Product));
        }
        let offered = dnn.problem(&self.convolution).choices()?;
        choices.extend(offered.into_iter().map(ConvChoice::Engine));
        Ok(choices)
    }

    fn scratch_bytes(&self, choice: &ConvChoice) -> usize {
        let (dnn, blas) = (&self.gpu.dnn, &self.gpu.blas);
        let own = match choice {
            ConvChoice::Fused(engine) | ConvChoice::Engine(engine) => {
                dnn.problem(&self.convolution).scratch_bytes(engine)
            }
            ConvChoice::Depthwise(_) => 0,
            ConvChoice::Thin => self.product_added().map_or(0, |product| {
                let thin = Thin::new(&product, self.bias, self.activation);
                thin.map_or(0, |thin| thin.scratch_bytes())
            }),
            ConvChoice::ProductFused(inner) | ConvChoice::Product(inner) => {
                self.product().map_or(0, |product| blas.problem(&product).scratch_bytes(inner))
            }
        };
        self.filter_bytes() + own
    }

    fn calls(
        &self,
        choice: &ConvChoice,
        operands: &[Address],
        scratch: Address,
    ) -> Result<Vec<Box<dyn Enqueue>>, CudaError> {
        let (dnn, blas) = (&self.gpu.dnn, &self.gpu.blas);
        let (mut calls, w) = self.filter(operands[1], scratch)?;
        let scratch = scratch + self.filter_bytes() as Address;
        let mut operands = operands.to_vec();
        operands[1] = w;
        let [x, _, y] = [operands[0], operands[1], operands[2]];
        let gone = || CudaError::unsupported("a convolution", "this way is not offered any more");
        match choice {
            ConvChoice::Fused(engine) => {
                let fused = self.fused().ok_or_else(gone)?;
                calls.extend(dnn.problem(&fused).calls(engine, &operands, scratch)?);
            }
            ConvChoice::Engine(engine) => {
                let problem = dnn.problem(&self.convolution);
                calls.extend(problem.calls(engine, &operands[..3], scratch)?);
                calls.extend(self.finish(&operands)?);
            }
            ConvChoice::ProductFused(inner) => {
                let product = self.product_fused().ok_or_else(gone)?;
                let all = self.product_operands(&operands);
                calls.extend(blas.problem(&product).calls(inner, &all, scratch)?);
            }
            ConvChoice::Depthwise(inner) => {
                let depthwise = self.depthwise().ok_or_else(gone)?;
                let mut rest = operands[3..].iter().copied();
                let bias = if self.bias { rest.next() } else { None };
                let launch = depthwise.launch(*inner, [x, w, y], bias, rest.next());
                let mut recorder = Recorder::new(self.gpu);
                recorder.launch(launch).map_err(recorded)?;
                calls.extend(recorder.calls);
            }
            ConvChoice::Thin => {
                let product = self.product_added().ok_or_else(gone)?;
                let thin = Thin::new(&product, self.bias, self.activation).ok_or_else(gone)?;
                calls.extend(thin.calls(self.gpu, &self.product_operands(&operands), scratch)?);
            }
            ConvChoice::Product(inner) => {
                let product = self.product().ok_or_else(gone)?;
                // Rows of the result are positions where channels are last, and channels otherwise.
                let all = if self.rows_are_positions() { [x, w, y] } else { [w, x, y] };
                calls.extend(blas.problem(&product).calls(inner, &all, scratch)?);
                calls.extend(self.finish(&operands)?);
            }
        }
        Ok(calls)
    }
}

fn recorded(error: LowerError) -> CudaError {
    match error {
        LowerError::Cuda(error) => error,
        other => CudaError::unsupported("a kernel of a convolution", other.to_string()),
    }
}
