//! Type of a file from its bytes (Magika).

use super::task::{Ask, floats, largest};
use anyhow::{Context, Result, ensure};
use sublet_graph::{DType, Literal};

const BEGIN: usize = 1024;
const END: usize = 1024;
const BLOCK: usize = 4096;
const PADDING: i32 = 256;

/// The labels of the model's outputs, from the configuration beside it.
pub fn labels(config: &[u8]) -> Result<Vec<String>> {
    let config: serde_json::Value = serde_json::from_slice(config)?;
    let labels =
        config["target_labels_space"].as_array().context("the configuration lists no labels")?;
    Ok(labels.iter().filter_map(|label| Some(label.as_str()?.to_owned())).collect())
}

/// Label and probability.
pub fn classify(
    bytes: &[u8],
    labels: &[String],
    model: &str,
    ask: &mut dyn Ask,
) -> Result<(String, f32)> {
    let input = Literal::from_values(DType::I32, &[1, BEGIN + END], &features(bytes));
    let outputs = ask.ask(model, vec![("bytes", input)])?;
    let (scores, _) = floats(&outputs, "target_label")?;
    ensure!(scores.len() == labels.len(), "{} scores for {} labels", scores.len(), labels.len());
    let (best, score) = largest(&scores);
    Ok((labels[best].clone(), score))
}

/// The first kilobyte without leading blanks, padded behind, and the last without trailing ones, padded in front.
fn features(bytes: &[u8]) -> Vec<i32> {
    let begin = bytes[..bytes.len().min(BLOCK)].trim_ascii_start();
    let end = bytes[bytes.len().saturating_sub(BLOCK)..].trim_ascii_end();
    let begin = &begin[..begin.len().min(BEGIN)];
    let end = &end[end.len().saturating_sub(END)..];
    let mut features = vec![PADDING; BEGIN + END];
    for (feature, &byte) in features.iter_mut().zip(begin) {
        *feature = i32::from(byte);
    }
    for (feature, &byte) in features[BEGIN + END - end.len()..].iter_mut().zip(end) {
        *feature = i32::from(byte);
    }
    features
}

/// Small files of well-known types, made here.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let rust = include_bytes!("file_type.rs").to_vec();
    let toml = include_bytes!("../../Cargo.toml").to_vec();
    let elf = std::env::current_exe().ok().and_then(|path| {
        use std::io::Read;
        let mut head = Vec::new();
        std::fs::File::open(path).ok()?.take(BLOCK as u64).read_to_end(&mut head).ok()?;
        head.starts_with(b"\x7fELF").then_some(head)
    });
    let python = "import os\nimport sys\n\n\ndef main(argv):\n    for name in sorted(os.listdir(argv[1])):\n        \
                  print(f'{name}: {os.path.getsize(name)} bytes')\n    return 0\n\n\nif __name__ == '__main__':\n    \
                  sys.exit(main(sys.argv))\n";
    let html = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Sublet</title><meta charset=\"utf-8\"></head>\n<body>\
                <h1>Many models</h1><p>on <em>few</em> devices</p><script>console.log(1)</script></body></html>\n";
    let shell = "#!/bin/sh\nset -eu\nfor file in \"$@\"; do\n  if [ -f \"$file\" ]; then\n    wc -c < \"$file\"\n  fi\ndone\n";
    let mut samples = vec![
        ("a Rust source", rust),
        ("a Cargo manifest", toml),
        ("a Python script", python.into()),
        ("a web page", html.into()),
        ("a shell script", shell.into()),
        ("a picture", bitmap()),
    ];
    samples.extend(elf.map(|elf| ("this program", elf)));
    samples
}

/// A 32 × 32 picture in the BMP format.
fn bitmap() -> Vec<u8> {
    let pixels: Vec<u8> =
        (0..32 * 32).flat_map(|at: u32| [(at % 32 * 8) as u8, (at / 32 * 8) as u8, 128]).collect();
    let mut file = b"BM".to_vec();
    for value in [
        54 + pixels.len() as u32,
        0,
        54,
        40,
        32,
        32,
        1 | 24 << 16,
        0,
        pixels.len() as u32,
        2835,
        2835,
        0,
        0,
    ] {
        file.extend(value.to_le_bytes());
    }
    file.extend(pixels);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_pad_the_begin_behind_and_the_end_in_front() {
        let features = features(b"  abc \n");
        assert_eq!(
            features[..4],
            [i32::from(b'a'), i32::from(b'b'), i32::from(b'c'), i32::from(b' ')]
        );
        assert_eq!(features[5], PADDING);
        assert_eq!(
            features[BEGIN + END - 3..],
            [i32::from(b'a'), i32::from(b'b'), i32::from(b'c')]
        );
        assert_eq!(features[BEGIN + END - 6], PADDING);
        assert_eq!(
            super::features(&[b'x'; 9000]).iter().filter(|&&value| value == PADDING).count(),
            0
        );
    }
}
