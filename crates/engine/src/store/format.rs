//! The packed file: safetensors (<https://huggingface.co/docs/safetensors>) whose data section is the image, byte for
//! byte. Padding between weights is tensors named `__pad.N`, so that any reader of safetensors accepts the file. The
//! graph and the layout are JSON in the metadata, with a hash of the data section.

use super::packed::{Origin, Packed};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use sublet_device::{AlignedBuffer, Image, WeightType};
use sublet_graph::{DType, Graph, byte_len};
use sublet_plan::Layout;

/// What readers of safetensors accept.
const HEADER_BYTES_MAX: u64 = 100_000_000;
/// The data section starts at a multiple of this.
const HEADER_ALIGN: usize = 64;
const FORMAT: u32 = 1;

/// Why a packed file was not written or is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the header: {0}")]
    Header(String),
    #[error("{0}")]
    Invalid(String),
}

/// The value of `sublet` in the metadata.
#[derive(Serialize, Deserialize)]
struct Contents {
    format: u32,
    /// blake3 of the data section.
    data_hash: String,
    origin: Origin,
    /// Indexed by `WeightId`: the name in the model, and the tensor's name in this file.
    weights: Vec<(String, String)>,
    layout: Layout,
    graph: Graph,
}

/// Validates a packed file without keeping it.
///
/// # Errors
/// What is wrong with it.
pub fn check_packed(bytes: &[u8]) -> Result<(), PackedError> {
    read(bytes, bytes.len() as u64).map(|_| ())
}

/// The header as it stands in the file, with its length and padding.
///
/// # Errors
/// `Invalid` for a graph with numbers that JSON does not have (infinity), `Header` when it is too large.
pub(super) fn header(packed: &Packed) -> Result<Vec<u8>, PackedError> {
    let image = &packed.image;
    let names = tensor_names(&packed.weight_names);
    let contents = Contents {
        format: FORMAT,
        data_hash: blake3::hash(&image.bytes).to_hex().to_string(),
        origin: packed.origin.clone(),
        weights: packed.weight_names.iter().cloned().zip(names.iter().cloned()).collect(),
        layout: image.layout.clone(),
        graph: packed.graph.clone(),
    };
    let contents = json(&contents)?;
    let back: Contents = serde_json::from_str(&contents).map_err(as_header_error)?;
    if back.graph != packed.graph {
        return Err(PackedError::Invalid("the graph has numbers that JSON does not hold".into()));
    }
    let metadata = HashMap::from([("sublet".to_owned(), contents)]);
    let metadata = Metadata::new(Some(metadata), tensors(image, names))
        .map_err(|error| PackedError::Header(error.to_string()))?;
    let mut header = json(&metadata)?.into_bytes();
    header.resize((header.len() + 8).next_multiple_of(HEADER_ALIGN) - 8, b' ');
    if header.len() as u64 > HEADER_BYTES_MAX {
        return Err(PackedError::Header(format!("{} bytes are too many", header.len())));
    }
    header.splice(0..0, (header.len() as u64).to_le_bytes());
    Ok(header)
}

pub(super) fn write(header: &[u8], packed: &Packed, to: &mut impl Write) -> io::Result<()> {
    to.write_all(header)?;
    to.write_all(&packed.image.bytes)
}

