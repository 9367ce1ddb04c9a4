//! Published figures against simulated ones. Each line states both and the difference.

use crate::library::Library;
use anyhow::{Context, Result};
use sublet_sched::Preset;
use sublet_sim::scenario::{Point, Scenario, Setup};
use sublet_sim::{CostFile, Simulated, simulate};
use sublet_units::Time;
use sublet_workload::{Arrival, Size};

/// Runs a point and returns what came of it.
struct Runner<'a> {
    library: &'a Library,
}

pub fn run(library: &Library) -> Result<()> {
    let runner = Runner { library };
    swap_ins(&runner)?;
    torpor(&runner)?;
    computron(&runner)
}

/// Latencies of single requests: warm, cold over PCIe, and two cold ones behind one switch.
fn swap_ins(runner: &Runner) -> Result<()> {
    println!("V100, one request, ms (Torpor's table; DeepPlan's ResNet-50)");
    let warm_and_cold = [
        ("densenet169", 25.0, 27.0),
        ("densenet201", 28.0, 30.0),
        ("inception-v3", 14.0, 17.0),
        ("efficientnet", 12.0, 13.0),
        ("resnet50", 9.0, 13.0),
        ("resnet101", 14.0, 22.0),
        ("resnet152", 17.0, 25.0),
        ("bert-large-qa", 43.0, 144.0),
    ];
    for (kind, warm, cold) in warm_and_cold {
        let simulated = runner.mean_ms(&single(kind, 1, 1, true), Preset::Torpor)?;
        line(&format!("{kind}, warm"), warm, simulated);
        let simulated = runner.mean_ms(&single(kind, 2, 1, true), Preset::Torpor)?;
        line(&format!("{kind}, swapped in over PCIe"), cold, simulated);
    }
    for (kind, cold) in [("resnet152", 43.0), ("bert-large-qa", 240.0)] {
        let simulated = runner.mean_ms(&single(kind, 4, 2, true), Preset::DeepPlanServer)?;
        line(&format!("{kind}, two swap-ins at once behind one switch"), cold, simulated);
    }
    let text = single("resnet50", 2, 1, true);
    line(
        "resnet50, pipelined (DeepPlan: PipeSwitch)",
        12.0,
        runner.mean_ms(&text, Preset::Torpor)?,
    );
    let text = single("resnet50", 2, 1, false);
    line(
        "resnet50, load then run (DeepPlan: demand)",
        17.7,
        runner.mean_ms(&text, Preset::FifoLru)?,
    );
    Ok(())
}

fn torpor(runner: &Runner) -> Result<()> {
    println!("V100, preset torpor");
    let (one, costs) = runner.library.scenario("torpor-08-resnet152")?;
    let at = |models| Point { models: Some(models), ..Point::default() };
    for models in [160, 210, 240] {
        let run = runner.run(&one, &costs, at(models), 1, Preset::Torpor)?;
        let (asked, compliant) = run.compliant();
        println!(
            "  one GPU, {models} ResNet-152 functions at 10 requests/min: P98 {:.1} ms, {compliant} of {asked} compliant",
            run.p98.as_millis_f64()
        );
        if models == 210 {
            line("one GPU, 210 ResNet-152 functions, P98 ms", 39.0, run.p98.as_millis_f64());
        }
    }
    let (four, costs) = runner.library.scenario("torpor-10-eight-models")?;
    let published = [(480, 100.0), (560, 80.0)];
    for models in [320, 400, 480, 520, 560, 640] {
        let run = runner.run(&four, &costs, at(models), 1, Preset::Torpor)?;
        let (asked, compliant) = run.compliant();
        let share = compliant as f64 * 100.0 / asked.max(1) as f64;
        println!(
            "  four GPUs, {models} functions of eight models: {share:.1} % compliant, attainment {:.2} %",
            run.attainment() * 100.0
        );
        if let Some((_, published)) = published.iter().find(|(at, _)| *at == models) {
            line(&format!("four GPUs, {models} functions, compliant %"), *published, share);
        }
    }
    Ok(())
}

