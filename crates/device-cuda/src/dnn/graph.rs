//! The graph of operations that the library is given.
//!
//! Its engines for fused convolutions know one pattern: convolution, plus a residual, plus a bias, then an activation.
//! Where nothing is to be added, that pattern still runs with a residual whose factor is zero.

use super::Dnn;
use super::convolution::{Convolution, Direction, Fused, Layout};
use super::descriptor::Descriptor;
use crate::driver::CudaError;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind, cudnnConvolutionMode_t as ConvolutionMode,
    cudnnDataType_t as DataType, cudnnPointwiseMode_t as Pointwise,
};
use sublet_graph::DType;

/// A finished description; keeps alive what it refers to.
pub struct Graph {
    pub graph: Descriptor,
    /// Names of the operands in the graph, in the order of [`Convolution`]'s operands.
    pub operands: Vec<i64>,
    _parts: Vec<Descriptor>,
}

const X: i64 = 1;
const W: i64 = 2;
const Y: i64 = 3;
const BIAS: i64 = 4;
const RESIDUAL: i64 = 5;
/// What passes between operations is numbered from here.
const INNER: i64 = 10;

impl Graph {
    /// `unused_residual`: with a residual whose factor is zero.
    pub fn new(
        dnn: &Dnn,
        convolution: &Convolution,
        unused_residual: bool,
    ) -> Result<Graph, CudaError> {
        let mut making = Making {
            dtype: data_type(convolution.dtype)?,
            compute: compute_type(convolution.dtype),
            alignment: convolution.alignment as i64,
            parts: Vec::new(),
            operations: Vec::new(),
        };
        let c = convolution;
        let mut operands = vec![X, W, Y];
        let x = making.tensor(X, &c.x, true)?;
        let w = making.tensor(W, &c.w, true)?;
        match c.fused {
            None => {
                let y = making.tensor(Y, &c.y, true)?;
                making.convolve(c, [x, w, y])?;
            }
            Some(fused) => {
                operands.push(BIAS);
                let has_residual = fused.residual || unused_residual;
                operands.extend(has_residual.then_some(RESIDUAL));
                let product = making.tensor(INNER, &c.y, false)?;
                making.convolve(c, [x, w, product])?;
                making.finish(c, fused, product, unused_residual)?;
            }
        }
        let operations: Vec<&Descriptor> =
            making.operations.iter().map(|&index| &making.parts[index]).collect();
        let graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?
            .with_handle(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, dnn.handle.raw)?
            .with_descriptors(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &operations)?
            .finalize()?;
        Ok(Graph { graph, operands, _parts: making.parts })
    }
}

/// Descriptors made so far; others name them by index.
struct Making {
    dtype: DataType,
    compute: DataType,
    alignment: i64,
    parts: Vec<Descriptor>,
    operations: Vec<usize>,
}

impl Making {
    fn keep(&mut self, part: Descriptor) -> usize {
        self.parts.push(part);
        self.parts.len() - 1
    }

    /// `stored`: in memory, in the convolution's type; else passed on in the type of computation.
    fn tensor(&mut self, id: i64, layout: &Layout, stored: bool) -> Result<usize, CudaError> {
        let dtype = if stored { self.dtype } else { self.compute };
        let tensor = Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
            .with_i64s(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[id])?
            .with_code(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, dtype as u32)?
            .with_i64s(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[self.alignment])?
            .with_i64s(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &layout.sizes)?
            .with_i64s(Name::CUDNN_ATTR_TENSOR_STRIDES, &layout.steps)?
            .with_bool(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL, !stored)?
            .finalize()?;
        Ok(self.keep(tensor))
    }

