//! gRPC over HTTP/2 as a client speaks it: many requests at once on one connection, their bytes encoded beforehand and
//! answers not decoded. No socket is named here: bytes go in, and what is to be sent comes out.
//!
//! It allows the server no header table and as much data as the protocol can say, which leaves little to keep track of:
//! the server's own limits, and the state of each request. A client made for more takes several times the processor.

use super::failure::Failure;
use super::hpack;
use super::link::Done;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// What a client sends first, then its settings: no header table, no pushes, and the largest windows.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\x12\x04\0\0\0\0\0\0\x01\0\0\0\0\0\x02\0\0\0\0\0\x04\x7f\xff\xff\xff\
    \0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0";
const FRAME_HEAD: usize = 9;
/// Payload of a frame, as long as nobody allows more.
const FRAME_MAX: usize = 16 << 10;
const WINDOW_START: i64 = 65_535;
/// So much may come before the server is told that it may go on; its allowance is 2³¹.
const TOP_UP: u32 = 1 << 30;
/// Longest header block, over all its frames.
const BLOCK_MAX: usize = 64 << 10;
/// Stream numbers end here; another connection begins anew.
const STREAM_MAX: u32 = (1 << 31) - 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

const CANCEL: u32 = 8;
const REFUSED: u32 = 7;

/// One connection's state.
pub struct Http2 {
    pub out: VecDeque<Bytes>,
    authority: String,
    streams: BTreeMap<u32, Stream>,
    next: u32,
    /// Streams with data that the server's windows did not let out.
    stuck: VecDeque<u32>,
    /// How much may be sent now, over all streams; and over a new one.
    window: i64,
    window_start: i64,
    frame_max: usize,
    streams_max: usize,
    /// The beginning of a frame whose end has not come.
    held: Vec<u8>,
    /// A header block that goes on: its stream, whether that ends with it, and what has come.
    block: Option<(u32, bool, Vec<u8>)>,
    received: u32,
    closing: bool,
}

struct Stream {
    slot: usize,
    /// What has not been sent.
    unsent: Bytes,
    window: i64,
    keep_max: usize,
    kept: Vec<u8>,
    http_status: Option<u16>,
    grpc_status: Option<u32>,
    message: String,
}

impl Http2 {
    pub fn new(authority: &str) -> Self {
        Http2 {
            out: VecDeque::from([Bytes::from_static(PREFACE)]),
            authority: authority.to_owned(),
            streams: BTreeMap::new(),
            next: 1,
            stuck: VecDeque::new(),
            window: WINDOW_START,
            window_start: WINDOW_START,
            frame_max: FRAME_MAX,
            streams_max: usize::MAX,
            held: Vec::new(),
            block: None,
            received: 0,
            closing: false,
        }
    }

    /// Whether another request may go out now.
    pub fn is_free(&self) -> bool {
        !self.closing && self.streams.len() < self.streams_max && self.next <= STREAM_MAX
    }

    /// Calls a method with an encoded message; up to `keep_max` bytes of the answer are kept.
    pub fn ask(&mut self, slot: usize, method: &str, message: Bytes, keep_max: usize) {
        let id = self.next;
        self.next += 2;
        let mut frame = vec![0; FRAME_HEAD];
        // `:method: POST` and `:scheme: http` are entries of the static table; `:path`, `:authority` and `content-type`
        // are names of it.
        frame.extend([0x83, 0x86]);
        hpack::encode_named(4, method, &mut frame);
        hpack::encode_named(1, &self.authority, &mut frame);
        hpack::encode("te", "trailers", &mut frame);
        hpack::encode_named(31, "application/grpc", &mut frame);
        let head = frame_head(frame.len() - FRAME_HEAD, HEADERS, END_HEADERS, id);
        frame[..FRAME_HEAD].copy_from_slice(&head);
        let stream = Stream {
            slot,
            unsent: message,
            window: self.window_start,
            keep_max,
            kept: Vec::new(),
            http_status: None,
            grpc_status: None,
            message: String::new(),
        };
        self.streams.insert(id, stream);
        self.send_data(id, frame);
    }

    /// Sends of a stream's data what the windows let out, behind `first`.
    fn send_data(&mut self, id: u32, mut first: Vec<u8>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        while !stream.unsent.is_empty() {
            let window = usize::try_from(self.window.min(stream.window)).unwrap_or(0);
            let length = stream.unsent.len().min(window).min(self.frame_max);
            if length == 0 {
                self.stuck.push_back(id);
                break;
            }
            let data = stream.unsent.split_to(length);
            self.window -= length as i64;
            stream.window -= length as i64;
            let flags = if stream.unsent.is_empty() { END_STREAM } else { 0 };
            first.extend(frame_head(length, DATA, flags, id));
            self.out.extend([std::mem::take(&mut first).into(), data]);
        }
        if !first.is_empty() {
            self.out.push_back(first.into());
        }
    }

