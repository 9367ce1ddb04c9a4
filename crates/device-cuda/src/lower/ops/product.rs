//! Matrix products: MatMul, Linear, Gemm.

use super::map::{Access, Map, map};
use super::operands::{input, optional, output};
use super::product_calls::{Finish, emit_best};
use super::product_integer;
use super::product_thin::Thin;
use crate::blas::{Compute, Matrix, Product, ProductChoice, Round};
use crate::driver::{Address, CudaError};
use crate::lower::{Emitter, Gpu, LowerError, Value};
use crate::options::Tf32;
use crate::program::Enqueue;
use crate::tune::Problem;
use serde::{Deserialize, Serialize};
use sublet_graph::{Activation, DType};

/// Emits `Op::MatMul`.
pub fn matmul(
    emitter: &mut Emitter<'_>,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (a, b, y) = (input(inputs, 0)?, input(inputs, 1)?, output(outputs, 0)?);
    let batches = Batches::new(&a.shape, &b.shape)?;
    if !a.dtype.is_float() {
        return product_integer::matmul(emitter, &batches, a, b, [None, None], y);
    }
    if y.elements() == 0 {
        return Ok(());
    }
    let arithmetic = compute(emitter.gpu, a.dtype);
    let product = Product::dense(a.dtype, [batches.m, batches.n, batches.k], arithmetic);
    multiply(emitter, &product, &batches.axes, [a.address, b.address, y.address])
}

/// Emits `Op::Linear`.
pub fn linear(
    emitter: &mut Emitter<'_>,
    activation: Activation,
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (x, w, y) = (input(inputs, 0)?, input(inputs, 1)?, output(outputs, 0)?);
    let bias = optional(inputs, 2);
    let &[k, n] = w.shape.as_slice() else {
        return Err(LowerError::Invalid(format!("weights of shape {:?}", w.shape)));
    };
    let m = y.elements() / n.max(1);
    let mut affine = Affine::new(emitter, x.dtype, [m, n, k]);
    affine.activation = activation;
    affine.bias = bias.is_some();
    let mut operands = vec![x.address, w.address, y.address];
    operands.extend(bias.map(|bias| bias.address));
    affine.emit(emitter, operands)
}

/// Emits `Op::Gemm`.
pub fn gemm(
    emitter: &mut Emitter<'_>,
    [alpha, beta]: [f32; 2],
    [trans_a, trans_b]: [bool; 2],
    inputs: &[Option<Value>],
    outputs: &[Option<Value>],
) -> Result<(), LowerError> {
    let (a, b, y) = (input(inputs, 0)?, input(inputs, 1)?, output(outputs, 0)?);
    let c = optional(inputs, 2).filter(|_| beta != 0.0);
    let &[m, n] = y.shape.as_slice() else {
        return Err(LowerError::Invalid(format!("Gemm into shape {:?}", y.shape)));
    };
    let k = a.shape.get(usize::from(!trans_a)).copied().unwrap_or(0);
    if !a.dtype.is_float() {
        return product_integer::gemm(emitter, [alpha, beta], [trans_a, trans_b], [a, b], c, y);
    }
    let mut affine = Affine::new(emitter, a.dtype, [m, n, k]);
    affine.product.alpha = f64::from(alpha);
    if trans_a {
        affine.product.a = Matrix::columns(m);
    }
    if trans_b {
        affine.product.b = Matrix::columns(k);
    }
    let mut operands = vec![a.address, b.address, y.address];
    if let Some(c) = c {
        // Missing axes are at the front.
        let shape: Vec<usize> = std::iter::repeat_n(1, 2 - c.shape.len().min(2))
            .chain(c.shape.iter().copied())
            .collect();
        if shape == [1, n] && beta == 1.0 {
            affine.bias = true;
        } else {
            affine.product.c = Some(Matrix::rows(n));
            affine.product.beta = f64::from(beta);
        }
        let whole = shape == [m, n];
        let address = if whole || affine.bias { c.address } else { expanded(emitter, c, [m, n])? };
        operands.push(address);
    }
    affine.emit(emitter, operands)
}

/// A matrix that broadcasts, written out in scratch memory.
fn expanded(emitter: &mut Emitter<'_>, c: &Value, dims: [usize; 2]) -> Result<Address, LowerError> {
    let address = emitter.scratch(dims[0] * dims[1] * c.dtype.size());
    let strides = super::fused::broadcast_strides(c, &dims)?;
    let kernel = Map {
        name: "expand",
        dims: dims.to_vec(),
        loads: vec![Access { address: c.address, dtype: c.dtype, strides }],
        stores: vec![Access { address, dtype: c.dtype, strides: vec![dims[1] as i64, 1] }],
        body: "    y0 = x0;\n".to_owned(),
        fault: None,
    };
    map(emitter, kernel)?;
    Ok(address)
}

