//! Engines: the library's ways to run a graph, and which of them may be chosen.

use super::Dnn;
use super::descriptor::Descriptor;
use super::graph::Graph;
use super::plan::Plan;
use crate::driver::CudaError;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendBehaviorNote_t as Behavior, cudnnBackendDescriptorType_t as Kind,
    cudnnBackendHeurMode_t as Heuristic,
};
use serde::{Deserialize, Serialize};

/// What engines are wanted for.
pub trait Subject {
    /// Tells it from all others.
    fn key(&self) -> String;

    /// `unused_residual`: with a residual whose factor is zero.
    fn graph(&self, dnn: &Dnn, unused_residual: bool) -> Result<Graph, CudaError>;

    /// Whether the graph may have such a residual.
    fn takes_unused_residual(&self) -> bool;

    /// Whether an engine with that numerical note may compute it.
    fn allows(&self, note: u32) -> bool;

    /// Whether its best engines are compiled when they are made, which takes a good part of a second each.
    fn is_compiled(&self) -> bool;
}

/// An engine and its settings, in the library's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineChoice {
    engine: i64,
    /// Kind and value of each setting.
    knobs: Vec<(u32, i64)>,
    pub(super) workspace_bytes: usize,
    /// Whether the graph has a residual whose factor is zero.
    pub(super) unused_residual: bool,
}

impl EngineChoice {
    /// Tells it from others for the same subject.
    pub fn key(&self) -> String {
        format!("{} {:?} {}", self.engine, self.knobs, self.unused_residual)
    }

    pub fn workspace_bytes(&self) -> usize {
        self.workspace_bytes
    }
}

/// How many engines of one graph are offered.
const CHOICES: usize = 5;
/// How many, when they may have to be compiled.
const COMPILED: usize = 2;
/// How many recommendations are looked at.
const LOOKED_AT: usize = 32;
/// More settings than any engine has.
const KNOBS: usize = 64;

