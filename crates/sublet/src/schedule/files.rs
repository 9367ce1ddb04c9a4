//! Reading the files of `sublet schedule` into a problem.

use crate::schedule::{RuleSet, ScheduleOptions};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use sublet_packing::{Gpus, Interference, PairTable, Problem, Profile, Rules, Schedule, formats};
use sublet_units::Bytes;

/// No such file is larger; a mistaken one is refused before it is read.
const FILE_MAX: Bytes = Bytes::from_mib(256);

/// Reads a text file with its name for messages.
pub fn read(path: &Path) -> Result<(String, String)> {
    let name = path.display().to_string();
    let size = std::fs::metadata(path).with_context(|| name.clone())?.len();
    ensure!(size <= FILE_MAX.0, "{name} has {}, more than {FILE_MAX}", Bytes(size));
    let bytes = std::fs::read(path).with_context(|| name.clone())?;
    let text = String::from_utf8(bytes).ok().with_context(|| format!("{name} is not text"))?;
    Ok((name, text))
}

fn required<'a>(path: &'a Option<PathBuf>, option: &str) -> Result<&'a Path> {
    path.as_deref().with_context(|| format!("{option} is missing"))
}

/// The schedule in a `ModelList.txt`.
pub fn list(problem: &Problem, path: &Path) -> Result<Schedule> {
    let (name, text) = read(path)?;
    Ok(formats::to_schedule(problem, &name, &formats::model_list(&name, &text)?)?)
}

pub fn problem(options: &ScheduleOptions) -> Result<Problem> {
    let (name, text) = read(required(&options.config, "--config")?)?;
    let config = formats::sched_config(&name, &text)?;
    for setting in &config.ignored {
        eprintln!("{name}: \"{setting}\" is a setting of gpulet's search and has no meaning here");
    }
    let (name, text) = read(required(&options.devices, "--devices")?)?;
    let devices = formats::device_config(&name, &text)?;
    let (name, text) = read(required(&options.memory, "--memory")?)?;
    let memory = formats::mem_config(&name, &text)?;
    let names = match &options.names {
        Some(path) => {
            let (name, text) = read(path)?;
            formats::names(&name, &text)?
        }
        None => BTreeMap::new(),
    };
    let (name, text) = read(required(&options.tasks, "the task file")?)?;
    let tasks = formats::tasks(&name, &text, &names)?;
    let (whole, sizes) = match &options.sms {
        Some(sms) => sm_sizes(sms)?,
        None => (100, config.sizes.clone()),
    };
    let sizes = if config.partitions { sizes } else { vec![whole] };
    let mut gpus = Vec::new();
    for (kind, count) in &config.gpus {
        let spec = devices
            .iter()
            .find(|spec| spec.kind == *kind)
            .with_context(|| format!("--devices does not describe the type {kind}"))?;
        let (profile, interference) = measurements(options, spec, config.interference)?;
        gpus.push(Gpus {
            name: kind.clone(),
            count: *count,
            whole,
            sizes: sizes.clone(),
            memory: spec.memory(),
            profile,
            interference,
        });
    }
    let mut rules = match options.rules {
        RuleSet::Gpulet => Rules { models_max: config.models_max, ..Rules::gpulet() },
        RuleSet::Free => Rules::free(),
    };
    if options.pairs.is_some() && config.interference {
        rules.partitions_max = rules.partitions_max.min(2);
    }
    rules.raise_rates = !options.mean_rates;
    rules.latency_ratio = config.latency_ratio;
    rules.slo_ratio = config.slo_ratio;
    Ok(Problem::new(tasks, gpus, rules, memory)?)
}

/// `8/132`: 8, 16, … up to 132, and 132 itself.
fn sm_sizes(text: &str) -> Result<(u32, Vec<u32>)> {
    let parsed =
        text.split_once('/').and_then(|(step, sms)| Some((step.parse().ok()?, sms.parse().ok()?)));
    let Some((step, sms)) =
        parsed.filter(|(step, sms): &(u32, u32)| *step > 0 && step <= sms && *sms <= 10_000)
    else {
        bail!("--sms {text}: expected a step and a number of SMs, such as 8/132");
    };
    let mut sizes: Vec<u32> = (1..=sms / step).map(|steps| steps * step).collect();
    if sms % step != 0 {
        sizes.push(sms);
    }
    Ok((sms, sizes))
}

/// The profile and the interference of a type of GPU.
fn measurements(
    options: &ScheduleOptions,
    spec: &formats::DeviceSpec,
    disturbed: bool,
) -> Result<(Profile, Interference)> {
    let given = required(&options.profile, "--profile")?;
    let folder = given.is_dir();
    let path = |option: &Option<PathBuf>, named: &str| match option {
        Some(path) => Some(path.clone()),
        None => folder.then(|| given.join(named)),
    };
    let mut profile = Profile::default();
    let latencies = if folder { given.join(&spec.latency_prof_file) } else { given.to_owned() };
    let (name, text) = read(&latencies)?;
    formats::latency(&name, &text, &mut profile)?;
    if !disturbed {
        return Ok((profile, Interference::None));
    }
    if let Some(pairs) = &options.pairs {
        let (name, text) = read(pairs)?;
        let table = pair_table(&profile, &formats::pairs(&name, &text)?)?;
        return Ok((profile, Interference::Table(table)));
    }
    let utilisation = path(&options.utilisation, &spec.interference_util_file)
        .context("the configuration asks for interference: --utilisation is missing")?;
    let (name, text) = read(&utilisation)?;
    formats::utilisation(&name, &text, &mut profile)?;
    let constants = path(&options.constants, &spec.interference_const_file)
        .context("the configuration asks for interference: --constants or --pairs is missing")?;
    let (name, text) = read(&constants)?;
    Ok((profile, Interference::Linear(formats::constants(&name, &text)?)))
}

/// Slowdowns from latencies beside others and alone.
fn pair_table(profile: &Profile, rows: &[formats::PairRow]) -> Result<PairTable> {
    let mut table = PairTable::default();
    for row in rows {
        let alone = profile.latency(&row.model, row.size, row.batch).with_context(|| {
            format!(
                "a pair was measured with {} at batch {} on {}, which alone was not",
                row.model, row.batch, row.size
            )
        })?;
        let factor = row.latency.as_millis_f64() / alone.as_millis_f64();
        table.add((&row.model, row.batch, row.size), (&row.other, row.other_batch), factor)?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_steps_of_multiprocessors() {
        assert_eq!(sm_sizes("8/20").unwrap(), (20, vec![8, 16, 20]));
        assert_eq!(sm_sizes("8/16").unwrap(), (16, vec![8, 16]));
        for wrong in ["8", "0/8", "9/8", "8/99999", "a/b", "-8/16"] {
            assert!(sm_sizes(wrong).is_err(), "{wrong}");
        }
    }
}
