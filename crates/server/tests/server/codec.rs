//! The decoders without a server, as fuzzers call them.

use bytes::Bytes;
use prost::Message;
use sublet_server::http::decode_infer;
use sublet_server::pb::ModelInferRequest;
use sublet_server::{ServerLimits, SystemRegions, decode_request};

#[test]
fn raw_tensors_are_slices_of_the_body() {
    let json = br#"{"inputs": [{"name": "a", "datatype": "UINT8", "shape": [3], "parameters": {"binary_data_size": 3}},
        {"name": "b", "datatype": "INT16", "shape": [1], "parameters": {"binary_data_size": 2}}]}"#;
    let body = Bytes::from([&json[..], &[1, 2, 3, 4, 5]].concat());
    let (limits, regions) = (ServerLimits::default(), SystemRegions::new(false));
    let call = decode_infer("m", None, Some(json.len()), &body, &limits, &regions).ok().unwrap();
    let tensors: Vec<_> = call.request.inputs.iter().map(|input| input.tensor.bytes()).collect();
    assert_eq!((&tensors[0][..], &tensors[1][..]), (&[1, 2, 3][..], &[4, 5][..]));
    assert_eq!(tensors[0].as_ptr(), body[json.len()..].as_ptr());
}

/// Every prefix and many single-byte changes of valid requests: never a panic.
#[test]
fn survives_damage() {
    let (limits, regions) = (ServerLimits::default(), SystemRegions::new(false));
    let json = br#"{"id":"a","parameters":{"timeout":5},"inputs":[{"name":"a","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":5}},
        {"name":"b","datatype":"FP32","shape":[1,2],"data":[[1e3,-2]]}],"outputs":[{"name":"y","parameters":{"classification":3}}]}"#;
    let body = [&json[..], b"\x01\0\0\0a"].concat();
    let try_body = |body: &[u8]| {
        for length in [None, Some(0), Some(json.len()), Some(body.len()), Some(usize::MAX)] {
            let body = Bytes::copy_from_slice(body);
            drop(decode_infer("m", Some(1), length, &body, &limits, &regions));
        }
    };
    let message = ModelInferRequest {
        model_name: "m".into(),
        id: "7".into(),
        raw_input_contents: vec![Bytes::from_static(&[0; 8])],
        inputs: vec![sublet_server::pb::model_infer_request::InferInputTensor {
            name: "x".into(),
            datatype: "FP32".into(),
            shape: vec![1, 2],
            ..Default::default()
        }],
        ..Default::default()
    };
    let message = message.encode_to_vec();
    let try_message = |bytes: &[u8]| {
        if let Ok(message) = ModelInferRequest::decode(bytes) {
            drop(decode_request(message, &limits, &regions));
        }
    };
    for end in 0..body.len() {
        try_body(&body[..end]);
    }
    for end in 0..message.len() {
        try_message(&message[..end]);
    }
    for (bytes, check) in [(&body, &try_body as &dyn Fn(&[u8])), (&message, &try_message)] {
        for index in 0..bytes.len() {
            for value in [0, b'"', b'[', b'}', b'9', 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[index] = value;
                check(&damaged);
            }
        }
    }
}
