//! What can go wrong on a device, by what the engine does about it.

use sublet_units::Bytes;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// The engine evicts something and tries again.
    #[error("out of device memory: {wanted} wanted{at}", at = at(.place))]
    OutOfMemory { wanted: Bytes, place: String },
    /// The model cannot run on this device: reject it.
    #[error("{what} is not supported{at}", at = at(.place))]
    Unsupported { what: String, place: String },
    /// The request's values broke an operator's rules (an index out of range, …): reject the request.
    #[error("{what}{at}", at = at(.place))]
    Invalid { what: String, place: String },
    /// The device failed: fail what is in flight and rebuild it.
    #[error("the device was lost: {0}")]
    Lost(String),
}

fn at(place: &str) -> String {
    if place.is_empty() { String::new() } else { format!(" at {place}") }
}
