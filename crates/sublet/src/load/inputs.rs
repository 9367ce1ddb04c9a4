//! Valid inputs for a model, from its metadata or as stated: random with a fixed seed.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use sublet_workload::Draw;

/// Bytes of one request's tensors at most.
const BYTES_MAX: usize = 1 << 30;

/// One input as a request needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpec {
    pub name: String,
    /// The protocol's name of the type, such as `FP32`.
    pub datatype: String,
    pub shape: Vec<usize>,
}

/// Inputs with their bytes.
pub struct Filled {
    pub spec: InputSpec,
    pub bytes: Vec<u8>,
}

impl InputSpec {
    /// Reads `NAME=TYPE:1x16`.
    pub fn parse(text: &str) -> Result<Self> {
        let form = || format!("--input {text}: write NAME=TYPE:SHAPE, such as x=FP32:1x16");
        let (name, rest) = text.split_once('=').with_context(form)?;
        let (datatype, shape) = rest.split_once(':').unwrap_or((rest, ""));
        size_of(datatype).with_context(form)?;
        let dims = shape.split('x').filter(|dim| !dim.is_empty());
        let shape = dims.map(|dim| dim.parse().with_context(form)).collect::<Result<_>>()?;
        Ok(InputSpec { name: name.to_owned(), datatype: datatype.to_owned(), shape })
    }

    /// The input that a server describes, with `shapes` in the place of dynamic dimensions.
    pub fn described(
        name: &str,
        datatype: &str,
        dims: &[i64],
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Self {
        let fixed = |dim: &i64| usize::try_from(*dim).unwrap_or(1);
        let shape = shapes.get(name).cloned().unwrap_or_else(|| dims.iter().map(fixed).collect());
        InputSpec { name: name.to_owned(), datatype: datatype.to_owned(), shape }
    }

    /// Random elements: floats in −1…1, integers and booleans 0 or 1, strings of 8 letters.
    pub fn fill(&self, draw: &mut Draw) -> Result<Filled> {
        let size = size_of(&self.datatype).with_context(|| self.name.clone())?;
        let count = self.shape.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim));
        let fits = count.filter(|count| count.checked_mul(size).is_some_and(|b| b <= BYTES_MAX));
        let count = fits.with_context(|| format!("{}: the shape is too large", self.name))?;
        let mut bytes = Vec::with_capacity(count * size);
        for _ in 0..count {
            let value = (draw.unit() * 2.0 - 1.0) as f32;
            match self.datatype.as_str() {
                "FP32" => bytes.extend(value.to_le_bytes()),
                "FP64" => bytes.extend(f64::from(value).to_le_bytes()),
                "FP16" => bytes.extend(half::f16::from_f32(value).to_le_bytes()),
                "BF16" => bytes.extend(half::bf16::from_f32(value).to_le_bytes()),
                "BYTES" => {
                    bytes.extend(8u32.to_le_bytes());
                    bytes.extend((0..8).map(|_| b'a' + draw.below(26) as u8));
                }
                _ => bytes.extend(&draw.below(2).to_le_bytes()[..size]),
            }
        }
        Ok(Filled { spec: self.clone(), bytes })
    }
}

/// Bytes of an element; of a string, the 8 letters and their length.
fn size_of(datatype: &str) -> Result<usize> {
    Ok(match datatype {
        "BOOL" | "INT8" | "UINT8" => 1,
        "INT16" | "UINT16" | "FP16" | "BF16" => 2,
        "INT32" | "UINT32" | "FP32" => 4,
        "INT64" | "UINT64" | "FP64" => 8,
        "BYTES" => 12,
        other => bail!("`{other}` is not a type of the protocol"),
    })
}

impl Filled {
    /// The elements as JSON, which has no way to write half-precision numbers.
    pub fn as_json(&self) -> Result<Value> {
        let size = size_of(&self.spec.datatype)?;
        let elements = self.bytes.chunks_exact(size).map(|bytes| {
            let mut wide = [0; 8];
            wide[..size.min(8)].copy_from_slice(&bytes[..size.min(8)]);
            let integer = u64::from_le_bytes(wide);
            Ok(match self.spec.datatype.as_str() {
                "FP32" => json!(f32::from_bits(integer as u32)),
                "FP64" => json!(f64::from_bits(integer)),
                "BOOL" => json!(integer == 1),
                "BYTES" => json!(String::from_utf8_lossy(&bytes[4..])),
                "FP16" | "BF16" => {
                    bail!("{} cannot be written as JSON: use --encoding binary", self.spec.datatype)
                }
                _ => json!(integer),
            })
        });
        elements.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_fit_their_description_and_repeat() {
        let shapes = BTreeMap::from([("ids".to_owned(), vec![2, 5])]);
        let ids = InputSpec::described("ids", "INT64", &[-1, -1], &shapes);
        let x = InputSpec::described("x", "FP32", &[-1, 3], &shapes);
        assert_eq!((ids.shape.clone(), x.shape.clone()), (vec![2, 5], vec![1, 3]));
        let filled = ids.fill(&mut Draw::new(1, 0)).unwrap();
        assert_eq!(filled.bytes.len(), 80);
        assert_eq!(filled.bytes, ids.fill(&mut Draw::new(1, 0)).unwrap().bytes);
        assert!(filled.bytes.chunks(8).all(|id| id[0] < 2 && id[1..] == [0; 7]));
        let json = x.fill(&mut Draw::new(1, 0)).unwrap().as_json().unwrap();
        assert_eq!(json.as_array().unwrap().len(), 3);
        let text = InputSpec::parse("s=BYTES:2").unwrap().fill(&mut Draw::new(1, 0)).unwrap();
        assert_eq!(text.as_json().unwrap()[1].as_str().unwrap().len(), 8);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        assert!(InputSpec::parse("x=FP32").unwrap().shape.is_empty());
        assert!(InputSpec::parse("x=FP8:1").is_err());
        assert!(InputSpec::parse("x=FP32:1x-2").is_err());
        let huge = InputSpec::parse("x=FP32:99999999x99999999999").unwrap();
        assert!(huge.fill(&mut Draw::new(1, 0)).is_err());
        let half = InputSpec::parse("x=FP16:2").unwrap().fill(&mut Draw::new(1, 0)).unwrap();
        assert!(half.as_json().is_err());
    }
}
