//! Convolution and pooling.

use super::InferError;
use super::context::{Context, Types, one, tensor};
use crate::shape::{self, Window, conv_geometry, conv_transpose_geometry, invalid, pool_geometry};
use crate::{AutoPad, Conv, DType, Pool};

/// Inputs: x, w, bias, residual.
pub(super) fn conv(conv: &Conv, context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 1, 2, 3])?;
    let shape = conv_shape(conv, context, 0, 1, 2)?;
    if let (Some(shape), Some(residual)) = (&shape, context.shape(3))
        && residual != shape.as_slice()
    {
        return invalid(format!("residual {residual:?} differs from the result {shape:?}"));
    }
    one(dtype, shape)
}

pub(super) fn conv_integer(conv: &Conv, context: &Context) -> Types {
    for index in [0, 1] {
        context.expect_dtype(index, &[DType::I8, DType::U8])?;
    }
    context.same_dtype(&[0, 2])?;
    context.same_dtype(&[1, 3])?;
    one(DType::I32, conv_shape(conv, context, 0, 1, usize::MAX)?)
}

/// Inputs: x, its scale and zero point, w, its scale and zero point, the result's scale and zero point, bias.
pub(super) fn qlinear_conv(conv: &Conv, context: &Context) -> Types {
    context.same_dtype(&[0, 2])?;
    context.same_dtype(&[3, 5])?;
    context.expect_dtype(8, &[DType::I32])?;
    one(context.dtype(7)?, conv_shape(conv, context, 0, 3, 8)?)
}

/// The result of convolving input `x` with weights at input `w` and bias at input `bias`.
fn conv_shape(
    conv: &Conv,
    context: &Context,
    x: usize,
    w: usize,
    bias: usize,
) -> Result<Option<Vec<usize>>, InferError> {
    context.need(w)?;
    let x = context.ranked(x, 3..=usize::MAX)?;
    let w = context.ranked(w, 3..=usize::MAX)?;
    let (Some(x), Some(w)) = (x, w) else { return Ok(None) };
    let channels = w[1].checked_mul(conv.group);
    if conv.group == 0 || channels != Some(x[1]) || w[0] % conv.group != 0 {
        return invalid(format!("{} groups do not fit input {x:?} and weights {w:?}", conv.group));
    }
    if let Some(bias) = context.shape(bias).filter(|&bias| bias != [w[0]]) {
        return invalid(format!("bias {bias:?} does not fit weights {w:?}"));
    }
    Ok(Some(output_shape(x[0], w[0], &conv_geometry(conv, x, w)?)))
}

pub(super) fn conv_transpose(
    conv: &Conv,
    output_padding: &[usize],
    wanted: Option<&[usize]>,
    context: &Context,
) -> Types {
    let dtype = context.same_dtype(&[0, 1, 2])?;
    context.need(1)?;
    let x = context.ranked(0, 3..=usize::MAX)?;
    let w = context.ranked(1, 3..=usize::MAX)?;
    let (Some(x), Some(w)) = (x, w) else { return one(dtype, None) };
    let outputs = w[1].checked_mul(conv.group);
    let Some(outputs) =
        outputs.filter(|_| conv.group > 0 && x[1] == w[0] && w[0] % conv.group == 0)
    else {
        return invalid(format!("{} groups do not fit input {x:?} and weights {w:?}", conv.group));
    };
    if let Some(bias) = context.shape(2).filter(|&bias| bias != [outputs]) {
        return invalid(format!("bias {bias:?} does not fit {outputs} channels"));
    }
    let windows = conv_transpose_geometry(conv, output_padding, wanted, x, w)?;
    one(dtype, Some(output_shape(x[0], outputs, &windows)))
}

pub(super) fn max_pool(pool: &Pool, context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let shape = pool_shape(pool, context)?;
    Ok(vec![tensor(dtype, shape.clone()), tensor(DType::I64, shape)])
}

pub(super) fn pool(pool: &Pool, context: &Context) -> Types {
    one(context.dtype(0)?, pool_shape(pool, context)?)
}

fn pool_shape(pool: &Pool, context: &Context) -> Result<Option<Vec<usize>>, InferError> {
    let Some(x) = context.ranked(0, 3..=usize::MAX)? else { return Ok(None) };
    Ok(Some(output_shape(x[0], x[1], &pool_geometry(pool, x)?)))
}

