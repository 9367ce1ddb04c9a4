//! What a workload is described by: in a scenario's TOML, in a file of its own, or as a short form on a command line.
//!
//! ```toml
//! arrivals = { kind = "gamma", rate = 21.0, cv = 4.0 }      # requests per second, all models together
//! split = { kind = "explicit", weights = [10, 10, 1] }
//! ```
//!
//! The short forms are the same fields: `gamma:rate=21,cv=4` and `explicit:weights=10/10/1`.

use crate::error::WorkloadError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::str::FromStr;
use sublet_units::{Time, span};

/// A description of a workload, independent of the number of models, of the length of the run and of the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    pub arrivals: Process,
    /// How arrivals are split over the models.
    #[serde(default)]
    pub split: Split,
    #[serde(default)]
    pub assign: Assignment,
}

/// When requests arrive. Rates are requests per second of all models together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Process {
    /// Evenly spaced, from a random phase.
    Constant { rate: f64 },
    /// Exponential intervals.
    Poisson { rate: f64 },
    /// Gamma intervals with a coefficient of variation (standard deviation ÷ mean): 1 is Poisson, more is burstier.
    Gamma { rate: f64, cv: f64 },
    /// Pareto intervals with tail index `alpha` > 1 (below 2 the variance is infinite).
    Pareto { rate: f64, alpha: f64 },
    /// Log-normal intervals; `sigma` is the standard deviation of the interval's logarithm.
    Lognormal { rate: f64, sigma: f64 },
    /// Poisson arrivals whose rate changes with a state that lasts an exponential time and is followed by another,
    /// each with the same probability.
    Markov { states: Vec<MarkovState> },
    /// A load that is drawn anew every interval, Poisson within it. A Dirichlet split is drawn anew as well.
    Piecewise {
        #[serde(with = "span")]
        every: Time,
        levels: Levels,
    },
    /// A recorded trace of counts per minute and function.
    Counts {
        file: String,
        format: CountsFormat,
        #[serde(default)]
        spread: Spread,
        /// Factor on every count; fractions are rounded up or down at random.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale: Option<f64>,
        /// Instead of `scale`: the mean rate wanted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<f64>,
        /// How long one of the trace's minutes lasts.
        #[serde(default = "minute", with = "span")]
        minute: Time,
        /// The first minute used, from 0, and how many; all by default.
        #[serde(default)]
        first: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        minutes: Option<usize>,
    },
    /// A recorded trace of single requests.
    Timestamps {
        file: String,
        format: TimestampsFormat,
        /// How often each request is repeated on average; copies are moved by up to a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale: Option<f64>,
        /// Instead of `scale`: the mean rate wanted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<f64>,
        /// Time is divided by this: 2 plays twice as fast.
        #[serde(default = "one")]
        speed: f64,
        /// The part used, in the trace's time; all by default.
        #[serde(default, with = "span")]
        from: Time,
        #[serde(default = "forever", with = "span")]
        length: Time,
    },
}

/// A state of [`Process::Markov`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkovState {
    pub rate: f64,
    /// Mean time in the state.
    #[serde(with = "span")]
    pub dwell: Time,
}

/// Loads of [`Process::Piecewise`], in requests per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Levels {
    /// exp(N(mu, sigma²)), drawn for each interval.
    Lognormal { mu: f64, sigma: f64 },
    /// Log-normal with parameters that depend on a state; after each interval the state stays with its probability.
    Markov { states: Vec<Level> },
    /// Given; begins again after the last.
    Explicit { rates: Vec<f64> },
}

/// A state of [`Levels::Markov`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    pub mu: f64,
    pub sigma: f64,
    /// Probability that the next interval has this state too; otherwise another, each with the same probability.
    pub stay: f64,
}

/// Shares of the models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Split {
    #[default]
    Uniform,
    /// Share of model i ∝ 1 ÷ (i + 1)^exponent.
    Zipf { exponent: f64 },
    /// Shares drawn once per model from a power law: u^exponent, u uniform (AlpaServe's rate split).
    PowerLaw { exponent: f64 },
    /// A symmetric Dirichlet draw: small concentrations are skewed, large ones even.
    Dirichlet { concentration: f64 },
    /// Given weights; with fewer weights than models they repeat.
    Explicit { weights: Vec<f64> },
}

