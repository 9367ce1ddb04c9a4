//! Sounds: made here, or read from a wave file.

use anyhow::{Context, Result, ensure};
use std::f32::consts::{PI, TAU};

/// Samples per second of the speech models.
pub const SPEECH_RATE: usize = 16_000;

/// A tone with many harmonics, as a bowed string has.
pub fn saw(hertz: f32, seconds: f32, rate: usize) -> Vec<f32> {
    let samples = (seconds * rate as f32) as usize;
    (0..samples).map(|at| 0.6 * ((hertz * at as f32 / rate as f32).fract() - 0.5)).collect()
}

/// Several decaying tones at once, starting at `start` seconds.
pub fn chord(hertz: &[f32], start: f32, seconds: f32, rate: usize) -> Vec<f32> {
    let samples = (seconds * rate as f32) as usize;
    (0..samples)
        .map(|at| {
            let time = at as f32 / rate as f32 - start;
            let fade = if time < 0.0 { 0.0 } else { (-1.5 * time).exp() };
            hertz.iter().map(|hertz| 0.2 * fade * (TAU * hertz * time).sin()).sum()
        })
        .collect()
}

/// Something like speech: ten syllables, each a burst of noise and a voiced vowel through three resonators.
pub fn babble(pitch: f32) -> Vec<f32> {
    let vowels = [
        [730., 1090., 2440.],
        [270., 2290., 3010.],
        [530., 1840., 2480.],
        [570., 840., 2410.],
        [300., 870., 2240.],
    ];
    let order = [0, 1, 2, 3, 4, 0, 2, 1, 3, 0];
    let mut draw = fastrand::Rng::with_seed(1);
    let mut sound = Vec::new();
    for (index, &which) in order.iter().enumerate() {
        let burst = SPEECH_RATE / 20;
        let mut last = 0.0;
        for at in 0..burst {
            let noise: f32 = (0..12).map(|_| draw.f32()).sum::<f32>() - 6.0;
            let window = 0.5 - 0.5 * (TAU * at as f32 / (burst - 1) as f32).cos();
            sound.push((noise - last) * 0.03 * window);
            last = noise;
        }
        let glide = if index % 2 == 1 { 60.0 } else { -60.0 };
        sound.extend(vowel(pitch * (1.1 - 0.03 * index as f32), glide, vowels[which]));
        sound.extend(std::iter::repeat_n(0.0, SPEECH_RATE / 50));
    }
    sound
}

/// 160 ms of glottal pulses through the resonators of a vowel's formants.
fn vowel(pitch: f32, glide: f32, formants: [f32; 3]) -> Vec<f32> {
    let rate = SPEECH_RATE as f32;
    let samples = (0.16 * rate) as usize;
    let (mut phase, mut pulse) = (0.0f32, 0.0f32);
    let mut sound: Vec<f32> = (0..samples)
        .map(|at| {
            let time = at as f32 / rate;
            let before = phase.floor();
            phase += (pitch * (1.0 + 0.01 * (TAU * 5.0 * time).sin()) + glide * time) / rate;
            pulse = pulse * (-0.1f32).exp() + if phase.floor() > before { 1.0 } else { 0.0 };
            pulse
        })
        .collect();
    for (formant, width) in formants.into_iter().zip([80.0, 100.0, 170.0]) {
        let radius = (-PI * width / rate).exp();
        let turn = 2.0 * radius * (TAU * formant / rate).cos();
        let gain = 1.0 - turn + radius * radius;
        let (mut one, mut two) = (0.0, 0.0);
        for sample in &mut sound {
            let next = gain * *sample + turn * one - radius * radius * two;
            (two, one) = (one, next);
            *sample = next;
        }
    }
    let mean = sound.iter().sum::<f32>() / samples as f32;
    let peak = sound.iter().map(|sample| (sample - mean).abs()).fold(0.0, f32::max);
    let window = |at: usize| (0.5 - 0.5 * (TAU * at as f32 / (samples - 1) as f32).cos()).sqrt();
    sound.iter().enumerate().map(|(at, sample)| 0.3 * (sample - mean) / peak * window(at)).collect()
}

/// The samples of a 16 kHz, 16 bit, one-channel wave file, in −1…1.
pub fn read_wave(file: &[u8]) -> Result<Vec<f32>> {
    ensure!(file.len() > 12 && &file[..4] == b"RIFF" && &file[8..12] == b"WAVE", "not a wave file");
    let mut rest = &file[12..];
    while rest.len() >= 8 {
        let length = u32::from_le_bytes(rest[4..8].try_into()?) as usize;
        let body = &rest[8..rest.len().min(8 + length)];
        match &rest[..4] {
            b"fmt " => {
                let field = |at: usize| {
                    body.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]))
                };
                let format = (field(0), field(2), field(4), field(14));
                ensure!(
                    format == (Some(1), Some(1), Some(SPEECH_RATE as u16), Some(16)),
                    "not 16 kHz, 16 bit, mono"
                );
            }
            b"data" => {
                let samples = body
                    .chunks_exact(2)
                    .map(|two| f32::from(i16::from_le_bytes([two[0], two[1]])) / 32768.0);
                return Ok(samples.collect());
            }
            _ => {}
        }
        rest = rest.get(8 + length.next_multiple_of(2)..).unwrap_or_default();
    }
    None.context("the wave file has no samples")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_a_wave_file() {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x04\0\0\0".to_vec();
        file.extend([0, 0x40, 0, 0xc0]);
        assert_eq!(read_wave(&file).unwrap(), [0.5, -0.5]);
        file[22] = 2;
        assert!(read_wave(&file).is_err(), "two channels");
        assert!(read_wave(b"RIFF").is_err());
    }

    #[test]
    fn made_sounds_are_finite_and_audible() {
        for sound in
            [babble(130.0), saw(120.0, 0.5, SPEECH_RATE), chord(&[262.0, 330.0], 0.1, 0.5, 22_050)]
        {
            assert!(sound.iter().all(|sample| sample.is_finite() && sample.abs() <= 1.0));
            assert!(sound.iter().any(|sample| sample.abs() > 0.1));
        }
    }
}
