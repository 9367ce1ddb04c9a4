//! A tensor's elements as JSON: a flat or nested array of numbers or booleans to bytes, and back.

use crate::Failure;
use crate::error_table::Shown;
use bytes::Bytes;
use half::{bf16, f16};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;
use sublet_graph::{DType, Literal};

/// Reads exactly `count` elements. `text` is one JSON value.
pub(crate) fn parse(input: &str, dtype: DType, count: usize, text: &str) -> Result<Bytes, Failure> {
    match dtype {
        DType::F32 => typed::<f32>(input, count, text),
        DType::F64 => typed::<f64>(input, count, text),
        DType::I8 => typed::<i8>(input, count, text),
        DType::I16 => typed::<i16>(input, count, text),
        DType::I32 => typed::<i32>(input, count, text),
        DType::I64 => typed::<i64>(input, count, text),
        DType::U8 => typed::<u8>(input, count, text),
        DType::U16 => typed::<u16>(input, count, text),
        DType::U32 => typed::<u32>(input, count, text),
        DType::U64 => typed::<u64>(input, count, text),
        DType::Bool => typed::<Truth>(input, count, text),
        DType::F16 | DType::BF16 => Err(Failure::invalid(format!(
            "input {}: {} cannot be written as JSON; send binary data",
            Shown(input),
            dtype.wire_name()
        ))),
    }
}

/// An element type that JSON can carry.
trait Element: Copy + bytemuck::NoUninit + Send + Sync + 'static {
    const EXPECTED: &str;

    fn from_int(value: i128) -> Option<Self>;

    fn from_float(_: f64) -> Option<Self> {
        None
    }

    fn from_bool(_: bool) -> Option<Self> {
        None
    }
}

macro_rules! int_elements {
    ($($int:ty),*) => {$(
        impl Element for $int {
            const EXPECTED: &str = concat!("a whole number within the range of ", stringify!($int));

            fn from_int(value: i128) -> Option<Self> {
                <$int>::try_from(value).ok()
            }
        }
    )*};
}
int_elements!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Element for f32 {
    const EXPECTED: &str = "a number within the range of f32";

    fn from_int(value: i128) -> Option<Self> {
        Some(value as f32)
    }

    fn from_float(value: f64) -> Option<Self> {
        Some(value as f32).filter(|value| value.is_finite())
    }
}

impl Element for f64 {
    const EXPECTED: &str = "a number";

    fn from_int(value: i128) -> Option<Self> {
        Some(value as f64)
    }

    fn from_float(value: f64) -> Option<Self> {
        Some(value)
    }
}

/// A boolean; 0 and 1 are taken too.
#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(transparent)]
struct Truth(u8);

impl Element for Truth {
    const EXPECTED: &str = "a boolean";

    fn from_int(value: i128) -> Option<Self> {
        matches!(value, 0 | 1).then_some(Truth(value as u8))
    }

    fn from_bool(value: bool) -> Option<Self> {
        Some(Truth(value.into()))
    }
}

/// Typed elements as bytes, without a copy.
struct Elements<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Elements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

fn typed<T: Element>(input: &str, count: usize, text: &str) -> Result<Bytes, Failure> {
    // No value is shorter than a digit and a comma.
    let mut values = Vec::with_capacity(count.min(text.len() / 2 + 1));
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let flat = Flat::<T> { values: &mut values, count, nested: false };
    let read = flat.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    read.map_err(|error| Failure::invalid(format!("input {}: data: {error}", Shown(input))))?;
    if values.len() != count {
        return Err(Failure::invalid(format!(
            "input {} has {} values of data; its shape takes {count}",
            Shown(input),
            values.len()
        )));
    }
    Ok(Bytes::from_owner(Elements(values)))
}

/// Appends the numbers of an array, and of the arrays in it, to `values`.
struct Flat<'a, T> {
    values: &'a mut Vec<T>,
    count: usize,
    nested: bool,
}

