//! The question: which models at which rates, on which GPUs, under which rules.

use crate::{Interference, PackError, PairTable, Profile, poisson};
use std::collections::BTreeMap;
use sublet_units::{Bytes, Time};

/// Requests for one model. A rate of zero needs no place.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Also the name of its model in the profile.
    pub model: String,
    /// Mean arrivals per second; may be fractional.
    pub rate: f64,
    /// From arrival to answer.
    pub slo: Time,
}

/// A kind of GPU and how many of them there are.
#[derive(Clone, Debug)]
pub struct Gpus {
    pub name: String,
    pub count: usize,
    /// The size of a whole GPU in the profile's unit: 100 for percent, or its number of SMs.
    pub whole: u32,
    /// Partition sizes that the device allows.
    pub sizes: Vec<u32>,
    /// For the weights and activations of all models on one GPU.
    pub memory: Bytes,
    pub profile: Profile,
    pub interference: Interference,
}

/// What a schedule may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Partitions of one GPU.
    pub partitions_max: usize,
    /// Models that share one partition.
    pub models_max: usize,
    /// Two partitions must make up the whole GPU, as gpulet splits it into `p` and `100 − p`.
    pub complementary: bool,
    /// Partitions over which one model's rate may be split; 1 leaves every model whole.
    pub pieces_max: usize,
    /// Serve the 99th percentile of a Poisson distribution instead of the mean rate.
    pub raise_rates: bool,
    /// Every profiled latency is multiplied by this.
    pub latency_ratio: f64,
    /// Every SLO is multiplied by this.
    pub slo_ratio: f64,
}

impl Rules {
    /// gpulet's: two partitions, three models in each, no model split, raised rates.
    pub fn gpulet() -> Rules {
        Rules {
            partitions_max: 2,
            models_max: 3,
            complementary: true,
            pieces_max: 1,
            raise_rates: true,
            latency_ratio: 1.0,
            slo_ratio: 1.0,
        }
    }

    /// Without gpulet's limits: as many partitions as fit, eight models in each, a model on up to eight partitions.
    pub fn free() -> Rules {
        Rules {
            partitions_max: 16,
            models_max: 8,
            complementary: false,
            pieces_max: 8,
            ..Rules::gpulet()
        }
    }
}

/// A checked question.
#[derive(Clone, Debug)]
pub struct Problem {
    pub tasks: Vec<Task>,
    pub gpus: Vec<Gpus>,
    pub rules: Rules,
    /// What one copy of each model takes on a GPU.
    pub memory: BTreeMap<String, Bytes>,
}

/// Bounds on what is accepted: beyond them a number is a mistake, and arithmetic would lose its meaning.
const RATE_MAX: f64 = 1e8;
const SLO_MAX: Time = Time::from_secs(86_400);
const TASKS_MAX: usize = 10_000;
const GPUS_MAX: usize = 100_000;
const WHOLE_MAX: u32 = 10_000;
/// Models that may share one partition: a group's plan has room for so many.
pub(crate) const GROUP_MAX: usize = 16;

impl Problem {
    /// Checks every number, and that every profile has what the tasks need.
    ///
    /// # Errors
    /// A number out of range, a rule that contradicts itself, or a point that the profile lacks; each with its place.
    pub fn new(
        tasks: Vec<Task>,
        gpus: Vec<Gpus>,
        rules: Rules,
        memory: BTreeMap<String, Bytes>,
    ) -> Result<Problem, PackError> {
        let problem = Problem { tasks, gpus, rules, memory };
        problem.check_rules()?;
        problem.check_tasks()?;
        for kind in &problem.gpus {
            problem.check_kind(kind)?;
        }
        Ok(problem)
    }

    /// The rate that a schedule must serve of a task, per second.
    pub fn rate(&self, task: usize) -> f64 {
        let rate = self.tasks[task].rate;
        if self.rules.raise_rates { poisson::ninety_ninth(rate) } else { rate }
    }

    /// The time that a schedule has for a task.
    pub fn slo(&self, task: usize) -> Time {
        Time((self.tasks[task].slo.0 as f64 * self.rules.slo_ratio) as u64)
    }

    /// How long a run takes alone, or `None` where the profile has no such point.
    pub fn latency(&self, kind: usize, task: usize, size: u32, batch: u32) -> Option<f64> {
        let latency = self.gpus[kind].profile.latency(&self.tasks[task].model, size, batch)?;
        Some(latency.as_millis_f64() * self.rules.latency_ratio)
    }

    /// What one copy of a task's model takes.
    pub fn memory(&self, task: usize) -> Bytes {
        self.memory.get(&self.tasks[task].model).copied().unwrap_or(Bytes::ZERO)
    }

