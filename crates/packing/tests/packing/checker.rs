//! The checker finds each kind of violation in a schedule that was good, and nothing in the good one.

use crate::common::{Kind, draw};
use sublet_packing::{Effort, Partition, Problem, Rules, Schedule, Violation, check, pack};
use sublet_units::{Bytes, Time};

/// A problem whose schedule has a GPU with two partitions.
fn good() -> (Problem, Schedule, usize) {
    for seed in 0..1000 {
        let mut problem = draw(seed, 4, 4, Kind::Linear);
        problem.rules = Rules { raise_rates: true, ..Rules::gpulet() };
        problem.tasks.iter_mut().for_each(|task| task.rate *= 0.3);
        let Some(packing) = pack(&problem, None, &Effort::default()).packing().cloned() else {
            continue;
        };
        let two = packing.schedule.gpus.iter().position(|gpu| gpu.len() == 2);
        if let Some(gpu) = two {
            assert_eq!(check(&problem, &packing.schedule), []);
            return (problem, packing.schedule, gpu);
        }
    }
    panic!("no seed divides a GPU")
}

/// Whether a change of problem and schedule is found as this violation.
fn found(change: impl Fn(&mut Problem, &mut Schedule, usize), is: impl Fn(&Violation) -> bool) {
    let (mut problem, mut schedule, gpu) = good();
    change(&mut problem, &mut schedule, gpu);
    let violations = check(&problem, &schedule);
    assert!(violations.iter().any(is), "{violations:?}");
    assert!(violations.iter().all(|violation| !violation.to_string().is_empty()));
}

#[test]
fn every_kind_of_violation_is_found() {
    use Violation as V;
    found(|_, s, _| drop(s.gpus.pop()), |v| matches!(v, V::GpuCount { .. }));
    found(|_, s, g| s.gpus[g][0].size += 1, |v| matches!(v, V::Size { .. }));
    found(|_, s, g| s.gpus[g][0].size = 100, |v| matches!(v, V::Sum { .. }));
    found(
        |p, s, g| s.gpus[g][0].size = p.gpus[0].sizes[0].min(s.gpus[g][1].size - 1),
        |v| matches!(v, V::Sum { .. } | V::Size { .. }),
    );
    found(
        |_, s, g| s.gpus[g].push(Partition { size: 20, runs: Vec::new() }),
        |v| matches!(v, V::PartitionCount { partitions: 3, .. }),
    );
    found(|_, s, g| s.gpus[g][0].runs.clear(), |v| matches!(v, V::EmptyPartition { .. }));
    found(|p, _, _| p.rules.models_max = 0, |v| matches!(v, V::ModelCount { .. }));
    found(|_, s, g| s.gpus[g][0].runs[0].task = 99, |v| matches!(v, V::Run { task: 99, .. }));
    found(|_, s, g| s.gpus[g][0].runs[0].rate = 0.0, |v| matches!(v, V::Run { .. }));
    found(|_, s, g| s.gpus[g][0].runs[0].rate = f64::NAN, |v| matches!(v, V::Run { .. }));
    found(
        |_, s, g| s.gpus[g][0].runs[0].batch = 3,
        |v| matches!(v, V::Unmeasured { batch: 3, .. }),
    );
    found(|p, _, _| p.gpus[0].memory = Bytes(1), |v| matches!(v, V::Memory { .. }));
    found(
        |_, s, g| s.gpus[g][0].runs[0].duty = Time::from_secs(1),
        |v| matches!(v, V::Batch { .. }),
    );
    found(|_, s, g| s.gpus[g][0].runs[0].duty = Time::from_secs(1), |v| matches!(v, V::Slo { .. }));
    found(|_, s, g| s.gpus[g][0].runs[0].duty = Time(1), |v| matches!(v, V::Load { .. }));
    found(|_, s, g| s.gpus[g][0].runs[0].duty = Time::ZERO, |v| matches!(v, V::Load { .. }));
    found(|_, s, g| s.gpus[g][0].runs[0].rate *= 0.999, |v| matches!(v, V::Rate { .. }));
    found(
        |_, s, g| s.gpus[g].iter_mut().for_each(|part| part.runs.truncate(0)),
        |v| matches!(v, V::Rate { served: 0.0, .. }),
    );
    found(
        |_, s, g| {
            let run = s.gpus[g][0].runs[0].clone();
            s.gpus[g][1].runs.push(run);
        },
        |v| matches!(v, V::Pieces { pieces: 2, .. }),
    );
}

#[test]
fn interference_counts() {
    let (mut problem, schedule, gpu) = good();
    let sublet_packing::Interference::Linear(linear) = &mut problem.gpus[0].interference else {
        panic!()
    };
    linear.constant += 20.0;
    let violations = check(&problem, &schedule);
    let hit = |violation: &Violation| match violation {
        Violation::Load { place, .. } | Violation::Slo { place, .. } => place.gpu == gpu,
        _ => false,
    };
    assert!(violations.iter().any(hit), "{violations:?}");
    // GPUs with one partition have no neighbours to be slowed down by.
    for (index, partitions) in schedule.gpus.iter().enumerate().filter(|(_, gpu)| gpu.len() == 1) {
        let of_gpu = |violation: &&Violation| match violation {
            Violation::Load { place, .. } | Violation::Slo { place, .. } => place.gpu == index,
            _ => false,
        };
        assert_eq!(violations.iter().filter(of_gpu).count(), 0, "{partitions:?}");
    }
}
