//! Products of 8-bit integers with exact 32-bit sums: MatMulInteger, QLinearMatMul, and what convolutions share with them.

use super::matmul::Batches;
use super::operands::{floats, input, invalid, optional, output};
use super::parallel;
use super::product::{Mat, Product};
use super::simd::vectorise;
use crate::{KernelError, View, ViewMut};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, QuantParams};
use sublet_graph::DType;

/// Computes [`sublet_graph::Op::MatMulInteger`]: a, b, zero points of a (one, or one per row), zero points of b (one,
/// or one per column).
pub fn matmul(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (a, b) = (input(inputs, 0)?, input(inputs, 1)?);
    let out = output(outputs, 0)?;
    multiply(a, b, optional(inputs, 2), optional(inputs, 3), out.values())
}

/// Computes [`sublet_graph::Op::QLinearMatMul`]: a, its scale and zero point, b, its scale and zero point, the
/// result's scale and zero point.
pub fn quantised_matmul(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let (a, b) = (input(inputs, 0)?, input(inputs, 3)?);
    let zero = optional(inputs, 7);
    let (a_scale, b_scale, scale) = (input(inputs, 1)?, input(inputs, 4)?, input(inputs, 6)?);
    let out = output(outputs, 0)?;
    let mut sums = vec![0i32; out.len()];
    multiply(a, b, optional(inputs, 2), optional(inputs, 5), &mut sums)?;
    let cols = b.shape.last().copied().filter(|_| b.rank() > 1).unwrap_or(1);
    if a_scale.len() == 1 || b_scale.len() != 1 {
        let scales = Scales::new(a_scale, b_scale, scale, cols)?;
        return requantise(&sums, 1, cols, &scales, zero, out);
    }
    let rows = a_scale.len();
    let scales = Scales::new(b_scale, a_scale, scale, rows)?;
    requantise(&sums, cols, rows, &scales, zero, out)
}

fn multiply(
    a: View<'_>,
    b: View<'_>,
    a_zero: Option<View<'_>>,
    b_zero: Option<View<'_>>,
    out: &mut [i32],
) -> Result<(), KernelError> {
    let Batches { m, k, n, pairs } = Batches::new(a.shape, b.shape)?;
    let pairs = if pairs.is_empty() { vec![(0, 0)] } else { pairs };
    if out.len() != pairs.len() * m * n {
        return Err(invalid("a result of another size than the product"));
    }
    // Zero points lie along the rows of a and along the columns of b.
    let rows = a.len() / k.max(1);
    let a_zeros = per_channel(a_zero, if a_zero.is_some_and(|z| z.len() == m) { m } else { rows })?;
    let b_zeros = per_channel(b_zero, n)?;
    if k <= DEPTH_EXACT
        && b_zeros.len() <= n.max(1)
        && let Some(product) = Bytes::new(a, b, &a_zeros, &b_zeros)
    {
        return product.run((m, k, n), &pairs, out);
    }
    let a = widened(a, k.max(1), &a_zeros)?;
    let columns = n.max(1);
    let mut b = widened(b, usize::MAX, &[0])?;
    for row in b.chunks_mut(columns) {
        row.iter_mut().zip(b_zeros.iter().cycle()).for_each(|(b, zero)| *b -= zero);
    }
    parallel::rows(out, m * n, m * n * k, |matrix, out| {
        let (in_a, in_b) = pairs[matrix];
        let (a, b) = (Mat::new(&a[in_a * m * k..], m, k), Mat::new(&b[in_b * k * n..], k, n));
        i32::product(out, a, b, None).expect("sizes were checked");
    });
    Ok(())
}

/// Beyond so many products, sums could leave 32 bits in intermediate corrections.
const DEPTH_EXACT: usize = 1 << 14;

/// Operands in the types that `rten-gemm` multiplies: unsigned on the left, signed on the right.
struct Bytes {
    a: Vec<u8>,
    b: Vec<i8>,
    a_zeros: Vec<u8>,
    b_zeros: Vec<i8>,
}

impl Bytes {
    /// `None` where the machine's instructions could saturate.
    fn new(a: View<'_>, b: View<'_>, a_zeros: &[i32], b_zeros: &[i32]) -> Option<Self> {
        let executor = GemmExecutor::<u8, i8, i32>::new();
        let bytes = |dtype: DType| matches!(dtype, DType::U8 | DType::I8);
        if executor.may_saturate() || !bytes(a.dtype) || !bytes(b.dtype) {
            return None;
        }
        // Flipping the highest bit moves between the types and shifts by 128, as the zero points do too.
        let (a_flip, a_shift) = if a.dtype == DType::I8 { (0x80, 128) } else { (0, 0) };
        let (b_flip, b_shift) = if b.dtype == DType::U8 { (0x80, 128) } else { (0, 0) };
        Some(Bytes {
            a: a.bytes.iter().map(|&x| x ^ a_flip).collect(),
            b: b.bytes.iter().map(|&x| (x ^ b_flip) as i8).collect(),
            a_zeros: a_zeros.iter().map(|&zero| (zero + a_shift) as u8).collect(),
            b_zeros: b_zeros.iter().map(|&zero| (zero - b_shift) as i8).collect(),
        })
    }

