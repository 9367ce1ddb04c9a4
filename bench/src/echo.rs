//! The peer of the server benchmark: the same bytes over the same libraries, with nothing in between.

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{any, post};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use sublet_server::pb::model_infer_response::InferOutputTensor;
use sublet_server::pb::{ModelInferRequest, ModelInferResponse};
use tokio::net::TcpListener;
use tonic::codegen::BoxFuture;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Serves an echo of `/v2/models/{model}/infer` and of `ModelInfer` on one free port.
pub async fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/v2/models/{model}/infer", post(echo_http))
        .route("/inference.GRPCInferenceService/ModelInfer", any(echo_grpc));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // As the server does; a socket that refuses is as good a peer.
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn echo_http(headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let name = "inference-header-content-length";
    let length =
        headers.get(name).cloned().unwrap_or_else(|| axum::http::HeaderValue::from_static("0"));
    ([(name, length)], body)
}

async fn echo_grpc(request: axum::extract::Request) -> axum::response::Response {
    let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
    let response = grpc.unary(Echo, request).await;
    response.map(axum::body::Body::new)
}

/// Answers every request with its own tensors.
struct Echo;

impl tonic::codegen::Service<Request<ModelInferRequest>> for Echo {
    type Response = Response<ModelInferResponse>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ModelInferRequest>) -> Self::Future {
        let request = request.into_inner();
        let outputs = request.inputs.into_iter().map(|input| InferOutputTensor {
            name: input.name,
            datatype: input.datatype,
            shape: input.shape,
            ..Default::default()
        });
        let answer = ModelInferResponse {
            model_name: request.model_name,
            id: request.id,
            outputs: outputs.collect(),
            raw_output_contents: request.raw_input_contents,
            ..Default::default()
        };
        Box::pin(async move { Ok(Response::new(answer)) })
    }
}
