//! Encodes and decodes messages as `tonic_prost` does, with a guard and a shortcut: inference requests are looked over
//! before they are decoded, and room for an answer is made once.

use super::pb::ModelInferRequest;
use bytes::Bytes;
use prost::Message;
use std::any::TypeId;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// The codec of every method.
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        BoundedCodec(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for BoundedCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ReservingEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> ReservingEncoder<T> {
        ReservingEncoder(PhantomData)
    }

    fn decoder(&mut self) -> BoundedDecoder<U> {
        BoundedDecoder(ProstDecoder::default())
    }
}

pub struct ReservingEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for ReservingEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + 'static> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        use bytes::Buf;
        if TypeId::of::<U>() == TypeId::of::<ModelInferRequest>() && !is_modest(buffer.chunk()) {
            return Err(immodest());
        }
        self.0.decode(buffer)
    }
}

/// Decodes an inference request; its tensors are slices of the message.
pub(super) fn decode_infer(message: Bytes) -> Result<ModelInferRequest, Status> {
    if !is_modest(&message) {
        return Err(immodest());
    }
    ModelInferRequest::decode(message).map_err(|error| Status::internal(error.to_string()))
}

fn immodest() -> Status {
    Status::invalid_argument(format!(
        "the request has more than {FIELDS_MAX} fields, or a shape without end"
    ))
}

/// More fields than any sensible request has; each becomes up to some hundred bytes when decoded, though on the wire
/// it may take two.
const FIELDS_MAX: usize = 16_384;

/// Of a packed shape: far more than a tensor has dimensions.
const SHAPE_BYTES_MAX: usize = 1024;

/// Whether decoding an inference request takes little more memory than the request itself. Bytes that are no message
/// pass: decoding refuses them.
fn is_modest(message: &[u8]) -> bool {
    let mut left = FIELDS_MAX;
    fields(message).all(|(field, bytes)| {
        take(&mut left)
            && match (field, bytes) {
                // inputs
                (5, Some(input)) => fields(input).all(|(field, bytes)| {
                    take(&mut left)
                        && match (field, bytes) {
                            // shape
                            (3, Some(shape)) => shape.len() <= SHAPE_BYTES_MAX,
                            // contents
                            (5, Some(contents)) => fields(contents).all(|_| take(&mut left)),
                            _ => true,
                        }
                }),
                // outputs
                (6, Some(output)) => fields(output).all(|_| take(&mut left)),
                _ => true,
            }
    })
}

fn take(left: &mut usize) -> bool {
    *left = left.saturating_sub(1);
    *left > 0
}

/// The fields of a message: number, and contents where they have a length. Ends early at what is no field.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Option<&[u8]>)> {
    std::iter::from_fn(move || {
        let key = varint(&mut bytes)?;
        let contents = match key & 7 {
            0 => varint(&mut bytes).map(|_| None)?,
            1 => split(&mut bytes, 8).map(|_| None)?,
            2 => {
                let len = varint(&mut bytes)?;
                Some(split(&mut bytes, usize::try_from(len).ok()?)?)
            }
            5 => split(&mut bytes, 4).map(|_| None)?,
            _ => return None,
        };
        Some((key >> 3, contents))
    })
}

fn split<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(len)?;
    *bytes = tail;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = split(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
    use crate::pb::{InferParameter, InferTensorContents};

    fn modest(message: &ModelInferRequest) -> bool {
        is_modest(&message.encode_to_vec())
    }

    fn with_input(input: InferInputTensor) -> ModelInferRequest {
        ModelInferRequest { inputs: vec![input], ..Default::default() }
    }

    #[test]
    fn passes_large_tensors() {
        let contents =
            InferTensorContents { fp32_contents: vec![1.5; 100_000], ..Default::default() };
        let typed = InferInputTensor {
            name: "x".into(),
            shape: vec![100_000],
            contents: Some(contents),
            ..Default::default()
        };
        assert!(modest(&with_input(typed)));
        let raw = vec![Bytes::from(vec![0xff; 1_000_000])];
        assert!(modest(&ModelInferRequest { raw_input_contents: raw, ..Default::default() }));
        assert!(modest(&ModelInferRequest::default()));
    }

    #[test]
    fn stops_messages_that_swell() {
        let many = 20_000;
        let inputs = vec![InferInputTensor::default(); many];
        assert!(!modest(&ModelInferRequest { inputs, ..Default::default() }));
        let outputs = vec![InferRequestedOutputTensor::default(); many];
        assert!(!modest(&ModelInferRequest { outputs, ..Default::default() }));
        let raw = vec![Bytes::new(); many];
        assert!(!modest(&ModelInferRequest { raw_input_contents: raw, ..Default::default() }));
        let contents =
            InferTensorContents { bytes_contents: vec![Bytes::new(); many], ..Default::default() };
        assert!(!modest(&with_input(InferInputTensor {
            contents: Some(contents),
            ..Default::default()
        })));
        assert!(!modest(&with_input(InferInputTensor {
            shape: vec![1; many],
            ..Default::default()
        })));
        let parameters = (0..many).map(|i| (i.to_string(), InferParameter::default())).collect();
        assert!(!modest(&ModelInferRequest { parameters, ..Default::default() }));
    }

    #[test]
    fn leaves_nonsense_to_the_decoder() {
        for bytes in [
            &[0xff; 20][..],
            &[0x2a, 0xff, 0xff],
            &[0x07],
            &[0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            assert!(is_modest(bytes));
            assert!(ModelInferRequest::decode(bytes).is_err());
        }
    }
}
