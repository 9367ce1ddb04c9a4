//! Products with few rows, as a batch of one has them: kernels of our own, measured against the library's algorithms.

use super::ctype::{computed, stored};
use super::elementwise::activation;
use super::product_calls::Recorder;
use super::target::{Launch, Target};
use crate::blas::Product;
use crate::driver::{Address, CudaError, LaunchShape};
use crate::lower::{Gpu, LowerError};
use crate::program::{Argument, Enqueue};
use sublet_graph::{Activation, DType};

/// A product with few rows, and what is done with it.
pub struct Thin<'a> {
    product: &'a Product,
    bias: bool,
    activation: Activation,
    /// Neighbours that a thread reads at once.
    pack: usize,
    /// Parts that the sums are divided into.
    splits: usize,
}

/// More rows are for the library.
const ROWS_MAX: usize = 8;
/// Blocks that keep the device busy.
const BLOCKS_WANTED: usize = 264;
/// Warps of a block, as the kernels have it.
const WARPS: usize = 8;
/// Sums over less than this are not divided further.
const CHUNK_MIN: usize = 128;

impl<'a> Thin<'a> {
    /// `None` when it is not so thin, or in a form that the kernels do not have.
    pub fn new(product: &'a Product, bias: bool, activation: Activation) -> Option<Thin<'a>> {
        let p = product;
        let float = matches!(p.dtype, DType::F32 | DType::F16 | DType::BF16);
        let small = [p.n, p.k].iter().all(|&size| size < 1 << 30);
        let suits = p.batch == 1
            && (1..=ROWS_MAX).contains(&p.m)
            && float
            && small
            && p.out == p.dtype
            && !p.a.transposed
            && !p.d.transposed
            && (p.d.step == p.n || p.m == 1);
        if !suits {
            return None;
        }
        let mut pack = 16 / p.dtype.size();
        let along = if p.b.transposed { p.k } else { p.n };
        let steps = if p.b.transposed { vec![p.b.step, p.a.step] } else { vec![p.b.step] };
        let fits = |pack: usize| {
            along.is_multiple_of(pack)
                && steps.iter().all(|step| step.is_multiple_of(pack))
                && p.alignment.is_multiple_of(pack * p.dtype.size())
        };
        while pack > 1 && !fits(pack) {
            pack /= 2;
        }
        let blocks = p.n.div_ceil(32 * pack);
        let splits = BLOCKS_WANTED.div_ceil(blocks).min(p.k / CHUNK_MIN).max(1);
        let splits = if p.b.transposed { 1 } else { splits };
        Some(Thin { product, bias, activation, pack, splits })
    }

    /// Bytes for partial sums.
    pub fn scratch_bytes(&self) -> usize {
        if self.splits > 1 { self.splits * self.product.m * self.product.n * 4 } else { 0 }
    }

    /// Operands as those of the product: a, b, d, then c and bias where there are such.
    pub fn calls(
        &self,
        gpu: &Gpu,
        operands: &[Address],
        scratch: Address,
    ) -> Result<Vec<Box<dyn Enqueue>>, CudaError> {
        let p = self.product;
        let mut rest = operands[3..].iter().copied();
        let c = if p.c.is_some() { rest.next().unwrap_or(0) } else { 0 };
        let bias = if self.bias { rest.next().unwrap_or(0) } else { 0 };
        let [a, b, y] = [operands[0], operands[1], operands[2]].map(Argument::Address);
        let [bias, c, parts] = [bias, c, scratch].map(Argument::Address);
        let factors = [Argument::F32(p.alpha as f32), Argument::F32(p.beta as f32)];
        let source = self.source();
        let name = format!("thin product {}x{}x{}", p.m, p.n, p.k);
        let mut recorder = Recorder::new(gpu);
        let mut launch = |entry, grid: [usize; 2], block: usize, arguments: Vec<Argument>| {
            let shape = LaunchShape {
                grid: [grid[0] as u32, grid[1] as u32, 1],
                block: [block as u32, 1, 1],
                shared_bytes: 0,
            };
            let (name, source) = (name.clone(), source.clone());
            let launch = Launch { name, source, entry, shape, arguments };
            recorder.launch(launch).map_err(|error| match error {
                LowerError::Cuda(error) => error,
                other => CudaError::unsupported("a thin product", other.to_string()),
            })
        };
        let block = 32 * WARPS;
        if p.b.transposed {
            let arguments = [&[a, b, bias, c, y][..], &factors].concat();
            launch("thin_rows", [p.n.div_ceil(WARPS), 1], block, arguments)?;
            return Ok(recorder.calls);
        }
        let arguments = [&[a, b, bias, c, y, parts][..], &factors].concat();
        launch("thin_columns", [p.n.div_ceil(32 * self.pack), self.splits], block, arguments)?;
        if self.splits > 1 {
            let arguments = [&[parts, bias, c, y][..], &factors].concat();
            launch("thin_sum", [(p.m * p.n).div_ceil(128), 1], 128, arguments)?;
        }
        Ok(recorder.calls)
    }

    fn source(&self) -> String {
        let p = self.product;
        // So that every part starts where all warps begin together.
        let chunk = p.k.div_ceil(self.splits).next_multiple_of(WARPS);
        let of = computed(p.dtype);
        let numbers = [
            ("M", p.m),
            ("N", p.n),
            ("K", p.k),
            ("A_STEP", p.a.step),
            ("B_STEP", p.b.step),
            ("C_STEP", p.c.map_or(0, |c| c.step)),
            ("PACK", self.pack),
            ("SPLITS", self.splits),
            ("CHUNK", chunk),
            ("BIAS", usize::from(self.bias)),
            ("ADDED", usize::from(p.c.is_some())),
        ];
        let mut source = format!("\ntypedef {} T;\ntypedef {of} C;\n", stored(p.dtype));
        for (name, value) in numbers {
            source.push_str(&format!("#define {name} {value}\n"));
        }
        let value = activation(self.activation, "value");
        source.push_str(&format!("static INLINE C activate(C value) {{ return {value}; }}\n"));
        source.push_str(include_str!("../../kernels/product_thin.cu"));
        source
    }
}
