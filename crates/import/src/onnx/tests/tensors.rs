//! Stored and external tensor data.

use super::build::*;
use crate::onnx::proto::tensor_proto::{DataLocation, DataType};
use crate::onnx::proto::{ModelProto, StringStringEntryProto, TensorProto};
use crate::onnx::{ExternalData, import_onnx, import_tensor};
use crate::{ImportError, Limits};
use bytes::Bytes;
use prost::Message;

/// A model whose one output is the tensor.
fn constant(mut tensor: TensorProto) -> ModelProto {
    tensor.name = "w".to_owned();
    let mut graph = graph(&[], Vec::new(), &["w"]);
    graph.output[0].r#type = None;
    graph.initializer.push(tensor);
    model(13, graph)
}

fn shown(tensor: TensorProto) -> String {
    let model = imported(&constant(tensor));
    format!("{:?}", model.literal(model.graph.outputs[0]).expect("a weight"))
}

fn of(dtype: DataType, dims: &[i64]) -> TensorProto {
    TensorProto { data_type: dtype as i32, dims: dims.to_vec(), ..TensorProto::default() }
}

#[test]
fn each_type_is_read_from_its_field() {
    let ints = |dtype, values: &[i32]| TensorProto {
        int32_data: values.to_vec(),
        ..of(dtype, &[values.len() as i64])
    };
    assert_eq!(shown(f32s("w", &[2], &[1.5, -2.0])), "f32[2][1.5, -2.0]");
    let typed = TensorProto { float_data: vec![1.5], ..of(DataType::Float, &[]) };
    assert_eq!(shown(typed), "f32[][1.5]");
    let double = TensorProto { double_data: vec![0.5], ..of(DataType::Double, &[1]) };
    assert_eq!(shown(double), "f64[1][0.5]");
    assert_eq!(shown(ints(DataType::Int32, &[-7])), "i32[1][-7]");
    assert_eq!(shown(ints(DataType::Int8, &[-1, 127])), "i8[2][ff, 7f]");
    assert_eq!(shown(ints(DataType::Uint8, &[255])), "u8[1][ff]");
    assert_eq!(shown(ints(DataType::Int16, &[-2])), "i16[1][fe, ff]");
    assert_eq!(shown(ints(DataType::Uint16, &[0x1234])), "u16[1][34, 12]");
    assert_eq!(shown(ints(DataType::Bool, &[0, 1])), "bool[2][00, 01]");
    assert_eq!(shown(ints(DataType::Float16, &[0x3c00])), "f16[1][1.0]");
    assert_eq!(shown(ints(DataType::Bfloat16, &[0x3f80])), "bf16[1][1.0]");
    let u32s = TensorProto { uint64_data: vec![7], ..of(DataType::Uint32, &[1]) };
    assert_eq!(shown(u32s), "u32[1][07, 00, 00, 00]");
    assert_eq!(shown(of(DataType::Float, &[0, 3])), "f32[0, 3][]");
    let raw = TensorProto { raw_data: Bytes::from_static(&[0, 9]), ..of(DataType::Bool, &[2]) };
    assert_eq!(shown(raw), "bool[2][00, 01]");
}

#[test]
fn wrong_tensors_are_refused_by_name() {
    let f = DataType::Float;
    let bytes = Bytes::from_static(&[0; 8]);
    let cases = [
        (of(f, &[2]), "0 bytes of data, but the shape takes 8"),
        (TensorProto { raw_data: bytes.clone(), ..of(f, &[3]) }, "8 bytes of data"),
        (TensorProto { float_data: vec![1.0], ..of(f, &[2]) }, "1 elements of data"),
        (TensorProto { int64_data: vec![1], ..of(f, &[1]) }, "not for f32"),
        (TensorProto { float_data: vec![1.0], raw_data: bytes, ..of(f, &[2]) }, "both raw"),
        (TensorProto { int32_data: vec![256], ..of(DataType::Uint8, &[1]) }, "out of range"),
        (of(f, &[-1]), "negative"),
        (of(f, &[1 << 40, 1 << 40]), "overflows"),
        (of(f, &[i64::MAX]), "overflows"),
        (of(f, &[1; 100]), "more than 64 dimensions"),
        (of(DataType::String, &[1]), "STRING"),
        (of(DataType::Complex64, &[1]), "COMPLEX64"),
        (of(DataType::Uint4, &[1]), "UINT4"),
        (of(DataType::Undefined, &[1]), "not set"),
        (TensorProto { data_type: 1000, ..TensorProto::default() }, "1000"),
        (TensorProto { segment: Some(Default::default()), ..of(f, &[1]) }, "segmented"),
    ];
    for (tensor, expected) in cases {
        let message = refused(&constant(tensor));
        assert!(message.starts_with("tensor `w`") && message.contains(expected), "{message}");
    }
}