fn computron(runner: &Runner) -> Result<()> {
    println!(
        "A100, preset fifo-lru: two models, one resident, asked for in turn; load and run are inputs"
    );
    let published = [
        ("tp1-pp1", 1408.0),
        ("tp1-pp2", 924.0),
        ("tp2-pp1", 801.0),
        ("tp4-pp1", 761.0),
        ("tp1-pp4", 722.0),
        ("tp2-pp2", 502.0),
    ];
    let (alternate, costs) = runner.library.scenario("computron-00-alternate")?;
    let mut order = Vec::new();
    for (config, response) in published {
        let mut scenario = alternate.clone();
        scenario.models[0].kind = format!("opt-13b-{config}");
        scenario.duration = Time::from_secs(200);
        let run = runner.in_turn(&scenario, &costs, 1, Preset::FifoLru)?;
        let simulated = run.outcome.latency.mean().as_millis_f64();
        line(&format!("OPT-13B {config}, response ms"), response, simulated);
        order.push(simulated);
    }
    let same = order.windows(2).all(|pair| pair[0] > pair[1]);
    let verdict = if same { "the published one" } else { "another than published" };
    println!("  order of configurations: {verdict}");
    let mut range = (f64::MAX, 0.0f64);
    for number in 1..=18 {
        let (scenario, costs) = runner.library.scenario(&format!("computron-{number:02}"))?;
        let run = runner.run(&scenario, &costs, Point::default(), 1, Preset::FifoLru)?;
        let mean = run.outcome.latency.mean().as_secs_f64();
        range = (range.0.min(mean), range.1.max(mean));
    }
    println!(
        "  configurations 1 to 18, mean latencies: published 0.17 to 2.0 s, simulated {:.2} to {:.2} s",
        range.0, range.1
    );
    println!(
        "plausibility: order of configurations {}",
        if same { "as published" } else { "differs" }
    );
    Ok(())
}

/// Some equal models on V100, of which each device holds one.
struct Single {
    kind: String,
    models: u32,
    devices: u32,
    overlaps: bool,
}

fn single(kind: &str, models: u32, devices: u32, overlaps: bool) -> Single {
    Single { kind: kind.to_owned(), models, devices, overlaps }
}

impl Runner<'_> {
    fn run(
        &self,
        scenario: &Scenario,
        costs: &CostFile,
        point: Point,
        seed: u64,
        preset: Preset,
    ) -> Result<Simulated> {
        let mut read = |file: &str| self.library.trace(file);
        let setup = Setup::new(scenario, costs, point, seed, &mut read)?;
        Ok(simulate(scenario, &setup, preset)?)
    }

    /// Asks for a scenario's models in turn, so many at once, far enough apart that nobody waits.
    fn in_turn(
        &self,
        scenario: &Scenario,
        costs: &CostFile,
        together: u32,
        preset: Preset,
    ) -> Result<Simulated> {
        let mut setup =
            Setup::new(scenario, costs, Point::default(), 1, &mut |_| Err("no traces".into()))?;
        let models = setup.models.len() as u64;
        let gap = Time::from_secs(3);
        setup.arrivals = (0..scenario.duration.0 / gap.0 * u64::from(together))
            .map(|at| Arrival {
                at: gap * (at / u64::from(together)),
                model: (at % models) as u32,
                size: Size::default(),
            })
            .collect();
        Ok(simulate(scenario, &setup, preset)?)
    }

    fn mean_ms(&self, single: &Single, preset: Preset) -> Result<f64> {
        let mut costs = self.library.costs("costs/v100.toml")?;
        costs.device.overlap = single.overlaps;
        costs.device.jitter = 0.0;
        let kind = costs.kind(&single.kind).context("a kind of the cost model")?;
        // Room for one model and some.
        let budget = kind.bytes.0 * 14 / 10 + 16_000_000;
        let text = format!(
            "name = \"single\"\ncost = \"-\"\nduration = \"200s\"\nwarmup = \"20s\"\n\
             [cluster]\ndevices = {}\nbudget = {budget}\n\
             [[models]]\nkind = \"{}\"\ncount = {}\n\
             [workload]\narrivals = {{ kind = \"constant\", rate = 2.0 }}\nassign = \"independent\"\n",
            single.devices, single.kind, single.models
        );
        let scenario = Scenario::from_toml(&text)?;
        let run = self.in_turn(&scenario, &costs, single.devices, preset)?;
        Ok(run.outcome.latency.mean().as_millis_f64())
    }
}

fn line(what: &str, published: f64, simulated: f64) {
    let difference = (simulated / published - 1.0) * 100.0;
    println!("  {what}: published {published:.1}, simulated {simulated:.1} ({difference:+.1} %)");
}
