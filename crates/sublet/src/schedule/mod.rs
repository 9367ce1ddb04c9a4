//! `sublet schedule`: packs models into partitions of GPUs, from gpulet's files, and says why each is where it is.

mod files;
mod fit;
mod show;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use sublet_packing::{
    Answer, Effort, Packing, Problem, Proof, Schedule, check, formats, greedy, pack,
};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct ScheduleOptions {
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Tasks: their number on the first line, then `model,rate per second,SLO in ms` lines
    #[arg(required = true)]
    pub tasks: Option<PathBuf>,
    /// gpulet's `sched-config.json`: GPUs, limits, partition sizes
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Option<PathBuf>,
    /// gpulet's `device-config.json`: memory and profile files of each type of GPU
    #[arg(long, value_name = "FILE", required = true)]
    pub devices: Option<PathBuf>,
    /// gpulet's `mem-config.json`: what each model takes
    #[arg(long, value_name = "FILE", required = true)]
    pub memory: Option<PathBuf>,
    /// Measured latencies for all types of GPUs, or the folder that the files named in --devices lie in
    #[arg(long, value_name = "PATH", required = true)]
    pub profile: Option<PathBuf>,
    /// Measured utilisations, where --profile is a file
    #[arg(long, value_name = "FILE")]
    pub utilisation: Option<PathBuf>,
    /// Coefficients of the interference model, where --profile is a file
    #[arg(long, value_name = "FILE")]
    pub constants: Option<PathBuf>,
    /// Measured pairs: their slowdowns instead of the interference model's
    #[arg(long, value_name = "FILE", conflicts_with = "constants")]
    pub pairs: Option<PathBuf>,
    /// gpulet's `proxy_config.json`, where tasks give models by number
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
    /// What a schedule may do
    #[arg(long, value_enum, default_value_t = RuleSet::Gpulet)]
    pub rules: RuleSet,
    /// Partition sizes are numbers of SMs, in steps of this, of so many on a GPU: `8/132` (the profile's partitions too)
    #[arg(long, value_name = "STEP/SMS")]
    pub sms: Option<String>,
    /// Serve the mean rates as they are, not the 99th percentile of a Poisson distribution
    #[arg(long)]
    pub mean_rates: bool,
    /// How to schedule
    #[arg(long, value_enum, default_value_t = Method::Exact)]
    pub method: Method,
    /// What runs now, as a `ModelList.txt`: models stay where they are if that costs no GPU and no slack
    #[arg(long, value_name = "FILE")]
    pub current: Option<PathBuf>,
    /// Verify this `ModelList.txt` instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["current", "out"])]
    pub check: Option<PathBuf>,
    /// Where to write the schedule as a `ModelList.txt`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Ways to split models that are tried in order to save a GPU, with `--rules free`
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub splits: usize,
}

#[derive(Subcommand)]
pub enum Action {
    /// Fit the linear interference model to measured pairs, and report its error
    Fit(fit::Fit),
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum RuleSet {
    /// Two partitions that make up the GPU, models as the configuration says in each, no model split
    Gpulet,
    /// As many partitions as fit, eight models in each, models split where that helps
    Free,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Method {
    /// Fewest GPUs, then most slack, then least movement
    Exact,
    /// gpulet's elastic partitioning, which looks at interference if the configuration says so
    Greedy,
}

pub fn main(options: &ScheduleOptions) -> Result<()> {
    if let Some(Action::Fit(options)) = &options.action {
        return fit::main(options);
    }
    let problem = files::problem(options)?;
    if let Some(list) = &options.check {
        return verify(&problem, &files::list(&problem, list)?);
    }
    let current = options.current.as_ref().map(|list| files::list(&problem, list)).transpose()?;
    let effort = Effort { splits: options.splits, ..Effort::default() };
    let answer = match options.method {
        Method::Exact => pack(&problem, current.as_ref(), &effort),
        Method::Greedy => greedy(&problem, true),
    };
    let packing = match answer {
        Answer::Packed(packing) => packing,
        Answer::Refused(refusal) => bail!("no schedule: {}", show::refusal(&problem, &refusal)),
    };
    show::schedule(&problem, &packing.schedule);
    summary(options, &problem, &packing, current.is_some());
    let mut judged = problem.clone();
    if options.method == Method::Greedy {
        // gpulet's method splits models, whatever the rules say.
        judged.rules.pieces_max = 64;
    }
    verify(&judged, &packing.schedule)?;
    if let Some(path) = &options.out {
        let text = formats::write_model_list(&problem, &packing.schedule);
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn summary(options: &ScheduleOptions, problem: &Problem, packing: &Packing, moved: bool) {
    let (used, given) = (packing.schedule.gpus_used(), problem.kinds().len());
    let known = match packing.proof {
        _ if options.method == Method::Greedy => "as gpulet's method finds it".to_owned(),
        Proof::Exact => "no schedule under these rules uses fewer".to_owned(),
        Proof::AtLeast(least) => format!("no schedule under these rules uses fewer than {least}"),
    };
    println!("{used} of {given} GPUs: {known}");
    if options.method == Method::Exact {
        println!(
            "slack: every run may take {:.1} % of its latency alone longer than predicted",
            packing.slack * 100.0
        );
    }
    if moved {
        println!("movement: {} models come to a GPU that does not run them now", packing.moves);
    }
}

/// Says what the checker finds; a violation is an error.
fn verify(problem: &Problem, schedule: &Schedule) -> Result<()> {
    let violations = check(problem, schedule);
    if violations.is_empty() {
        println!("checked: every SLO, rate, size, limit and memory holds");
        return Ok(());
    }
    for violation in &violations {
        println!("violated: {}", show::violation(problem, violation));
    }
    bail!("{} violations", violations.len())
}
