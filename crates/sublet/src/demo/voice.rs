//! Speech or no speech, frame by frame (Silero VAD).

use super::task::{Ask, floats};
use anyhow::{Context, Result};
use sublet_graph::Literal;

/// New samples per frame, and samples repeated from the frame before.
const FRAME: usize = 512;
const CONTEXT: usize = 64;
/// A frame counts as speech from this probability.
pub const SPEECH: f32 = 0.5;

/// The probability of speech in each frame of 32 ms. The model's state travels from answer to question.
pub fn listen(sound: &[f32], model: &str, ask: &mut dyn Ask) -> Result<Vec<f32>> {
    let mut state = Literal::f32(&[2, 1, 128], &[0.0; 256]);
    let mut frame = vec![0.0; CONTEXT + FRAME];
    let mut speech = Vec::new();
    for chunk in sound.chunks(FRAME) {
        frame.copy_within(FRAME.., 0);
        frame[CONTEXT..].fill(0.0);
        frame[CONTEXT..CONTEXT + chunk.len()].copy_from_slice(chunk);
        let frame = Literal::f32(&[1, CONTEXT + FRAME], &frame);
        let inputs = vec![("input", frame), ("state", state), ("sr", Literal::i64(&[], &[16_000]))];
        let outputs = ask.ask(model, inputs)?;
        speech.push(floats(&outputs, "output")?.0[0]);
        state = outputs.get("stateN").context("no output stateN")?.clone();
    }
    Ok(speech)
}

/// A bar per frame, for people: `▁▁▅█`.
pub fn bars(speech: &[f32]) -> String {
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    speech.iter().map(|&share| bars[((share * 8.0) as usize).min(7)]).collect()
}

/// Seconds that count as speech.
pub fn seconds(speech: &[f32]) -> f32 {
    let frames = speech.iter().filter(|&&share| share >= SPEECH).count();
    (frames * FRAME) as f32 / super::sound::SPEECH_RATE as f32
}

#[cfg(test)]
mod tests {
    use super::super::task::Tensors;
    use super::*;

    /// Answers with the frame's first sample and counts in the state.
    struct Echo;

    impl Ask for Echo {
        fn ask(&mut self, _: &str, inputs: Vec<(&str, Literal)>) -> Result<Tensors> {
            let frame: Vec<f32> = inputs[0].1.to_vec();
            let mut state: Vec<f32> = inputs[1].1.to_vec();
            state[0] += 1.0;
            Ok(Tensors::from([
                ("output".to_owned(), Literal::f32(&[1, 1], &[frame[0] + state[0]])),
                ("stateN".to_owned(), Literal::f32(&[2, 1, 128], &state)),
            ]))
        }
    }

    #[test]
    fn context_and_state_travel_on() {
        let sound: Vec<f32> = (0..1000).map(|at| at as f32).collect();
        let heard = listen(&sound, "voice", &mut Echo).unwrap();
        assert_eq!(
            heard,
            [1.0, 448.0 + 2.0],
            "the second frame starts with the last 64 samples of the first"
        );
        assert_eq!(bars(&[0.0, 0.5, 1.0]), "▁▅█");
        assert_eq!(seconds(&[0.4, 0.6, 0.9]), 0.064);
    }
}
