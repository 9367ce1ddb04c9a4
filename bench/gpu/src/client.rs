//! A gRPC client that adds as little as it can to what it measures: one thread that never sleeps, one connection, and a
//! message that is encoded once.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{Method, Request, Version};
use prost::Message;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use sublet_server::pb::{ModelInferRequest, ModelInferResponse};
use tokio::net::TcpStream;

/// Room for answers: none of them waits for the client's leave.
const WINDOW: u32 = 64 << 20;

/// Before the message: whether it is compressed, and its length in 4 bytes.
const PREFIX_BYTES: usize = 5;

/// Sends a request `count` times, one at a time, and returns how long each took. Half the first `warm_up` may take
/// anything; `begin` is called behind those.
pub fn measure(
    address: SocketAddr,
    request: &ModelInferRequest,
    warm_up: usize,
    count: usize,
    begin: impl FnOnce() -> Result<()>,
) -> Result<Vec<Duration>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let message = framed(request);
    let url = format!("http://{address}/inference.GRPCInferenceService/ModelInfer");
    runtime.block_on(async {
        // Keeps the thread looking at its socket instead of sleeping.
        let awake = tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (mut sender, connection) = builder.handshake(stream).await?;
        let connection = tokio::spawn(connection);
        for _ in 0..warm_up {
            sender = ask(sender, &url, message.clone()).await?;
        }
        begin()?;
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let sent = Instant::now();
            sender = ask(sender, &url, message.clone()).await?;
            took.push(sent.elapsed());
        }
        connection.abort();
        awake.abort();
        Ok(took)
    })
}

fn framed(request: &ModelInferRequest) -> Bytes {
    let length = request.encoded_len();
    let mut message = BytesMut::with_capacity(PREFIX_BYTES + length);
    message.put_u8(0);
    message.put_u32(u32::try_from(length).expect("a request is below 4 GiB"));
    request.encode(&mut message).expect("there is room");
    message.freeze()
}

/// One request, until its answer's last byte; the answer must have tensors.
async fn ask(sender: SendRequest<Bytes>, url: &str, message: Bytes) -> Result<SendRequest<Bytes>> {
    let mut sender = sender.ready().await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut body) = sender.send_request(request, false)?;
    body.send_data(message, true)?;
    let mut answer = response.await?.into_body();
    let mut bytes = BytesMut::new();
    while let Some(data) = answer.data().await {
        let data = data?;
        answer.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let trailers = answer.trailers().await?.context("an answer ends with its status")?;
    let status = trailers.get("grpc-status").map(|status| status.as_bytes());
    ensure!(status == Some(b"0"), "the request failed: {trailers:?}");
    let message = bytes.get(PREFIX_BYTES..).context("an answer has a message")?;
    let answer = ModelInferResponse::decode(message)?;
    ensure!(!answer.raw_output_contents.is_empty(), "an answer without tensors");
    Ok(sender)
}
