//! The HTTP/1.1 client: one connection, kept alive, one request at a time.
//!
//! Requests are whole beforehand, head and body, and go out in one write; of an answer only the head is parsed, and its
//! body is counted to its end but not kept. A client made for more would take several times the processor.

use super::body::{Body, get};
use super::failure::Failure;
use super::inputs::InputSpec;
use super::target::Target;
use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server's words about an error that are kept.
const WORDS_MAX: usize = 300;
/// Of a description, all is kept, up to this.
const DESCRIPTION_MAX: usize = 16 << 20;
/// Longest head of an answer.
const HEAD_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 64;

pub struct HttpConnection {
    stream: TcpStream,
    authority: String,
    /// Bytes received and not yet looked at are at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the next request may go over it.
    open: bool,
}

/// What an answer's head says.
struct Head {
    status: u16,
    framing: Framing,
}

/// How the end of an answer's body is found.
enum Framing {
    Length(usize),
    Chunked,
    /// It ends with the connection.
    Close,
}

impl HttpConnection {
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        let stream = TcpStream::connect(target.address).await.map_err(Failure::connection)?;
        stream.set_nodelay(true).map_err(Failure::connection)?;
        let buffer = vec![0; 16 << 10];
        let authority = target.authority.clone();
        Ok(HttpConnection { stream, authority, buffer, start: 0, end: 0, open: true })
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Sends a prepared request and reads the whole answer.
    pub async fn infer(&mut self, body: &Body) -> Result<(), Failure> {
        let mut words = Vec::new();
        match self.exchange(&body.bytes, WORDS_MAX, &mut words).await? {
            200 => Ok(()),
            status => {
                let words = String::from_utf8_lossy(&words).into_owned();
                Err(Failure::answered(format!("http {status}"), words))
            }
        }
    }

    /// Whether the server takes binary tensors.
    pub async fn takes_binary(&mut self) -> Result<bool> {
        let server: ServerDescription = self.describe("/v2").await?;
        Ok(server.extensions.iter().any(|extension| extension == "binary_tensor_data"))
    }

    /// What a model takes.
    pub async fn inputs(
        &mut self,
        model: &str,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<Vec<InputSpec>> {
        let path = format!("/v2/models/{}", super::body::path_segment(model));
        let model: ModelDescription = self.describe(&path).await?;
        let inputs = model.inputs.unwrap_or_default();
        let spec = |input: &TensorDescription| {
            InputSpec::described(&input.name, &input.datatype, &input.shape, shapes)
        };
        Ok(inputs.iter().map(spec).collect())
    }

    async fn describe<T: for<'de> Deserialize<'de>>(&mut self, path: &str) -> Result<T> {
        let request = get(&self.authority, path);
        let mut body = Vec::new();
        let status = self.exchange(&request, DESCRIPTION_MAX, &mut body).await;
        match status.map_err(|failure| anyhow!("{failure}"))? {
            200 => Ok(serde_json::from_slice(&body)?),
            status => bail!("{path}: {status}: {}", String::from_utf8_lossy(&body)),
        }
    }

    /// Sends a request and reads the answer; its status, and up to `keep_max` bytes of its body in `kept`.
    async fn exchange(
        &mut self,
        request: &[u8],
        keep_max: usize,
        kept: &mut Vec<u8>,
    ) -> Result<u16, Failure> {
        // Until the answer is whole: an error, or a timeout that drops this future, leaves the connection unusable.
        self.open = false;
        self.stream.write_all(request).await.map_err(Failure::stale)?;
        if self.start == self.end {
            self.receive().await.map_err(Failure::stale)?;
        }
        let mut head = self.head().await.map_err(Failure::connection)?;
        while head.status < 200 {
            head = self.head().await.map_err(Failure::connection)?;
        }
        let ends_connection = matches!(head.framing, Framing::Close);
        self.body(&head.framing, keep_max, kept).await.map_err(Failure::connection)?;
        self.open = !ends_connection;
        Ok(head.status)
    }

    async fn head(&mut self) -> io::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&self.buffer[self.start..self.end]);
            match parsed.map_err(|error| invalid(error.to_string()))? {
                httparse::Status::Complete(length) => {
                    let head = Head {
                        status: response.code.unwrap_or(0),
                        framing: framing(response.code.unwrap_or(0), response.headers)?,
                    };
                    self.start += length;
                    return Ok(head);
                }
                httparse::Status::Partial if self.end - self.start > HEAD_MAX => {
                    return Err(invalid("the head of the answer has no end"));
                }
                httparse::Status::Partial => self.receive().await?,
            }
        }
    }

    async fn body(
        &mut self,
        framing: &Framing,
        keep_max: usize,
        kept: &mut Vec<u8>,
    ) -> io::Result<()> {
        match framing {
            Framing::Length(length) => self.pass(*length, keep_max, kept).await,
            Framing::Chunked => loop {
                let length = self.chunk_length().await?;
                if length == 0 {
                    // Trailers, and the empty line after them.
                    while !self.line().await?.is_empty() {}
                    return Ok(());
                }
                self.pass(length, keep_max, kept).await?;
                if !self.line().await?.is_empty() {
                    return Err(invalid("a chunk is longer than it says"));
                }
            },
            Framing::Close => loop {
                self.pass(self.end - self.start, keep_max, kept).await?;
                match self.receive().await {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    other => other?,
                }
            },
        }
    }

    /// Lets so many bytes go by.
    async fn pass(
        &mut self,
        mut length: usize,
        keep_max: usize,
        kept: &mut Vec<u8>,
    ) -> io::Result<()> {
        loop {
            let here = length.min(self.end - self.start);
            let keep = here.min(keep_max.saturating_sub(kept.len()));
            kept.extend_from_slice(&self.buffer[self.start..self.start + keep]);
            self.start += here;
            length -= here;
            if length == 0 {
                return Ok(());
            }
            self.receive().await?;
        }
    }

    async fn chunk_length(&mut self) -> io::Result<usize> {
        let line = self.line().await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        usize::from_str_radix(digits, 16).map_err(|_| invalid("a chunk has no length"))
    }

    /// The next line, without its end.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            let bytes = &self.buffer[self.start..self.end];
            if let Some(length) = bytes.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned();
                self.start += length + 1;
                return Ok(line);
            }
            if bytes.len() > HEAD_MAX {
                return Err(invalid("a line of the answer has no end"));
            }
            self.receive().await?;
        }
    }

    /// Receives some bytes behind those that are there.
    async fn receive(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.buffer.len() {
                self.buffer.resize(self.end * 2, 0);
            }
        }
        match self.stream.read(&mut self.buffer[self.end..]).await? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            )),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }
}

