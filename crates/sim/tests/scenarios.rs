//! The scenarios that ship: each is read, and a small one runs and repeats.

use std::fs;
use std::path::{Path, PathBuf};
use sublet_sched::Preset;
use sublet_sim::scenario::{Point, Scenario, Setup};
use sublet_sim::{CostFile, simulate};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

fn load(name: &str) -> (Scenario, CostFile) {
    let read = |path: PathBuf| {
        fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
    };
    let scenario = Scenario::from_toml(&read(folder().join(name)));
    let scenario = scenario.unwrap_or_else(|why| panic!("{name}: {why}"));
    let costs = CostFile::from_toml(&read(folder().join(&scenario.cost)));
    let costs = costs.unwrap_or_else(|why| panic!("{}: {why}", scenario.cost));
    (scenario, costs)
}

#[test]
fn every_scenario_that_ships_can_be_set_up() {
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (scenario, costs) = load(&name);
        assert_eq!(format!("{}.toml", scenario.name), name);
        for point in scenario.points() {
            let mut asked = None;
            let setup = Setup::new(&scenario, &costs, point, 1, &mut |file| {
                asked = Some(file.to_owned());
                Err("not here".into())
            });
            match (setup, asked) {
                (Ok(setup), _) => assert!(setup.arrivals.len() > 20, "{name}{point}"),
                // Recorded traces are not part of this repository.
                (Err(why), Some(file)) => assert!(why.to_string().contains(&file), "{name}: {why}"),
                (Err(why), None) => panic!("{name}{point}: {why}"),
            }
        }
        seen += 1;
    }
    assert!(seen > 30, "{seen} scenarios");
}

#[test]
fn a_scenario_runs_under_every_preset_and_repeats() {
    let (scenario, costs) = load("sirius-light.toml");
    let mut read = |_: &str| Err("no traces here".to_owned());
    let setup = Setup::new(&scenario, &costs, Point::default(), 3, &mut read).unwrap();
    for preset in Preset::ALL {
        let run = || simulate(&scenario, &setup, preset).unwrap();
        let (once, twice) = (run(), run());
        assert_eq!(once.outcome, twice.outcome, "{preset}");
        assert_eq!((once.steps, once.loads, once.p98), (twice.steps, twice.loads, twice.p98));
        let outcome = &once.outcome;
        assert_eq!(outcome.requests, outcome.answered + outcome.failed(), "{preset}");
        assert!(outcome.answered * 10 > outcome.requests * 9, "{preset}: {outcome:?}");
        assert!(once.loads > 10, "{preset}");
    }
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let text = fs::read_to_string(folder().join("sirius-light.toml")).unwrap();
    let refused = |from: &str, to: &str| {
        Scenario::from_toml(&text.replace(from, to)).unwrap_err().to_string()
    };
    assert!(refused("devices = 1", "devices = 0").contains("cluster.devices"));
    assert!(refused("warmup = \"20s\"", "warmup = \"400s\"").contains("warmup"));
    assert!(refused("budget", "bugdet").contains("bugdet"));
    assert!(refused("[cluster]", "[policy]\npresets = [\"tropor\"]\n[cluster]").contains("tropor"));
    let (scenario, costs) = load("sirius-light.toml");
    let other = Scenario {
        models: vec![sublet_sim::scenario::ModelGroup {
            kind: "no-such-model".into(),
            ..scenario.models[0].clone()
        }],
        ..scenario
    };
    let setup = Setup::new(&other, &costs, Point::default(), 1, &mut |_| Err(String::new()));
    assert!(setup.unwrap_err().to_string().contains("no-such-model"));
}