    fn run(
        &self,
        (m, k, n): (usize, usize, usize),
        pairs: &[(usize, usize)],
        out: &mut [i32],
    ) -> Result<(), KernelError> {
        if out.is_empty() || k == 0 {
            out.fill(0);
            return Ok(());
        }
        let executor = GemmExecutor::<u8, i8, i32>::new();
        let spread = |zeros: &[u8], at: usize| -> Vec<u8> {
            (0..m)
                .map(
                    |row| if zeros.len() == 1 { zeros[0] } else { zeros[(at + row) % zeros.len()] },
                )
                .collect()
        };
        let b_zeros: Vec<i8> = (0..n).map(|col| self.b_zeros[col % self.b_zeros.len()]).collect();
        for (&(in_a, in_b), out) in pairs.iter().zip(out.chunks_mut(m * n)) {
            let a = rten_tensor::Matrix::from_data([m, k], &self.a[in_a * m * k..][..m * k]);
            let b = rten_tensor::Matrix::from_data([k, n], &self.b[in_b * k * n..][..k * n]);
            let a_zeros = spread(&self.a_zeros, in_a * m);
            let options = GemmOptions {
                a_quant: Some(QuantParams { zero_point: &a_zeros }),
                b_quant: Some(QuantParams { zero_point: &b_zeros }),
                ..GemmOptions::default()
            };
            executor
                .gemm(out, GemmInputA::Unpacked(a), GemmInputB::Unpacked(b), options)
                .map_err(|error| invalid(format!("integer product: {error}")))?;
        }
        Ok(())
    }
}

/// The scales of a quantised product, one factor per channel: `left · right / result`.
pub struct Scales(Vec<f32>);

impl Scales {
    /// `right` has one value, or one per channel.
    pub fn new(
        left: View<'_>,
        right: View<'_>,
        result: View<'_>,
        channels: usize,
    ) -> Result<Self, KernelError> {
        let (left, right, result) = (floats(left)?, floats(right)?, floats(result)?);
        let (&[left], &[result]) = (&left[..], &result[..]) else {
            return Err(invalid("more than one scale where one is needed"));
        };
        if right.len() != 1 && right.len() != channels {
            return Err(invalid(format!("{} scales for {channels} channels", right.len())));
        }
        Ok(Scales(right.iter().map(|right| left * right / result).collect()))
    }
}

/// Rounds `sums` to the output's 8-bit type: `round(sum · scale) + zero`. Each channel is `run` elements long.
pub fn requantise(
    sums: &[i32],
    run: usize,
    channels: usize,
    scales: &Scales,
    zero: Option<View<'_>>,
    out: &mut ViewMut<'_>,
) -> Result<(), KernelError> {
    let zeros = per_channel(zero, 1)?;
    let zero = zeros[0] as f32;
    let scale = |channel: usize| scales.0[if scales.0.len() == 1 { 0 } else { channel }];
    macro_rules! round {
        ($T:ty) => {
            for (index, (out, sums)) in
                out.values::<$T>().chunks_mut(run.max(1)).zip(sums.chunks(run.max(1))).enumerate()
            {
                let scale = scale(index % channels.max(1));
                vectorise(
                    #[inline(always)]
                    || {
                        for (out, &sum) in out.iter_mut().zip(sums) {
                            *out = ((sum as f32 * scale).round_ties_even() + zero) as $T;
                        }
                    },
                );
            }
        };
    }
    match out.dtype {
        DType::U8 => round!(u8),
        DType::I8 => round!(i8),
        other => return Err(KernelError::Unsupported(format!("a quantised product in {other}"))),
    }
    Ok(())
}

/// Zero points: one, or one per channel; zero when there is none.
pub fn per_channel(zero: Option<View<'_>>, channels: usize) -> Result<Vec<i32>, KernelError> {
    let Some(zero) = zero else { return Ok(vec![0]) };
    let zeros = widened(zero, usize::MAX, &[0])?;
    if zeros.len() != 1 && zeros.len() != channels {
        return Err(invalid(format!("{} zero points for {channels} channels", zeros.len())));
    }
    Ok(zeros)
}

/// The elements as 32-bit integers less their zero points, each of which holds for `run` elements.
pub fn widened(view: View<'_>, run: usize, zeros: &[i32]) -> Result<Vec<i32>, KernelError> {
    let mut out: Vec<i32> = match view.dtype {
        DType::U8 => view.bytes.iter().map(|&x| i32::from(x)).collect(),
        DType::I8 => view.values::<i8>().iter().map(|&x| i32::from(x)).collect(),
        DType::U16 => view.values::<u16>().iter().map(|&x| i32::from(x)).collect(),
        DType::I16 => view.values::<i16>().iter().map(|&x| i32::from(x)).collect(),
        DType::I32 => view.values::<i32>().to_vec(),
        other => return Err(KernelError::Unsupported(format!("{other} as a quantised type"))),
    };
    for (part, zero) in out.chunks_mut(run.max(1)).zip(zeros.iter().cycle()) {
        part.iter_mut().for_each(|x| *x -= zero);
    }
    Ok(out)
}
