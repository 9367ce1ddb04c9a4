//! A gRPC client that adds as little as it can to what it measures: one thread that never sleeps, one connection, and a
//! request that is encoded once, HTTP/2 frames included. A generated client and its runtime take as long as the server.

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use sublet_server::pb::{ModelInferRequest, ModelInferResponse};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;

/// Before a gRPC message: whether it is compressed, and its length in 4 bytes.
const PREFIX_BYTES: usize = 5;

/// What the server may send before it must wait for our leave: more than a run's answers have, mostly.
const WINDOW: u32 = (1 << 31) - 1;

/// Leave is given anew behind so many bytes.
const LEAVE_BYTES: usize = 64 << 20;

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RESET: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// One connection, one request on it at a time.
pub struct Client {
    stream: TcpStream,
    /// Frames of one request; the numbers of its stream stand at `stream_ids`.
    request: Vec<u8>,
    stream_ids: Vec<usize>,
    next_stream: u32,
    /// Bytes of a request's message as flow control counts them, and how many may be sent.
    request_bytes: i64,
    may_send: i64,
    stream_window: i64,
    frame_bytes_max: usize,
    received: Vec<u8>,
    buffer: Vec<u8>,
    /// Bytes of answers since leave was last given.
    unacknowledged: usize,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    body: Vec<u8>,
}

impl Client {
    /// Connects, and prepares the one request that this client sends.
    pub fn connect(address: SocketAddr, request: &ModelInferRequest) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut client = Client {
            stream,
            request: Vec::new(),
            stream_ids: Vec::new(),
            next_stream: 1,
            request_bytes: 0,
            may_send: 65_535,
            stream_window: 65_535,
            frame_bytes_max: 16_384,
            received: Vec::new(),
            buffer: vec![0; 64 << 10],
            unacknowledged: 0,
        };
        let mut opening = PREFACE.to_vec();
        let mut window = 4u16.to_be_bytes().to_vec();
        window.extend(WINDOW.to_be_bytes());
        put_frame(&mut opening, kind::SETTINGS, 0, 0, &window);
        let more = WINDOW - 65_535;
        put_frame(&mut opening, kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        client.send(&opening)?;
        // The server's settings come first.
        let frame = client.receive()?;
        ensure!(frame.kind == kind::SETTINGS, "the server did not begin with its settings");
        client.heed(&frame)?;
        client.prepare(address, request);
        ensure!(
            client.request_bytes <= client.stream_window,
            "the request has {} bytes, and the server takes {} at once",
            client.request_bytes,
            client.stream_window
        );
        Ok(client)
    }

    /// Sends the request and waits for its answer's last byte.
    pub fn ask(&mut self) -> Result<Duration> {
        let began = Instant::now();
        while self.may_send < self.request_bytes {
            let frame = self.receive()?;
            self.heed(&frame)?;
        }
        let id = self.next_stream;
        for &at in &self.stream_ids {
            self.request[at..at + 4].copy_from_slice(&id.to_be_bytes());
        }
        self.next_stream += 2;
        self.may_send -= self.request_bytes;
        let request = std::mem::take(&mut self.request);
        self.send(&request)?;
        self.request = request;
        let mut answer = Vec::new();
        loop {
            let frame = self.receive()?;
            if frame.stream != id {
                self.heed(&frame)?;
                continue;
            }
            match frame.kind {
                kind::DATA => answer.extend_from_slice(&frame.body),
                kind::RESET => bail!("the server ended the request: code {:?}", frame.body),
                _ => {}
            }
            if matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.flags & END_STREAM != 0 {
                break;
            }
        }
        let took = began.elapsed();
        self.give_leave(answer.len())?;
        // A failed call has a status and no message.
        let message = answer.get(PREFIX_BYTES..).context("the request failed")?;
        let answer = ModelInferResponse::decode(message)?;
        ensure!(!answer.raw_output_contents.is_empty(), "an answer without tensors");
        Ok(took)
    }