/// Emits one product for each index of `axes`, in as few calls as strides allow. Addresses of a, b and the result.
pub fn multiply(
    emitter: &mut Emitter<'_>,
    product: &Product,
    axes: &Axes,
    [a, b, y]: [Address; 3],
) -> Result<(), LowerError> {
    let (strided, others) = axes.split(product);
    for index in others.indices() {
        let [at_a, at_b, at_y] = others.offsets(&index);
        let mut affine = Affine::new(emitter, product.dtype, [product.m, product.n, product.k]);
        affine.product = Product {
            m: product.m * strided.rows,
            batch: strided.count,
            a: product.a.every(strided.steps[0]),
            b: product.b.every(strided.steps[1]),
            d: product.d.every(strided.steps[2]),
            ..product.clone()
        };
        let size = product.dtype.size();
        let operands = vec![
            a + (at_a * size) as Address,
            b + (at_b * size) as Address,
            y + (at_y * product.out.size()) as Address,
        ];
        affine.emit(emitter, operands)?;
    }
    Ok(())
}

/// How products of that type are computed.
pub fn compute(gpu: &Gpu, dtype: DType) -> Compute {
    match dtype {
        DType::F64 => Compute::F64,
        DType::F32 if gpu.precision.tf32 == Tf32::On => Compute::Tf32,
        _ => Compute::F32,
    }
}

/// A product, and what is done with it: `activation(alpha · a · b + beta · c + bias)`.
///
/// Operands: a, b, d, then c and the bias where there are such. One matrix when there is a bias or an activation.
pub struct Affine<'a> {
    gpu: &'a Gpu,
    pub product: Product,
    pub bias: bool,
    pub activation: Activation,
}

/// How much of it the library does.
#[derive(Clone, Serialize, Deserialize)]
pub enum AffineChoice {
    All(ProductChoice),
    /// The activation is left.
    UpToBias(ProductChoice),
    ProductAlone(ProductChoice),
    /// Nothing: kernels of our own do all.
    Thin,
}

impl<'a> Affine<'a> {
    pub fn new(emitter: &Emitter<'a>, dtype: DType, sizes: [usize; 3]) -> Affine<'a> {
        let gpu = emitter.gpu;
        let product = Product::dense(dtype, sizes, compute(gpu, dtype));
        Affine { gpu, product, bias: false, activation: Activation::None }
    }

    /// Emits it. Sums over nothing are zero.
    pub fn emit(
        mut self,
        emitter: &mut Emitter<'_>,
        operands: Vec<Address>,
    ) -> Result<(), LowerError> {
        let Product { m, n, k, batch, .. } = self.product;
        if m * n * batch == 0 {
            return Ok(());
        }
        if k == 0 {
            return self.emit_without_product(emitter, &operands);
        }
        self.product.alignment = Product::alignment_of(&operands);
        emit_best(emitter, &self, &operands)
    }

    fn emit_without_product(
        &self,
        emitter: &mut Emitter<'_>,
        operands: &[Address],
    ) -> Result<(), LowerError> {
        let p = &self.product;
        if p.c.is_some() {
            return Err(LowerError::unsupported("a product of empty matrices plus a matrix"));
        }
        for index in 0..p.batch {
            let at = operands[2] + (index * p.d.batch_step * p.out.size()) as Address;
            emitter.fill(at, 0, p.m * p.n * p.out.size());
        }
        for call in self.finish(operands, self.bias)? {
            emitter.library(call);
        }
        Ok(())
    }

    /// What the library is asked for, and how much of the work that is; more first.
    fn forms(&self) -> Vec<(Product, fn(ProductChoice) -> AffineChoice)> {
        let half = matches!(self.product.out, DType::F16 | DType::BF16);
        let round = match self.activation {
            Activation::None => Some(Round::None),
            Activation::Relu => Some(Round::Relu),
            // The library's is not exact enough for more than half precision.
            Activation::Gelu { tanh: true } if half => Some(Round::Gelu),
            _ => None,
        };
        let mut forms: Vec<(Product, fn(ProductChoice) -> AffineChoice)> = Vec::new();
        if let Some(round) = round {
            let product = Product { bias: self.bias, round, ..self.product.clone() };
            forms.push((product, AffineChoice::All));
        }
        if self.bias && round != Some(Round::None) {
            let product = Product { bias: true, ..self.product.clone() };
            forms.push((product, AffineChoice::UpToBias));
        }
        if self.bias || round.is_none() {
            forms.push((self.product.clone(), AffineChoice::ProductAlone));
        }
        forms
    }

    fn thin(&self) -> Option<Thin<'_>> {
        Thin::new(&self.product, self.bias, self.activation)
    }

