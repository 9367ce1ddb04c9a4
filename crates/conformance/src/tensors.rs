//! Named tensors in safetensors files: how inputs and outputs travel to and from the reference scripts.

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::Path;
use sublet_graph::{DType, Literal};

const TYPES: [(Dtype, DType); 13] = [
    (Dtype::F32, DType::F32),
    (Dtype::F16, DType::F16),
    (Dtype::BF16, DType::BF16),
    (Dtype::F64, DType::F64),
    (Dtype::I8, DType::I8),
    (Dtype::I16, DType::I16),
    (Dtype::I32, DType::I32),
    (Dtype::I64, DType::I64),
    (Dtype::U8, DType::U8),
    (Dtype::U16, DType::U16),
    (Dtype::U32, DType::U32),
    (Dtype::U64, DType::U64),
    (Dtype::BOOL, DType::Bool),
];

/// Writes tensors under their names.
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, Literal>) -> Result<()> {
    let mut views = Vec::new();
    for (name, literal) in tensors {
        let dtype = TYPES
            .iter()
            .find(|(_, dtype)| *dtype == literal.dtype())
            .expect("every type is listed")
            .0;
        views.push((
            name.as_str(),
            TensorView::new(dtype, literal.shape().to_vec(), literal.bytes())?,
        ));
    }
    let bytes = safetensors::serialize(views, None)?;
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// Reads every tensor of a file.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Literal>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| path.display().to_string())?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let dtype = TYPES
            .iter()
            .find(|(theirs, _)| *theirs == view.dtype())
            .ok_or_else(|| anyhow!("{name} has the type {:?}", view.dtype()))?
            .1;
        let literal =
            Literal::new(dtype, view.shape().to_vec(), Bytes::copy_from_slice(view.data()));
        tensors.insert(
            name.to_owned(),
            literal.ok_or_else(|| anyhow!("{name} is not as long as its shape"))?,
        );
    }
    Ok(tensors)
}
