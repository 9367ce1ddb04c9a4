//! Round trips, and files that somebody broke.

use super::*;
use sublet_graph::{
    Activation, DType, Dim, Graph, GraphInput, Literal, Model, Node, Op, Source, ValueId,
    ValueInfo, Weight, WeightId,
};

/// `y = x · w + b` with odd names and an unread empty weight.
fn packed(scale: f32) -> Packed {
    let weight = |name: &str, value| Weight { name: name.into(), value };
    let w: Vec<f32> = (0..12).map(|i| i as f32 * scale).collect();
    let value = |name: &str, source| ValueInfo {
        name: name.into(),
        source,
        dtype: Some(DType::F32),
        dims: Some(vec![Dim::Named("N".into()), Dim::Unknown]),
    };
    let node = Node {
        name: "product".into(),
        op: Op::Linear { activation: Activation::None },
        inputs: [0, 1, 2].map(|id| Some(ValueId(id))).to_vec(),
        outputs: vec![Some(ValueId(3))],
    };
    let model = Model {
        name: "test".into(),
        graph: Graph {
            values: vec![
                value("x", Source::Input),
                value("__w", Source::Weight(WeightId(0))),
                value("b", Source::Weight(WeightId(1))),
                value("y", Source::Node),
            ],
            nodes: vec![node],
            inputs: vec![GraphInput { value: ValueId(0), default: None }],
            outputs: vec![ValueId(3)],
        },
        weights: vec![
            weight("__w", Literal::f32(&[3, 4], &w)),
            weight("b", Literal::f32(&[4], &[0.1, -0.0, f32::NAN, f32::MIN_POSITIVE])),
            weight("unread", Literal::i64(&[0], &[])),
        ],
        metadata: vec![("key".into(), "value \"quoted\"".into())],
    };
    pack(model, Platform::Onnx, LayoutOptions::default())
}

fn key(text: &str) -> Key {
    let files = [text.as_bytes()];
    Key::of(files.into_iter(), &RewriteOptions::default(), &LayoutOptions::default())
}

fn file_bytes(packed: &Packed) -> Vec<u8> {
    let header = format::header(packed).unwrap();
    let mut bytes = Vec::new();
    format::write(&header, packed, &mut bytes).unwrap();
    bytes
}

#[test]
fn reads_back_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), None).unwrap();
    let packed = packed(0.1);
    assert!(store.get(&key("a")).is_none());
    store.put(&key("a"), &packed).unwrap();
    let back = store.get(&key("a")).unwrap();
    assert_eq!(back.graph, packed.graph);
    assert_eq!(back.image.layout, packed.image.layout);
    assert_eq!(back.image.weights, packed.image.weights);
    assert_eq!(back.image.bytes[..], packed.image.bytes[..]);
    assert_eq!(back.weight_names, packed.weight_names);
    assert_eq!(back.origin, packed.origin);
    assert!(store.get(&key("b")).is_none());
}

#[test]
fn the_file_is_safetensors() {
    let packed = packed(0.1);
    let bytes = file_bytes(&packed);
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let bias = tensors.tensor("b").unwrap();
    assert_eq!(bias.shape(), [4]);
    assert_eq!(bias.data(), packed.image.weight_bytes(WeightId(1)));
    assert!(tensors.names().iter().any(|name| name.starts_with("__pad.")));
}

#[test]
fn a_broken_file_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), None).unwrap();
    let good = file_bytes(&packed(0.1));
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let huge = [&u64::MAX.to_le_bytes(), &good[8..]].concat();
    for (what, bytes) in [
        ("truncated", good[..good.len() - 1].to_vec()),
        ("longer", [&good[..], b"x"].concat()),
        ("another weight", flipped(good.len() - 200)),
        ("another header", flipped(200)),
        ("another length", flipped(0)),
        ("a huge header", huge),
        ("empty", Vec::new()),
        ("another format", b"\x02\0\0\0\0\0\0\0{}".to_vec()),
    ] {
        assert!(check_packed(&bytes).is_err(), "{what}");
        let path = store.path(&key("a"));
        fs::write(&path, &bytes).unwrap();
        assert!(store.get(&key("a")).is_none(), "{what}");
        assert!(!path.exists(), "{what}");
    }
    assert!(check_packed(&good).is_ok());
}

#[test]
fn a_header_that_lies_is_refused() {
    let packed = packed(0.1);
    let good = file_bytes(&packed);
    let header_len = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&good[8..8 + header_len]).unwrap();
    // In the JSON within the JSON, quotes are escaped.
    for (from, to) in [
        (r#"\"offset\":0,\"len\":48,\"segment\":0"#, r#"\"offset\":0,\"len\":48,\"segment\":9"#),
        (r#"\"offset\":0,\"len\":48,\"segment\":0"#, r#"\"offset\":16,\"len\":48,\"segment\":0"#),
        (r#"\"format\":1"#, r#"\"format\":2"#),
        (r#"{\"Weight\":0}"#, r#"{\"Weight\":7}"#),
        (r#"\"outputs\":[3]"#, r#"\"outputs\":[9]"#),
        (r#""shape":[3,4]"#, r#""shape":[4,4]"#),
        (r#""shape":[3,4]"#, r#""shape":[4294967296,4294967296]"#),
        (r#"[\"b\",\"b\"]"#, r#"[\"b\",\"c\"]"#),
    ] {
        assert!(header.contains(from), "{from} in {header}");
        let header = header.replacen(from, to, 1);
        let bytes =
            [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &good[8 + header_len..]];
        assert!(check_packed(&bytes.concat()).is_err(), "{from} → {to}");
    }
}

#[test]
fn keys_tell_contents_apart() {
    let of = |files: &[&[u8]]| {
        let files = files.iter().copied();
        Key::of(files, &RewriteOptions::default(), &LayoutOptions::default())
    };
    assert_eq!(of(&[b"ab", b"c"]), of(&[b"ab", b"c"]));
    assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
    assert_ne!(of(&[b"ab"]), of(&[b"ab", b""]));
}

#[test]
fn remembers_unchanged_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.onnx");
    let print = || Fingerprint::new(&model, &model.metadata().unwrap());
    fs::write(&model, "one").unwrap();
    let store_folder = folder.path().join("store");
    let store = Store::open(&store_folder, None).unwrap();
    store.put(&key("one"), &packed(1.0)).unwrap();
    store.remember(vec![print()], &key("one"));
    let again = Store::open(&store_folder, None).unwrap();
    assert_eq!(again.known(&print()).map(|(key, _)| key), Some(key("one")));

    fs::write(&model, "other").unwrap();
    assert!(again.known(&print()).is_none());
    again.remember(vec![print()], &key("other"));
    assert!(again.get(&key("one")).is_none(), "what is not used any more is removed");

    fs::write(store_folder.join("index.json"), "{").unwrap();
    assert!(Store::open(&store_folder, None).unwrap().known(&print()).is_none());
}

#[test]
fn damaged_files_are_answered() {
    let good = file_bytes(&packed(0.1));
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let mut bytes = good.clone();
        let at = random.usize(..bytes.len());
        match random.u8(..3) {
            0 => bytes[at] = bytes[at].wrapping_add(random.u8(1..)),
            1 => bytes.truncate(at),
            _ => drop(bytes.remove(at)),
        }
        // Blanks, names and numbers of the header may change and still make sense; nothing may panic.
        if check_packed(&bytes).is_ok() {
            assert_eq!(bytes.len(), good.len());
            assert_eq!(bytes[good.len() - 512..], good[good.len() - 512..]);
        }
    }
}
