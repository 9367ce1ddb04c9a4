//! What was asked and answered, for the check and the closing table.

use super::task::Tensors;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use sublet_engine::Engine;
use sublet_graph::Literal;

/// SHA-256 of everything that makes a set of tensors what it is.
pub type Fingerprint = [u8; 32];

/// One distinct question, and the fingerprint of each answer that it got.
pub struct Question {
    pub model: String,
    pub inputs: Tensors,
    pub answers: Vec<Fingerprint>,
}

/// Latencies of one model, as its clients saw them.
#[derive(Default)]
pub struct Latencies {
    pub cold: Vec<Duration>,
    pub warm: Vec<Duration>,
}

/// Shared by all clients.
pub struct Record {
    engine: Engine,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    questions: BTreeMap<Fingerprint, Question>,
    latencies: BTreeMap<String, Latencies>,
}

impl Record {
    pub fn new(engine: Engine) -> Self {
        Record { engine, seen: Mutex::default() }
    }

    /// How often the model had to be brought onto a device for a request.
    pub fn cold_starts(&self, model: &str) -> u64 {
        let statistics = self.engine.statistics(Some(model), None).unwrap_or_default();
        statistics.iter().map(|version| version.cold_starts).sum()
    }

    pub fn note(
        &self,
        model: &str,
        inputs: Vec<(&str, Literal)>,
        outputs: &Tensors,
        took: Duration,
        cold: bool,
    ) {
        let inputs: Tensors =
            inputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let (question, answer) = (fingerprint(model, &inputs), fingerprint("", outputs));
        let mut seen = self.seen.lock().expect("nobody panics with the lock");
        let latencies = seen.latencies.entry(model.to_owned()).or_default();
        if cold { &mut latencies.cold } else { &mut latencies.warm }.push(took);
        let entry = seen.questions.entry(question);
        let question = entry.or_insert_with(|| Question {
            model: model.to_owned(),
            inputs,
            answers: Vec::new(),
        });
        question.answers.push(answer);
    }

    pub fn requests(&self) -> usize {
        let seen = self.seen.lock().expect("nobody panics with the lock");
        seen.questions.values().map(|question| question.answers.len()).sum()
    }

    /// Everything noted so far, taken out.
    pub fn take(&self) -> (Vec<Question>, BTreeMap<String, Latencies>) {
        let seen = std::mem::take(&mut *self.seen.lock().expect("nobody panics with the lock"));
        (seen.questions.into_values().collect(), seen.latencies)
    }
}

/// Equal exactly when names, types, shapes and every bit of the tensors are.
pub fn fingerprint(label: &str, tensors: &Tensors) -> Fingerprint {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(label.as_bytes());
    for (name, tensor) in tensors {
        part(name.as_bytes());
        part(tensor.dtype().wire_name().as_bytes());
        tensor.shape().iter().for_each(|dim| part(&dim.to_le_bytes()));
        part(tensor.bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_bit_changes_the_fingerprint() {
        let tensors = |value: f32| Tensors::from([("x".to_owned(), Literal::f32(&[1], &[value]))]);
        assert_eq!(fingerprint("m", &tensors(1.0)), fingerprint("m", &tensors(1.0)));
        assert_ne!(fingerprint("m", &tensors(0.0)), fingerprint("m", &tensors(-0.0)));
        assert_ne!(fingerprint("m", &tensors(1.0)), fingerprint("n", &tensors(1.0)));
    }
}
