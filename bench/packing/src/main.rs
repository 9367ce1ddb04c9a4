//! The packer against gpulet's greedy, on task sets drawn from gpulet's 19,682: nine models, each at 0, 100 or 200
//! requests per second, on four GPUs. Prints a line per method, and checks every schedule.

mod sets;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use sets::{Mode, Models};
use std::path::PathBuf;
use std::time::Instant;
use sublet_packing::{Answer, Effort, Problem, Proof, Rules, check, greedy, pack};

#[derive(Parser)]
struct Options {
    /// Folder of gpulet's data: `standin-profile/` and `rtx2080ti/`
    #[arg(long, default_value = "../shared/data/gpulet")]
    data: PathBuf,
    #[arg(long, default_value_t = 250)]
    sets: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 4)]
    gpus: usize,
}

/// What became of all sets under one method.
#[derive(Default)]
struct Tally {
    feasible: usize,
    gpus: usize,
    exact: usize,
    seconds: f64,
    worst: f64,
    violations: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let models = Models::read(&options.data)?;
    for mode in [Mode::Scaled, Mode::Published] {
        println!("{}", mode.heading());
        for line in models.describe(mode) {
            println!("  {line}");
        }
        let sets = sets::draw(options.sets, options.seed);
        let free = Rules::free();
        let methods: [(&str, Rules, bool, &dyn Fn(&Problem) -> Answer); 5] = [
            ("greedy", Rules::gpulet(), false, &|problem| greedy(problem, false)),
            ("greedy-interference", Rules::gpulet(), true, &|problem| greedy(problem, true)),
            ("packer-no-interference", Rules::gpulet(), false, &|problem| {
                pack(problem, None, &Effort::default())
            }),
            ("packer", Rules::gpulet(), true, &|problem| pack(problem, None, &Effort::default())),
            ("packer-free", free, true, &|problem| pack(problem, None, &Effort::default())),
        ];
        for (name, rules, interference, method) in methods {
            let mut tally = Tally::default();
            for set in &sets {
                let problem =
                    models.problem(mode, set, options.gpus, rules.clone(), interference)?;
                tally.count(&problem, method, name.starts_with("greedy"))?;
            }
            println!(
                "bench packing {name}: feasible {} mean_gpus {:.2} ms_per_set {:.2} (worst {:.1}) exact {} violations {}",
                tally.feasible,
                tally.gpus as f64 / tally.feasible.max(1) as f64,
                1e3 * tally.seconds / sets.len() as f64,
                1e3 * tally.worst,
                tally.exact,
                tally.violations,
            );
            ensure!(tally.violations == 0, "{name} made schedules that do not hold");
        }
    }
    Ok(())
}

impl Tally {
    fn count(
        &mut self,
        problem: &Problem,
        method: &dyn Fn(&Problem) -> Answer,
        splits: bool,
    ) -> Result<()> {
        let begun = Instant::now();
        let answer = method(problem);
        let seconds = begun.elapsed().as_secs_f64();
        self.seconds += seconds;
        self.worst = self.worst.max(seconds);
        let Answer::Packed(packing) = answer else { return Ok(()) };
        self.feasible += 1;
        self.gpus += packing.schedule.gpus_used();
        self.exact += usize::from(packing.proof == Proof::Exact);
        let mut checked = problem.clone();
        if splits {
            // The greedy divides a model's rate over gpulets, whatever the rules say.
            checked.rules.pieces_max = 64;
        }
        let violations = check(&checked, &packing.schedule);
        if let Some(first) = violations.first() {
            eprintln!("{first}");
        }
        self.violations += violations.len();
        Ok(())
    }
}

/// Reads a data file.
fn read(path: PathBuf) -> Result<String> {
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}
