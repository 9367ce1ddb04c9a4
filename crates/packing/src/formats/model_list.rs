//! `ModelList.txt`: one line per run, `gpu,partition,dedup,model,batch,duty cycle in ms`; runs of one partition have the
//! same first three fields. `dedup` tells partitions of one size on one GPU apart. A partition that runs nothing is
//! `reserved`.

use crate::formats::FormatError;
use crate::formats::text::{BATCH_MAX, SIZE_MAX, rows};
use crate::{Partition, Problem, Run, Schedule};
use std::collections::BTreeMap;
use std::fmt::Write;
use sublet_units::Time;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub gpu: usize,
    pub size: u32,
    pub dedup: u32,
    /// `None` where the partition is reserved.
    pub model: Option<String>,
    pub batch: u32,
    pub duty: Time,
}

const RESERVED: &str = "reserved";
/// The batch that the original writes for a reserved partition.
const RESERVED_BATCH: u32 = 32;

/// Reads a list.
///
/// # Errors
/// A line of another form, or a hostile number.
pub fn model_list(file: &str, text: &str) -> Result<Vec<Listed>, FormatError> {
    let mut found = Vec::new();
    for row in rows(file, text) {
        row.count(6, "`gpu,partition,dedup,model,batch,duty cycle in ms`")?;
        let model = row.text(3, "a model or `reserved`")?;
        let reserved = model == RESERVED;
        found.push(Listed {
            gpu: row.whole(0, "a GPU's number", 0, 99_999)? as usize,
            size: row.whole(1, "a partition size", 1, SIZE_MAX)?,
            dedup: row.whole(
                2,
                "0, or 1 and more for another partition of that size",
                0,
                SIZE_MAX,
            )?,
            model: (!reserved).then(|| model.to_owned()),
            batch: row.whole(4, "a batch size", 1, BATCH_MAX)?,
            duty: row.time(5, "a duty cycle in ms", 1e6, reserved)?,
        });
    }
    Ok(found)
}

/// The schedule that a list describes, for a problem's tasks. Models without a task are left out. Since a list has no
/// rates, a task's rate is divided over its runs by what each can serve.
///
/// # Errors
/// A GPU that the problem does not have.
pub fn to_schedule(
    problem: &Problem,
    file: &str,
    listed: &[Listed],
) -> Result<Schedule, FormatError> {
    let given = problem.kinds().len();
    let mut partitions: BTreeMap<(usize, u32, u32), Vec<Run>> = BTreeMap::new();
    let mut capacity: BTreeMap<usize, f64> = BTreeMap::new();
    for (index, line) in listed.iter().enumerate() {
        if line.gpu >= given {
            return Err(FormatError {
                file: file.to_owned(),
                line: index + 1,
                want: format!("one of the {given} GPUs, counted from 0"),
                found: format!("`{}`", line.gpu),
            });
        }
        let named =
            |task: &usize| line.model.as_deref() == Some(problem.tasks[*task].model.as_str());
        if let Some(task) = (0..problem.tasks.len()).find(named) {
            let most = f64::from(line.batch) / line.duty.as_secs_f64();
            *capacity.entry(task).or_default() += most;
            let run = Run { task, rate: most, batch: line.batch, duty: line.duty };
            partitions.entry((line.gpu, line.size, line.dedup)).or_default().push(run);
        }
    }
    let mut schedule = Schedule { gpus: vec![Vec::new(); given] };
    for ((gpu, size, _), mut runs) in partitions {
        for run in &mut runs {
            run.rate *= problem.rate(run.task) / capacity[&run.task];
        }
        schedule.gpus[gpu].push(Partition { size, runs });
    }
    for partitions in &mut schedule.gpus {
        partitions.sort_by_key(|partition| std::cmp::Reverse(partition.size));
    }
    Ok(schedule)
}

/// Writes a schedule. What is left of a GPU in use is a reserved partition where the device allows that size.
pub fn write_model_list(problem: &Problem, schedule: &Schedule) -> String {
    let mut text = String::new();
    let kinds = problem.kinds();
    for (gpu, partitions) in schedule.gpus.iter().enumerate() {
        let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
        let mut next = |size: u32| {
            let dedup = seen.entry(size).or_default();
            *dedup += 1;
            *dedup - 1
        };
        for partition in partitions {
            let dedup = next(partition.size);
            for run in &partition.runs {
                let (size, model) = (partition.size, &problem.tasks[run.task].model);
                let duty = run.duty.as_millis_f64();
                writeln!(text, "{gpu},{size},{dedup},{model},{},{duty:.6}", run.batch)
                    .expect("strings grow");
            }
        }
        let gpus = &problem.gpus[kinds[gpu]];
        let taken: u32 = partitions.iter().map(|partition| partition.size).sum();
        let rest = gpus.whole.saturating_sub(taken);
        if !partitions.is_empty() && gpus.sizes.contains(&rest) {
            let dedup = next(rest);
            writeln!(text, "{gpu},{rest},{dedup},{RESERVED},{RESERVED_BATCH},{:.6}", 0.0)
                .expect("strings grow");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_example_is_read() {
        let text = "0,40,0,vgg16,6,88.235291\n0,60,0,reserved,32,0.000000\n";
        let listed = model_list("l", text).unwrap();
        assert_eq!(listed[0].model.as_deref(), Some("vgg16"));
        assert_eq!(listed[0].duty, Time(88_235_291));
        assert_eq!((listed[1].model.as_deref(), listed[1].duty), (None, Time::ZERO));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, want) in [
            ("0,40,0,vgg16,6,0\n", "a duty cycle in ms"),
            ("0,40,0,vgg16,6\n", "`gpu,partition,dedup"),
            ("-1,40,0,vgg16,6,1\n", "a GPU's number"),
            ("0,40,0,vgg16,0,1\n", "a batch size"),
            ("0,40,0,,6,1\n", "a model"),
        ] {
            let error = model_list("l", text).unwrap_err();
            assert!(error.want.starts_with(want), "{text}: {error}");
        }
    }
}
