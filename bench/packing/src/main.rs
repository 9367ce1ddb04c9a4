//! The packer against gpulet's greedy, on task sets drawn from gpulet's 19,682: nine models, each at 0, 100 or 200
//! requests per second, on four GPUs. Prints a line per method, and checks every schedule.

mod sets;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use sets::{Mode, Models};
use std::path::PathBuf;
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
    /// Only the method of this name
    #[arg(long)]
    only: Option<String>,
}

/// What became of all sets under one method.
#[derive(Default)]
struct Tally {
    feasible: usize,
    gpus: usize,
    exact: usize,
    seconds: f64,
    worst: f64,
    /// What the checker found, under the interference that the method looks at.
    violations: usize,
    /// Schedules that do not hold under predicted interference.
    disturbed: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let models = Models::read(&options.data)?;
    let sets = sets::draw(options.sets, options.seed);
    println!("{} task sets, seed {}, {} GPUs", sets.len(), options.seed, options.gpus);
    for mode in [Mode::Published, Mode::Scaled] {
        println!("\n{}", mode.heading());
        models.describe(mode).iter().for_each(|line| println!("  {line}"));
        for method in METHODS
            .iter()
            .filter(|method| options.only.as_ref().is_none_or(|only| only == method.name))
        {
            let mut tally = Tally::default();
            for set in &sets {
                let rules = method.rules();
                let problem = models.problem(mode, set, options.gpus, rules, method.aware)?;
                let truth = models.problem(mode, set, options.gpus, problem.rules.clone(), true)?;
                tally.count(method, &problem, &truth);
            }
            println!("{}", tally.line(method.name, sets.len()));
            ensure!(tally.violations == 0, "{} made schedules that do not hold", method.name);
        }
    }
    Ok(())
}

/// A way to schedule.
struct Method {
    name: &'static str,
    /// Whether it looks at interference.
    aware: bool,
    solver: Solver,
}

enum Solver {
    Greedy,
    /// gpulet's rules.
    Packer,
    /// As many partitions as fit, up to eight models in each, no model split.
    Free,
    /// The same, and models may be split to save a GPU.
    Split,
}

const METHODS: [Method; 6] = [
    Method { name: "greedy", aware: false, solver: Solver::Greedy },
    Method { name: "greedy-interference", aware: true, solver: Solver::Greedy },
    Method { name: "packer-no-interference", aware: false, solver: Solver::Packer },
    Method { name: "packer", aware: true, solver: Solver::Packer },
    Method { name: "packer-free", aware: true, solver: Solver::Free },
    Method { name: "packer-free-split", aware: true, solver: Solver::Split },
];

impl Method {
    fn rules(&self) -> Rules {
        match self.solver {
            Solver::Greedy | Solver::Packer => Rules::gpulet(),
            Solver::Free => Rules { pieces_max: 1, ..Rules::free() },
            Solver::Split => Rules::free(),
        }
    }

    fn solve(&self, problem: &Problem) -> Answer {
        match self.solver {
            Solver::Greedy => greedy(problem, self.aware),
            _ => pack(problem, None, &Effort::default()),
        }
    }
}

impl Tally {
    fn count(&mut self, method: &Method, problem: &Problem, truth: &Problem) {
        let begun = processor_seconds();
        let answer = method.solve(problem);
        let seconds = processor_seconds() - begun;
        self.seconds += seconds;
        self.worst = self.worst.max(seconds);
        let Answer::Packed(packing) = answer else { return };
        self.feasible += 1;
        self.gpus += packing.schedule.gpus_used();
        self.exact += usize::from(packing.proof == Proof::Exact);
        let violations = |problem: &Problem| {
            let mut judged = problem.clone();
            if matches!(method.solver, Solver::Greedy) {
                // It divides a model's rate over gpulets, whatever the rules say.
                judged.rules.pieces_max = 64;
            }
            check(&judged, &packing.schedule)
        };
        let found = violations(problem);
        if let Some(first) = found.first() {
            eprintln!("{}: {first}", method.name);
        }
        self.violations += found.len();
        self.disturbed += usize::from(!violations(truth).is_empty());
    }

    fn line(&self, name: &str, sets: usize) -> String {
        format!(
            "bench packing {name}: feasible {} mean_gpus {:.2} ms_per_set {:.2} worst_ms {:.1} exact {} violations {} \
             late_with_interference {}",
            self.feasible,
            self.gpus as f64 / self.feasible.max(1) as f64,
            1e3 * self.seconds / sets as f64,
            1e3 * self.worst,
            self.exact,
            self.violations,
            self.disturbed,
        )
    }
}

/// Time that this thread has computed: what else runs on the machine does not count.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Reads a data file.
fn read(path: PathBuf) -> Result<String> {
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}
