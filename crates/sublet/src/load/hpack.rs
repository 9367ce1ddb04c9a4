//! Compressed headers of HTTP/2 (RFC 7541), as far as a client needs them that allows the server no table of its own:
//! names and values as they are, in Huffman's code, or from the static table.

use thiserror::Error;

/// A header block that cannot be read.
#[derive(Debug, Error, PartialEq)]
#[error("a header block is malformed: {0}")]
pub struct Malformed(&'static str);

/// Bits of each byte's code (RFC 7541, Appendix B). The code is canonical: codes of one length follow each other in the
/// order of their bytes, after all shorter ones.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const LENGTH_MAX: usize = 30;

/// What the static table says of statuses, from its entry 8 on.
const STATUSES: [&[u8]; 7] = [b"200", b"204", b"206", b"304", b"400", b"404", b"500"];
const STATIC_ENTRIES: usize = 61;

/// Calls `header` with the name and the value of each header that a gRPC client looks at: `:status`, `grpc-status` and
/// `grpc-message`.
///
/// # Errors
/// When the block is malformed, or refers to a table that the server was not allowed.
pub fn decode(mut block: &[u8], mut header: impl FnMut(&str, &[u8])) -> Result<(), Malformed> {
    while let Some(&first) = block.first() {
        let (bits, literal) = match first {
            0x80.. => (7, false),
            0x40..0x80 => (6, true),
            0x20..0x40 => (5, false),
            _ => (4, true),
        };
        let index = integer(&mut block, bits)?;
        if !literal {
            if bits == 7 {
                if !(1..=STATIC_ENTRIES).contains(&index) {
                    return Err(Malformed("an entry that is not in the static table"));
                }
                if let Some(status) = index.checked_sub(8).and_then(|at| STATUSES.get(at)) {
                    header(":status", status);
                }
            }
            continue;
        }
        let name = match index {
            0 => known(&string(&mut block)?.text()?),
            8..=14 => Some(":status"),
            1..=STATIC_ENTRIES => None,
            _ => return Err(Malformed("a name that is not in the static table")),
        };
        let value = string(&mut block)?;
        if let Some(name) = name {
            header(name, &value.text()?);
        }
    }
    Ok(())
}

/// Appends a header as it is.
pub fn encode(name: &str, value: &str, into: &mut Vec<u8>) {
    into.push(0);
    for text in [name, value] {
        push_integer(text.len(), 7, 0, into);
        into.extend_from_slice(text.as_bytes());
    }
}

/// Appends a header whose name is an entry of the static table.
pub fn encode_named(index: usize, value: &str, into: &mut Vec<u8>) {
    push_integer(index, 4, 0, into);
    push_integer(value.len(), 7, 0, into);
    into.extend_from_slice(value.as_bytes());
}

fn known(name: &[u8]) -> Option<&'static str> {
    [":status", "grpc-status", "grpc-message"].into_iter().find(|known| known.as_bytes() == name)
}

fn push_integer(value: usize, bits: u32, first: u8, into: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if value < most {
        into.push(first | value as u8);
        return;
    }
    into.push(first | most as u8);
    let mut left = value - most;
    while left >= 128 {
        into.push((left % 128) as u8 | 128);
        left /= 128;
    }
    into.push(left as u8);
}

fn integer(block: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let mut next = || {
        let (&first, rest) = block.split_first().ok_or(Malformed("a number has no end"))?;
        *block = rest;
        Ok(usize::from(first))
    };
    let most = (1 << bits) - 1;
    let mut value = next()? & most;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = next()?;
        value += (byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    Err(Malformed("a number is too large"))
}

/// A string as it was sent.
struct Sent<'a> {
    is_coded: bool,
    bytes: &'a [u8],
}

fn string<'a>(block: &mut &'a [u8]) -> Result<Sent<'a>, Malformed> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(block, 7)?;
    let (bytes, rest) =
        block.split_at_checked(length).ok_or(Malformed("a string is longer than its block"))?;
    *block = rest;
    Ok(Sent { is_coded, bytes })
}

impl Sent<'_> {
    fn text(&self) -> Result<Vec<u8>, Malformed> {
        if !self.is_coded {
            return Ok(self.bytes.to_vec());
        }
        let mut text = Vec::with_capacity(self.bytes.len() * 2);
        let (mut code, mut length) = (0u32, 0);
        for bit in self.bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
            code = code << 1 | u32::from(bit);
            length += 1;
            if let Some(byte) = CODE.byte(code, length) {
                text.push(byte);
                (code, length) = (0, 0);
            } else if length == LENGTH_MAX {
                return Err(Malformed("a code that stands for nothing"));
            }
        }
        // The rest of the last byte is filled with ones.
        match length < 8 && code + 1 == 1 << length {
            true => Ok(text),
            false => Err(Malformed("a code has no end")),
        }
    }
}

/// Huffman's code by length.
struct Code {
    /// The first code of each length, and how many there are.
    first: [u32; LENGTH_MAX + 1],
    count: [u32; LENGTH_MAX + 1],
    /// Where its bytes begin among `bytes`.
    start: [usize; LENGTH_MAX + 1],
    bytes: [u8; 256],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Code { first: [0; 31], count: [0; 31], start: [0; 31], bytes: [0; 256] };
        let (mut next, mut at, mut length) = (0u32, 0, 1);
        while length <= LENGTH_MAX {
            next <<= 1;
            code.first[length] = next;
            code.start[length] = at;
            let mut byte = 0;
            while byte < 256 {
                if LENGTHS[byte] as usize == length {
                    code.bytes[at] = byte as u8;
                    at += 1;
                    next += 1;
                }
                byte += 1;
            }
            code.count[length] = next - code.first[length];
            length += 1;
        }
        code
    }

    /// The byte that a code of so many bits stands for, if any.
    fn byte(&self, code: u32, length: usize) -> Option<u8> {
        let at = code.checked_sub(self.first[length])?;
        (at < self.count[length]).then(|| self.bytes[self.start[length] + at as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let mut all = Vec::new();
        decode(block, |name, value| {
            all.push((name.to_owned(), String::from_utf8(value.to_vec()).unwrap()));
        })?;
        Ok(all)
    }

    #[test]
    fn huffmans_code_is_read() {
        // RFC 7541, C.4.1 and C.6.1.
        for (bytes, wanted) in [
            (
                &[0xf1u8, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (&[0x64, 0x02], "302"),
        ] {
            assert_eq!(Sent { is_coded: true, bytes }.text().unwrap(), wanted.as_bytes());
        }
        assert!(Sent { is_coded: true, bytes: &[0xff, 0xff, 0xff, 0xff] }.text().is_err());
        assert!(Sent { is_coded: true, bytes: &[0x00, 0x00] }.text().is_err());
    }

    #[test]
    fn what_was_encoded_is_read_and_the_rest_is_passed_over() {
        let mut block = vec![0x88, 0x20];
        encode("x-other", &"y".repeat(300), &mut block);
        encode("grpc-status", "13", &mut block);
        encode_named(31, "application/grpc", &mut block);
        encode("grpc-message", "it broke", &mut block);
        let wanted = [(":status", "200"), ("grpc-status", "13"), ("grpc-message", "it broke")];
        assert_eq!(headers(&block).unwrap(), wanted.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn tables_that_were_not_allowed_and_cut_blocks_are_refused() {
        for block in [&[0xbe][..], &[0x7e, 0x01, b'a'], &[0x00, 0x05, b'a'], &[0x00], &[0x7f, 0xff]]
        {
            assert!(headers(block).is_err(), "{block:?}");
        }
    }
}
