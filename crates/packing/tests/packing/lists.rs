//! `ModelList.txt`: what is written is read back as the same schedule, and looks as it did.

use crate::common::{Kind, draw};
use std::collections::BTreeMap;
use sublet_packing::formats::{model_list, to_schedule, write_model_list};
use sublet_packing::{Effort, Gpus, Interference, Problem, Profile, Rules, Task, check, pack};
use sublet_units::{Bytes, Time};

#[test]
fn a_written_list_reads_back_as_a_schedule_that_holds() {
    let mut read = 0;
    for seed in 0..80 {
        let mut problem = draw(seed, 5, 5, Kind::Linear);
        problem.rules.pieces_max = 1 + (seed % 3) as usize;
        let Some(packing) = pack(&problem, None, &Effort::default()).packing().cloned() else {
            continue;
        };
        let text = write_model_list(&problem, &packing.schedule);
        let again = to_schedule(&problem, "l", &model_list("l", &text).unwrap()).unwrap();
        assert_eq!(check(&problem, &again), [], "{text}");
        assert_eq!(write_model_list(&problem, &again).lines().count(), text.lines().count());
        assert_eq!(again.gpus_used(), packing.schedule.gpus_used());
        read += 1;
    }
    assert!(read > 30, "{read}");
}

/// Latency of (4 + batch · 100/partition) ms for two models on one GPU.
fn two_models() -> Problem {
    let mut profile = Profile::default();
    for model in ["a", "b"] {
        for size in [20, 40, 50, 60, 80, 100] {
            for batch in [1, 2, 4, 8] {
                let ms = 4.0 + f64::from(batch) * 100.0 / f64::from(size);
                profile.add_latency(model, size, batch, Time((ms * 1e6) as u64)).unwrap();
            }
        }
    }
    let task = |model: &str, rate| Task { model: model.into(), rate, slo: Time::from_millis(60) };
    let gpus = Gpus {
        name: "gpu".into(),
        count: 2,
        whole: 100,
        sizes: vec![20, 40, 50, 60, 80, 100],
        memory: Bytes::from_gib(1),
        profile,
        interference: Interference::None,
    };
    let memory = ["a", "b"].map(|model| (model.to_owned(), Bytes::from_mib(1)));
    let rules = Rules { raise_rates: false, ..Rules::gpulet() };
    Problem::new(
        vec![task("a", 100.0), task("b", 200.5)],
        vec![gpus],
        rules,
        BTreeMap::from(memory),
    )
    .unwrap()
}

#[test]
fn the_list_looks_as_it_did() {
    let problem = two_models();
    let packing = pack(&problem, None, &Effort::default()).packing().cloned().unwrap();
    assert_eq!(check(&problem, &packing.schedule), []);
    let text = write_model_list(&problem, &packing.schedule);
    assert_eq!(text, "0,100,0,a,4,36.000000\n0,100,0,b,4,19.950124\n");
}

#[test]
fn a_list_for_more_gpus_than_there_are_is_refused() {
    let problem = two_models();
    let listed = model_list("l", "7,100,0,a,1,5\n").unwrap();
    let error = to_schedule(&problem, "l", &listed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "l, line 1: expected one of the 2 GPUs, counted from 0, found `7`"
    );
    let unknown = model_list("l", "1,100,0,gone,1,5\n0,60,0,reserved,32,0.0\n").unwrap();
    assert_eq!(to_schedule(&problem, "l", &unknown).unwrap().gpus_used(), 0);
}

/// What hostile files are made of.
const PIECES: [&str; 24] = [
    "a",
    "vgg16",
    ",",
    ",",
    ",",
    ",",
    "\n",
    "\n",
    "1",
    "20",
    "0",
    "-1",
    "NaN",
    "inf",
    "1e308",
    "99999999999999999999",
    "throughput",
    "latency",
    "mem_util",
    "l2_util",
    "bench",
    "reserved",
    "{\"models\":[",
    "\u{fffd}",
];

#[test]
fn no_text_makes_a_parser_panic() {
    use sublet_packing::formats as f;
    let mut draw = fastrand::Rng::with_seed(9);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let text: String =
            (0..draw.usize(0..24)).map(|_| PIECES[draw.usize(..PIECES.len())]).collect();
        let mut profile = Profile::default();
        for found in [
            f::tasks("t", &text, &BTreeMap::new()).is_ok(),
            f::latency("l", &text, &mut profile).is_ok(),
            f::utilisation("u", &text, &mut profile).is_ok(),
            f::constants("c", &text).is_ok(),
            f::pairs("p", &text).is_ok(),
            f::model_list("m", &text).is_ok(),
            f::sched_config("s", &text).is_ok(),
            f::device_config("d", &text).is_ok(),
            f::mem_config("m", &text).is_ok(),
            f::names("n", &text).is_ok(),
        ] {
            *(if found { &mut read } else { &mut refused }) += 1;
        }
    }
    assert!(read > 0 && refused > 0);
}
