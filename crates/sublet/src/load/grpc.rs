//! The gRPC client: requests multiplexed over one connection, their bytes encoded beforehand and answers not decoded.

use super::body::Body;
use super::failure::Failure;
use super::inputs::InputSpec;
use super::target::Target;
use anyhow::{Context, Result};
use bytes::{Buf, BufMut, Bytes};
use std::collections::BTreeMap;
use sublet_server::pb::ModelMetadataRequest;
use sublet_server::pb::grpc_inference_service_client::GrpcInferenceServiceClient;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const INFER: PathAndQuery = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");

/// One of the requests that may be under way on a channel.
#[derive(Clone)]
pub struct GrpcLane {
    client: Grpc<Channel>,
}

impl GrpcLane {
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{}", target.authority));
        let endpoint = endpoint.map_err(Failure::connection)?.tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(Failure::connection)?;
        Ok(GrpcLane { client: Grpc::new(channel) })
    }

    pub async fn infer(&mut self, body: &Body) -> Result<(), Failure> {
        self.client.ready().await.map_err(Failure::connection)?;
        let request = Request::new(body.bytes.clone());
        match self.client.unary(request, INFER, BytesCodec).await {
            Ok(_) => Ok(()),
            Err(status) => {
                let kind = format!("grpc {:?}", status.code());
                Err(Failure::answered(kind, status.message().to_owned()))
            }
        }
    }

    /// What a model takes.
    pub async fn inputs(
        target: &Target,
        model: &str,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Vec<InputSpec>> {
        let endpoint = Endpoint::from_shared(format!("http://{}", target.authority))?;
        let mut client = GrpcInferenceServiceClient::new(endpoint.connect().await?);
        let request = ModelMetadataRequest { name: model.to_owned(), version: String::new() };
        let answer = client.model_metadata(request).await.context("ModelMetadata")?.into_inner();
        let inputs = answer.inputs.iter();
        let spec = inputs.map(|i| InputSpec::described(&i.name, &i.datatype, &i.shape, shapes));
        Ok(spec.collect())
    }
}

/// Messages that stay bytes: encoded before, and only measured after.
#[derive(Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = usize;
    type Encoder = BytesCodec;
    type Decoder = BytesCodec;

    fn encoder(&mut self) -> BytesCodec {
        BytesCodec
    }

    fn decoder(&mut self) -> BytesCodec {
        BytesCodec
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let length = from.remaining();
        from.advance(length);
        Ok(Some(length))
    }
}