/// Reads a file of `len` bytes.
pub(super) fn read(mut from: impl Read, len: u64) -> Result<Packed, PackedError> {
    let mut header_len = [0; 8];
    from.read_exact(&mut header_len)?;
    let header_len = u64::from_le_bytes(header_len);
    if header_len > HEADER_BYTES_MAX || header_len > len.saturating_sub(8) {
        return Err(PackedError::Header(format!("a length of {header_len} in {len} bytes")));
    }
    let mut header = vec![0; header_len as usize];
    from.read_exact(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(as_header_error)?;
    let data_len = metadata.data_len();
    if data_len as u64 != len - 8 - header_len {
        return Err(PackedError::Invalid(format!(
            "{} bytes of data, the header says {data_len}",
            len - 8 - header_len
        )));
    }
    let contents = metadata.metadata().as_ref().and_then(|metadata| metadata.get("sublet"));
    let contents = contents.ok_or_else(|| PackedError::Header("not a packed model".into()))?;
    let contents: Contents = serde_json::from_str(contents).map_err(as_header_error)?;
    let weights = check_layout(&contents, &metadata, data_len)?;
    let mut bytes = AlignedBuffer::zeroed(data_len);
    from.read_exact(&mut bytes)?;
    if blake3::hash(&bytes).to_hex().as_str() != contents.data_hash {
        return Err(PackedError::Invalid("the data does not have the hash stated".into()));
    }
    let image = Arc::new(Image { layout: contents.layout, bytes, weights });
    let weight_names = contents.weights.into_iter().map(|(name, _)| name).collect();
    let packed = Packed { graph: contents.graph, image, weight_names, origin: contents.origin };
    sublet_graph::check(&packed.model())
        .map_err(|error| PackedError::Invalid(format!("the graph: {error}")))?;
    Ok(packed)
}

/// The layout must agree with the tensors of the header, which are known to lie in order and apart.
fn check_layout(
    contents: &Contents,
    metadata: &Metadata,
    data_len: usize,
) -> Result<Vec<WeightType>, PackedError> {
    let invalid = |what: String| Err(PackedError::Invalid(what));
    if contents.format != FORMAT {
        return invalid(format!("format {} is not {FORMAT}", contents.format));
    }
    let layout = &contents.layout;
    if layout.bytes.0 != data_len as u64 || layout.weights.len() != contents.weights.len() {
        return invalid("the layout is for another image".into());
    }
    let mut end = 0;
    for (index, segment) in layout.segments.iter().enumerate() {
        let stop = segment.offset.checked_add(segment.len);
        match stop.filter(|&stop| segment.offset >= end && stop <= data_len) {
            Some(stop) => end = stop,
            None => return invalid(format!("segment {index} overlaps or ends past the image")),
        }
    }
    let mut types = Vec::with_capacity(contents.weights.len());
    for ((name, tensor), place) in contents.weights.iter().zip(&layout.weights) {
        let Some(info) = metadata.info(tensor) else {
            return invalid(format!("no tensor for weight `{name}`"));
        };
        let Some(dtype) = from_safetensors(info.dtype) else {
            return invalid(format!("weight `{name}` has type {:?}", info.dtype));
        };
        let segment = layout.segments.get(place.segment as usize);
        let whole = place.offset.checked_add(place.len).map(|end| (place.offset, end));
        let agrees = whole == Some(info.data_offsets)
            && byte_len(dtype, &info.shape) == Some(place.len)
            && segment.is_some_and(|segment| {
                segment.offset <= place.offset
                    && place.offset + place.len <= segment.offset + segment.len
            });
        if !agrees {
            return invalid(format!("weight `{name}` is not where the layout says"));
        }
        types.push(WeightType { dtype, shape: info.shape.clone() });
    }
    Ok(types)
}

/// The weights' own names where those are unique and not taken by the format.
fn tensor_names(weights: &[String]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut names = Vec::with_capacity(weights.len());
    for (index, name) in weights.iter().enumerate() {
        let own = !name.starts_with("__") && seen.insert(name);
        names.push(if own { name.clone() } else { format!("__weight.{index}") });
    }
    names
}

/// All weights in the order of the image, with padding between them.
fn tensors(image: &Image, names: Vec<String>) -> Vec<(String, TensorInfo)> {
    let mut tensors: Vec<_> = names
        .into_iter()
        .zip(image.layout.weights.iter().zip(&image.weights))
        .map(|(name, (place, weight))| {
            let data_offsets = (place.offset, place.offset + place.len);
            let dtype = to_safetensors(weight.dtype);
            (name, TensorInfo { dtype, shape: weight.shape.clone(), data_offsets })
        })
        .collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let mut all = Vec::with_capacity(tensors.len() * 2);
    let (mut end, mut pads) = (0, 0);
    let mut pad_to = |start: usize, all: &mut Vec<(String, TensorInfo)>, end: usize| {
        if start > end {
            let info = TensorInfo {
                dtype: Dtype::U8,
                shape: vec![start - end],
                data_offsets: (end, start),
            };
            all.push((format!("__pad.{pads}"), info));
            pads += 1;
        }
    };
    for (name, info) in tensors {
        pad_to(info.data_offsets.0, &mut all, end);
        end = info.data_offsets.1;
        all.push((name, info));
    }
    pad_to(image.bytes.len(), &mut all, end);
    all
}

fn json(value: &impl Serialize) -> Result<String, PackedError> {
    serde_json::to_string(value).map_err(as_header_error)
}

fn as_header_error(error: serde_json::Error) -> PackedError {
    PackedError::Header(error.to_string())
}

const TYPES: [(DType, Dtype); 13] = [
    (DType::F32, Dtype::F32),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::F64, Dtype::F64),
    (DType::I8, Dtype::I8),
    (DType::I16, Dtype::I16),
    (DType::I32, Dtype::I32),
    (DType::I64, Dtype::I64),
    (DType::U8, Dtype::U8),
    (DType::U16, Dtype::U16),
    (DType::U32, Dtype::U32),
    (DType::U64, Dtype::U64),
    (DType::Bool, Dtype::BOOL),
];

fn from_safetensors(wanted: Dtype) -> Option<DType> {
    TYPES.iter().find(|(_, other)| *other == wanted).map(|(dtype, _)| *dtype)
}

fn to_safetensors(wanted: DType) -> Dtype {
    let found = TYPES.iter().find(|(dtype, _)| *dtype == wanted);
    found.map(|(_, other)| *other).expect("the table has every type")
}
