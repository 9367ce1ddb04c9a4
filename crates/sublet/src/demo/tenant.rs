//! What each tenant asks, and its answers in words.

use super::ocr::{self, Names};
use super::repository::{Placed, TENANTS, width};
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
        self.ask_text(tenant, ask, tell)?;
        self.ask_types(tenant, ask, tell)?;
        self.ask_speech(tenant, ask, tell)?;
        ask_music(tenant, ask, tell)
    }

    fn ask_types(
        &self,
        tenant: usize,
        ask: &mut dyn Ask,
        tell: &mut dyn FnMut(String),
    ) -> Result<()> {
        let (who, _) = TENANTS[tenant];
        for (what, bytes) in file_type::samples() {
            let (label, score) =
                file_type::classify(&bytes, &self.labels, &format!("{who}-file-type"), ask)?;
            let (size, sure) = (bytes.len(), score * 100.0);
            tell(format!("{who}: {what} of {size} bytes is {label} ({sure:.0} % sure)"));
        }
        Ok(())
    }

    fn ask_speech(
        &self,
        tenant: usize,
        ask: &mut dyn Ask,
        tell: &mut dyn FnMut(String),
    ) -> Result<()> {
        let (who, _) = TENANTS[tenant];
        let babble = sound::babble(130.0 + 25.0 * tenant as f32);
        let silence = vec![0.0; sound::SPEECH_RATE / 4];
        let sounds = [
            ("a spoken word", &self.recording),
            ("made-up syllables", &babble),
            ("silence", &silence),
        ];
        for (what, sound) in sounds {
            let heard = voice::listen(sound, &format!("{who}-voice"), ask)?;
            let all = sound.len() as f32 / sound::SPEECH_RATE as f32;
            let (seconds, bars) = (voice::seconds(&heard), voice::bars(&heard));
            tell(format!("{who}: {what}: {seconds:.1} s of {all:.1} s are speech {bars}"));
        }
        let hum = sound::saw(220.0, 1.0, sound::SPEECH_RATE);
        for (what, sound) in [("the speaker", &self.recording), ("a hum", &hum)] {
            let done = turn::is_complete(sound, &format!("{who}-turn-end"), ask)?;
            let how = if done > 0.5 { "has finished" } else { "goes on" };
            tell(format!("{who}: {what} {how} ({:.0} %)", done * 100.0));
        }
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
        let lines = &LINES[tenant];
        let pictures = [ocr::draw(lines, false)?, ocr::draw(lines, true)?];
        for line in ocr::read(&pictures, &names, &self.letters, ask)? {
            let how = if line.upside_down { "upside down, " } else { "" };
            let (text, sure) = (line.text, line.score * 100.0);
            tell(format!("{who}: the picture says \"{text}\" ({how}{sure:.0} % sure)"));
        }
        Ok(())
    }
}

fn ask_music(tenant: usize, ask: &mut dyn Ask, tell: &mut dyn FnMut(String)) -> Result<()> {
    let (who, _) = TENANTS[tenant];
    // C major, A minor, G major; each tenant starts with another.
    let chords = [[261.63, 329.63, 392.0], [220.0, 261.63, 329.63], [196.0, 246.94, 293.66]];
    for chord in [chords[tenant], chords[(tenant + 1) % 3]] {
        let sound = sound::chord(&chord, 0.3, 1.9, music::NOTE_RATE);
        let notes = music::notes(&sound, &format!("{who}-notes"), ask)?;
        tell(format!("{who}: the chord is {}", notes.join(" ")));
    }
    for hertz in [110.0 + 15.0 * tenant as f32, 196.0] {
        let sound = sound::saw(hertz, 1.0, sound::SPEECH_RATE);
        let (pitch, sure) = music::pitch(&sound, &format!("{who}-pitch"), ask)?;
        let sure = sure * 100.0;
        tell(format!(
            "{who}: a string at {hertz:.0} Hz sounds at {pitch:.1} Hz ({sure:.0} % sure)"
        ));
    }
    Ok(())
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
                vec![1, width(index)]
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
