//! Everything a client can make large, and how large it may become.

use std::time::Duration;

/// Limits on requests and connections. The defaults suit a server that strangers can reach.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// Bytes of one request: an HTTP body before and after decompression, or a gRPC message.
    pub body_bytes_max: usize,
    /// Bytes of all requests being read or answered.
    pub body_bytes_total_max: usize,
    /// Bytes of JSON in front of binary tensors, and of any other request but inferences and loads.
    pub json_bytes_max: usize,
    /// Arrays and objects inside each other in JSON.
    pub json_depth_max: usize,
    /// Bytes of a load request, which may carry a model's files.
    pub load_bytes_max: usize,
    /// Inputs, and outputs, of one request.
    pub tensors_max: usize,
    /// Dimensions of one tensor.
    pub rank_max: usize,
    /// Bytes of a name or of a request id.
    pub name_bytes_max: usize,
    /// Inference requests being read or answered, over both protocols.
    pub requests_max: usize,
    /// Requests of one gRPC stream in the engine at once.
    pub stream_requests_max: usize,
    /// Open connections per port.
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// From the first byte of a request, or its predecessor's end, to the end of its headers.
    pub header_timeout: Duration,
    /// From a request's headers to its body's end. Not for gRPC streams, which may be idle.
    pub body_timeout: Duration,
    /// Longest time that a client may take no byte of an answer.
    pub write_timeout: Duration,
    /// Registered shared memory regions.
    pub regions_max: usize,
    /// Models with trace settings of their own.
    pub trace_models_max: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits {
            body_bytes_max: 64 << 20,
            body_bytes_total_max: 1 << 30,
            json_bytes_max: 1 << 20,
            json_depth_max: 100,
            load_bytes_max: 1 << 30,
            tensors_max: 256,
            rank_max: 32,
            name_bytes_max: 255,
            requests_max: 4096,
            stream_requests_max: 64,
            connections_max: 4096,
            http2_streams_max: 1024,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(60),
            regions_max: 4096,
            trace_models_max: 4096,
        }
    }
}
