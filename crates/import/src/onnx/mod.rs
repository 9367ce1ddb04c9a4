//! ONNX → [`Model`]: IR versions 3–13, opsets 1–27.
//!
//! The file is checked ([`wire`]) and decoded ([`proto`]); graphs are put in order ([`order`]), names become values
//! ([`scope`], [`graph`]), functions are expanded ([`function`]), and each node becomes one or more operators of the
//! IR ([`lower`]).

mod attributes;
mod external;
mod function;
mod graph;
mod lower;
mod order;
mod problem;
mod proto;
mod scope;
mod tensor;
mod types;
mod wire;

#[cfg(test)]
mod tests;

pub use external::{ExternalData, NoExternalData};

use crate::{ImportError, Limits, Place};
use bytes::Bytes;
use prost::Message;
use proto::{ModelProto, OperatorSetIdProto, TensorProto};
use scope::{Importer, Opsets};
use sublet_graph::{Literal, Model};
use tensor::TensorReader;
use wire::Kind;

const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=13;
/// The newest opset whose operators are known. A later one may have given an operator another meaning.
const OPSET_MAX: i64 = 27;

/// Reads an ONNX model. Weights in `file` keep pointing into it; `external` gives those that lie in other files.
pub fn import_onnx(
    file: Bytes,
    external: &dyn ExternalData,
    limits: &Limits,
) -> Result<Model, ImportError> {
    wire::check(Kind::Model, &file, limits)?;
    let len = file.len() as u64;
    let proto = ModelProto::decode(file)
        .map_err(|error| ImportError::Malformed { offset: len, reason: error.to_string() })?;
    if !IR_VERSIONS.contains(&proto.ir_version) {
        return Err(Place::Model.unsupported(format!("IR version {}", proto.ir_version)));
    }
    let Some(graph) = &proto.graph else {
        return Err(Place::Model.invalid("there is no graph"));
    };
    let opsets = opsets(&proto.opset_import)?;
    let mut importer = Importer::new(&proto, external, limits)?;
    let imported = importer.main_graph(graph, opsets)?;
    let metadata = proto.metadata_props.iter();
    Ok(Model {
        name: graph.name.clone(),
        graph: imported,
        weights: importer.into_weights(),
        metadata: metadata.map(|entry| (entry.key.clone(), entry.value.clone())).collect(),
    })
}

/// Reads a single ONNX tensor (a `TensorProto`), as test data is stored.
pub fn import_tensor(file: Bytes) -> Result<Literal, ImportError> {
    let limits = Limits::default();
    wire::check(Kind::Tensor, &file, &limits)?;
    let len = file.len() as u64;
    let proto = TensorProto::decode(file)
        .map_err(|error| ImportError::Malformed { offset: len, reason: error.to_string() })?;
    TensorReader { external: &NoExternalData, limits: &limits, weights_bytes: 0 }.read(&proto)
}

/// Operator set version by domain.
fn opsets(imports: &[OperatorSetIdProto]) -> Result<Opsets<'_>, ImportError> {
    let mut opsets = Opsets::new();
    for import in imports {
        let domain = domain(&import.domain);
        if domain.is_empty() && !(1..=OPSET_MAX).contains(&import.version) {
            return Err(Place::Model.unsupported(format!("opset {}", import.version)));
        }
        // Where a domain is listed twice, the newest counts.
        let version = opsets.entry(domain).or_insert(import.version);
        *version = import.version.max(*version);
    }
    Ok(opsets)
}

/// ONNX's own domain has two names.
fn domain(name: &str) -> &str {
    if name == "ai.onnx" { "" } else { name }
}