/// Engines that compute the subject with the arithmetic it allows, best first as the library guesses. Those that are
/// compiled when they are made are offered where they are the best, and else only for want of others.
pub fn choices(dnn: &Dnn, subject: &impl Subject) -> Result<Vec<EngineChoice>, CudaError> {
    let mut choices = Vec::new();
    let compiled: &[bool] = if subject.is_compiled() { &[true] } else { &[false, true] };
    for &may_compile in compiled {
        for unused_residual in [false, true] {
            let enough = choices.len() > usize::from(!may_compile);
            if enough || (unused_residual && !subject.takes_unused_residual()) {
                continue;
            }
            match offered(dnn, subject, unused_residual, may_compile) {
                Ok(offered) => choices.extend(offered),
                Err(error) if error.is_unsupported() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(choices)
}

fn offered(
    dnn: &Dnn,
    subject: &impl Subject,
    unused_residual: bool,
    may_compile: bool,
) -> Result<Vec<EngineChoice>, CudaError> {
    let graph = subject.graph(dnn, unused_residual)?;
    let mut choices: Vec<EngineChoice> = Vec::new();
    for mode in [Heuristic::CUDNN_HEUR_MODE_A, Heuristic::CUDNN_HEUR_MODE_FALLBACK] {
        // What is recommended for want of better serves only then.
        if mode == Heuristic::CUDNN_HEUR_MODE_FALLBACK && choices.len() > 1 {
            break;
        }
        for config in recommended(&graph, mode)? {
            if choices.len() == if may_compile { COMPILED } else { CHOICES } {
                break;
            }
            match examined(dnn, &config, subject, unused_residual, may_compile) {
                Ok(Some(choice)) => {
                    if !choices.contains(&choice) {
                        choices.push(choice);
                    }
                }
                Ok(None) => {}
                Err(error) if error.is_unsupported() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(choices)
}

fn recommended(graph: &Graph, mode: Heuristic) -> Result<Vec<Descriptor>, CudaError> {
    let heuristic = Descriptor::new(Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?
        .with_descriptors(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &[&graph.graph])?
        .with_code(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Type::CUDNN_TYPE_HEUR_MODE, mode as u32)?
        .finalize();
    let found = heuristic.and_then(|heuristic| {
        heuristic.descriptors(
            Name::CUDNN_ATTR_ENGINEHEUR_RESULTS,
            Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
            LOOKED_AT,
        )
    });
    match found {
        Err(error) if error.is_unsupported() => Ok(Vec::new()),
        other => other,
    }
}

/// The choice that a configuration is; `None` when it may not be chosen.
fn examined(
    dnn: &Dnn,
    config: &Descriptor,
    subject: &impl Subject,
    unused_residual: bool,
    may_compile: bool,
) -> Result<Option<EngineChoice>, CudaError> {
    let engine = config
        .descriptors(Name::CUDNN_ATTR_ENGINECFG_ENGINE, Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1)?
        .pop();
    let Some(engine) = engine else { return Ok(None) };
    let notes = engine.codes(
        Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
        Type::CUDNN_TYPE_NUMERICAL_NOTE,
        KNOBS,
    )?;
    if notes.iter().any(|&note| !subject.allows(note)) {
        return Ok(None);
    }
    let behavior = engine.codes(
        Name::CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE,
        Type::CUDNN_TYPE_BEHAVIOR_NOTE,
        KNOBS,
    )?;
    let is_compiled =
        behavior.contains(&(Behavior::CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION as u32));
    if is_compiled && !may_compile {
        return Ok(None);
    }
    let knobs = config.descriptors(
        Name::CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
        Kind::CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR,
        KNOBS,
    )?;
    let knobs = knobs.iter().map(knob).collect::<Result<Vec<_>, _>>()?;
    let choice = EngineChoice {
        engine: engine.i64(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX)?,
        knobs,
        workspace_bytes: 0,
        unused_residual,
    };
    // Made again from its description, as it will be whenever it is remembered.
    let workspace_bytes = Plan::of(dnn, subject, &choice)?.workspace_bytes;
    let fits = workspace_bytes <= dnn.workspace_bytes_max;
    Ok(fits.then_some(EngineChoice { workspace_bytes, ..choice }))
}

fn knob(choice: &Descriptor) -> Result<(u32, i64), CudaError> {
    let kinds =
        choice.codes(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, Type::CUDNN_TYPE_KNOB_TYPE, 1)?;
    let kind = kinds.first().copied();
    let kind = kind.ok_or_else(|| CudaError::unsupported("a setting of an engine", "no kind"))?;
    Ok((kind, choice.i64(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE)?))
}

/// A configuration with what it refers to.
pub struct Config {
    pub config: Descriptor,
    _engine: Descriptor,
    _knobs: Vec<Descriptor>,
}

/// The configuration that a choice describes.
pub fn config(graph: &Graph, choice: &EngineChoice) -> Result<Config, CudaError> {
    let engine = Descriptor::new(Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR)?
        .with_descriptors(Name::CUDNN_ATTR_ENGINE_OPERATION_GRAPH, &[&graph.graph])?
        .with_i64s(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX, &[choice.engine])?
        .finalize()?;
    let mut knobs = Vec::new();
    for &(kind, value) in &choice.knobs {
        let knob = Descriptor::new(Kind::CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR)?
            .with_code(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, Type::CUDNN_TYPE_KNOB_TYPE, kind)?
            .with_i64s(Name::CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, &[value])?
            .finalize()?;
        knobs.push(knob);
    }
    let config = Descriptor::new(Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)?
        .with_descriptors(Name::CUDNN_ATTR_ENGINECFG_ENGINE, &[&engine])?;
    let config = if knobs.is_empty() {
        config
    } else {
        let all: Vec<&Descriptor> = knobs.iter().collect();
        config.with_descriptors(Name::CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, &all)?
    };
    Ok(Config { config: config.finalize()?, _engine: engine, _knobs: knobs })
}
