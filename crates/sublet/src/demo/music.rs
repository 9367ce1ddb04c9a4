//! Notes played (Basic Pitch) and the pitch of a voice (SwiftF0).

use super::task::{Ask, floats};
use anyhow::{Context, Result};
use sublet_graph::{DType, Literal};

/// Samples per second and per window of the note model.
pub const NOTE_RATE: usize = 22_050;
const NOTE_WINDOW: usize = 43_844;
/// The first of its 88 keys.
const LOWEST_KEY: usize = 21;

/// The notes that sound at least a third of the time that the loudest does, lowest first, as `C4`.
pub fn notes(sound: &[f32], model: &str, ask: &mut dyn Ask) -> Result<Vec<String>> {
    let mut window = sound[..sound.len().min(NOTE_WINDOW)].to_vec();
    window.resize(NOTE_WINDOW, 0.0);
    let input = Literal::f32(&[1, NOTE_WINDOW, 1], &window);
    let outputs = ask.ask(model, vec![("serving_default_input_2:0", input)])?;
    let (notes, shape) = floats(&outputs, "StatefulPartitionedCall:1")?;
    let keys = shape[2];
    let sounding =
        |key: usize| notes.iter().skip(key).step_by(keys).filter(|&&share| share > 0.3).count();
    let counts: Vec<usize> = (0..keys).map(sounding).collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    Ok((0..keys)
        .filter(|&key| counts[key] > 0 && counts[key] * 3 >= most)
        .map(|key| name(LOWEST_KEY + key))
        .collect())
}

/// The middle one of the pitches of all voiced frames, in hertz, and the mean confidence.
pub fn pitch(sound: &[f32], model: &str, ask: &mut dyn Ask) -> Result<(f64, f32)> {
    let inputs = vec![
        ("audio", Literal::f32(&[1, sound.len()], sound)),
        ("fmin", Literal::f32(&[], &[46.875])),
        ("fmax", Literal::f32(&[], &[2093.75])),
    ];
    let outputs = ask.ask(model, inputs)?;
    let pitch = outputs
        .get("pitch")
        .filter(|pitch| pitch.dtype() == DType::F64)
        .context("no pitch in f64")?;
    let (confidence, _) = floats(&outputs, "confidence")?;
    let pitches = pitch.to_vec::<f64>().into_iter().zip(&confidence);
    let mut voiced: Vec<f64> =
        pitches.filter(|(_, confidence)| **confidence >= 0.5).map(|(pitch, _)| pitch).collect();
    voiced.sort_by(f64::total_cmp);
    let mean = confidence.iter().sum::<f32>() / confidence.len().max(1) as f32;
    Ok((voiced.get(voiced.len() / 2).copied().unwrap_or(0.0), mean))
}

/// The name of a key by its MIDI number: 60 is `C4`.
fn name(key: usize) -> String {
    let names = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"];
    format!("{}{}", names[key % 12], key / 12 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_names() {
        assert_eq!([name(21), name(60), name(69)], ["A0", "C4", "A4"]);
    }
}