impl<T: Element> Flat<'_, T> {
    fn push<E: Error>(self, value: Option<T>) -> Result<(), E> {
        if !self.nested {
            return Err(E::custom("an array is expected"));
        }
        let value = value.ok_or_else(|| E::custom(format!("{} is expected", T::EXPECTED)))?;
        if self.values.len() == self.count {
            return Err(E::custom(format!(
                "there are more values than the shape's {}",
                self.count
            )));
        }
        self.values.push(value);
        Ok(())
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for Flat<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Flat<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} or an array", T::EXPECTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let Flat { values, count, .. } = self;
        while sequence.next_element_seed(Flat { values, count, nested: true })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.push(T::from_bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.push(T::from_int(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.push(T::from_int(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.push(T::from_float(value))
    }
}

/// A tensor's elements as a flat JSON array.
pub(crate) struct Values<'a>(pub &'a Literal);

impl Values<'_> {
    /// Why these elements cannot be JSON, if they cannot.
    pub fn check(&self, output: &str) -> Result<(), Failure> {
        let finite = match self.0.dtype() {
            DType::F32 => self.numbers(f32::from_le_bytes).all(f32::is_finite),
            DType::F64 => self.numbers(f64::from_le_bytes).all(f64::is_finite),
            DType::F16 | DType::BF16 => {
                return Err(Failure::invalid(format!(
                    "output {} is {}, which cannot be written as JSON; ask for binary data",
                    Shown(output),
                    self.0.dtype().wire_name()
                )));
            }
            _ => true,
        };
        if finite {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "output {} holds NaN or infinity, which cannot be written as JSON; ask for binary data",
            Shown(output)
        )))
    }

    fn numbers<T, const N: usize>(&self, from: fn([u8; N]) -> T) -> impl Iterator<Item = T> {
        let (chunks, _) = self.0.bytes().as_chunks::<N>();
        chunks.iter().map(move |chunk| from(*chunk))
    }
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.dtype() {
            DType::F32 => serializer.collect_seq(self.numbers(f32::from_le_bytes)),
            DType::F64 => serializer.collect_seq(self.numbers(f64::from_le_bytes)),
            DType::F16 => serializer.collect_seq(self.numbers(f16::from_le_bytes).map(f32::from)),
            DType::BF16 => serializer.collect_seq(self.numbers(bf16::from_le_bytes).map(f32::from)),
            DType::I8 => serializer.collect_seq(self.numbers(i8::from_le_bytes)),
            DType::I16 => serializer.collect_seq(self.numbers(i16::from_le_bytes)),
            DType::I32 => serializer.collect_seq(self.numbers(i32::from_le_bytes)),
            DType::I64 => serializer.collect_seq(self.numbers(i64::from_le_bytes)),
            DType::U8 => serializer.collect_seq(self.numbers(u8::from_le_bytes)),
            DType::U16 => serializer.collect_seq(self.numbers(u16::from_le_bytes)),
            DType::U32 => serializer.collect_seq(self.numbers(u32::from_le_bytes)),
            DType::U64 => serializer.collect_seq(self.numbers(u64::from_le_bytes)),
            DType::Bool => serializer.collect_seq(self.numbers(|[byte]: [u8; 1]| byte != 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_flat_and_nested_arrays() {
        let flat = parse("x", DType::F32, 4, "[1, 2.5, -3, 4e0]").expect("valid");
        let nested = parse("x", DType::F32, 4, "[[1, 2.5], [-3, 4.0]]").expect("valid");
        assert_eq!(flat, nested);
        assert_eq!(&flat[4..8], 2.5f32.to_le_bytes());
        let ints = parse("x", DType::U64, 1, "[18446744073709551615]").expect("valid");
        assert_eq!(&ints[..], u64::MAX.to_le_bytes());
        let bools = parse("x", DType::Bool, 4, "[true, false, 1, 0]").expect("valid");
        assert_eq!(&bools[..], [1, 0, 1, 0]);
        assert!(
            parse("x", DType::I8, 0, "[]").is_ok() && parse("x", DType::I8, 0, "[[], []]").is_ok()
        );
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let check = |dtype, text: &str, expected: &str| {
            let failure = parse("x", dtype, 2, text).expect_err(text);
            assert!(failure.to_string().contains(expected), "{text}: {failure}");
        };
        check(DType::F32, "[1]", "1 values of data; its shape takes 2");
        check(DType::F32, "[1, 2, 3]", "more values than the shape's 2");
        check(DType::F32, "[1, NaN]", "expected value");
        check(DType::F32, "[1, Infinity]", "expected value");
        check(DType::F32, "[1, 1e39]", "within the range of f32");
        check(DType::F64, "[1, 1e309]", "out of range");
        check(DType::F32, "[1, null]", "invalid type");
        check(DType::F32, "[1, \"2\"]", "invalid type");
        check(DType::F32, "[1, true]", "a number");
        check(DType::I32, "[1, 2.0]", "a whole number");
        check(DType::I8, "[1, 128]", "range of i8");
        check(DType::U8, "[1, -1]", "range of u8");
        check(DType::I64, "[1, 9223372036854775808]", "range of i64");
        check(DType::Bool, "[true, 2]", "a boolean");
        check(DType::F32, "7", "an array");
        check(DType::F32, "{\"a\": 1}", "invalid type");
        check(DType::F16, "[1, 2]", "send binary data");
    }

    #[test]
    fn writes_what_it_reads() {
        for (dtype, text) in [
            (DType::F32, "[0.1,1.0,-3.4028235e+38,1.17e-38]"),
            (DType::F64, "[0.1,1.7976931348623157e+308,5e-324,-0.0]"),
            (DType::I64, "[-9223372036854775808,9223372036854775807,0,1]"),
            (DType::U8, "[0,255,1,2]"),
            (DType::Bool, "[true,false,true,true]"),
        ] {
            let bytes = parse("x", dtype, 4, text).expect("valid");
            let literal = Literal::new(dtype, vec![4], bytes).expect("four elements");
            assert_eq!(serde_json::to_string(&Values(&literal)).expect("writes"), text);
        }
        assert!(Values(&Literal::f32(&[1], &[f32::NAN])).check("y").is_err());
        assert!(Values(&Literal::f32(&[1], &[1.0])).check("y").is_ok());
    }
}
