//! Fuzz targets: whatever strangers' bytes reach first. Each must answer with a value or an error, never a panic, a
//! hang or an enormous allocation.

mod seeds;

pub use seeds::seeds;

use bytes::Bytes;
use sublet_import::{Limits, NoExternalData};
use sublet_server::{ServerLimits, SystemRegions};

/// The names of all targets.
pub const TARGETS: [&str; 4] = ["onnx", "config", "safetensors", "http"];

/// Feeds one input to a target.
///
/// # Panics
/// When the target does, which is what fuzzing looks for; and for a name that is not in [`TARGETS`].
pub fn run(target: &str, data: &[u8]) {
    match target {
        "onnx" => onnx(data),
        "config" => config(data),
        "safetensors" => safetensors(data),
        "http" => http(data),
        other => panic!("no target {other}"),
    }
}

/// A model file.
fn onnx(data: &[u8]) {
    let limits = Limits::default();
    let _ = sublet_import::import_onnx(Bytes::copy_from_slice(data), &NoExternalData, &limits);
}

/// A model configuration, as text and as JSON.
fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = sublet_engine::parse_config_text(&text);
    let _ = sublet_engine::parse_config_json(&text);
}

/// Packed weights, and the weights of a Hugging Face folder.
fn safetensors(data: &[u8]) {
    let _ = sublet_engine::check_packed(data);
    let weights = Bytes::copy_from_slice(data);
    let _ = sublet_import::import_bert(seeds::BERT_CONFIG.as_bytes(), weights, &Limits::default());
}

/// An HTTP inference body. The first two bytes give the length of its JSON header; `ff ff` means that there is none.
fn http(data: &[u8]) {
    let Some((length, body)) = data.split_at_checked(2) else { return };
    let length = u16::from_le_bytes([length[0], length[1]]);
    let header = (length != u16::MAX).then_some(usize::from(length));
    let limits = ServerLimits::default();
    let body = Bytes::copy_from_slice(body);
    let _ = sublet_server::http::decode_infer(
        "model",
        None,
        header,
        &body,
        &limits,
        &SystemRegions::new(false),
    );
}
