//! `sublet schedule fit`: the linear interference model from measured pairs.

use crate::schedule::files::read;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use sublet_packing::{FitError, Profile, assess, fit, formats};

#[derive(Args)]
pub struct Fit {
    /// Latencies of runs beside others
    #[arg(long, value_name = "FILE")]
    pub pairs: PathBuf,
    /// Latencies of the same runs alone
    #[arg(long, value_name = "FILE")]
    pub profile: PathBuf,
    /// Utilisations of the models
    #[arg(long, value_name = "FILE")]
    pub utilisation: PathBuf,
    /// The size of a whole GPU in the files' unit
    #[arg(long, default_value_t = 100, value_name = "SIZE")]
    pub whole: u32,
    /// Only pairs with at least this batch on both sides: small batches are slowed down by the host, not by the GPU
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub batch_min: u32,
    /// Coefficients to compare with
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Where to write the coefficients
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub fn main(options: &Fit) -> Result<()> {
    let mut profile = Profile::default();
    let (name, text) = read(&options.profile)?;
    formats::latency(&name, &text, &mut profile)?;
    let (name, text) = read(&options.utilisation)?;
    formats::utilisation(&name, &text, &mut profile)?;
    let (name, text) = read(&options.pairs)?;
    let mut pairs = formats::pairs(&name, &text)?;
    pairs.retain(|row| row.batch.min(row.other_batch) >= options.batch_min);
    let found = fit(&profile, &pairs, options.whole)?;
    let names = ["own cache", "other's cache", "own memory", "other's memory", "constant"];
    println!("slowdown of a run, from {} measured pairs:", found.pairs);
    for (name, value) in names.iter().zip(found.linear.coefficients()) {
        println!("  {name:<16} {value:>9.5}");
    }
    println!(
        "{:<34} {:>8} {:>8} {:>8} {:>14}",
        "relative error", "mean", "P90", "worst", "within 10 %"
    );
    line("on these pairs", &found.seen);
    line("on couples of models left out", &found.unseen);
    if let Some(path) = &options.compare {
        let (name, text) = read(path)?;
        let other = formats::constants(&name, &text)?;
        line(&name, &assess(&other, &profile, &pairs, options.whole)?);
    }
    if let Some(path) = &options.out {
        std::fs::write(path, formats::write_constants(&found.linear))
            .with_context(|| path.display().to_string())?;
        println!("written to {}", path.display());
    }
    Ok(())
}

fn line(name: &str, error: &FitError) {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    println!(
        "{name:<34} {:>8} {:>8} {:>8} {:>14}",
        percent(error.mean),
        percent(error.p90),
        percent(error.worst),
        percent(error.within_tenth)
    );
}
