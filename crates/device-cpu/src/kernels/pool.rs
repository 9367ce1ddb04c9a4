//! Pooling: maxima, means and norms over sliding windows or over whole images.

use super::element::{Arithmetic, Real, unsupported_type, with_real};
use super::operands::{input, invalid, output};
use super::parallel;
use super::reduce::Bounded;
use super::simd::{max_of, sum_of, vectorise_for};
use super::window::Window;
use crate::{KernelError, View, ViewMut};
use sublet_graph::shape::pool_geometry;
use sublet_graph::{DType, Pool};

/// Computes [`sublet_graph::Op::MaxPool`].
pub fn max(
    pool: &Pool,
    column_major: bool,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let (out, rest) = outputs.split_first_mut().ok_or_else(|| invalid("no output"))?;
    let indices = rest.first_mut().and_then(Option::as_mut);
    let shape = match (&*out, &indices) {
        (Some(out), _) => out.shape,
        (None, Some(indices)) => indices.shape,
        (None, None) => return Ok(()),
    };
    let window = Window::new(&pool_geometry(pool, x.shape)?, shape)?;
    let out = out.as_mut();
    match x.dtype {
        DType::F32 => max_of_windows::<f32>(&window, column_major, x, out, indices),
        DType::F64 => max_of_windows::<f64>(&window, column_major, x, out, indices),
        DType::I8 => max_of_windows::<i8>(&window, column_major, x, out, indices),
        DType::U8 => max_of_windows::<u8>(&window, column_major, x, out, indices),
        other => return unsupported_type("MaxPool", other),
    }
    Ok(())
}

/// Computes [`sublet_graph::Op::AveragePool`].
pub fn average(
    pool: &Pool,
    count_include_pad: bool,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    let window = Window::new(&pool_geometry(pool, x.shape)?, out.shape)?;
    // How many elements each output's window has along each axis.
    let counts: [Vec<usize>; 3] = std::array::from_fn(|axis| {
        let count = |out| {
            if count_include_pad {
                window.inside_padding(axis, out)
            } else {
                window.inside(axis, out).len()
            }
        };
        (0..window.output[axis]).map(count).collect()
    });
    let [_, high, wide] = window.output;
    with_real!("AveragePool", x.dtype, T => {
        slide::<T>(&window, x.values(), out.values(), T::ZERO, |sum, x| sum + x, |line, row| {
            let (z, y) = (line / high, line % high);
            for (out, columns) in row.iter_mut().zip(&counts[2][..wide]) {
                *out /= T::from_f64((counts[0][z] * counts[1][y] * columns) as f64);
            }
        });
        Ok(())
    })
}

/// Computes [`sublet_graph::Op::LpPool`].
pub fn lp(
    pool: &Pool,
    p: i64,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?;
    let window = Window::new(&pool_geometry(pool, x.shape)?, out.shape)?;
    with_real!("LpPool", x.dtype, T => {
        let norm = Norm::<T>::new(p);
        slide::<T>(
            &window,
            x.values(),
            out.values(),
            T::ZERO,
            |sum, x| sum + norm.power(x),
            |_, row| row.iter_mut().for_each(|out| *out = norm.root(*out)),
        );
        Ok(())
    })
}

/// Computes [`sublet_graph::Op::GlobalAveragePool`].
pub fn global_average(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    with_real!("GlobalAveragePool", x.dtype, T => whole::<T>(x, outputs, #[inline(always)] |plane| {
        sum_of(plane, #[inline(always)] |x| x) / T::from_f64(plane.len() as f64)
    }))
}

/// Computes [`sublet_graph::Op::GlobalMaxPool`].
pub fn global_max(
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    with_real!("GlobalMaxPool", x.dtype, T => {
        whole::<T>(x, outputs, max_of)
    })
}