pub(super) fn global_pool(context: &Context) -> Types {
    let dtype = context.dtype(0)?;
    let shape = context.ranked(0, 2..=usize::MAX)?.map(|x| {
        let mut shape = vec![1; x.len()];
        shape[..2].copy_from_slice(&x[..2]);
        shape
    });
    one(dtype, shape)
}

/// Inputs: x, indices, output shape (optional).
pub(super) fn max_unpool(
    kernel: &[usize],
    strides: &[usize],
    pads: &[usize],
    context: &Context,
) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    context.expect_dtype(1, &[DType::I64])?;
    if let (Some(x), Some(indices)) = (context.shape(0), context.shape(1))
        && x != indices
    {
        return invalid(format!("indices {indices:?} differ from the input {x:?}"));
    }
    let Some(x) = context.ranked(0, 3..=usize::MAX)? else { return one(dtype, None) };
    if context.get(2).is_some() {
        let Some(wanted) = context.i64s(2)? else { return one(dtype, None) };
        let wanted = shape::dims(&wanted)?;
        if wanted.len() != x.len() || wanted[..2] != x[..2] {
            return invalid(format!("output shape {wanted:?} does not fit input {x:?}"));
        }
        return one(dtype, Some(wanted));
    }
    let conv = Conv {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: Vec::new(),
        pads: pads.to_vec(),
        auto_pad: AutoPad::Explicit,
        group: 1,
    };
    let weight = [&[1, 1], kernel].concat();
    let windows = conv_transpose_geometry(&conv, &[], None, x, &weight)?;
    one(dtype, Some(output_shape(x[0], x[1], &windows)))
}

/// Inputs: columns `[n, c · block, positions]`, image shape, block shape.
pub(super) fn col2im(
    dilations: &[usize],
    pads: &[usize],
    strides: &[usize],
    context: &Context,
) -> Types {
    let dtype = context.dtype(0)?;
    context.need(1)?;
    context.need(2)?;
    let columns = context.ranked(0, 3..=3)?;
    let (image, block) = (context.i64s(1)?, context.i64s(2)?);
    let (Some(columns), Some(image), Some(block)) = (columns, image, block) else {
        return one(dtype, None);
    };
    let (image, block) = (shape::dims(&image)?, shape::dims(&block)?);
    let conv = Conv {
        kernel: Vec::new(),
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        pads: pads.to_vec(),
        auto_pad: AutoPad::Explicit,
        group: 1,
    };
    // The columns are those that a convolution of this image would read.
    let windows =
        conv_geometry(&conv, &[&[1, 1], &image[..]].concat(), &[&[1, 1], &block[..]].concat())?;
    let positions: Vec<usize> = windows.iter().map(|window| window.output).collect();
    let block_len = shape::len(&block)?;
    if shape::len(&positions)? != columns[2] || columns[1] % block_len != 0 {
        return invalid(format!(
            "columns {columns:?} are not of image {image:?} in blocks {block:?}"
        ));
    }
    one(dtype, Some([&[columns[0], columns[1] / block_len], &image[..]].concat()))
}

/// Inputs: x `[n, c, h, w]`, regions `[r, 4]`, batch indices `[r]`.
pub(super) fn roi_align(output: [usize; 2], context: &Context) -> Types {
    let dtype = context.same_dtype(&[0, 1])?;
    context.need(2)?;
    context.expect_dtype(2, &[DType::I64, DType::I32])?;
    let x = context.ranked(0, 4..=4)?;
    let regions = context.ranked(1, 2..=2)?;
    let batch = context.ranked(2, 1..=1)?;
    if let Some(regions) = regions
        && (regions[1] != 4 || batch.is_some_and(|batch| batch[0] != regions[0]))
    {
        return invalid(format!("regions {regions:?} and batch indices {batch:?} do not fit"));
    }
    let shape = x.zip(regions).map(|(x, regions)| vec![regions[0], x[1], output[0], output[1]]);
    one(dtype, shape)
}

fn output_shape(batch: usize, channels: usize, windows: &[Window]) -> Vec<usize> {
    let spatial = windows.iter().map(|window| window.output);
    [batch, channels].into_iter().chain(spatial).collect()
}