#[test]
fn raw_data_is_not_copied() {
    let file = Bytes::from(constant(f32s("w", &[64], &[1.0; 64])).encode_to_vec());
    let model = import_onnx(file.clone(), &crate::NoExternalData, &Limits::default()).unwrap();
    let weight = model.weights[0].value.bytes().as_ptr() as usize;
    let start = file.as_ptr() as usize;
    assert!((start..start + file.len()).contains(&weight));
}

#[test]
fn a_tensor_can_be_a_file_of_its_own() {
    let file = Bytes::from(f32s("w", &[2], &[1.5, -2.0]).encode_to_vec());
    let literal = import_tensor(file.clone()).unwrap();
    assert_eq!(format!("{literal:?}"), "f32[2][1.5, -2.0]");
    for len in 0..file.len() {
        assert!(import_tensor(file.slice(..len)).is_err(), "{len} bytes");
    }
}

/// A folder with the one file `w.bin`: the bytes 0 to 15.
struct Folder;

impl ExternalData for Folder {
    fn read(&self, location: &str, offset: u64, len: u64) -> Result<Bytes, String> {
        if location != "w.bin" {
            return Err("no such file".to_owned());
        }
        let file: Bytes = (0..16u8).collect();
        let (offset, len) = (offset as usize, len as usize);
        if offset + len > file.len() {
            return Err("past the end".to_owned());
        }
        Ok(file.slice(offset..offset + len))
    }
}

fn external(entries: &[(&str, &str)]) -> Result<Vec<u8>, ImportError> {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    let tensor = TensorProto {
        data_location: DataLocation::External as i32,
        external_data: entries.iter().map(entry).collect(),
        ..of(DataType::Uint8, &[4])
    };
    let file = constant(tensor).encode_to_vec().into();
    let model = import_onnx(file, &Folder, &Limits::default())?;
    Ok(model.weights[0].value.bytes().to_vec())
}

#[test]
fn external_data_is_read_where_the_file_says() {
    assert_eq!(external(&[("location", "w.bin")]), Ok(vec![0, 1, 2, 3]));
    let at = [("location", "w.bin"), ("offset", "12"), ("length", "4"), ("checksum", "x")];
    assert_eq!(external(&at), Ok(vec![12, 13, 14, 15]));
}

#[test]
fn external_data_stays_in_the_folder_and_in_the_file() {
    let max = u64::MAX.to_string();
    let cases: [(&[(&str, &str)], &str); 10] = [
        (&[], "no location"),
        (&[("location", "../w.bin")], "leaves the model's folder"),
        (&[("location", "/etc/passwd")], "absolute"),
        (&[("location", "a\\..\\w.bin")], "backslash"),
        (&[("location", "w.bin\0.txt")], "zero byte"),
        (&[("location", "other.bin")], "no such file"),
        (&[("location", "w.bin"), ("offset", "13")], "past the end"),
        (&[("location", "w.bin"), ("offset", &max)], "out of range"),
        (&[("location", "w.bin"), ("offset", "-1")], "offset is not a number"),
        (&[("location", "w.bin"), ("length", "5")], "5 bytes, but the shape takes 4"),
    ];
    for (entries, expected) in cases {
        let message = external(entries).unwrap_err().to_string();
        assert!(message.starts_with("tensor `w`") && message.contains(expected), "{message}");
    }
}
