//! A walk over the protobuf wire format before anything is decoded.
//!
//! Decoding turns two bytes of file into hundreds of bytes of memory (an empty node, say). This walk reads only tags
//! and lengths, adds up what decoding would take, and gives the byte offset of what is malformed, which the
//! decoder cannot.

use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use crate::{ImportError, Limits, Place};
use std::mem::size_of;

/// Checks that `file`, a message of kind `root`, is well-formed and decodes to at most [`Limits::decoded_bytes`].
pub fn check(root: Kind, file: &[u8], limits: &Limits) -> Result<(), ImportError> {
    let mut walk = Walk { file, decoded_bytes: 0, decoded_bytes_max: limits.decoded_bytes };
    walk.message(root, 0, file.len(), 0)
}

/// Messages within messages: as deep as the decoder goes.
const DEPTH_MAX: usize = 100;

/// The messages of the format, as far as they are told apart here.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Model,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    /// Has only scalars and strings, or is skipped by the decoder.
    Leaf,
}

impl Kind {
    /// What a length-delimited field of this message holds; `None` for strings, bytes and packed numbers.
    fn child(self, field: u64) -> Option<Kind> {
        Some(match (self, field) {
            (Kind::Model, 7) => Kind::Graph,
            (Kind::Model, 8 | 14) => Kind::Leaf,
            (Kind::Model, 25) => Kind::Function,
            (Kind::Function, 7) | (Kind::Graph, 1) => Kind::Node,
            (Kind::Function, 9) => Kind::Leaf,
            (Kind::Function, 11) | (Kind::Node, 5) => Kind::Attribute,
            (Kind::Graph, 5) => Kind::Tensor,
            (Kind::Graph, 11 | 12) => Kind::ValueInfo,
            (Kind::Graph, 15) => Kind::SparseTensor,
            (Kind::Attribute, 5) => Kind::Tensor,
            (Kind::Attribute, 6) => Kind::Graph,
            (Kind::Tensor, 3 | 13) => Kind::Leaf,
            (Kind::SparseTensor, 1) => Kind::Tensor,
            (Kind::ValueInfo, 2) => Kind::Type,
            (Kind::Type, 1) => Kind::TensorType,
            (Kind::Type, 4 | 5 | 7 | 8 | 9) => Kind::Leaf,
            (Kind::TensorType, 2) => Kind::Shape,
            (Kind::Shape, 1) => Kind::Leaf,
            _ => return None,
        })
    }

    fn decoded_bytes(self) -> u64 {
        let size = match self {
            Kind::Node => size_of::<NodeProto>(),
            Kind::Attribute => size_of::<AttributeProto>(),
            Kind::Tensor | Kind::SparseTensor => size_of::<TensorProto>(),
            Kind::Graph | Kind::Model | Kind::Function => size_of::<GraphProto>(),
            Kind::ValueInfo | Kind::Type | Kind::TensorType | Kind::Shape | Kind::Leaf => {
                size_of::<ValueInfoProto>()
            }
        };
        size as u64
    }

    /// Decoded bytes per byte of a field that is not a message.
    fn growth(self, field: u64) -> u64 {
        match (self, field) {
            // Raw data and strings of bytes share the file's buffer.
            (Kind::Tensor, 9) | (Kind::Attribute, 4) => 0,
            // Packed variable-length integers: a byte becomes eight.
            (Kind::Tensor, 1 | 5 | 7 | 11) | (Kind::Attribute, 8) => 8,
            _ => 1,
        }
    }
}

/// Decoded size of a string, a byte string or a scalar, beside its content.
const FIELD_BYTES: u64 = 32;

struct Walk<'a> {
    file: &'a [u8],
    decoded_bytes: u64,
    decoded_bytes_max: u64,
}

impl Walk<'_> {
    fn message(
        &mut self,
        kind: Kind,
        start: usize,
        end: usize,
        depth: usize,
    ) -> Result<(), ImportError> {
        if depth > DEPTH_MAX {
            return Err(malformed(start, "messages nested too deep"));
        }
        let mut at = start;
        while at < end {
            let tag_at = at;
            let tag = self.varint(&mut at, end)?;
            let field = tag >> 3;
            if field == 0 || tag > u64::from(u32::MAX) {
                return Err(malformed(tag_at, "invalid field number"));
            }
            match tag & 7 {
                0 => {
                    self.varint(&mut at, end)?;
                    self.spend(FIELD_BYTES)?;
                }
                1 => self.skip(&mut at, end, 8)?,
                2 => {
                    let len = self.varint(&mut at, end)?;
                    let body = at;
                    let len = usize::try_from(len)
                        .map_err(|_| malformed(tag_at, "length past the end"))?;
                    self.skip(&mut at, end, len)?;
                    self.field(kind, field, body, at, depth)?;
                }
                5 => self.skip(&mut at, end, 4)?,
                _ => return Err(malformed(tag_at, "invalid wire type")),
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        kind: Kind,
        field: u64,
        start: usize,
        end: usize,
        depth: usize,
    ) -> Result<(), ImportError> {
        match kind.child(field) {
            Some(child) => {
                self.spend(child.decoded_bytes())?;
                self.message(child, start, end, depth + 1)
            }
            None => {
                let content = (end - start) as u64;
                self.spend(FIELD_BYTES.saturating_add(content.saturating_mul(kind.growth(field))))
            }
        }
    }

    fn skip(&mut self, at: &mut usize, end: usize, len: usize) -> Result<(), ImportError> {
        match at.checked_add(len) {
            Some(next) if next <= end => {
                *at = next;
                self.spend(FIELD_BYTES)
            }
            _ => Err(malformed(*at, "field runs past the end")),
        }
    }

    fn varint(&self, at: &mut usize, end: usize) -> Result<u64, ImportError> {
        let start = *at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some(&byte) = self.file[..end].get(*at) else {
                return Err(malformed(start, "number runs past the end"));
            };
            *at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed(start, "number longer than ten bytes"))
    }

    fn spend(&mut self, bytes: u64) -> Result<(), ImportError> {
        self.decoded_bytes = self.decoded_bytes.saturating_add(bytes);
        if self.decoded_bytes > self.decoded_bytes_max {
            return Err(Place::Model.limit("bytes of description", self.decoded_bytes_max));
        }
        Ok(())
    }
}

fn malformed(offset: usize, reason: &str) -> ImportError {
    ImportError::Malformed { offset: offset as u64, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(file: &[u8]) -> u64 {
        match check(Kind::Model, file, &Limits::default()) {
            Err(ImportError::Malformed { offset, .. }) => offset,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_the_byte_that_is_wrong() {
        assert_eq!(offset(&[0x08]), 1); // a tag without its number
        assert_eq!(offset(&[0x08, 1, 0x3a, 5, 0]), 4); // a graph longer than the file
        assert_eq!(offset(&[0x08, 1, 0x3b]), 2); // a group
        assert_eq!(offset(&[0x00]), 0); // field number zero
        assert_eq!(offset(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), 1);
    }

    #[test]
    fn bounds_what_decoding_would_take() {
        // One graph of a hundred thousand empty nodes, two bytes each.
        let nodes: Vec<u8> = [0x0a, 0x00].repeat(100_000);
        let mut file = vec![0x3a, 0xc0, 0x9a, 0x0c]; // field 7, 200,000 bytes
        file.extend(nodes);
        assert_eq!(check(Kind::Model, &file, &Limits::default()), Ok(()));
        let limits = Limits { decoded_bytes: 10 << 20, ..Limits::default() };
        assert!(matches!(check(Kind::Model, &file, &limits), Err(ImportError::Limit { .. })));
    }
}