    fn convolve(&mut self, c: &Convolution, [x, w, y]: [usize; 3]) -> Result<(), CudaError> {
        let description = Descriptor::new(Kind::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
            .with_code(
                Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE,
                Type::CUDNN_TYPE_DATA_TYPE,
                self.compute as u32,
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
        let description = self.keep(description);
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
            .with_descriptors(of, &[&self.parts[description]])?
            .with_descriptors(x_name, &[&self.parts[x]])?
            .with_descriptors(w_name, &[&self.parts[w]])?
            .with_descriptors(y_name, &[&self.parts[y]])?;
        let operation = self.factor(operation, alpha, 1.0)?;
        let operation = self.factor(operation, beta, 0.0)?.finalize()?;
        let operation = self.keep(operation);
        self.operations.push(operation);
        Ok(())
    }

    /// Residual, bias and activation after the convolution.
    fn finish(
        &mut self,
        c: &Convolution,
        fused: Fused,
        product: usize,
        unused_residual: bool,
    ) -> Result<(), CudaError> {
        let mut value = product;
        if fused.residual || unused_residual {
            let residual = self.tensor(RESIDUAL, &c.y, true)?;
            let sum = self.tensor(INNER + 1, &c.y, false)?;
            let factor = if unused_residual { 0.0 } else { 1.0 };
            self.pointwise(Pointwise::CUDNN_POINTWISE_ADD, value, Some((residual, factor)), sum)?;
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
        let bias = self.tensor(BIAS, &Layout { sizes, steps }, true)?;
        let sum = if fused.relu {
            self.tensor(INNER + 2, &c.y, false)?
        } else {
            self.tensor(Y, &c.y, true)?
        };
        self.pointwise(Pointwise::CUDNN_POINTWISE_ADD, value, Some((bias, 1.0)), sum)?;
        if fused.relu {
            let y = self.tensor(Y, &c.y, true)?;
            self.pointwise(Pointwise::CUDNN_POINTWISE_RELU_FWD, sum, None, y)?;
        }
        Ok(())
    }

    /// `y = mode(x, factor · b)`.
    fn pointwise(
        &mut self,
        mode: Pointwise,
        x: usize,
        b: Option<(usize, f32)>,
        y: usize,
    ) -> Result<(), CudaError> {
        let description = Descriptor::new(Kind::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?
            .with_code(
                Name::CUDNN_ATTR_POINTWISE_MODE,
                Type::CUDNN_TYPE_POINTWISE_MODE,
                mode as u32,
            )?
            .with_code(
                Name::CUDNN_ATTR_POINTWISE_MATH_PREC,
                Type::CUDNN_TYPE_DATA_TYPE,
                self.compute as u32,
            )?
            .finalize()?;
        let description = self.keep(description);
        let operation = Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?
            .with_descriptors(
                Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
                &[&self.parts[description]],
            )?
            .with_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &[&self.parts[x]])?;
        let mut operation =
            self.factor(operation, Name::CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, 1.0)?;
        if let Some((b, factor)) = b {
            operation = operation
                .with_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &[&self.parts[b]])?;
            operation =
                self.factor(operation, Name::CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, factor)?;
        }
        let operation = operation
            .with_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &[&self.parts[y]])?
            .finalize()?;
        let operation = self.keep(operation);
        self.operations.push(operation);
        Ok(())
    }

    /// Factors are doubles where the computation is in doubles, and floats otherwise.
    fn factor(
        &self,
        operation: Descriptor,
        name: Name,
        value: f32,
    ) -> Result<Descriptor, CudaError> {
        if self.compute == DataType::CUDNN_DATA_DOUBLE {
            operation.with_f64(name, f64::from(value))
        } else {
            operation.with_f32(name, value)
        }
    }
}

fn data_type(dtype: DType) -> Result<DataType, CudaError> {
    Ok(match dtype {
        DType::F32 => DataType::CUDNN_DATA_FLOAT,
        DType::F16 => DataType::CUDNN_DATA_HALF,
        DType::BF16 => DataType::CUDNN_DATA_BFLOAT16,
        DType::F64 => DataType::CUDNN_DATA_DOUBLE,
        other => {
            let text = format!("convolutions of {}", other.wire_name());
            return Err(CudaError::unsupported("cuDNN", text));
        }
    })
}

fn compute_type(dtype: DType) -> DataType {
    if dtype == DType::F64 { DataType::CUDNN_DATA_DOUBLE } else { DataType::CUDNN_DATA_FLOAT }
}