    /// Gives up a request: the server is told so.
    pub fn cancel(&mut self, slot: usize) {
        let found = self.streams.iter().find(|(_, stream)| stream.slot == slot);
        if let Some((&id, _)) = found {
            self.streams.remove(&id);
            self.push(RESET, 0, id, &CANCEL.to_be_bytes());
        }
    }

    /// Takes what has come.
    ///
    /// # Errors
    /// That the server does not speak the protocol; the connection cannot be used any more.
    pub fn receive(&mut self, bytes: &[u8], done: &mut Vec<Done>) -> Result<(), Failure> {
        let mut held = std::mem::take(&mut self.held);
        let mut rest = bytes;
        if !held.is_empty() {
            held.extend_from_slice(bytes);
            rest = &held;
        }
        while let Some((head, after)) = rest.split_at_checked(FRAME_HEAD) {
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            if length > FRAME_MAX {
                return Err(Failure::connection("a frame is longer than was allowed"));
            }
            let Some((payload, next)) = after.split_at_checked(length) else { break };
            let id = number(&head[5..]) & STREAM_MAX;
            self.frame(head[3], head[4], id, payload, done)
                .map_err(|what| Failure::connection(format!("HTTP/2: {what}")))?;
            rest = next;
        }
        self.held = rest.to_vec();
        Ok(())
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        payload: &[u8],
        done: &mut Vec<Done>,
    ) -> Result<(), String> {
        if self.block.is_some() && kind != CONTINUATION {
            return Err("a header block does not go on".to_owned());
        }
        match kind {
            DATA => {
                self.received += payload.len() as u32;
                if self.received >= TOP_UP {
                    let received = std::mem::take(&mut self.received);
                    self.push(WINDOW, 0, 0, &received.to_be_bytes());
                }
                let data = unpadded(flags, payload)?;
                if let Some(stream) = self.streams.get_mut(&id) {
                    let keep = data.len().min(stream.keep_max.saturating_sub(stream.kept.len()));
                    stream.kept.extend_from_slice(&data[..keep]);
                }
                if flags & END_STREAM != 0 {
                    self.end(id, done);
                }
            }
            HEADERS => {
                let mut block = unpadded(flags, payload)?;
                if flags & PRIORITY != 0 {
                    block = block.get(5..).ok_or("a frame is too short")?;
                }
                self.headers(flags, id, flags & END_STREAM != 0, block, done)?;
            }
            CONTINUATION => {
                let (begun, ends, mut block) =
                    self.block.take().ok_or("a header block goes on that never began")?;
                block.extend_from_slice(payload);
                if begun != id || block.len() > BLOCK_MAX {
                    return Err("a header block has no end".to_owned());
                }
                self.headers(flags, id, ends, &block, done)?;
            }
            RESET => {
                let code = number(payload.get(..4).ok_or("a frame is too short")?);
                if let Some(stream) = self.streams.remove(&id) {
                    done.push(Done { slot: stream.slot, outcome: Err(reset(code)) });
                }
            }
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    self.set(u16::from_be_bytes([setting[0], setting[1]]), number(&setting[2..]));
                }
                self.push(SETTINGS, ACK, 0, &[]);
                self.send_stuck();
            }
            PING if flags & ACK == 0 => self.push(PING, ACK, 0, payload),
            GO_AWAY => {
                self.closing = true;
                let last = number(payload.get(..4).ok_or("a frame is too short")?) & STREAM_MAX;
                for (_, stream) in self.streams.split_off(&(last + 1)) {
                    let failure = Failure::stale("the server goes away");
                    done.push(Done { slot: stream.slot, outcome: Err(failure) });
                }
            }
            WINDOW => {
                let more = number(payload.get(..4).ok_or("a frame is too short")?) & STREAM_MAX;
                match self.streams.get_mut(&id) {
                    Some(stream) => stream.window += i64::from(more),
                    None if id == 0 => self.window += i64::from(more),
                    None => {}
                }
                self.send_stuck();
            }
            PUSH => return Err("a push was not allowed".to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn headers(
        &mut self,
        flags: u8,
        id: u32,
        ends: bool,
        block: &[u8],
        done: &mut Vec<Done>,
    ) -> Result<(), String> {
        if flags & END_HEADERS == 0 {
            self.block = Some((id, ends, block.to_vec()));
            return Ok(());
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let read = hpack::decode(block, |name, value| {
            let text = String::from_utf8_lossy(value);
            match name {
                ":status" => stream.http_status = text.parse().ok(),
                "grpc-status" => stream.grpc_status = text.parse().ok(),
                _ => stream.message = text.into_owned(),
            }
        });
        read.map_err(|error| error.to_string())?;
        if ends {
            self.end(id, done);
        }
        Ok(())
    }

    /// The answer to a request is whole.
    fn end(&mut self, id: u32, done: &mut Vec<Done>) {
        let Some(stream) = self.streams.remove(&id) else { return };
        if !stream.unsent.is_empty() {
            self.push(RESET, 0, id, &CANCEL.to_be_bytes());
        }
        let outcome = match (stream.grpc_status, stream.http_status) {
            (Some(0), _) => Ok(stream.kept),
            (Some(code), _) => {
                Err(Failure::answered(format!("grpc {}", status_name(code)), stream.message))
            }
            (None, Some(status)) if status != 200 => {
                Err(Failure::answered(format!("http {status}"), stream.message))
            }
            (None, _) => {
                let message = "the answer has no status".to_owned();
                Err(Failure::answered("grpc Unknown".to_owned(), message))
            }
        };
        done.push(Done { slot: stream.slot, outcome });
    }

    fn set(&mut self, what: u16, value: u32) {
        match what {
            3 => self.streams_max = value as usize,
            4 => {
                let more = i64::from(value) - self.window_start;
                self.window_start = value.into();
                self.streams.values_mut().for_each(|stream| stream.window += more);
            }
            5 => self.frame_max = value as usize,
            _ => {}
        }
    }

    fn send_stuck(&mut self) {
        for id in std::mem::take(&mut self.stuck) {
            self.send_data(id, Vec::new());
        }
    }

    /// Gives up every request because the connection failed.
    pub fn fail(&mut self, why: &str, failed: &mut Vec<(usize, Failure)>) {
        self.closing = true;
        let streams = std::mem::take(&mut self.streams);
        failed.extend(streams.into_values().map(|it| (it.slot, Failure::connection(why))));
    }

    fn push(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let mut frame = frame_head(payload.len(), kind, flags, id).to_vec();
        frame.extend_from_slice(payload);
        self.out.push_back(frame.into());
    }
}

/// A message with the length before it, as gRPC sends it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("inputs are at most a gigabyte");
    let mut framed = vec![0];
    framed.extend(length.to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

fn frame_head(length: usize, kind: u8, flags: u8, id: u32) -> [u8; FRAME_HEAD] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = id.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

/// The first four bytes, at least so many being there.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], String> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().ok_or("a frame is too short")?;
    let length = rest.len().checked_sub(padding.into()).ok_or("a frame is all padding")?;
    Ok(&rest[..length])
}

/// As gRPC counts what HTTP/2 says of a stream that was ended early.
fn reset(code: u32) -> Failure {
    match code {
        REFUSED => Failure::stale("the server refused the stream"),
        CANCEL => Failure::answered("grpc Cancelled".to_owned(), "the stream was reset".to_owned()),
        _ => Failure::answered(
            "grpc Internal".to_owned(),
            format!("the stream was reset with code {code}"),
        ),
    }
}

fn status_name(code: u32) -> &'static str {
    const NAMES: [&str; 17] = [
        "Ok",
        "Cancelled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    NAMES.get(code as usize).copied().unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
        [&frame_head(payload.len(), kind, flags, id)[..], payload].concat()
    }

    /// An answer to stream `id` as servers send it: headers, a message, trailers.
    fn answer(id: u32, status: &str) -> Vec<u8> {
        let mut trailers = Vec::new();
        hpack::encode("grpc-status", status, &mut trailers);
        hpack::encode("grpc-message", "so", &mut trailers);
        [
            frame(HEADERS, END_HEADERS, id, &[0x20, 0x88]),
            frame(DATA, PADDED, id, b"\x02hello\0\0"),
            frame(HEADERS, END_HEADERS | END_STREAM, id, &trailers),
        ]
        .concat()
    }

    /// Frames that were sent since: kind, flags, stream and length of payload.
    fn sent(http: &mut Http2) -> Vec<(u8, u8, u32, usize)> {
        let bytes = http.out.drain(..).collect::<Vec<_>>().concat();
        let mut rest = bytes.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap_or(&bytes);
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let length = number(&[0, rest[0], rest[1], rest[2]]) as usize;
            frames.push((rest[3], rest[4], number(&rest[5..]), length));
            rest = &rest[FRAME_HEAD + length..];
        }
        frames
    }

