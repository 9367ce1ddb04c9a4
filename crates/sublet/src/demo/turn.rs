//! Has the speaker finished? (Smart Turn)

use super::task::{Ask, floats};
use anyhow::Result;
use std::f64::consts::TAU;
use sublet_graph::Literal;

/// Eight seconds at 16 kHz.
const SAMPLES: usize = 128_000;
const WINDOW: usize = 400;
const HOP: usize = 160;
const BINS: usize = WINDOW / 2 + 1;
const MELS: usize = 80;
const FRAMES: usize = 800;

/// The probability that what was said is complete.
pub fn is_complete(sound: &[f32], model: &str, ask: &mut dyn Ask) -> Result<f32> {
    let outputs = ask.ask(model, vec![("input_features", features(sound))])?;
    Ok(floats(&outputs, "logits")?.0[0])
}

/// Log-mel features as Whisper's: the last eight seconds, padded in front, 80 bands, `[1, 80, 800]`.
fn features(sound: &[f32]) -> Literal {
    let sound = &sound[sound.len().saturating_sub(SAMPLES)..];
    let mut padded = vec![0.0f64; SAMPLES];
    for (sample, &value) in padded[SAMPLES - sound.len()..].iter_mut().zip(sound) {
        *sample = f64::from(value);
    }
    let mean = padded.iter().sum::<f64>() / SAMPLES as f64;
    let variance =
        padded.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / SAMPLES as f64;
    padded.iter_mut().for_each(|sample| *sample = (*sample - mean) / (variance + 1e-7).sqrt());
    let power = spectrogram(&padded);
    let filters = mel_filters();
    let mut mel: Vec<f64> = Vec::with_capacity(MELS * FRAMES);
    for filter in &filters {
        for frame in power.chunks_exact(BINS).take(FRAMES) {
            let energy: f64 = filter.iter().zip(frame).map(|(weight, power)| weight * power).sum();
            mel.push(energy.max(1e-10).log10());
        }
    }
    let floor = mel.iter().copied().fold(f64::NEG_INFINITY, f64::max) - 8.0;
    let values: Vec<f32> =
        mel.iter().map(|value| ((value.max(floor) + 4.0) / 4.0) as f32).collect();
    Literal::f32(&[1, MELS, FRAMES], &values)
}

/// Power in each bin of each frame, by the definition of the transform over a Hann window; the edges are mirrored.
fn spectrogram(sound: &[f64]) -> Vec<f64> {
    let mirrored = |at: isize| {
        let last = sound.len() as isize - 1;
        sound[(if at < 0 {
            -at
        } else if at > last {
            2 * last - at
        } else {
            at
        }) as usize]
    };
    let hann: Vec<f64> =
        (0..WINDOW).map(|at| 0.5 - 0.5 * (TAU * at as f64 / WINDOW as f64).cos()).collect();
    let turns: Vec<(f64, f64)> =
        (0..WINDOW).map(|at| (TAU * at as f64 / WINDOW as f64).sin_cos()).collect();
    let mut power = Vec::with_capacity((FRAMES + 1) * BINS);
    for frame in 0..=FRAMES {
        let start = (frame * HOP) as isize - (WINDOW / 2) as isize;
        let windowed: Vec<f64> =
            (0..WINDOW).map(|at| hann[at] * mirrored(start + at as isize)).collect();
        for bin in 0..BINS {
            let (mut real, mut imaginary) = (0.0, 0.0);
            for (at, sample) in windowed.iter().enumerate() {
                let (sine, cosine) = turns[bin * at % WINDOW];
                real += sample * cosine;
                imaginary -= sample * sine;
            }
            power.push(real * real + imaginary * imaginary);
        }
    }
    power
}

/// Triangles on Slaney's mel scale from 0 to 8 kHz, each of unit area.
fn mel_filters() -> Vec<Vec<f64>> {
    let step = 6.4f64.ln() / 27.0;
    let to_hertz = |mel: f64| {
        if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * (step * (mel - 15.0)).exp() }
    };
    let top = 15.0 + 8.0f64.ln() / step;
    let edges: Vec<f64> =
        (0..MELS + 2).map(|index| to_hertz(top * index as f64 / (MELS + 1) as f64)).collect();
    let filter = |mel: usize| {
        let (low, middle, high) = (edges[mel], edges[mel + 1], edges[mel + 2]);
        let weight = move |bin: usize| {
            let hertz = bin as f64 * 8000.0 / (BINS - 1) as f64;
            ((hertz - low) / (middle - low)).min((high - hertz) / (high - middle)).max(0.0) * 2.0
                / (high - low)
        };
        (0..BINS).map(weight).collect()
    };
    (0..MELS).map(filter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_lights_the_band_that_it_lies_in() {
        let tone: Vec<f32> =
            (0..SAMPLES).map(|at| (TAU * 1000.0 * at as f64 / 16_000.0).sin() as f32).collect();
        let features = features(&tone);
        let values = features.to_f32s().unwrap();
        let band = |mel: usize| values[mel * FRAMES + FRAMES / 2];
        let loudest = (0..MELS).max_by(|&a, &b| band(a).total_cmp(&band(b))).unwrap();
        // 1 kHz is 15 mel of 45.2; the bands' centres are evenly spaced.
        assert!((25..=28).contains(&loudest), "band {loudest}");
        assert_eq!(features.shape(), [1, MELS, FRAMES]);
    }
}
