//! The demo's model repository: three tenants, each with models of its own, laid out as Triton expects.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use sublet_catalog::Package;

/// Packages that the demo serves; `magika` also brings its labels and `pipecat-ai` a recording.
pub const PACKAGES: [&str; 6] =
    ["rapidocr", "magika", "silero-vad", "pipecat-ai", "basic-pitch", "swift-f0"];

/// Model files and what the demo calls them. Each tenant gets a voice model of its own below.
const FILES: [(&str, &str); 7] = [
    ("ocr-detect.onnx", "ocr-detect"),
    ("ocr-turn.onnx", "ocr-turn"),
    ("ocr-read.onnx", "ocr-read"),
    ("magika.onnx", "file-type"),
    ("smart-turn.onnx", "turn-end"),
    ("basic-pitch.onnx", "notes"),
    ("swift-f0.onnx", "pitch"),
];

/// Who asks, and which variant of the voice detector is theirs.
pub const TENANTS: [(&str, &str); 3] = [
    ("acme", "silero-vad.onnx"),
    ("globex", "silero-vad-16k.onnx"),
    ("initech", "silero-vad-ifless.onnx"),
];

/// The models that were placed, with the bytes of their files.
pub struct Placed {
    pub models: Vec<(String, u64)>,
    /// The labels of the file-type model.
    pub labels: Vec<u8>,
    /// A recording of a spoken word.
    pub recording: Vec<u8>,
}

/// Copies the fetched files into a repository. `folders` are those of [`PACKAGES`], in order.
pub fn place(folders: &[PathBuf], repository: &Path) -> Result<Placed> {
    let find = |name: &str| -> Result<PathBuf> {
        let at = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
        at.with_context(|| format!("{name} is not in the cache"))
    };
    let mut models = Vec::new();
    for (tenant, voice) in TENANTS {
        for (file, model) in FILES.into_iter().chain([(voice, "voice")]) {
            let name = format!("{tenant}-{model}");
            let version = repository.join(&name).join("1");
            fs::create_dir_all(&version)?;
            let bytes = fs::copy(find(file)?, version.join("model.onnx"))?;
            models.push((name, bytes));
        }
    }
    Ok(Placed {
        models,
        labels: fs::read(find("magika.json")?)?,
        recording: fs::read(find("ready.wav")?)?,
    })
}

/// The packages, in the order of [`PACKAGES`].
pub fn packages() -> Vec<&'static Package> {
    PACKAGES.iter().map(|name| sublet_catalog::package(name)).collect()
}

/// Numbers that the generated perceptron at `index` takes.
pub fn width(index: usize) -> usize {
    384 + 64 * (index % 4)
}

/// Models made here, for machines without a network: perceptrons and convolutions of different sizes.
pub fn place_generated(repository: &Path) -> Result<Vec<(String, u64)>> {
    let mut models = Vec::new();
    for index in 0..12u64 {
        let (name, bytes) = match index % 3 {
            2 => (format!("picture-{index}"), sublet_catalog::convolutions(index, 6, 64)),
            _ => (
                format!("numbers-{index}"),
                sublet_catalog::perceptron(index, 4, width(index as usize)),
            ),
        };
        let version = repository.join(&name).join("1");
        fs::create_dir_all(&version)?;
        fs::write(version.join("model.onnx"), &bytes)?;
        models.push((name, bytes.len() as u64));
    }
    Ok(models)
}
