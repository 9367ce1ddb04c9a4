//! One inference as either protocol decodes it, and its answer before either encodes it.

use crate::error_table::Shown;
use crate::names::{check_name, check_text};
use crate::parameters::{Parameters, RequestOptions, SharedPlace};
use crate::shared_memory::SharedSpan;
use crate::tensor::{Datatype, expected_len, from_raw};
use crate::{Failure, ServerLimits, SystemRegions, classify};
use bytes::Bytes;
use std::collections::HashSet;
use sublet_engine::{InferRequest, InferResponse, NamedTensor};
use sublet_graph::Literal;

/// A decoded inference request.
pub struct Call {
    pub request: InferRequest,
    /// The client's own name for the request; returned with the answer.
    pub id: String,
    /// The outputs asked for; empty: all of them, delivered as `delivery` says.
    pub outputs: Vec<OutputSpec>,
    pub delivery: Delivery,
    /// Whether a streamed answer carries the mark of the last one.
    pub final_mark: bool,
}

/// How one output is to be answered.
pub struct OutputSpec {
    pub name: String,
    pub delivery: Delivery,
    /// Above 0: answer the so many largest elements with their indices, instead of the tensor.
    pub classes: u32,
}

/// Where an output's elements go.
#[derive(Clone)]
pub enum Delivery {
    /// As text in the answer's JSON.
    Json,
    /// As raw bytes in the answer.
    Binary,
    /// Into shared memory.
    Shared(SharedSpan),
}

/// What decoding consults.
pub(crate) struct Decoding<'a> {
    pub limits: &'a ServerLimits,
    pub regions: &'a SystemRegions,
    /// Bytes of inputs that may still come from shared memory.
    pub shared_bytes_left: u64,
}

/// An answer before it is encoded.
pub(crate) struct Answer {
    pub id: String,
    pub model: String,
    pub version: u64,
    pub outputs: Vec<AnswerTensor>,
}

pub(crate) struct AnswerTensor {
    pub name: String,
    pub datatype: &'static str,
    pub shape: Vec<usize>,
    pub value: AnswerValue,
}

pub(crate) enum AnswerValue {
    Json(Literal),
    /// Strings for JSON.
    Labels(Vec<String>),
    Binary(Bytes),
    /// Written already.
    Shared(SharedSpan),
}

impl<'a> Decoding<'a> {
    pub fn new(limits: &'a ServerLimits, regions: &'a SystemRegions) -> Self {
        Decoding { limits, regions, shared_bytes_left: limits.body_bytes_max as u64 }
    }

    /// Reads an input from shared memory.
    pub fn shared_input(
        &mut self,
        name: &str,
        datatype: Datatype,
        shape: Vec<usize>,
        place: &SharedPlace,
    ) -> Result<Literal, Failure> {
        let span = self.regions.span(&place.region, place.offset, place.bytes)?;
        if let Datatype::Number(dtype) = datatype {
            let expected = expected_len(name, dtype, &shape)?;
            if place.bytes != expected as u64 {
                return Err(Failure::invalid(format!(
                    "input {} has {} bytes in shared memory; {} of shape {shape:?} takes {expected}",
                    Shown(name),
                    place.bytes,
                    dtype.wire_name()
                )));
            }
        }
        self.shared_bytes_left =
            self.shared_bytes_left.checked_sub(place.bytes).ok_or_else(|| {
                Failure::too_large("the inputs in shared memory are larger than a request may be")
            })?;
        from_raw(name, datatype, shape, span.read()?)
    }

    /// What an output's parameters ask for. `delivery` is for those that do not say.
    pub fn output(
        &self,
        name: String,
        parameters: &Parameters,
        delivery: &Delivery,
    ) -> Result<OutputSpec, Failure> {
        let classes = parameters.unsigned("classification")?.unwrap_or(0);
        let classes = u32::try_from(classes)
            .map_err(|_| Failure::invalid("the parameter `classification` must be below 2^32"))?;
        let binary = parameters.bool("binary_data")?;
        let delivery = match (parameters.shared_place(&name)?, binary) {
            (Some(place), _) => {
                Delivery::Shared(self.regions.span(&place.region, place.offset, place.bytes)?)
            }
            (None, Some(true)) => Delivery::Binary,
            (None, Some(false)) => Delivery::Json,
            (None, None) => delivery.clone(),
        };
        Ok(OutputSpec { name, delivery, classes })
    }

