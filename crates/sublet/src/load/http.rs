//! HTTP/1.1 as a client speaks it: one request at a time on a connection that is kept alive. No socket is named here:
//! bytes go in, and what is to be sent comes out.
//!
//! Requests are whole beforehand, head and body; of an answer only the head is parsed, and its body is counted to its
//! end but not kept. A client made for more would take several times the processor.

use super::failure::Failure;
use super::link::Done;
use bytes::Bytes;
use std::collections::VecDeque;

/// Longest head, or line between chunks, of an answer.
const HEAD_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 64;

/// One connection's state.
#[derive(Default)]
pub struct Http1 {
    pub out: VecDeque<Bytes>,
    /// The request under way.
    asked: Option<Asked>,
    /// The connection was used before, and may not be used again.
    used: bool,
    closing: bool,
}

struct Asked {
    slot: usize,
    keep_max: usize,
    kept: Vec<u8>,
    status: u16,
    part: Part,
    /// The beginning of a head or a line whose end has not come.
    held: Vec<u8>,
    silent: bool,
}

/// What of the answer comes next.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Part {
    Head,
    /// So many bytes, then the end.
    Body(usize),
    ChunkLength,
    Chunk(usize),
    /// The empty line after a chunk.
    ChunkEnd,
    Trailers,
    /// Until the connection ends.
    Rest,
    End,
}

impl Http1 {
    /// Whether another request may go out now.
    pub fn is_free(&self) -> bool {
        self.asked.is_none() && !self.closing
    }

    /// Asks with a whole request; up to `keep_max` bytes of the answer's body are kept.
    pub fn ask(&mut self, slot: usize, request: Bytes, keep_max: usize) {
        self.out.push_back(request);
        let (kept, held) = (Vec::new(), Vec::new());
        let part = Part::Head;
        self.asked = Some(Asked { slot, keep_max, kept, status: 0, part, held, silent: true });
    }

    /// Takes what has come.
    ///
    /// # Errors
    /// That it is no answer; the connection cannot be used any more.
    pub fn receive(&mut self, bytes: &[u8], done: &mut Vec<Done>) -> Result<(), Failure> {
        let Some(asked) = &mut self.asked else {
            self.closing = true;
            return Err(Failure::connection("the server answers what was not asked"));
        };
        asked.silent &= bytes.is_empty();
        let used = asked.take(bytes).map_err(Failure::connection)?;
        if asked.part != Part::End {
            return Ok(());
        }
        self.closing |= used < bytes.len();
        self.end(done);
        Ok(())
    }

    /// The server has closed the connection. Returns why the request under way fails, if one does.
    pub fn closed(&mut self, done: &mut Vec<Done>) -> Option<(usize, Failure)> {
        self.closing = true;
        match &self.asked {
            Some(asked) if asked.part == Part::Rest => {
                self.end(done);
                None
            }
            Some(_) => self.fail("the server closed the connection"),
            None => None,
        }
    }

    /// Gives up the request under way because the connection failed.
    pub fn fail(&mut self, why: &str) -> Option<(usize, Failure)> {
        self.closing = true;
        let asked = self.asked.take()?;
        // A server may end a connection that was idle just when it is used again.
        let failure = match self.used && asked.silent {
            true => Failure::stale(why),
            false => Failure::connection(why),
        };
        Some((asked.slot, failure))
    }

    fn end(&mut self, done: &mut Vec<Done>) {
        let Some(asked) = self.asked.take() else { return };
        self.used = true;
        self.closing |= asked.part == Part::Rest;
        let outcome = match asked.status {
            200 => Ok(asked.kept),
            status => {
                let words = String::from_utf8_lossy(&asked.kept).into_owned();
                Err(Failure::answered(format!("http {status}"), words))
            }
        };
        done.push(Done { slot: asked.slot, outcome });
    }
}

