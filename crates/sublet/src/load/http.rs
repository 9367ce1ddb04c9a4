//! The HTTP client: one connection, kept alive, one request at a time.

use super::body::Body;
use super::failure::Failure;
use super::inputs::InputSpec;
use super::target::Target;
use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::collections::BTreeMap;
use tokio::net::TcpStream;

/// A server's words about an error that are kept.
const WORDS_MAX: usize = 300;

pub struct HttpConnection {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
}

impl HttpConnection {
    /// Connects. Must run within a local task set, which the connection's own task joins.
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        let stream = TcpStream::connect(target.address).await.map_err(Failure::connection)?;
        stream.set_nodelay(true).map_err(Failure::connection)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(Failure::connection)?;
        // Ends with the connection; what goes wrong on it is told to the request in flight.
        tokio::task::spawn_local(async move { drop(connection.await) });
        let host = HeaderValue::from_str(&target.authority).map_err(Failure::connection)?;
        Ok(HttpConnection { sender, host })
    }

    /// Sends a prepared request and reads the whole answer.
    pub async fn infer(&mut self, body: &Body) -> Result<(), Failure> {
        let mut request = Request::new(Full::new(body.bytes.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = body.path.clone();
        let kind = if body.header_length.is_some() {
            "application/octet-stream"
        } else {
            "application/json"
        };
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        request.headers_mut().extend(body.header());
        let mut response = self.send(request).await?;
        if response.status() != StatusCode::OK {
            let kind = format!("http {}", response.status().as_u16());
            return Err(Failure::answered(kind, words(response).await));
        }
        while let Some(frame) = response.body_mut().frame().await {
            frame.map_err(Failure::connection)?;
        }
        Ok(())
    }

    async fn get<T: for<'de> Deserialize<'de>>(&mut self, path: &str) -> Result<T> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = path.parse()?;
        let response = self.send(request).await.map_err(|failure| anyhow::anyhow!("{failure}"))?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            bail!("{path}: {status}: {}", words(response).await);
        }
        let body = response.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }

    async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        request.headers_mut().insert(HOST, self.host.clone());
        // A connection that the server closed while it was idle says so here.
        self.sender.ready().await.map_err(Failure::connection)?;
        self.sender.send_request(request).await.map_err(Failure::connection)
    }

    /// Whether the server takes binary tensors.
    pub async fn takes_binary(&mut self) -> Result<bool> {
        let server: ServerDescription = self.get("/v2").await?;
        Ok(server.extensions.iter().any(|extension| extension == "binary_tensor_data"))
    }

    /// What a model takes.
    pub async fn inputs(
        &mut self,
        model: &str,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Vec<InputSpec>> {
        let model: ModelDescription = self.get(&format!("/v2/models/{model}")).await?;
        let inputs = model.inputs.unwrap_or_default();
        let spec = |input: &TensorDescription| {
            InputSpec::described(&input.name, &input.datatype, &input.shape, shapes)
        };
        Ok(inputs.iter().map(spec).collect())
    }

    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

#[derive(Deserialize)]
struct ServerDescription {
    #[serde(default)]
    extensions: Vec<String>,
}

#[derive(Deserialize)]
struct ModelDescription {
    inputs: Option<Vec<TensorDescription>>,
}

#[derive(Deserialize)]
struct TensorDescription {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

/// The beginning of an error's text.
async fn words(response: Response<Incoming>) -> String {
    match response.into_body().collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).chars().take(WORDS_MAX).collect(),
        Err(error) => error.to_string(),
    }
}
