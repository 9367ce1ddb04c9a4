//! Schedules, refusals and violations in words.

use sublet_packing::{ExplainedPartition, Other, Problem, Refusal, Schedule, Violation, explain};

/// A table of runs, and under each partition why it has its size.
pub fn schedule(problem: &Problem, schedule: &Schedule) {
    println!(
        "{:>4} {:>9}  {:<20} {:>9} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "GPU",
        "partition",
        "model",
        "rate/s",
        "batch",
        "duty ms",
        "alone ms",
        "slowdown",
        "worst ms",
        "SLO ms"
    );
    for partition in explain(problem, schedule) {
        for (index, run) in partition.runs.iter().enumerate() {
            let place = if index == 0 {
                format!("{:>4} {:>9}", partition.gpu, partition.size)
            } else {
                " ".repeat(14)
            };
            println!(
                "{place}  {:<20} {:>9.2} {:>6} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
                problem.tasks[run.run.task].model,
                run.run.rate,
                run.run.batch,
                run.run.duty.as_millis_f64(),
                run.alone_ms,
                run.slowdown,
                run.worst_ms,
                run.slo_ms,
            );
        }
        println!("{:>14}  {}", "", reason(problem, &partition));
    }
    let idle: Vec<&str> = problem
        .tasks
        .iter()
        .filter(|task| task.rate == 0.0)
        .map(|task| task.model.as_str())
        .collect();
    if !idle.is_empty() {
        println!("without a rate, so without a place: {}", idle.join(", "));
    }
}

/// How busy a partition is, what it bears, and why it is neither smaller nor larger.
fn reason(problem: &Problem, partition: &ExplainedPartition) -> String {
    let mut parts = vec![format!(
        "busy {:.1} %, bears {}{:.1} % more",
        partition.load * 100.0,
        if partition.slack >= 0.5 { "at least " } else { "" },
        partition.slack * 100.0
    )];
    // The two sizes below and the one above tell enough.
    let above = partition.others.partition_point(|(size, _)| *size < partition.size);
    for (size, other) in partition.others.iter().take(above + 1).skip(above.saturating_sub(2)) {
        let model = |task: &usize| problem.tasks[*task].model.as_str();
        parts.push(match other {
            Other::Slack(slack) => format!("{size} would do and bear {:.1} %", slack * 100.0),
            Other::TooSlow { task, least_ms, slo_ms } => {
                format!(
                    "{size} is too slow: {} can take {least_ms:.2} of {slo_ms:.2} ms",
                    model(task)
                )
            }
            Other::TooMuch { task } => {
                format!("{size} is too small: no batch of {} keeps up within its SLO", model(task))
            }
            Other::Together { load } => {
                format!(
                    "{size} is too small: its models need at least {:.1} % of the time",
                    load * 100.0
                )
            }
        });
    }
    parts.join("; ")
}

/// Why there is no schedule.
pub fn refusal(problem: &Problem, refusal: &Refusal) -> String {
    match refusal {
        Refusal::Task { task, why } => {
            format!("{} cannot be served: {why}", problem.tasks[*task].model)
        }
        Refusal::NeedsAtLeast { gpus, given } => {
            format!("at least {gpus} GPUs are needed under these rules, and there are {given}")
        }
        Refusal::NotFound { gpus_least, given } => format!(
            "none was found for {given} GPUs; at least {gpus_least} are needed, and whether these are enough is not known"
        ),
    }
}

/// A violation with the model's name in place of the task's number.
pub fn violation(problem: &Problem, violation: &Violation) -> String {
    let mut text = violation.to_string();
    for (index, task) in problem.tasks.iter().enumerate().rev() {
        text = text.replace(&format!("task {index} "), &format!("{} ", task.model));
    }
    text
}