    fn prepare(&mut self, address: SocketAddr, request: &ModelInferRequest) {
        let mut fields = vec![0x83, 0x86]; // POST, http
        put_field(&mut fields, &[0x04], b"/inference.GRPCInferenceService/ModelInfer");
        put_field(&mut fields, &[0x01], address.to_string().as_bytes());
        put_field(&mut fields, &[0x0f, 0x10], b"application/grpc"); // content-type
        put_field(&mut fields, b"\x00\x02te", b"trailers");
        self.stream_ids.push(self.request.len() + FRAME_HEAD_BYTES - 4);
        put_frame(&mut self.request, kind::HEADERS, END_HEADERS, 0, &fields);
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).expect("a request is below 4 GiB");
        let mut body = vec![0];
        body.extend(length.to_be_bytes());
        body.extend(message);
        self.request_bytes = body.len() as i64;
        let mut pieces = body.chunks(self.frame_bytes_max).peekable();
        while let Some(piece) = pieces.next() {
            self.stream_ids.push(self.request.len() + FRAME_HEAD_BYTES - 4);
            let flags = if pieces.peek().is_none() { END_STREAM } else { 0 };
            put_frame(&mut self.request, kind::DATA, flags, 0, piece);
        }
    }

    /// Takes note of what concerns the connection, and answers it.
    fn heed(&mut self, frame: &Frame) -> Result<()> {
        match frame.kind {
            kind::SETTINGS if frame.flags & ACK == 0 => {
                for setting in frame.body.chunks_exact(6) {
                    let value = u32::from_be_bytes(setting[2..].try_into().expect("4 bytes"));
                    match setting[1] {
                        4 => self.stream_window = i64::from(value),
                        5 => self.frame_bytes_max = value as usize,
                        _ => {}
                    }
                }
                self.send(&frame_of(kind::SETTINGS, ACK, &[]))?;
            }
            kind::WINDOW_UPDATE if frame.stream == 0 => {
                let more = frame.body.first_chunk().context("an update of 4 bytes")?;
                self.may_send += i64::from(u32::from_be_bytes(*more));
            }
            kind::PING if frame.flags & ACK == 0 => {
                self.send(&frame_of(kind::PING, ACK, &frame.body))?;
            }
            kind::GOAWAY => bail!("the server closes the connection: {:?}", frame.body),
            _ => {}
        }
        Ok(())
    }

    fn give_leave(&mut self, bytes: usize) -> Result<()> {
        self.unacknowledged += bytes;
        if self.unacknowledged >= LEAVE_BYTES {
            let more = u32::try_from(self.unacknowledged).context("an answer above 4 GiB")?;
            self.send(&frame_of(kind::WINDOW_UPDATE, 0, &more.to_be_bytes()))?;
            self.unacknowledged = 0;
        }
        Ok(())
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => return Err(error).context("sending a request"),
            }
        }
        Ok(())
    }

    /// The next frame, looked for without sleeping.
    fn receive(&mut self) -> Result<Frame> {
        loop {
            if let Some(head) = self.received.first_chunk::<FRAME_HEAD_BYTES>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if self.received.len() >= FRAME_HEAD_BYTES + length {
                    let stream = [head[5] & 0x7f, head[6], head[7], head[8]];
                    let (kind, flags) = (head[3], head[4]);
                    let rest = self.received.split_off(FRAME_HEAD_BYTES + length);
                    let whole = std::mem::replace(&mut self.received, rest);
                    let body = whole[FRAME_HEAD_BYTES..].to_vec();
                    return Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), body });
                }
            }
            match self.stream.read(&mut self.buffer) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(count) => self.received.extend_from_slice(&self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => return Err(error).context("reading an answer"),
            }
        }
    }
}

fn frame_of(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_frame(&mut frame, kind, flags, 0, body);
    frame
}

fn put_frame(to: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("frames are small").to_be_bytes();
    to.extend_from_slice(&length[1..]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(body);
}

/// A header field that is not to be remembered: `name` as HPACK has it, the value as it is.
fn put_field(to: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    to.extend_from_slice(name);
    to.push(u8::try_from(value.len()).ok().filter(|&length| length < 127).expect("short values"));
    to.extend_from_slice(value);
}
