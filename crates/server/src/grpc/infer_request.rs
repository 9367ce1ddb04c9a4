//! Decodes an inference over gRPC. Raw tensors are slices of the message that came in.

use super::pb;
use crate::call::{Decoding, check_count};
use crate::error_table::Shown;
use crate::names::{check_model_name, parse_version};
use crate::parameters::{Parameter, Parameters};
use crate::tensor::{Datatype, expected_len, from_raw, parse_shape, strings_unsupported};
use crate::{Call, Delivery, Failure, ServerLimits, SystemRegions};
use bytes::Bytes;
use pb::infer_parameter::ParameterChoice;
use pb::model_infer_request::InferInputTensor;
use std::collections::HashMap;
use sublet_engine::NamedTensor;
use sublet_graph::{DType, Literal};

/// Decodes a request, checking everything but whether the model takes it.
pub fn decode_request(
    message: pb::ModelInferRequest,
    limits: &ServerLimits,
    regions: &SystemRegions,
) -> Result<Call, Failure> {
    check_model_name(&message.model_name, limits)?;
    let version = parse_version(&message.model_version)?;
    let options = parameters(message.parameters).request_options()?;
    check_count("input", message.inputs.len(), limits)?;
    check_count("output", message.outputs.len(), limits)?;

    let mut decoding = Decoding::new(limits, regions);
    let raw_count = message.raw_input_contents.len();
    let mut raw = (raw_count > 0).then(|| message.raw_input_contents.into_iter());
    let mut inputs = Vec::with_capacity(message.inputs.len());
    for mut input in message.inputs {
        let name = std::mem::take(&mut input.name);
        let tensor = tensor(&name, input, raw.as_mut(), &mut decoding)?;
        inputs.push(NamedTensor { name, tensor });
    }
    if raw.is_some_and(|raw| raw.len() > 0) {
        return Err(Failure::invalid(format!(
            "the request has {raw_count} raw tensors, more than it has inputs for them"
        )));
    }
    let outputs = message.outputs.into_iter();
    let outputs = outputs
        .map(|output| {
            decoding.output(output.name, &parameters(output.parameters), &Delivery::Binary)
        })
        // This protocol has no text form: every output that is not shared goes as raw bytes.
        .map(|output| {
            output.map(|mut output| {
                if matches!(output.delivery, Delivery::Json) {
                    output.delivery = Delivery::Binary;
                }
                output
            })
        })
        .collect::<Result<_, _>>()?;
    let model = &message.model_name;
    decoding.call(model, version, message.id, options, inputs, outputs, Delivery::Binary)
}

fn tensor(
    name: &str,
    input: InferInputTensor,
    raw: Option<&mut std::vec::IntoIter<Bytes>>,
    decoding: &mut Decoding,
) -> Result<Literal, Failure> {
    let datatype = Datatype::parse(name, &input.datatype)?;
    let shape = parse_shape(name, &input.shape, decoding.limits)?;
    let place = parameters(input.parameters).shared_place(name)?;
    let contents = input.contents.filter(|contents| *contents != Default::default());
    match (place, raw, contents) {
        (Some(place), _, None) => decoding.shared_input(name, datatype, shape, &place),
        (None, Some(raw), None) => {
            let bytes = raw.next().ok_or_else(|| {
                Failure::invalid(format!("input {} has no raw tensor", Shown(name)))
            })?;
            from_raw(name, datatype, shape, bytes)
        }
        (None, None, contents) => {
            from_contents(name, datatype, shape, contents.unwrap_or_default())
        }
        _ => Err(Failure::invalid(format!(
            "input {} has its data in more than one place",
            Shown(name)
        ))),
    }
}