    fn finish(&self, operands: &[Address], bias: bool) -> Result<Vec<Box<dyn Enqueue>>, CudaError> {
        let p = &self.product;
        let finish = Finish {
            dims: vec![p.m, p.n],
            dtype: p.out,
            y: (operands[2], vec![p.d.step, 1]),
            bias: bias.then(|| (*operands.last().expect("an address of the bias"), vec![0, 1])),
            residual: None,
            activation: self.activation,
        };
        finish.calls(self.gpu)
    }
}

impl Problem for Affine<'_> {
    type Choice = AffineChoice;

    fn key(&self) -> String {
        let blas = &self.gpu.blas;
        let form = Product { bias: self.bias, ..self.product.clone() };
        format!("{} {:?}", blas.problem(&form).key(), self.activation)
    }

    fn operands(&self) -> Vec<(usize, DType)> {
        let form = Product { bias: self.bias, ..self.product.clone() };
        self.gpu.blas.problem(&form).operands()
    }

    fn choices(&self) -> Result<Vec<AffineChoice>, CudaError> {
        let mut choices = Vec::new();
        for (product, wrap) in self.forms() {
            let offered = self.gpu.blas.problem(&product).choices()?;
            choices.extend(offered.into_iter().map(wrap));
            if !choices.is_empty() {
                break;
            }
        }
        choices.extend(self.thin().map(|_| AffineChoice::Thin));
        Ok(choices)
    }

    fn scratch_bytes(&self, choice: &AffineChoice) -> usize {
        match choice {
            AffineChoice::All(inner)
            | AffineChoice::UpToBias(inner)
            | AffineChoice::ProductAlone(inner) => {
                self.gpu.blas.problem(&self.product).scratch_bytes(inner)
            }
            AffineChoice::Thin => self.thin().map_or(0, |thin| thin.scratch_bytes()),
        }
    }

    fn calls(
        &self,
        choice: &AffineChoice,
        operands: &[Address],
        scratch: Address,
    ) -> Result<Vec<Box<dyn Enqueue>>, CudaError> {
        let wanted = std::mem::discriminant(choice);
        let inner = match choice {
            AffineChoice::All(inner)
            | AffineChoice::UpToBias(inner)
            | AffineChoice::ProductAlone(inner) => inner,
            AffineChoice::Thin => {
                let thin = self.thin();
                let thin = thin.ok_or_else(|| CudaError::unsupported("a product", "not thin"))?;
                return thin.calls(self.gpu, operands, scratch);
            }
        };
        let form = self
            .forms()
            .into_iter()
            .find(|(_, wrap)| std::mem::discriminant(&wrap(inner.clone())) == wanted);
        let Some((product, _)) = form else {
            return Err(CudaError::unsupported("a product", "this form is not offered any more"));
        };
        let count = 3 + usize::from(product.c.is_some()) + usize::from(product.bias);
        let mut calls =
            self.gpu.blas.problem(&product).calls(inner, &operands[..count], scratch)?;
        match choice {
            AffineChoice::All(_) | AffineChoice::Thin => {}
            AffineChoice::UpToBias(_) => calls.extend(self.finish(operands, false)?),
            AffineChoice::ProductAlone(_) => calls.extend(self.finish(operands, self.bias)?),
        }
        Ok(calls)
    }
}

/// Axes along which a product is repeated: size, and elements from one index to the next in a, b and the result.
/// Outermost first, merged where they go on alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Axes(Vec<(usize, [usize; 3])>);

/// The axes of a batch that one call covers.
pub struct Strided {
    /// How many times as many rows the matrix has.
    pub rows: usize,
    pub count: usize,
    pub steps: [usize; 3],
}

impl Axes {
    /// Outermost first.
    pub fn new(axes: impl IntoIterator<Item = (usize, [usize; 3])>) -> Axes {
        let mut merged: Vec<(usize, [usize; 3])> = Vec::new();
        for (count, steps) in axes {
            match merged.last_mut() {
                _ if count == 1 => {}
                Some((outer, outer_steps))
                    if (0..3).all(|at| outer_steps[at] == steps[at] * count) =>
                {
                    (*outer, *outer_steps) = (*outer * count, steps);
                }
                _ => merged.push((count, steps)),
            }
        }
        Axes(merged)
    }

    /// What one call covers; what is left takes a call for each index.
    pub fn split(&self, product: &Product) -> (Strided, Axes) {
        let mut axes = self.0.clone();
        // More rows of a, with the same b, are one larger matrix.
        let rows_of = |matrix: &Matrix| product.m * matrix.step;
        let continues = [rows_of(&product.a), 0, rows_of(&product.d)];
        let mut rows = 1;
        if !product.a.transposed
            && let Some(at) = axes.iter().position(|&(_, steps)| steps == continues)
        {
            rows = axes.remove(at).0;
        }
        let largest = (0..axes.len()).max_by_key(|&at| axes[at].0);
        let (count, steps) = largest.map_or((1, [0; 3]), |at| axes.remove(at));
        (Strided { rows, count, steps }, Axes(axes))
    }