    #[test]
    fn answers_are_told_apart_whole_or_byte_by_byte() {
        for piece in [1, 7, 1000] {
            let mut http = Http2::new("host");
            http.ask(4, "/m", framed(b"in").into(), 100);
            http.ask(5, "/m", framed(b"in").into(), 100);
            let frames = sent(&mut http);
            assert_eq!(frames[..2], [(SETTINGS, 0, 0, 18), (WINDOW, 0, 0, 4)]);
            assert_eq!(frames[3], (DATA, END_STREAM, 1, 7));
            assert_eq!((frames.len(), frames[5].2), (6, 3));
            let bytes = [frame(SETTINGS, 0, 0, &[]), answer(3, "13"), answer(1, "0")].concat();
            let mut done = Vec::new();
            for bytes in bytes.chunks(piece) {
                http.receive(bytes, &mut done).unwrap();
            }
            assert_eq!(sent(&mut http), [(SETTINGS, ACK, 0, 0)]);
            let failure = done[0].outcome.as_ref().unwrap_err();
            assert_eq!((done[0].slot, failure.kind.as_ref()), (5, "grpc Internal"));
            assert_eq!(failure.message, "so");
            assert_eq!((done[1].slot, done[1].outcome.as_deref().unwrap()), (4, &b"hello"[..]));
            assert!(http.is_free());
        }
    }