/// Whether models have processes of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assignment {
    /// Each model has its own process, with its share of the rate.
    #[default]
    Independent,
    /// One process for all; each arrival's model is drawn by the shares.
    Drawn,
}

/// A format of [`Process::Counts`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountsFormat {
    /// NumPy's npy: a two-dimensional array of 64-bit integers, functions × minutes.
    Npy,
    /// Azure Functions 2019: `HashOwner,HashApp,HashFunction,Trigger,1,…,1440`.
    Azure2019,
}

/// A format of [`Process::Timestamps`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimestampsFormat {
    /// Azure Functions 2021: `app,func,end_timestamp,duration`, in seconds.
    Azure2021,
    /// Azure LLM inference 2023: `TIMESTAMP,ContextTokens,GeneratedTokens`; models are drawn by the split.
    AzureLlm,
}

/// Where a minute's requests lie within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Each at a uniformly random moment, as Poisson arrivals lie once their number is known.
    #[default]
    Random,
    /// Evenly, from a random phase per function and minute.
    Even,
}

impl WorkloadSpec {
    /// Independent processes, uniform split.
    pub fn new(arrivals: Process) -> Self {
        WorkloadSpec { arrivals, split: Split::default(), assign: Assignment::default() }
    }

    /// The same workload at another mean rate, for sweeps: states and levels change in proportion, traces are scaled.
    pub fn with_rate(&self, wanted: f64) -> Self {
        let mut spec = self.clone();
        match &mut spec.arrivals {
            Process::Constant { rate }
            | Process::Poisson { rate }
            | Process::Gamma { rate, .. }
            | Process::Pareto { rate, .. }
            | Process::Lognormal { rate, .. } => *rate = wanted,
            Process::Markov { states } => {
                let factor = wanted / mean_of_states(states);
                states.iter_mut().for_each(|state| state.rate *= factor);
            }
            Process::Piecewise { levels, .. } => levels.scale(wanted / levels.mean()),
            Process::Counts { rate, scale, .. } | Process::Timestamps { rate, scale, .. } => {
                (*rate, *scale) = (Some(wanted), None);
            }
        }
        spec
    }

    /// The mean rate in requests per second; `None` where only the trace knows.
    pub fn mean_rate(&self) -> Option<f64> {
        match &self.arrivals {
            Process::Constant { rate }
            | Process::Poisson { rate }
            | Process::Gamma { rate, .. }
            | Process::Pareto { rate, .. }
            | Process::Lognormal { rate, .. } => Some(*rate),
            Process::Markov { states } => Some(mean_of_states(states)),
            Process::Piecewise { levels, .. } => Some(levels.mean()),
            Process::Counts { rate, .. } | Process::Timestamps { rate, .. } => *rate,
        }
    }
}

/// States last in proportion to their dwell times, as each is entered equally often.
fn mean_of_states(states: &[MarkovState]) -> f64 {
    let (mut requests, mut seconds) = (0.0, 0.0);
    for state in states {
        requests += state.rate * state.dwell.as_secs_f64();
        seconds += state.dwell.as_secs_f64();
    }
    requests / seconds
}

/// `poisson:rate=100`, `gamma:rate=10,cv=4`, `counts:file=trace.npy,format=npy`; processes with nested fields need TOML.
impl FromStr for Process {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        short_form(text)
    }
}

/// `uniform`, `zipf:exponent=1.05`, `explicit:weights=10/10/1`.
impl FromStr for Split {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        short_form(text)
    }
}