    pub fn indices(&self) -> Vec<Vec<usize>> {
        self.0.iter().fold(vec![Vec::new()], |all, &(count, _)| {
            let longer = |index: &Vec<usize>| {
                let index = index.clone();
                (0..count).map(move |last| [&index[..], &[last]].concat()).collect::<Vec<_>>()
            };
            all.iter().flat_map(longer).collect()
        })
    }

    /// Elements from the first matrix of a, b and the result.
    pub fn offsets(&self, index: &[usize]) -> [usize; 3] {
        let sum = |at: usize| self.0.iter().zip(index).map(|((_, steps), &i)| steps[at] * i).sum();
        [sum(0), sum(1), sum(2)]
    }
}

/// The matrices of a product as `numpy.matmul` sees them: `[m, k]` by `[k, n]`, with broadcast leading axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Batches {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub axes: Axes,
}

impl Batches {
    /// Of dense row-major operands.
    pub fn new(a: &[usize], b: &[usize]) -> Result<Batches, LowerError> {
        let mismatch = || LowerError::Invalid(format!("a product of shapes {a:?} and {b:?}"));
        let (a_lead, m, k) = match a {
            [] => return Err(mismatch()),
            [k] => (&a[..0], 1, *k),
            [lead @ .., m, k] => (lead, *m, *k),
        };
        let (b_lead, b_k, n) = match b {
            [] => return Err(mismatch()),
            [k] => (&b[..0], *k, 1),
            [lead @ .., k, n] => (lead, *k, *n),
        };
        if k != b_k {
            return Err(mismatch());
        }
        let rank = a_lead.len().max(b_lead.len());
        let size = |lead: &[usize], axis: usize| {
            (axis + lead.len()).checked_sub(rank).map_or(1, |axis| lead[axis])
        };
        let mut steps = [m * k, k * n, m * n];
        let mut axes: Vec<(usize, [usize; 3])> = Vec::new();
        // From the innermost axis, so that steps multiply up.
        for axis in (0..rank).rev() {
            let (in_a, in_b) = (size(a_lead, axis), size(b_lead, axis));
            let count = if in_a == 1 { in_b } else { in_a };
            if in_b != 1 && in_b != count {
                return Err(mismatch());
            }
            let step = |own: usize, step: usize| if own == 1 { 0 } else { step };
            axes.push((count, [step(in_a, steps[0]), step(in_b, steps[1]), steps[2]]));
            steps = [steps[0] * in_a, steps[1] * in_b, steps[2] * count];
        }
        axes.reverse();
        Ok(Batches { m, k, n, axes: Axes::new(axes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(a: &[usize], b: &[usize]) -> Vec<(usize, [usize; 3])> {
        Batches::new(a, b).unwrap().axes.0
    }

    #[test]
    fn leading_axes_merge_where_they_go_on_alike() {
        assert_eq!(axes(&[2, 3, 4, 5], &[2, 3, 5, 6]), [(6, [20, 30, 24])]);
        assert_eq!(axes(&[2, 3, 4, 5], &[5, 6]), [(6, [20, 0, 24])]);
        assert_eq!(axes(&[2, 1, 4, 5], &[3, 5, 6]), [(2, [20, 0, 72]), (3, [0, 30, 24])]);
        assert_eq!(axes(&[5], &[5]), []);
        assert!(Batches::new(&[2, 4, 5], &[3, 5, 6]).is_err());
        assert!(Batches::new(&[4, 5], &[4, 5]).is_err());
    }

    #[test]
    fn a_shared_right_operand_makes_one_larger_matrix() {
        let product = Product::dense(DType::F32, [4, 6, 5], Compute::F32);
        let axes = Batches::new(&[2, 3, 4, 5], &[5, 6]).unwrap().axes;
        let (strided, others) = axes.split(&product);
        assert_eq!((strided.rows, strided.count), (6, 1));
        assert_eq!(others.indices(), [Vec::<usize>::new()]);
    }

    #[test]
    fn what_one_call_cannot_cover_takes_several() {
        let product = Product::dense(DType::F32, [4, 6, 5], Compute::F32);
        let axes = Batches::new(&[2, 1, 4, 5], &[3, 5, 6]).unwrap().axes;
        let (strided, others) = axes.split(&product);
        assert_eq!((strided.rows, strided.count, strided.steps), (1, 3, [0, 30, 24]));
        assert_eq!(others.indices(), [vec![0], vec![1]]);
        assert_eq!(others.offsets(&[1]), [20, 0, 72]);
    }
}