/// From the typed fields, of which only the one of the tensor's type may be filled.
fn from_contents(
    name: &str,
    datatype: Datatype,
    shape: Vec<usize>,
    contents: pb::InferTensorContents,
) -> Result<Literal, Failure> {
    let Datatype::Number(dtype) = datatype else { return Err(strings_unsupported(name)) };
    expected_len(name, dtype, &shape)?;
    let filled = filled_fields(&contents);
    let out_of_range = || {
        Failure::invalid(format!(
            "input {} has a value out of {}'s range",
            Shown(name),
            dtype.wire_name()
        ))
    };
    let (own, bytes) = match dtype {
        DType::Bool => {
            let bytes: Vec<u8> = contents.bool_contents.into_iter().map(u8::from).collect();
            ("bool_contents", Bytes::from(bytes))
        }
        DType::I8 => {
            let narrow = narrowed::<i8, _>(&contents.int_contents).ok_or_else(out_of_range)?;
            ("int_contents", owned(narrow))
        }
        DType::I16 => {
            let narrow = narrowed::<i16, _>(&contents.int_contents).ok_or_else(out_of_range)?;
            ("int_contents", owned(narrow))
        }
        DType::U8 => {
            let narrow = narrowed::<u8, _>(&contents.uint_contents).ok_or_else(out_of_range)?;
            ("uint_contents", owned(narrow))
        }
        DType::U16 => {
            let narrow = narrowed::<u16, _>(&contents.uint_contents).ok_or_else(out_of_range)?;
            ("uint_contents", owned(narrow))
        }
        DType::I32 => ("int_contents", owned(contents.int_contents)),
        DType::I64 => ("int64_contents", owned(contents.int64_contents)),
        DType::U32 => ("uint_contents", owned(contents.uint_contents)),
        DType::U64 => ("uint64_contents", owned(contents.uint64_contents)),
        DType::F32 => ("fp32_contents", owned(contents.fp32_contents)),
        DType::F64 => ("fp64_contents", owned(contents.fp64_contents)),
        DType::F16 | DType::BF16 => {
            return Err(Failure::invalid(format!(
                "input {}: {} must be sent as a raw tensor",
                Shown(name),
                dtype.wire_name()
            )));
        }
    };
    if let Some(other) = filled.iter().find(|&&field| field != own) {
        return Err(Failure::invalid(format!(
            "input {} of type {} has its values in {other}; they belong in {own}",
            Shown(name),
            dtype.wire_name()
        )));
    }
    from_raw(name, datatype, shape, bytes)
}

fn filled_fields(contents: &pb::InferTensorContents) -> Vec<&'static str> {
    let fields = [
        ("bool_contents", contents.bool_contents.is_empty()),
        ("int_contents", contents.int_contents.is_empty()),
        ("int64_contents", contents.int64_contents.is_empty()),
        ("uint_contents", contents.uint_contents.is_empty()),
        ("uint64_contents", contents.uint64_contents.is_empty()),
        ("fp32_contents", contents.fp32_contents.is_empty()),
        ("fp64_contents", contents.fp64_contents.is_empty()),
        ("bytes_contents", contents.bytes_contents.is_empty()),
    ];
    fields.into_iter().filter(|(_, empty)| !empty).map(|(name, _)| name).collect()
}

fn narrowed<T: TryFrom<W>, W: Copy>(values: &[W]) -> Option<Vec<T>> {
    values.iter().map(|&value| T::try_from(value).ok()).collect()
}

/// Typed values as bytes, without a copy.
fn owned<T: bytemuck::NoUninit + Send + Sync>(values: Vec<T>) -> Bytes {
    struct Typed<T>(Vec<T>);
    impl<T: bytemuck::NoUninit> AsRef<[u8]> for Typed<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    Bytes::from_owner(Typed(values))
}

fn parameters(map: HashMap<String, pb::InferParameter>) -> Parameters {
    let choice = |choice| match choice {
        ParameterChoice::BoolParam(value) => Parameter::Bool(value),
        ParameterChoice::Int64Param(value) => Parameter::Int(value),
        ParameterChoice::StringParam(value) => Parameter::Text(value),
        ParameterChoice::DoubleParam(value) => Parameter::Float(value),
        ParameterChoice::Uint64Param(value) => Parameter::Unsigned(value),
    };
    let value =
        |parameter: pb::InferParameter| parameter.parameter_choice.map_or(Parameter::Null, choice);
    Parameters(map.into_iter().map(|(name, parameter)| (name, value(parameter))).collect())
}