    #[test]
    fn the_servers_windows_and_limits_are_kept() {
        let mut http = Http2::new("host");
        let mut done = Vec::new();
        let settings = [[0, 3, 0, 0, 0, 1], [0, 4, 0, 0, 0, 100]].concat();
        http.receive(&frame(SETTINGS, 0, 0, &settings), &mut done).unwrap();
        sent(&mut http);
        http.ask(1, "/m", vec![0; 250].into(), 0);
        assert!(!http.is_free());
        assert_eq!(sent(&mut http)[1..], [(DATA, 0, 1, 100)]);
        http.receive(&frame(WINDOW, 0, 1, &[0, 0, 0, 120]), &mut done).unwrap();
        assert_eq!(sent(&mut http), [(DATA, 0, 1, 120)]);
        http.receive(&frame(WINDOW, 0, 1, &[0, 0, 0, 120]), &mut done).unwrap();
        assert_eq!(sent(&mut http), [(DATA, END_STREAM, 1, 30)]);
        http.receive(&frame(PING, 0, 0, &[1; 8]), &mut done).unwrap();
        http.cancel(1);
        assert_eq!(sent(&mut http), [(PING, ACK, 0, 8), (RESET, 0, 1, 4)]);
        assert!(http.is_free() && done.is_empty());
        http.ask(2, "/m", vec![0; 70_000].into(), 0);
        http.receive(&frame(WINDOW, 0, 3, &[0, 1, 0, 0]), &mut done).unwrap();
        let data: usize = sent(&mut http).iter().filter(|it| it.0 == DATA).map(|it| it.3).sum();
        assert_eq!(
            data,
            WINDOW_START as usize - 250,
            "the connection's window holds for all streams"
        );
    }

    #[test]
    fn what_breaks_the_protocol_is_said_and_what_goes_away_is_tried_again() {
        let mut http = Http2::new("host");
        let mut done = Vec::new();
        for slot in 0..3 {
            http.ask(slot, "/m", framed(b"").into(), 0);
        }
        http.receive(&frame(RESET, 0, 1, &[0, 0, 0, 7]), &mut done).unwrap();
        http.receive(&frame(GO_AWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]), &mut done).unwrap();
        let stale: Vec<_> =
            done.iter().map(|it| (it.slot, it.outcome.as_ref().unwrap_err().stale)).collect();
        assert_eq!(stale, [(0, true), (2, true)]);
        assert!(!http.is_free());
        let mut failed = Vec::new();
        http.fail("gone", &mut failed);
        assert_eq!((failed.len(), failed[0].0, failed[0].1.stale), (1, 1, false));
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            &frame(PUSH, 0, 1, &[0; 4]),
            &[frame(HEADERS, 0, 1, &[0x88]), frame(DATA, 0, 1, &[])].concat(),
            &frame(DATA, PADDED, 1, &[9, 0]),
        ] {
            let mut http = Http2::new("host");
            http.ask(0, "/m", framed(b"").into(), 0);
            let failure = http.receive(bytes, &mut Vec::new()).err().unwrap();
            assert_eq!(failure.kind, "connection");
        }
    }
}