impl Asked {
    /// Takes bytes of the answer until it ends; returns how many.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let mut at = 0;
        while self.part != Part::End {
            let rest = &bytes[at..];
            at += match self.part {
                Part::Head => match self.head(rest)? {
                    Some(used) => used,
                    None => return Ok(bytes.len()),
                },
                Part::Body(left) | Part::Chunk(left) => {
                    let here = left.min(rest.len());
                    self.keep(&rest[..here]);
                    self.part = match (self.part, left - here) {
                        (Part::Body(_), 0) => Part::End,
                        (Part::Body(_), left) => Part::Body(left),
                        (_, 0) => Part::ChunkEnd,
                        (_, left) => Part::Chunk(left),
                    };
                    if rest.len() == here && self.part != Part::End {
                        return Ok(bytes.len());
                    }
                    here
                }
                Part::ChunkLength | Part::ChunkEnd | Part::Trailers => match self.line(rest)? {
                    Some(used) => used,
                    None => return Ok(bytes.len()),
                },
                Part::Rest => {
                    self.keep(rest);
                    return Ok(bytes.len());
                }
                Part::End => 0,
            };
        }
        Ok(at)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let keep = bytes.len().min(self.keep_max.saturating_sub(self.kept.len()));
        self.kept.extend_from_slice(&bytes[..keep]);
    }

    /// A head, if it has come to its end; how many of the bytes belong to it.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let before = self.held.len();
        if before > 0 {
            self.held.extend_from_slice(bytes);
        }
        let all = if before > 0 { &self.held } else { bytes };
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(all).map_err(|error| error.to_string())? {
            httparse::Status::Complete(length) => {
                self.status = response.code.unwrap_or(0);
                self.part = match self.status {
                    // Another head follows.
                    100..=199 => Part::Head,
                    status => body(status, response.headers)?,
                };
                self.held.clear();
                Ok(Some(length - before))
            }
            httparse::Status::Partial if all.len() > HEAD_MAX => {
                Err("the head of the answer has no end".to_owned())
            }
            httparse::Status::Partial => {
                if before == 0 {
                    self.held.extend_from_slice(bytes);
                }
                Ok(None)
            }
        }
    }

    /// A line between chunks, if it has come to its end; how many of the bytes belong to it.
    fn line(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        self.held.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        if self.held.len() > HEAD_MAX {
            return Err("a line of the answer has no end".to_owned());
        }
        let Some(end) = end else { return Ok(None) };
        let line = String::from_utf8_lossy(&self.held).trim_end().to_owned();
        self.held.clear();
        self.part = match self.part {
            Part::ChunkLength => {
                let digits = line.split(';').next().unwrap_or_default().trim();
                match usize::from_str_radix(digits, 16) {
                    Ok(0) => Part::Trailers,
                    Ok(length) => Part::Chunk(length),
                    Err(_) => return Err("a chunk has no length".to_owned()),
                }
            }
            Part::ChunkEnd if !line.is_empty() => {
                return Err("a chunk is longer than it says".to_owned());
            }
            Part::ChunkEnd => Part::ChunkLength,
            _ if line.is_empty() => Part::End,
            _ => Part::Trailers,
        };
        Ok(Some(end + 1))
    }
}

/// How the body of an answer with this head is delimited.
fn body(status: u16, headers: &[httparse::Header<'_>]) -> Result<Part, String> {
    let find = |name: &str| {
        let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value.trim_ascii())
    };
    if status == 204 || status == 304 {
        return Ok(Part::End);
    }
    let is_chunked = |coding: &[u8]| coding.to_ascii_lowercase().ends_with(b"chunked");
    if find("transfer-encoding").is_some_and(is_chunked) {
        return Ok(Part::ChunkLength);
    }
    let Some(length) = find("content-length") else { return Ok(Part::Rest) };
    let length = String::from_utf8_lossy(length);
    match length.parse() {
        Ok(0) => Ok(Part::End),
        Ok(length) => Ok(Part::Body(length)),
        Err(_) => Err(format!("`{length}` is no length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an answer in pieces; what became of it.
    fn answer(http: &mut Http1, pieces: &[&str]) -> Result<Vec<Done>, Failure> {
        http.ask(7, Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n"), 100);
        let mut done = Vec::new();
        for piece in pieces {
            http.receive(piece.as_bytes(), &mut done)?;
        }
        Ok(done)
    }

    #[test]
    fn every_way_to_end_a_body_is_followed() {
        let mut http = Http1::default();
        let pieces: [(&[&str], &str); 4] = [
            (&["HTTP/1.1 200 OK\r\nContent-", "Length: 5\r\n\r\nhe", "llo"], "hello"),
            (
                &[
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 ",
                    "200 OK\r\ncontent-length: 2\r\n\r\nno",
                ],
                "no",
            ),
            (
                &[
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                    "1;x",
                    "=y\r\nd\r\n0\r\nT: 1\r\n\r\n",
                ],
                "abcd",
            ),
            (&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], ""),
        ];
        for (pieces, wanted) in pieces {
            let done = answer(&mut http, pieces).unwrap();
            assert_eq!(done.len(), 1);
            assert_eq!((done[0].slot, done[0].outcome.as_deref().unwrap()), (7, wanted.as_bytes()));
            assert!(http.is_free());
        }
        let refused = answer(&mut http, &["HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nwhy"]);
        let failure = refused.unwrap().remove(0).outcome.unwrap_err();
        assert_eq!((failure.kind.as_ref(), failure.message.as_str()), ("http 503", "why"));
        assert!(http.is_free());
        let mut done = answer(&mut http, &["HTTP/1.1 200 OK\r\n\r\nuntil", " the end"]).unwrap();
        assert!(done.is_empty() && http.closed(&mut done).is_none());
        assert_eq!(done[0].outcome.as_deref().unwrap(), b"until the end");
        assert!(!http.is_free());
    }

    #[test]
    fn what_is_no_answer_breaks_the_connection() {
        for pieces in [
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "SSH-2.0-OpenSSH\r\n",
        ] {
            let failure = answer(&mut Http1::default(), &[pieces]).err().unwrap();
            assert!(failure.kind == "connection" && !failure.stale, "{pieces}");
        }
    }

    #[test]
    fn only_a_used_connection_that_ends_before_its_answer_is_worth_another_try() {
        let mut http = Http1::default();
        answer(&mut http, &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"]).unwrap();
        assert!(!http.closed(&mut Vec::new()).unwrap().1.stale);
        let mut http = Http1::default();
        answer(&mut http, &["HTTP/1.1 204 None\r\n\r\n"]).unwrap();
        answer(&mut http, &[]).unwrap();
        let (slot, failure) = http.closed(&mut Vec::new()).unwrap();
        assert!(slot == 7 && failure.stale && !http.is_free());
    }
}