    /// Puts a call together, refusing names that are given twice.
    pub fn call(
        &self,
        model: &str,
        version: Option<u64>,
        id: String,
        options: RequestOptions,
        inputs: Vec<NamedTensor>,
        outputs: Vec<OutputSpec>,
        delivery: Delivery,
    ) -> Result<Call, Failure> {
        check_text("request's id", &id, self.limits)?;
        check_tensors("input", inputs.iter().map(|input| input.name.as_str()), self.limits)?;
        check_tensors("output", outputs.iter().map(|output| output.name.as_str()), self.limits)?;
        let request = InferRequest {
            model: model.to_owned(),
            version,
            inputs,
            outputs: outputs.iter().map(|output| output.name.clone()).collect(),
            priority: options.priority,
            timeout: options.timeout,
            slo: options.slo,
        };
        Ok(Call { request, id, outputs, delivery, final_mark: options.final_mark })
    }
}

/// Refuses too many of them, bad names and repeated ones.
fn check_tensors<'a>(
    what: &str,
    names: impl ExactSizeIterator<Item = &'a str>,
    limits: &ServerLimits,
) -> Result<(), Failure> {
    check_count(what, names.len(), limits)?;
    let mut seen = HashSet::with_capacity(names.len());
    for name in names {
        check_name(&format!("name of an {what}"), name, limits)?;
        if !seen.insert(name) {
            return Err(Failure::invalid(format!("{what} {} is given twice", Shown(name))));
        }
    }
    Ok(())
}

pub(crate) fn check_count(what: &str, count: usize, limits: &ServerLimits) -> Result<(), Failure> {
    if count > limits.tensors_max {
        return Err(Failure::invalid(format!(
            "the request has {count} {what}s; at most {} are allowed",
            limits.tensors_max
        )));
    }
    Ok(())
}

impl Answer {
    /// Brings outputs into the form asked for, writing those that go to shared memory. `batched` tells whether
    /// dimension 0 is the batch, which classification keeps apart.
    pub fn new(
        id: String,
        specs: &[OutputSpec],
        delivery: &Delivery,
        response: InferResponse,
        batched: bool,
    ) -> Result<Self, Failure> {
        let InferResponse { model, version, outputs, .. } = response;
        let mut answers = Vec::with_capacity(outputs.len());
        for (index, NamedTensor { name, tensor }) in outputs.into_iter().enumerate() {
            let answer = match specs.get(index) {
                Some(spec) if spec.classes > 0 => labelled(name, &tensor, spec, batched)?,
                spec => whole(name, tensor, spec.map_or(delivery, |spec| &spec.delivery))?,
            };
            answers.push(answer);
        }
        Ok(Answer { id, model, version, outputs: answers })
    }
}

fn whole(name: String, tensor: Literal, delivery: &Delivery) -> Result<AnswerTensor, Failure> {
    let datatype = tensor.dtype().wire_name();
    let shape = tensor.shape().to_vec();
    let value = match delivery {
        Delivery::Json => AnswerValue::Json(tensor),
        Delivery::Binary => AnswerValue::Binary(tensor.bytes().clone()),
        Delivery::Shared(span) => AnswerValue::Shared(span.write(tensor.bytes())?),
    };
    Ok(AnswerTensor { name, datatype, shape, value })
}

fn labelled(
    name: String,
    tensor: &Literal,
    spec: &OutputSpec,
    batched: bool,
) -> Result<AnswerTensor, Failure> {
    let (shape, labels) = classify::top(tensor, spec.classes as usize, batched);
    let value = match &spec.delivery {
        Delivery::Json => AnswerValue::Labels(labels),
        Delivery::Binary => AnswerValue::Binary(string_bytes(&labels)),
        Delivery::Shared(span) => AnswerValue::Shared(span.write(&string_bytes(&labels))?),
    };
    Ok(AnswerTensor { name, datatype: "BYTES", shape, value })
}

/// Byte strings on the wire: each its length in four bytes, then itself.
fn string_bytes(strings: &[String]) -> Bytes {
    let mut bytes = Vec::new();
    for string in strings {
        let len = u32::try_from(string.len()).expect("labels are short");
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(string.as_bytes());
    }
    Bytes::from(bytes)
}