    /// All GPUs, in order: the kind of each.
    pub fn kinds(&self) -> Vec<usize> {
        let of = |(kind, gpus): (usize, &Gpus)| std::iter::repeat_n(kind, gpus.count);
        self.gpus.iter().enumerate().flat_map(of).collect()
    }

    fn check_rules(&self) -> Result<(), PackError> {
        let rules = &self.rules;
        for (name, value) in
            [("latency ratio", rules.latency_ratio), ("SLO ratio", rules.slo_ratio)]
        {
            if !(0.001..=1000.0).contains(&value) {
                let place = format!("the {name}");
                return Err(PackError::Number { place, value, want: "between 0.001 and 1000" });
            }
        }
        let invalid =
            |what: &str| Err(PackError::Invalid { place: "the rules".into(), what: what.into() });
        if rules.partitions_max == 0 || rules.models_max == 0 || rules.pieces_max == 0 {
            return invalid("partitions, models and pieces must be at least 1");
        }
        if rules.models_max > GROUP_MAX || rules.pieces_max > 64 {
            return invalid(
                "at most 16 models may share a partition, and a model may have at most 64 pieces",
            );
        }
        Ok(())
    }

    fn check_tasks(&self) -> Result<(), PackError> {
        if self.tasks.len() > TASKS_MAX {
            return Err(PackError::Invalid {
                place: "the tasks".into(),
                what: format!("{} are more than {TASKS_MAX}", self.tasks.len()),
            });
        }
        for (index, task) in self.tasks.iter().enumerate() {
            let place = format!("task {index} ({})", task.model);
            if !(0.0..=RATE_MAX).contains(&task.rate) {
                let place = format!("the rate of {place}");
                return Err(PackError::Number {
                    place,
                    value: task.rate,
                    want: "between 0 and 1e8 per second",
                });
            }
            if task.slo == Time::ZERO || task.slo > SLO_MAX {
                let place = format!("the SLO of {place}");
                let value = task.slo.as_millis_f64();
                return Err(PackError::Number {
                    place,
                    value,
                    want: "positive milliseconds, at most a day",
                });
            }
            if !self.memory.contains_key(&task.model) {
                return Err(PackError::MissingMemory { model: task.model.clone() });
            }
        }
        Ok(())
    }

    fn check_kind(&self, kind: &Gpus) -> Result<(), PackError> {
        let invalid =
            |what: String| Err(PackError::Invalid { place: format!("GPUs {}", kind.name), what });
        if kind.count > GPUS_MAX {
            return invalid(format!("{} are more than {GPUS_MAX}", kind.count));
        }
        if kind.whole == 0 || kind.whole > WHOLE_MAX {
            return invalid(format!("a whole of {} is not between 1 and {WHOLE_MAX}", kind.whole));
        }
        if kind.sizes.is_empty() || kind.sizes.windows(2).any(|pair| pair[0] >= pair[1]) {
            return invalid("partition sizes must be given, in ascending order, each once".into());
        }
        if let Some(size) = kind.sizes.iter().find(|size| **size == 0 || **size > kind.whole) {
            return invalid(format!(
                "a partition of {size} does not fit a whole of {}",
                kind.whole
            ));
        }
        if let Interference::Linear(linear) = &kind.interference {
            crate::Linear::new(linear.coefficients())?;
        }
        for task in self.tasks.iter().filter(|task| task.rate > 0.0) {
            if !kind.profile.has(&task.model) {
                return Err(PackError::UnknownModel {
                    task: task.model.clone(),
                    model: task.model.clone(),
                    kind: kind.name.clone(),
                });
            }
            kind.profile.require(
                &kind.name,
                &task.model,
                &kind.sizes,
                kind.whole,
                &kind.interference,
            )?;
        }
        match &kind.interference {
            Interference::Table(table) if self.rules.partitions_max > 2 => invalid(format!(
                "a table of {} pairs says nothing of {} partitions: allow two, or use the linear model",
                table.len(),
                self.rules.partitions_max
            )),
            Interference::Table(table) => self.check_pairs(kind, table),
            _ => Ok(()),
        }
    }

    /// Every pair of runs that could meet must have been measured.
    fn check_pairs(&self, kind: &Gpus, table: &PairTable) -> Result<(), PackError> {
        let active = || self.tasks.iter().filter(|task| task.rate > 0.0);
        let smaller = || kind.sizes.iter().filter(|size| **size < kind.whole);
        for task in active() {
            for batch in kind.profile.batches(&task.model) {
                for &size in smaller() {
                    for other in active() {
                        for other_batch in kind.profile.batches(&other.model) {
                            if table
                                .get((&task.model, batch, size), (&other.model, other_batch))
                                .is_none()
                            {
                                return Err(PackError::MissingPair {
                                    kind: kind.name.clone(),
                                    model: task.model.clone(),
                                    batch,
                                    size,
                                    other: other.model.clone(),
                                    other_batch,
                                });
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
