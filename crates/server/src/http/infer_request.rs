//! Decodes an inference over HTTP: a JSON head, and behind it the tensors that are sent as raw bytes.

use super::json::{self, Capped};
use super::json_data;
use crate::call::{Decoding, check_count};
use crate::error_table::Shown;
use crate::parameters::Parameters;
use crate::tensor::{Datatype, expected_len, from_raw, parse_shape, strings_unsupported};
use crate::{Call, Delivery, Failure, ServerLimits, SystemRegions};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use sublet_engine::NamedTensor;
use sublet_graph::Literal;

/// Decodes a request's body, already decompressed. `header_len` is the header `Inference-Header-Content-Length`:
/// where the JSON ends and raw tensors begin; without it, the body is all JSON. Raw tensors are slices of the body.
pub fn decode_infer(
    model: &str,
    version: Option<u64>,
    header_len: Option<usize>,
    body: &Bytes,
    limits: &ServerLimits,
    regions: &SystemRegions,
) -> Result<Call, Failure> {
    let (head, tail) = split(header_len, body, limits)?;
    let head: Head = json::parse(&head, limits)?;
    let mut decoding = Decoding::new(limits, regions);
    check_count("input", head.inputs.0.len(), limits)?;
    check_count("output", head.outputs.0.len(), limits)?;

    let options = head.parameters.request_options()?;
    let delivery = if options.binary_outputs { Delivery::Binary } else { Delivery::Json };
    let mut raw = Tail { bytes: tail, taken: 0 };
    let mut inputs = Vec::with_capacity(head.inputs.0.len());
    for input in head.inputs.0 {
        let tensor = input.tensor(&mut raw, &mut decoding)?;
        inputs.push(NamedTensor { name: input.name.into_owned(), tensor });
    }
    raw.finish()?;
    let outputs = head.outputs.0.into_iter();
    let outputs = outputs
        .map(|output| decoding.output(output.name.into_owned(), &output.parameters, &delivery))
        .collect::<Result<_, _>>()?;
    decoding.call(model, version, head.id, options, inputs, outputs, delivery)
}

/// The JSON and what follows it.
fn split(
    header_len: Option<usize>,
    body: &Bytes,
    limits: &ServerLimits,
) -> Result<(Bytes, Bytes), Failure> {
    let Some(header_len) = header_len else {
        return Ok((body.clone(), Bytes::new()));
    };
    if header_len > body.len() {
        return Err(Failure::invalid(format!(
            "Inference-Header-Content-Length is {header_len}, but the body has {} bytes",
            body.len()
        )));
    }
    // With raw tensors behind it, the JSON has no reason to be long; without, it holds the tensors.
    if header_len > limits.json_bytes_max && header_len < body.len() {
        return Err(Failure::too_large(format!(
            "the request's JSON has {header_len} bytes; at most {} are allowed",
            limits.json_bytes_max
        )));
    }
    Ok((body.slice(..header_len), body.slice(header_len..)))
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default)]
    id: String,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Capped<Input<'a>>,
    #[serde(borrow, default)]
    outputs: Capped<Output<'a>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    shape: Capped<i64>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    parameters: Parameters,
}

impl Input<'_> {
    fn tensor(&self, raw: &mut Tail, decoding: &mut Decoding) -> Result<Literal, Failure> {
        let name = &*self.name;
        let datatype = Datatype::parse(name, &self.datatype)?;
        let shape = parse_shape(name, &self.shape.0, decoding.limits)?;
        let place = self.parameters.shared_place(name)?;
        let raw_len = self.parameters.unsigned("binary_data_size")?;
        match (place, raw_len, self.data) {
            (Some(place), None, None) => decoding.shared_input(name, datatype, shape, &place),
            (None, Some(len), None) => from_raw(name, datatype, shape, raw.take(name, len)?),
            (None, None, Some(data)) => from_json(name, datatype, shape, data.get()),
            (None, None, None) => Err(Failure::invalid(format!(
                "input {} has no data: give `data`, or the parameter `binary_data_size`",
                Shown(name)
            ))),
            _ => Err(Failure::invalid(format!(
                "input {} has its data in more than one place",
                Shown(name)
            ))),
        }
    }
}

fn from_json(
    name: &str,
    datatype: Datatype,
    shape: Vec<usize>,
    data: &str,
) -> Result<Literal, Failure> {
    let Datatype::Number(dtype) = datatype else { return Err(strings_unsupported(name)) };
    expected_len(name, dtype, &shape)?;
    let bytes = json_data::parse(name, dtype, shape.iter().product(), data)?;
    Ok(Literal::new(dtype, shape, bytes).expect("the number of elements was checked"))
}

/// The raw tensors behind the JSON, handed out in order.
struct Tail {
    bytes: Bytes,
    taken: usize,
}

impl Tail {
    fn take(&mut self, name: &str, len: u64) -> Result<Bytes, Failure> {
        let left = self.bytes.len() - self.taken;
        let len = usize::try_from(len).ok().filter(|&len| len <= left).ok_or_else(|| {
            Failure::invalid(format!(
                "input {} claims {len} bytes of binary data; {left} are left in the request",
                Shown(name)
            ))
        })?;
        let slice = self.bytes.slice(self.taken..self.taken + len);
        self.taken += len;
        Ok(slice)
    }

    fn finish(self) -> Result<(), Failure> {
        match self.bytes.len() - self.taken {
            0 => Ok(()),
            left => Err(Failure::invalid(format!(
                "{left} bytes of binary data belong to no input of the request"
            ))),
        }
    }
}
