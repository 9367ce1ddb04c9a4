//! The gRPC side: the Open Inference Protocol's service, health checks and reflection.

mod codec;
pub(crate) mod describe;
mod guard;
mod health;
mod infer_request;
mod infer_response;
pub(crate) mod named;
mod service;
mod stream;
mod unary;

/// The wire's messages, generated from `proto/`.
#[allow(clippy::doc_markdown, clippy::large_enum_variant)]
pub mod pb {
    tonic::include_proto!("inference");

    /// The schema itself, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}

pub use infer_request::decode_request;

use crate::app::App;
use axum::Router;
use axum::routing::any;
use guard::guarded;
use health::HealthService;
use pb::grpc_inference_service_server::GrpcInferenceServiceServer;
use service::InferenceService;
use std::sync::Arc;
use tonic::codec::CompressionEncoding;
use tonic_health::pb::health_server::HealthServer;

/// Every service of the gRPC port.
pub(crate) fn router(app: Arc<App>) -> Result<Router, tonic_reflection::server::Error> {
    let limits = &app.limits;
    let service = |decoded_bytes_max| {
        GrpcInferenceServiceServer::new(InferenceService { app: app.clone() })
            .max_decoding_message_size(decoded_bytes_max)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate)
    };
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (unary, generated) =
        (Arc::new(InferenceService { app: app.clone() }), service(limits.body_bytes_max));
    let infer = move |request| unary::infer(unary.clone(), generated.clone(), request);
    let routes = tonic::service::Routes::new(service(limits.json_bytes_max))
        .add_service(HealthServer::new(HealthService { app: app.clone() }))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .into_axum_router()
        // Only these carry more than a few names: tensors, and a model's files.
        .route(guard::INFER_PATH, any(infer))
        .route_service(guard::STREAM_PATH, service(limits.body_bytes_max))
        .route_service(guard::LOAD_PATH, service(limits.load_bytes_max));
    Ok(guarded(routes, app))
}
