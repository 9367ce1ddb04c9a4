//! What each tenant asks, and its answers in words.

use super::ocr::{self, Names};
use super::repository::{Placed, TENANTS};
use super::task::Ask;
use super::{file_type, music, sound, turn, voice};
use anyhow::{Context, Result};
use sublet_engine::Engine;
use sublet_graph::Literal;

/// The questions of all tenants.
pub enum Questions {
    Real(Box<Real>),
    /// Model names and their input widths.
    Generated(Vec<String>),
}

/// What the questions about real models need.
pub struct Real {
    labels: Vec<String>,
    letters: Vec<String>,
    recording: Vec<f32>,
}

/// Lines that each tenant's picture shows.
const LINES: [[&str; 3]; 3] = [
    ["Invoice 2047", "Total: 318.50 EUR", "Due in 14 days"],
    ["Gate B12 boarding", "Flight LX 1582", "Seat 23A window"],
    ["Many models", "on a few GPUs", "swap in 9 ms"],
];

impl Questions {
    /// The reader's dictionary lies in the properties of its file.
    pub fn real(placed: &Placed, engine: &Engine) -> Result<Self> {
        let reader = engine.metadata(&format!("{}-ocr-read", TENANTS[0].0), None)?;
        Ok(Questions::Real(Box::new(Real {
            labels: file_type::labels(&placed.labels)?,
            letters: ocr::letters(&reader.properties)?,
            recording: sound::read_wave(&placed.recording)?,
        })))
    }

    pub fn generated(models: &[(String, u64)]) -> Self {
        Questions::Generated(models.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Asks everything once for one tenant.
    pub fn ask_all(
        &self,
        tenant: usize,
        ask: &mut dyn Ask,
        tell: &mut dyn FnMut(String),
    ) -> Result<()> {
        match self {
            Questions::Real(real) => real.ask_all(tenant, ask, tell),
            Questions::Generated(models) => ask_generated(models, tenant, ask, tell),
        }
    }
}

impl Real {
    fn ask_all(
        &self,
        tenant: usize,
        ask: &mut dyn Ask,
        tell: &mut dyn FnMut(String),
    ) -> Result<()> {
        let (who, _) = TENANTS[tenant];
        let model = |name: &str| format!("{who}-{name}");
        self.ask_text(tenant, ask, tell)?;
        for (what, _, bytes) in file_type::samples() {
            let (label, score) =
                file_type::classify(&bytes, &self.labels, &model("file-type"), ask)?;
            tell(format!(
                "{who}: {what} of {} bytes is {label} ({:.0} % sure)",
                bytes.len(),
                score * 100.0
            ));
        }
        let babble = sound::babble(130.0 + 25.0 * tenant as f32);
        let silence = vec![0.0; sound::SPEECH_RATE / 4];
        for (what, sound) in [
            ("a spoken word", &self.recording),
            ("made-up syllables", &babble),
            ("silence", &silence),
        ] {
            let heard = voice::listen(sound, &model("voice"), ask)?;
            let (seconds, all) =
                (voice::seconds(&heard), sound.len() as f32 / sound::SPEECH_RATE as f32);
            tell(format!(
                "{who}: {what}: {seconds:.1} s of {all:.1} s are speech {}",
                voice::bars(&heard)
            ));
        }
        let done = turn::is_complete(&self.recording, &model("turn-end"), ask)?;
        tell(format!(
            "{who}: the speaker {} ({:.0} %)",
            if done > 0.5 { "has finished" } else { "goes on" },
            done * 100.0
        ));
        let chords = [[261.63, 329.63, 392.0], [220.0, 261.63, 329.63], [196.0, 246.94, 293.66]];
        let chord = sound::chord(&chords[tenant], 0.3, 1.9, music::NOTE_RATE);
        let notes = music::notes(&chord, &model("notes"), ask)?;
        tell(format!("{who}: the chord is {}", notes.join(" ")));
        let hertz = 110.0 + 15.0 * tenant as f32;
        let (pitch, sure) =
            music::pitch(&sound::saw(hertz, 1.0, sound::SPEECH_RATE), &model("pitch"), ask)?;
        tell(format!(
            "{who}: a string at {hertz:.0} Hz sounds at {pitch:.1} Hz ({:.0} % sure)",
            sure * 100.0
        ));
        Ok(())
    }

    fn ask_text(
        &self,
        tenant: usize,
        ask: &mut dyn Ask,
        tell: &mut dyn FnMut(String),
    ) -> Result<()> {
        let (who, _) = TENANTS[tenant];
        let [detect, turn, read] =
            ["ocr-detect", "ocr-turn", "ocr-read"].map(|name| format!("{who}-{name}"));
        let names = Names { detect: &detect, turn: &turn, read: &read };
        for upside_down in [false, true] {
            let picture = ocr::draw(&LINES[tenant], upside_down)?;
            for line in ocr::read(&picture, &names, &self.letters, ask)? {
                let how = if line.upside_down { "upside down, " } else { "" };
                tell(format!(
                    "{who}: the picture says \"{}\" ({how}{:.0} % sure)",
                    line.text,
                    line.score * 100.0
                ));
            }
        }
        Ok(())
    }
}

/// Generated models know nothing: the numbers that they answer are only compared.
fn ask_generated(
    models: &[String],
    tenant: usize,
    ask: &mut dyn Ask,
    tell: &mut dyn FnMut(String),
) -> Result<()> {
    let mut draw = fastrand::Rng::with_seed(tenant as u64);
    for round in 0..6 {
        for (index, model) in models.iter().enumerate() {
            let shape = if model.starts_with("picture") {
                vec![1, 64, 16, 16]
            } else {
                vec![1, 512 + 128 * (index % 4)]
            };
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|_: usize| draw.f32() * 2.0 - 1.0).collect();
            let outputs = ask.ask(model, vec![("x", Literal::f32(&shape, &values))])?;
            let first =
                outputs.get("y").context("no output y")?.to_f32s().context("y is not f32")?[0];
            if round == 0 {
                tell(format!("tenant {tenant}: {model} answers {first:.4}…"));
            }
        }
    }
    Ok(())
}
