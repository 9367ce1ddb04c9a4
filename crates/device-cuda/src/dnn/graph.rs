//! Graphs of operations, as the library is given them.

use super::Dnn;
use super::convolution::Layout;
use super::descriptor::Descriptor;
use crate::driver::CudaError;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind, cudnnDataType_t as DataType,
    cudnnPointwiseMode_t as Pointwise,
};
use sublet_graph::DType;

/// A finished description; keeps alive what it refers to.
pub struct Graph {
    pub graph: Descriptor,
    /// Names of the operands in the graph, in the order in which addresses are given.
    pub operands: Vec<i64>,
    /// Names of single numbers that are given by value, and the numbers.
    pub values: Vec<(i64, f32)>,
    _parts: Vec<Descriptor>,
}

/// What passes between operations, and numbers, are named from here.
const INNER: i64 = 100;

/// A graph under construction.
pub struct Making {
    pub dtype: DataType,
    pub compute: DataType,
    alignment: i64,
    parts: Vec<Descriptor>,
    operations: Vec<Part>,
    values: Vec<(i64, f32)>,
    inner: i64,
}

/// A descriptor made so far.
#[derive(Clone, Copy)]
pub struct Part(usize);

impl Making {
    /// Of operands of that type at addresses so aligned, in bytes.
    pub fn new(dtype: DType, alignment: usize) -> Result<Making, CudaError> {
        Ok(Making {
            dtype: data_type(dtype)?,
            compute: compute_type(dtype),
            alignment: alignment as i64,
            parts: Vec::new(),
            operations: Vec::new(),
            values: Vec::new(),
            inner: INNER,
        })
    }

    /// The graph of the operations made; `operands` as [`Graph::operands`].
    pub fn finished(self, dnn: &Dnn, operands: Vec<i64>) -> Result<Graph, CudaError> {
        let operations: Vec<&Descriptor> =
            self.operations.iter().map(|&operation| self.part(operation)).collect();
        let graph = Descriptor::new(Kind::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?
            .with_handle(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, dnn.handle.raw)?
            .with_descriptors(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, &operations)?
            .finalize()?;
        Ok(Graph { graph, operands, values: self.values, _parts: self.parts })
    }

    pub fn keep(&mut self, part: Descriptor) -> Part {
        self.parts.push(part);
        Part(self.parts.len() - 1)
    }

    pub fn part(&self, part: Part) -> &Descriptor {
        &self.parts[part.0]
    }

    pub fn operation(&mut self, operation: Descriptor) {
        let operation = self.keep(operation);
        self.operations.push(operation);
    }

    /// An operand in memory.
    pub fn stored(&mut self, id: i64, layout: &Layout) -> Result<Part, CudaError> {
        let tensor = self.tensor(id, layout, self.dtype)?.finalize()?;
        Ok(self.keep(tensor))
    }

    /// What passes from one operation to the next, in the type of computation.
    pub fn inner(&mut self, layout: &Layout) -> Result<Part, CudaError> {
        self.inner_of(layout, self.compute)
    }

    /// What passes from one operation to the next, in a type of its own.
    pub fn inner_of(&mut self, layout: &Layout, dtype: DataType) -> Result<Part, CudaError> {
        self.inner += 1;
        let tensor = self
            .tensor(self.inner, layout, dtype)?
            .with_bool(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL, true)?
            .finalize()?;
        Ok(self.keep(tensor))
    }

    /// A number, which is broadcast to `axes` axes.
    pub fn number(&mut self, value: f32, axes: usize) -> Result<Part, CudaError> {
        self.inner += 1;
        self.values.push((self.inner, value));
        let one = Layout { sizes: vec![1; axes], steps: vec![1; axes] };
        let tensor = self
            .tensor(self.inner, &one, DataType::CUDNN_DATA_FLOAT)?
            .with_bool(Name::CUDNN_ATTR_TENSOR_IS_BY_VALUE, true)?
            .finalize()?;
        Ok(self.keep(tensor))
    }

    fn tensor(&self, id: i64, layout: &Layout, of: DataType) -> Result<Descriptor, CudaError> {
        Descriptor::new(Kind::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
            .with_i64s(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, &[id])?
            .with_code(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, of as u32)?
            .with_i64s(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &[self.alignment])?
            .with_i64s(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, &layout.sizes)?
            .with_i64s(Name::CUDNN_ATTR_TENSOR_STRIDES, &layout.steps)
    }

    /// `y = mode(x, factor · b)`, where there is a `b`.
    pub fn pointwise(
        &mut self,
        mode: Pointwise,
        x: Part,
        b: &[(Part, f32)],
        y: Part,
    ) -> Result<(), CudaError> {
        let description = self.described(mode, self.compute)?.finalize()?;
        self.apply(description, x, b, None, y)
    }

    /// `y`: each element's index of an axis.
    pub fn index(&mut self, x: Part, axis: i64, y: Part) -> Result<(), CudaError> {
        let description = self
            .described(Pointwise::CUDNN_POINTWISE_GEN_INDEX, DataType::CUDNN_DATA_INT32)?
            .with_i64s(Name::CUDNN_ATTR_POINTWISE_AXIS, &[axis])?
            .finalize()?;
        self.apply(description, x, &[], None, y)
    }

    /// `y`: whether `mode` holds between `a` and `b`.
    pub fn compare(&mut self, mode: Pointwise, a: Part, b: Part, y: Part) -> Result<(), CudaError> {
        let description = self.described(mode, DataType::CUDNN_DATA_BOOLEAN)?.finalize()?;
        self.apply(description, a, &[(b, 1.0)], None, y)
    }

    /// `y`: the first where the third holds, else the second.
    pub fn select(&mut self, [x, b, holds]: [Part; 3], y: Part) -> Result<(), CudaError> {
        let mode = Pointwise::CUDNN_POINTWISE_BINARY_SELECT;
        let description = self.described(mode, self.compute)?.finalize()?;
        self.apply(description, x, &[(b, 1.0)], Some(holds), y)
    }

    fn described(&self, mode: Pointwise, compute: DataType) -> Result<Descriptor, CudaError> {
        Descriptor::new(Kind::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?
            .with_code(
                Name::CUDNN_ATTR_POINTWISE_MODE,
                Type::CUDNN_TYPE_POINTWISE_MODE,
                mode as u32,
            )?
            .with_code(
                Name::CUDNN_ATTR_POINTWISE_MATH_PREC,
                Type::CUDNN_TYPE_DATA_TYPE,
                compute as u32,
            )
    }

    fn apply(
        &mut self,
        description: Descriptor,
        x: Part,
        b: &[(Part, f32)],
        t: Option<Part>,
        y: Part,
    ) -> Result<(), CudaError> {
        let description = self.keep(description);
        let operation = Descriptor::new(Kind::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?
            .with_descriptors(
                Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
                &[self.part(description)],
            )?
            .with_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &[self.part(x)])?;
        let mut operation =
            self.factor(operation, Name::CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, 1.0)?;
        for &(b, factor) in b {
            operation = operation
                .with_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &[self.part(b)])?;
            operation =
                self.factor(operation, Name::CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, factor)?;
        }
        if let Some(t) = t {
            operation = operation
                .with_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_TDESC, &[self.part(t)])?;
        }
        let operation = operation
            .with_descriptors(Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &[self.part(y)])?
            .finalize()?;
        self.operation(operation);
        Ok(())
    }

    /// Factors are doubles where the computation is in doubles, and floats otherwise.
    pub fn factor(
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