fn framing(status: u16, headers: &[httparse::Header<'_>]) -> io::Result<Framing> {
    let find = |name: &str| {
        let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
    };
    if status < 200 || status == 204 || status == 304 {
        return Ok(Framing::Length(0));
    }
    if find("transfer-encoding").is_some_and(|coding| coding.ends_with("chunked")) {
        return Ok(Framing::Chunked);
    }
    match find("content-length") {
        Some(length) => match length.parse() {
            Ok(length) => Ok(Framing::Length(length)),
            Err(_) => Err(invalid(format!("`{length}` is no length"))),
        },
        None => Ok(Framing::Close),
    }
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::target::Protocol;
    use tokio::net::TcpListener;

    /// Answers each request on one connection with the next of `answers`, in pieces, then closes it.
    async fn server(answers: Vec<&'static [&'static str]>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for pieces in answers {
                let mut request = vec![0; 1024];
                let _ = stream.read(&mut request).await.unwrap();
                for piece in pieces {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        Target {
            name: "test".into(),
            protocol: Protocol::Http,
            authority: address.to_string(),
            address,
        }
    }

    async fn ask(connection: &mut HttpConnection) -> Result<(u16, String), Failure> {
        let mut kept = Vec::new();
        let status = connection.exchange(b"GET / HTTP/1.1\r\n\r\n", 100, &mut kept).await?;
        Ok((status, String::from_utf8(kept).unwrap()))
    }

    #[tokio::test]
    async fn every_way_to_end_a_body_is_followed() {
        let target = server(vec![
            &["HTTP/1.1 200 OK\r\nContent-", "Length: 5\r\n\r\nhe", "llo"],
            &["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"],
            &[
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                "1;x=y\r\nd\r\n0\r\nT: 1\r\n\r\n",
            ],
            &["HTTP/1.1 204 None\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\n\r\nuntil", " the end"],
        ])
        .await;
        let mut connection = HttpConnection::open(&target).await.unwrap();
        for wanted in [(200, "hello"), (503, "no"), (200, "abcd"), (204, "")] {
            let (status, body) = ask(&mut connection).await.unwrap();
            assert_eq!((status, body.as_str()), wanted);
            assert!(connection.is_open());
        }
        assert_eq!(ask(&mut connection).await.unwrap(), (200, "until the end".into()));
        assert!(!connection.is_open());
        let failure = ask(&mut connection).await.unwrap_err();
        assert!(failure.stale && !connection.is_open());
    }

    #[tokio::test]
    async fn what_is_no_answer_breaks_the_connection() {
        for answer in [
            &["HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
            &["SSH-2.0-OpenSSH\r\n"],
        ] {
            let target = server(vec![answer]).await;
            let mut connection = HttpConnection::open(&target).await.unwrap();
            let failure = ask(&mut connection).await.unwrap_err();
            assert!(failure.broken && !failure.stale && !connection.is_open(), "{answer:?}");
        }
    }
}
