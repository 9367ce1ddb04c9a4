//! Tensors as clients describe them: type, shape and bytes, checked against each other.

use crate::error_table::Shown;
use crate::{Failure, ServerLimits};
use bytes::Bytes;
use sublet_graph::{DType, Literal, byte_len};

/// The wire's element types: those of a [`Literal`], and byte strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Datatype {
    Number(DType),
    Strings,
}

impl Datatype {
    pub fn parse(input: &str, name: &str) -> Result<Self, Failure> {
        if name == "BYTES" {
            return Ok(Datatype::Strings);
        }
        DType::from_wire_name(name).map(Datatype::Number).ok_or_else(|| {
            Failure::invalid(format!(
                "input {} has the unknown datatype {}",
                Shown(input),
                Shown(name)
            ))
        })
    }
}

/// A client's shape: every dimension at least 0, and few of them.
pub(crate) fn parse_shape(
    input: &str,
    dims: &[i64],
    limits: &ServerLimits,
) -> Result<Vec<usize>, Failure> {
    if dims.len() > limits.rank_max {
        return Err(Failure::invalid(format!(
            "input {} has {} dimensions; at most {} are allowed",
            Shown(input),
            dims.len(),
            limits.rank_max
        )));
    }
    let dim = |&dim: &i64| {
        usize::try_from(dim).map_err(|_| {
            Failure::invalid(format!("input {} has the dimension {dim}", Shown(input)))
        })
    };
    dims.iter().map(dim).collect()
}

/// Bytes of a tensor of this shape.
pub(crate) fn expected_len(input: &str, dtype: DType, shape: &[usize]) -> Result<usize, Failure> {
    let len = byte_len(dtype, shape).filter(|&len| i64::try_from(len).is_ok());
    len.ok_or_else(|| {
        Failure::invalid(format!("input {} of shape {shape:?} is too large", Shown(input)))
    })
}

/// A tensor from raw little-endian bytes, shared and not copied.
pub(crate) fn from_raw(
    input: &str,
    datatype: Datatype,
    shape: Vec<usize>,
    bytes: Bytes,
) -> Result<Literal, Failure> {
    let dtype = match datatype {
        Datatype::Number(dtype) => dtype,
        Datatype::Strings => {
            check_strings(input, &shape, &bytes)?;
            return Err(strings_unsupported(input));
        }
    };
    let expected = expected_len(input, dtype, &shape)?;
    if bytes.len() != expected {
        return Err(Failure::invalid(format!(
            "input {} has {} bytes of data; {} of shape {shape:?} takes {expected}",
            Shown(input),
            bytes.len(),
            dtype.wire_name()
        )));
    }
    if dtype == DType::Bool && bytes.iter().any(|&byte| byte > 1) {
        return Err(Failure::invalid(format!(
            "input {} of type BOOL has a byte that is neither 0 nor 1",
            Shown(input)
        )));
    }
    Ok(Literal::new(dtype, shape, bytes).expect("the length was checked"))
}

/// No model that Sublet runs takes strings.
pub(crate) fn strings_unsupported(input: &str) -> Failure {
    Failure::invalid(format!("input {}: no model here takes BYTES", Shown(input)))
}

/// Byte strings are each four bytes of length and then so many bytes.
fn check_strings(input: &str, shape: &[usize], mut bytes: &[u8]) -> Result<(), Failure> {
    let wrong =
        |what: &str| Failure::invalid(format!("input {} of type BYTES: {what}", Shown(input)));
    let count = shape.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim));
    let count = count.ok_or_else(|| wrong("the shape is too large"))?;
    let mut found = 0usize;
    while !bytes.is_empty() {
        let (len, rest) =
            bytes.split_first_chunk::<4>().ok_or_else(|| wrong("a length is cut short"))?;
        let len = u32::from_le_bytes(*len) as usize;
        let (_, rest) = rest
            .split_at_checked(len)
            .ok_or_else(|| wrong(&format!("string {found} of {len} bytes runs past the data")))?;
        bytes = rest;
        found += 1;
    }
    if found != count {
        return Err(wrong(&format!("{found} strings for shape {shape:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(datatype: &str, dims: &[i64], bytes: &'static [u8]) -> Result<Literal, String> {
        let limits = ServerLimits::default();
        let read = || {
            let datatype = Datatype::parse("x", datatype)?;
            from_raw("x", datatype, parse_shape("x", dims, &limits)?, Bytes::from_static(bytes))
        };
        read().map_err(|failure| failure.to_string())
    }

    #[test]
    fn takes_data_that_fills_its_shape() {
        assert_eq!(read("UINT8", &[3], &[1, 2, 3]).map(|t| t.shape().to_vec()), Ok(vec![3]));
        assert_eq!(read("FP32", &[], &[0; 4]).map(|t| t.len()), Ok(1));
        assert_eq!(read("INT64", &[0, 5], &[]).map(|t| t.len()), Ok(0));
        assert!(read("BF16", &[2], &[0; 4]).is_ok());
    }

    #[test]
    fn refuses_data_that_does_not() {
        let check = |datatype, dims: &[i64], bytes, expected: &str| {
            let error = read(datatype, dims, bytes).expect_err("must be refused");
            assert!(error.contains(expected), "{error}");
        };
        check("FP32", &[2], &[0; 7], "7 bytes of data; FP32 of shape [2] takes 8");
        check("FP32", &[1], &[0; 8], "8 bytes");
        check("FP32", &[0], &[0; 4], "takes 0");
        check("FP32", &[-1], &[0; 4], "dimension -1");
        check("FP64", &[i64::MAX, i64::MAX, 4], &[], "too large");
        check("FP64", &[1 << 61], &[], "too large");
        check("FP32", &[1; 33], &[0; 4], "33 dimensions");
        check("FLOAT", &[1], &[0; 4], "unknown datatype 'FLOAT'");
        check("BOOL", &[2], &[1, 2], "neither 0 nor 1");
        check("BYTES", &[1], &[1, 0, 0, 0, b'a'], "no model here takes BYTES");
        check("BYTES", &[1], &[9, 0, 0, 0, b'a'], "runs past the data");
        check("BYTES", &[1], &[0xff, 0xff, 0xff, 0xff], "runs past the data");
        check("BYTES", &[1], &[1, 0], "cut short");
        check("BYTES", &[2], &[0, 0, 0, 0], "1 strings for shape [2]");
        check("BYTES", &[i64::MAX, 8], &[], "too large");
    }
}
