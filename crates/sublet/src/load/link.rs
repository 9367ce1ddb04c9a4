//! A connection to the server: a socket and what is spoken over it.

use super::body::Body;
use super::failure::Failure;
use super::http::Http1;
use super::http2::Http2;
use super::target::{Protocol, Target};
use bytes::{Buf, Bytes};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// A server's words about an error that are kept.
const WORDS_MAX: usize = 300;
/// Pieces that go out in one call.
const PIECES_MAX: usize = 16;

/// What became of a request; the caller numbers them by slots.
pub struct Done {
    pub slot: usize,
    pub outcome: Result<Vec<u8>, Failure>,
}

/// How much came.
pub enum Received {
    /// There is nothing now.
    Nothing,
    /// All that there was.
    Some,
    /// As much as was asked for; there may be more.
    Full,
}

pub struct Link {
    pub stream: TcpStream,
    wire: Wire,
}

enum Wire {
    Http(Http1),
    Grpc(Http2),
}

impl Link {
    /// Connects and waits for that; reads and writes wait too, at most `patience`.
    pub fn open(target: &Target, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target.address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Link::new(target, stream)
    }

    /// Begins to connect; nothing waits, neither now nor later.
    pub fn begin(target: &Target) -> io::Result<Self> {
        let family = match target.address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &target.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Link::new(target, socket.into())
    }

    fn new(target: &Target, stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let wire = match target.protocol {
            Protocol::Http => Wire::Http(Http1::default()),
            Protocol::Grpc => Wire::Grpc(Http2::new(&target.authority)),
        };
        Ok(Link { stream, wire })
    }

    /// Whether another request may go out now.
    pub fn is_free(&self) -> bool {
        match &self.wire {
            Wire::Http(http) => http.is_free(),
            Wire::Grpc(http) => http.is_free(),
        }
    }

    /// Asks for an inference.
    pub fn infer(&mut self, slot: usize, body: &Body) {
        match &mut self.wire {
            Wire::Http(http) => http.ask(slot, body.bytes.clone(), WORDS_MAX),
            Wire::Grpc(http) => http.ask(slot, INFER, body.bytes.clone(), 0),
        }
    }

    /// Asks for something else and keeps the answer: over HTTP with a whole request, over gRPC with the method's message.
    pub fn ask(&mut self, slot: usize, method: &str, request: Bytes, keep_max: usize) {
        match &mut self.wire {
            Wire::Http(http) => http.ask(slot, request, keep_max),
            Wire::Grpc(http) => http.ask(slot, method, request, keep_max),
        }
    }

    /// Gives up a request. False when the connection cannot be used any more.
    pub fn cancel(&mut self, slot: usize) -> bool {
        match &mut self.wire {
            Wire::Http(_) => false,
            Wire::Grpc(http) => {
                http.cancel(slot);
                true
            }
        }
    }

    /// Sends what the socket takes.
    pub fn send(&mut self) -> io::Result<()> {
        let (out, stream) = self.parts();
        while !out.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let count = out.len().min(PIECES_MAX);
            for (piece, bytes) in pieces.iter_mut().zip(out.iter()) {
                *piece = IoSlice::new(bytes);
            }
            let sent = match &pieces[..count] {
                [one] => stream.write(one),
                many => stream.write_vectored(many),
            };
            match sent {
                Ok(count) => passed(out, count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads once, into `buffer`, and takes what came.
    ///
    /// # Errors
    /// Why the connection cannot be used any more; [`Link::fail`] tells what is lost with it.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        done: &mut Vec<Done>,
    ) -> Result<Received, Failure> {
        let count = match self.stream.read(buffer) {
            Ok(0) => return Err(self.closed(done)),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Received::Full),
            Err(error) if is_not_yet(&error) => return Ok(Received::Nothing),
            Err(error) => return Err(Failure::connection(error)),
        };
        self.take(&buffer[..count], done)?;
        Ok(if count == buffer.len() { Received::Full } else { Received::Some })
    }

    fn take(&mut self, bytes: &[u8], done: &mut Vec<Done>) -> Result<(), Failure> {
        match &mut self.wire {
            Wire::Http(http) => http.receive(bytes, done),
            Wire::Grpc(http) => http.receive(bytes, done),
        }
    }

    fn closed(&mut self, done: &mut Vec<Done>) -> Failure {
        if let Wire::Http(http) = &mut self.wire
            && let Some((slot, failure)) = http.closed(done)
        {
            done.push(Done { slot, outcome: Err(failure) });
        }
        Failure::connection("the server closed the connection")
    }

    /// Everything under way is lost with the connection.
    pub fn fail(&mut self, why: &Failure, done: &mut Vec<Done>) {
        let mut failed = Vec::new();
        match &mut self.wire {
            Wire::Http(http) => failed.extend(http.fail(&why.message)),
            Wire::Grpc(http) => http.fail(&why.message, &mut failed),
        }
        done.extend(failed.into_iter().map(|(slot, failure)| Done { slot, outcome: Err(failure) }));
    }

    /// Waits for the answer to what was asked last, on a connection that waits.
    ///
    /// # Errors
    /// As the server says, or because the connection failed.
    pub fn wait(&mut self) -> Result<Vec<u8>, Failure> {
        let mut buffer = vec![0; 64 << 10];
        let mut done: Vec<Done> = Vec::new();
        loop {
            self.send().map_err(Failure::connection)?;
            let ended = match self.stream.read(&mut buffer) {
                Ok(0) => Err(self.closed(&mut done)),
                Ok(count) => self.take(&buffer[..count], &mut done),
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
                Err(error) if is_not_yet(&error) => Err(Failure::timeout()),
                Err(error) => Err(Failure::connection(error)),
            };
            if let Some(done) = done.pop() {
                return done.outcome;
            }
            ended?;
        }
    }

    fn parts(&mut self) -> (&mut VecDeque<Bytes>, &mut TcpStream) {
        let out = match &mut self.wire {
            Wire::Http(http) => &mut http.out,
            Wire::Grpc(http) => &mut http.out,
        };
        (out, &mut self.stream)
    }
}

/// Takes what was sent off the front.
fn passed(out: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(first) = out.front_mut() {
        if first.len() > count {
            first.advance(count);
            return;
        }
        count -= first.len();
        out.pop_front();
    }
}

/// A socket that has no room yet, or is not connected yet.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