/// Computes [`sublet_graph::Op::GlobalLpPool`].
pub fn global_lp(
    p: i64,
    inputs: &[Option<View<'_>>],
    outputs: &mut [Option<ViewMut<'_>>],
) -> Result<(), KernelError> {
    let x = input(inputs, 0)?;
    with_real!("GlobalLpPool", x.dtype, T => {
        let norm = Norm::<T>::new(p);
        whole::<T>(x, outputs, #[inline(always)] |plane| {
            norm.root(sum_of(plane, #[inline(always)] |x| norm.power(x)))
        })
    })
}

/// The norm `(Σ |x|ᵖ)^(1/p)`.
pub struct Norm<T> {
    p: i64,
    exponent: T,
}

impl<T: Real> Norm<T> {
    pub fn new(p: i64) -> Self {
        Norm { p, exponent: T::from_f64(p as f64) }
    }

    #[inline(always)]
    pub fn power(&self, x: T) -> T {
        match self.p {
            1 => x.absolute(),
            2 => x * x,
            _ => x.absolute().powf(self.exponent),
        }
    }

    #[inline(always)]
    pub fn root(&self, sum: T) -> T {
        match self.p {
            1 => sum,
            2 => sum.sqrt(),
            _ => sum.powf(T::ONE / self.exponent),
        }
    }
}

/// One result per channel of each image.
fn whole<T: Real>(
    x: View<'_>,
    outputs: &mut [Option<ViewMut<'_>>],
    reduce: impl Fn(&[T]) -> T + Sync,
) -> Result<(), KernelError> {
    let out = output(outputs, 0)?;
    if x.rank() < 2 {
        return Err(invalid(format!("global pooling of shape {:?}", x.shape)));
    }
    let plane = x.shape[2..].iter().product::<usize>();
    let x = x.values::<T>();
    parallel::rows(out.values::<T>(), 1, plane, |index, out| {
        let x = &x[index * plane..][..plane];
        out[0] = vectorise_for::<T, _>(
            #[inline(always)]
            || reduce(x),
        );
    });
    Ok(())
}

fn max_of_windows<T: Bounded>(
    window: &Window,
    column_major: bool,
    x: View<'_>,
    out: Option<&mut ViewMut<'_>>,
    indices: Option<&mut ViewMut<'_>>,
) {
    let x = x.values::<T>();
    if let Some(out) = out {
        slide(window, x, out.values(), T::LOWEST, T::larger, |_, _| {});
    }
    if let Some(indices) = indices {
        places_of_max(window, column_major, x, indices.values());
    }
}

/// Folds the elements of every window with `fold`, then hands each row of results to `finish(row, results)`.
fn slide<T: Arithmetic>(
    window: &Window,
    x: &[T],
    out: &mut [T],
    start: T,
    fold: impl Fn(T, T) -> T + Sync,
    finish: impl Fn(usize, &mut [T]) + Sync,
) {
    let (inputs, outputs) = (window.inputs(), window.outputs());
    let [_, out_height, out_width] = window.output;
    let [_, in_height, in_width] = window.input;
    parallel::rows(out, outputs, outputs * window.taps(), |plane, out| {
        let x = &x[plane * inputs..][..inputs];
        vectorise_for::<T, _>(
            #[inline(always)]
            || {
                for (line, row) in out.chunks_mut(out_width).enumerate() {
                    row.fill(start);
                    let (z, y) = (line / out_height, line % out_height);
                    for tap_z in window.inside(0, z) {
                        for tap_y in window.inside(1, y) {
                            let source =
                                window.source(0, z, tap_z) * in_height + window.source(1, y, tap_y);
                            let source = &x[source * in_width..][..in_width];
                            fold_row(window, source, row, &fold);
                        }
                    }
                    finish(line, row);
                }
            },
        );
    });
}

/// Folds one row of inputs into one row of results.
#[inline(always)]
fn fold_row<T: Arithmetic>(window: &Window, x: &[T], row: &mut [T], fold: &impl Fn(T, T) -> T) {
    for tap in 0..window.kernel[2] {
        let covered = window.covered(2, tap);
        if covered.is_empty() {
            continue;
        }
        let from = &x[window.source(2, covered.start, tap)..];
        let into = &mut row[covered];
        if window.stride[2] == 1 {
            into.iter_mut().zip(from).for_each(|(out, &x)| *out = fold(*out, x));
        } else {
            let from = from.iter().step_by(window.stride[2]);
            into.iter_mut().zip(from).for_each(|(out, &x)| *out = fold(*out, x));
        }
    }
}

/// Where the first maximum of each window stands in the flattened input; `column_major` counts the elements of an
/// image with its first axis fastest.
fn places_of_max<T: Arithmetic>(window: &Window, column_major: bool, x: &[T], out: &mut [i64]) {
    let (inputs, outputs) = (window.inputs(), window.outputs());
    let [_, out_height, out_width] = window.output;
    let [depth, height, width] = window.input;
    let [z_step, y_step, x_step] =
        if column_major { [1, depth, depth * height] } else { [height * width, width, 1] };
    parallel::rows(out, outputs, outputs * window.taps(), |plane, out| {
        let values = &x[plane * inputs..][..inputs];
        for (position, out) in out.iter_mut().enumerate() {
            let at = [
                position / out_width / out_height,
                position / out_width % out_height,
                position % out_width,
            ];
            let mut best: Option<(T, usize)> = None;
            for tap_z in window.inside(0, at[0]) {
                for tap_y in window.inside(1, at[1]) {
                    for tap_x in window.inside(2, at[2]) {
                        let z = window.source(0, at[0], tap_z);
                        let y = window.source(1, at[1], tap_y);
                        let x = window.source(2, at[2], tap_x);
                        let value = values[(z * height + y) * width + x];
                        if best.is_none_or(|(largest, _)| value > largest) {
                            best = Some((value, z * z_step + y * y_step + x * x_step));
                        }
                    }
                }
            }
            *out = (plane * inputs + best.map_or(0, |(_, place)| place)) as i64;
        }
    });
}
