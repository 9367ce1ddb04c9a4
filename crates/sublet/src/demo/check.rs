//! The check: every answer against the same question asked of a warm model that has a device to itself.

use super::record::{Question, fingerprint};
use super::task::Tensors;
use crate::progress;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;
use sublet_engine::{Engine, InferRequest, NamedTensor};
use sublet_units::Bytes;

pub struct Outcome {
    pub answers: usize,
    pub wrong: usize,
}

/// Serves the same repository from one device that holds everything, asks each distinct question twice, one at a time,
/// and compares the second answer with all that were given, bit for bit.
pub fn against_warm_and_alone(
    repository: &Path,
    store: &Path,
    asked: &[Question],
    total: Bytes,
) -> Result<Outcome> {
    let device = format!("cpu,memory={}", total.0 * 2);
    let mut models: Vec<(String, u64)> =
        asked.iter().map(|question| (question.model.clone(), 0)).collect();
    models.sort();
    models.dedup();
    let engine = super::start(repository, store, device, &models)?;
    let bar = progress::count("checking every answer", asked.len() as u64);
    let mut outcome = Outcome { answers: 0, wrong: 0 };
    for question in asked {
        solo(&engine, question)?;
        let expected = fingerprint("", &solo(&engine, question)?);
        let wrong = question.answers.iter().filter(|answer| **answer != expected).count();
        if wrong > 0 {
            eprintln!(
                "{}: {wrong} of {} answers differ from a warm solo run",
                question.model,
                question.answers.len()
            );
        }
        outcome.answers += question.answers.len();
        outcome.wrong += wrong;
        bar.inc(1);
    }
    bar.finish_and_clear();
    engine.shutdown(Duration::from_secs(5));
    Ok(outcome)
}

fn solo(engine: &Engine, question: &Question) -> Result<Tensors> {
    let inputs = question.inputs.iter();
    let request = InferRequest {
        model: question.model.clone(),
        version: None,
        inputs: inputs
            .map(|(name, tensor)| NamedTensor { name: name.clone(), tensor: tensor.clone() })
            .collect(),
        outputs: Vec::new(),
        priority: 0,
        timeout: None,
        slo: None,
    };
    let response =
        engine.infer(request)?.wait().with_context(|| format!("checking {}", question.model))?;
    Ok(response.outputs.into_iter().map(|output| (output.name, output.tensor)).collect())
}