/// Reads `kind:field=value,field=value` as the object that TOML would hold. Numbers are numbers, `a/b/c` of numbers is a
/// list, anything else is text.
fn short_form<T: DeserializeOwned>(text: &str) -> Result<T, WorkloadError> {
    let wrong = |reason: String| WorkloadError::Text { text: text.to_owned(), reason };
    let (kind, fields) = text.split_once(':').unwrap_or((text, ""));
    let mut object = Map::new();
    object.insert("kind".to_owned(), Value::from(kind.trim()));
    for field in fields.split(',').filter(|field| !field.trim().is_empty()) {
        let (name, value) =
            field.split_once('=').ok_or_else(|| wrong(format!("`{field}` is not field=value")))?;
        let value = value.trim();
        let numbers: Option<Vec<Value>> = value.split('/').map(number).collect();
        let value = match numbers {
            Some(mut numbers) if numbers.len() == 1 && name.trim() != "weights" => {
                numbers.remove(0)
            }
            Some(numbers) => Value::from(numbers),
            None => Value::from(value),
        };
        if object.insert(name.trim().to_owned(), value).is_some() {
            return Err(wrong(format!("`{}` is given twice", name.trim())));
        }
    }
    serde_json::from_value(Value::from(object)).map_err(|error| wrong(error.to_string()))
}

fn number(text: &str) -> Option<Value> {
    let whole = text.trim().parse::<u64>().ok().map(Value::from);
    whole.or_else(|| text.trim().parse::<f64>().ok().filter(|x| x.is_finite()).map(Value::from))
}

fn minute() -> Time {
    Time::from_secs(60)
}

fn one() -> f64 {
    1.0
}

fn forever() -> Time {
    Time::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_and_toml_say_the_same() {
        let toml = r#"
            arrivals = { kind = "gamma", rate = 21.0, cv = 4.0 }
            split = { kind = "explicit", weights = [10, 10, 1] }
        "#;
        let spec: WorkloadSpec = toml::from_str(toml).unwrap();
        assert_eq!(spec.arrivals, "gamma:rate=21,cv=4".parse().unwrap());
        assert_eq!(spec.split, "explicit:weights=10/10/1".parse().unwrap());
        let again: WorkloadSpec = toml::from_str(&toml::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
        let replay: Process = "counts:file=a.npy,format=npy,rate=150,minute=6s".parse().unwrap();
        let Process::Counts { rate, minute, spread, .. } = replay else { panic!("{replay:?}") };
        assert_eq!((rate, minute, spread), (Some(150.0), Time::from_secs(6), Spread::Random));
        let weights = "explicit:weights=3".parse::<Split>().unwrap();
        assert_eq!(weights, Split::Explicit { weights: vec![3.0] });
    }

    #[test]
    fn what_is_not_a_workload_is_refused_with_its_place() {
        let refused = |text: &str| text.parse::<Process>().unwrap_err().to_string();
        assert!(refused("poison:rate=1").contains("poison"), "{}", refused("poison:rate=1"));
        assert!(refused("poisson:rate=fast").contains("fast"));
        assert!(refused("poisson").contains("rate"));
        assert!(
            refused("poisson:rate=1,cv=2").contains("cv"),
            "{}",
            refused("poisson:rate=1,cv=2")
        );
        assert!(refused("poisson:rate=1,rate=2").contains("twice"));
        assert!(refused("poisson:rate").contains("field=value"));
        let toml = "arrivals = { kind = \"poisson\", rate = 1.0 }\nspilt = { kind = \"uniform\" }";
        assert!(toml::from_str::<WorkloadSpec>(toml).unwrap_err().to_string().contains("spilt"));
    }

    #[test]
    fn sweeps_change_the_mean_rate_of_every_process() {
        let markov = WorkloadSpec::new(Process::Markov {
            states: vec![
                MarkovState { rate: 10.0, dwell: Time::from_secs(9) },
                MarkovState { rate: 110.0, dwell: Time::from_secs(1) },
            ],
        });
        assert!((markov.mean_rate().unwrap() - 20.0).abs() < 1e-9);
        assert!((markov.with_rate(60.0).mean_rate().unwrap() - 60.0).abs() < 1e-9);
        let levels = Levels::Lognormal { mu: 1.0, sigma: 1.0 };
        let light = WorkloadSpec::new(Process::Piecewise { every: Time::from_secs(20), levels });
        assert!((light.mean_rate().unwrap() - 4.4817).abs() < 1e-3);
        assert!((light.with_rate(9.0).mean_rate().unwrap() - 9.0).abs() < 1e-9);
    }
}
