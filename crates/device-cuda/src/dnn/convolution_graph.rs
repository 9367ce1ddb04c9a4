//! A convolution as a graph of operations.
//!
//! The library's engines for fused convolutions know one pattern: convolution, plus a residual, plus a bias, then an
//! activation. Where nothing is to be added, that pattern still runs with a residual whose factor is zero.

use super::Dnn;
use super::convolution::{Convolution, Direction, Fused, Layout};
use super::descriptor::Descriptor;
use super::graph::{Graph, Making, Part};
use crate::driver::CudaError;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind, cudnnConvolutionMode_t as ConvolutionMode,
    cudnnPointwiseMode_t as Pointwise,
};

const X: i64 = 1;
const W: i64 = 2;
const Y: i64 = 3;
const BIAS: i64 = 4;
const RESIDUAL: i64 = 5;

/// `unused_residual`: with a residual whose factor is zero.
pub fn graph(dnn: &Dnn, c: &Convolution, unused_residual: bool) -> Result<Graph, CudaError> {
    let mut making = Making::new(c.dtype, c.alignment)?;
    let mut operands = vec![X, W, Y];
    let x = making.stored(X, &c.x)?;
    let w = making.stored(W, &c.w)?;
    match c.fused {
        None => {
            let y = making.stored(Y, &c.y)?;
            convolve(&mut making, c, [x, w, y])?;
        }
        Some(fused) => {
            operands.push(BIAS);
            let has_residual = fused.residual || unused_residual;
            operands.extend(has_residual.then_some(RESIDUAL));
            let product = making.inner(&c.y)?;
            convolve(&mut making, c, [x, w, product])?;
            finish(&mut making, c, fused, product, unused_residual)?;
        }
    }
    making.finished(dnn, operands)
}

fn convolve(making: &mut Making, c: &Convolution, [x, w, y]: [Part; 3]) -> Result<(), CudaError> {
    let description = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
        .with_code(
            Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE,
            Type::CUDNN_TYPE_DATA_TYPE,
            making.compute as u32,
        )?
        .with_code(
            Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE,
            Type::CUDNN_TYPE_CONVOLUTION_MODE,
            ConvolutionMode::CUDNN_CROSS_CORRELATION as u32,
        )?
        .with_i64s(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, &[c.strides.len() as i64])?
        .with_i64s(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, &c.pad_begin)?
        .with_i64s(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, &c.pad_end)?
        .with_i64s(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, &c.strides)?
        .with_i64s(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, &c.dilations)?
        .finalize()?;
    let description = making.keep(description);
    let (kind, [of, x_name, w_name, y_name], [alpha, beta]) = match c.direction {
        Direction::Forward => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
            ],
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
            ],
        ),
        Direction::BackwardData => (
            Kind::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
            ],
            [
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                Name::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
            ],
        ),
    };
    let operation = Descriptor::new(kind)?
        .with_descriptors(of, &[making.part(description)])?
        .with_descriptors(x_name, &[making.part(x)])?
        .with_descriptors(w_name, &[making.part(w)])?
        .with_descriptors(y_name, &[making.part(y)])?;
    let operation = making.factor(operation, alpha, 1.0)?;
    let operation = making.factor(operation, beta, 0.0)?.finalize()?;
    making.operation(operation);
    Ok(())
}

/// Residual, bias and activation after the convolution.
fn finish(
    making: &mut Making,
    c: &Convolution,
    fused: Fused,
    product: Part,
    unused_residual: bool,
) -> Result<(), CudaError> {
    let mut value = product;
    if fused.residual || unused_residual {
        let residual = making.stored(RESIDUAL, &c.y)?;
        let sum = making.inner(&c.y)?;
        let factor = if unused_residual { 0.0 } else { 1.0 };
        making.pointwise(Pointwise::CUDNN_POINTWISE_ADD, value, &[(residual, factor)], sum)?;
        value = sum;
    }
    let channels = c.y.sizes[1];
    let mut sizes = vec![1; c.y.sizes.len()];
    sizes[1] = channels;
    let mut steps = vec![1; sizes.len()];
    steps[0] = channels;
    if c.y.steps[1] == 1 {
        // As channels-last memory has it; for sizes of one, steps mean nothing.
        steps[2..].fill(channels);
    }
    let bias = making.stored(BIAS, &Layout { sizes, steps })?;
    let sum = if fused.relu { making.inner(&c.y)? } else { making.stored(Y, &c.y)? };
    making.pointwise(Pointwise::CUDNN_POINTWISE_ADD, value, &[(bias, 1.0)], sum)?;
    if fused.relu {
        let y = making.stored(Y, &c.y)?;
        making.pointwise(Pointwise::CUDNN_POINTWISE_RELU_FWD, sum, &[], y)?;
    }
    Ok(())
}
