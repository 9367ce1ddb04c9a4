//! Element types and declared shapes.

use super::problem::{Problem, invalid, unsupported};
use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::dimension::Value as DimValue;
use super::proto::{TypeProto, type_proto};
use sublet_graph::{DType, Dim};

/// The element type with ONNX's number `code`.
pub fn element_type(code: i64) -> Result<DType, Problem> {
    let known = i32::try_from(code).ok().and_then(|code| DataType::try_from(code).ok());
    let Some(known) = known else {
        return invalid(format!("unknown element type {code}"));
    };
    Ok(match known {
        DataType::Float => DType::F32,
        DataType::Float16 => DType::F16,
        DataType::Bfloat16 => DType::BF16,
        DataType::Double => DType::F64,
        DataType::Int8 => DType::I8,
        DataType::Int16 => DType::I16,
        DataType::Int32 => DType::I32,
        DataType::Int64 => DType::I64,
        DataType::Uint8 => DType::U8,
        DataType::Uint16 => DType::U16,
        DataType::Uint32 => DType::U32,
        DataType::Uint64 => DType::U64,
        DataType::Bool => DType::Bool,
        DataType::Undefined => return invalid("element type is not set"),
        other => return unsupported(format!("element type {}", other.as_str_name())),
    })
}

/// The element type with ONNX's name for it, as the first version of `Cast` writes it.
pub fn element_type_named(name: &str) -> Result<DType, Problem> {
    match DataType::from_str_name(name) {
        Some(known) => element_type(known as i64),
        None => invalid(format!("unknown element type `{name}`")),
    }
}

/// Type and dimensions of a graph's input or output.
pub struct Declared {
    pub dtype: Option<DType>,
    pub dims: Option<Vec<Dim>>,
}

impl Declared {
    /// `ty` is absent or has no element type where the file leaves it to be inferred.
    pub fn read(ty: Option<&TypeProto>, rank_max: usize) -> Result<Declared, Problem> {
        let tensor = match ty.and_then(|ty| ty.value.as_ref()) {
            None => return Ok(Declared { dtype: None, dims: None }),
            Some(type_proto::Value::Tensor(tensor)) => tensor,
            Some(type_proto::Value::Sequence(_)) => return unsupported("type sequence"),
            Some(type_proto::Value::Map(_)) => return unsupported("type map"),
            Some(type_proto::Value::Optional(_)) => return unsupported("type optional"),
            Some(type_proto::Value::SparseTensor(_)) => {
                return unsupported("type sparse tensor");
            }
            Some(type_proto::Value::Opaque(_)) => return unsupported("type opaque"),
        };
        let dtype = match tensor.elem_type {
            0 => None,
            code => Some(element_type(i64::from(code))?),
        };
        let Some(shape) = &tensor.shape else {
            return Ok(Declared { dtype, dims: None });
        };
        if shape.dim.len() > rank_max {
            return invalid(format!("more than {rank_max} dimensions"));
        }
        let dims = shape.dim.iter().map(|dim| dimension(dim.value.as_ref())).collect();
        Ok(Declared { dtype, dims: Some(dims) })
    }
}

/// A negative size and the name `?` are how some exporters write "unknown"; as a name, `?` would make two dimensions
/// equal that are not.
fn dimension(value: Option<&DimValue>) -> Dim {
    match value {
        Some(DimValue::DimValue(size)) => usize::try_from(*size).map_or(Dim::Unknown, Dim::Fixed),
        Some(DimValue::DimParam(name)) if !matches!(name.as_str(), "" | "?") => {
            Dim::Named(name.clone())
        }
        _ => Dim::Unknown,
    }
}
