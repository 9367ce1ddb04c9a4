//! Swapping models in and out, and what goes wrong meanwhile.

use super::rig::{Builder, Packed, Rig, indices, one, three_segments};
use std::sync::Arc;
use sublet_device::{Completion, Device, DeviceError, Part};
use sublet_graph::{Binary, DType, Literal, Op};
use sublet_plan::Plan;
use sublet_units::{Bytes, ModelId, Time};

/// Segments of 512, 1024 and 1024 bytes at 1 MB/s.
const FIRST: Time = Time::from_micros(512);
const EACH: Time = Time::from_micros(1024);

#[test]
fn a_step_runs_before_later_segments_arrive() {
    let model = three_segments(1);
    let rig = Rig::new("cpu,memory=1MiB,link=1MB/s");
    rig.attach(0, &model);
    rig.load(7, 0, 0..3);
    // The first step reads segment 0 only, and fails: only then can the run end before segment 1 has arrived.
    rig.launch(1, 0, model.plan(&[&[1]]), one(&[indices(&[99])]));
    rig.launch(2, 0, model.plan(&[&[1]]), one(&[indices(&[5])]));
    assert_eq!(rig.clock.advance_to_waiter(), FIRST);
    rig.expect_loaded(7, 0);
    let error = rig.expect_ran(1).unwrap_err();
    assert!(matches!(&error, DeviceError::Invalid { place, .. } if place == "n0"), "{error}");
    assert_eq!(rig.clock.advance_to_waiter(), FIRST + EACH);
    rig.expect_loaded(7, 1);
    assert_eq!(rig.clock.advance_to_waiter(), FIRST + EACH + EACH);
    // The last segment's arrival and the end of the run are reported by two threads.
    let mut output = None;
    for _ in 0..2 {
        match rig.next() {
            Completion::Ran { result, .. } => output = Some(result.unwrap()),
            Completion::Loaded { segment: 2, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(output.unwrap().parts, [model.solo(&[indices(&[5])]).unwrap()]);
}

#[test]
fn a_run_after_eviction_and_reload_gives_the_same_bits() {
    let (one, two) = (three_segments(1), three_segments(50));
    // Three pages hold one model of three segments.
    let rig = Rig::new("cpu,memory=3KiB,page=1KiB");
    rig.attach(1, &one);
    rig.attach(2, &two);
    let input = [indices(&[0, 7, 3])];
    let (wanted_one, wanted_two) = (one.solo(&input).unwrap(), two.solo(&input).unwrap());
    assert_ne!(wanted_one, wanted_two);
    for _ in 0..5 {
        rig.load_now(1, 0..3);
        assert_eq!(rig.run(1, &one, &input), wanted_one);
        rig.evict(1, 0..3);
        rig.load_now(2, 0..3);
        assert_eq!(rig.run(2, &two, &input), wanted_two);
        rig.evict(2, 0..3);
    }
    assert_eq!(rig.device.usage().resident_bytes, Bytes::ZERO);
    assert_eq!(rig.device.usage().copied_bytes, Bytes(2560 * 10));
}

#[test]
fn a_partly_resident_model_needs_only_the_rest() {
    let model = three_segments(3);
    let rig = Rig::new("cpu,memory=1MiB");
    rig.attach(0, &model);
    rig.load_now(0, 0..3);
    rig.evict(0, 1..3);
    assert_eq!(rig.device.usage().resident_bytes, Bytes(512));
    let copied = rig.device.usage().copied_bytes;
    rig.load_now(0, 1..3);
    assert_eq!(rig.device.usage().copied_bytes.0 - copied.0, 2048);
    let input = [indices(&[4])];
    assert_eq!(rig.run(0, &model, &input), model.solo(&input).unwrap());
}

#[test]
fn loads_stay_within_the_budget() {
    let model = three_segments(4);
    let rig = Rig::new("cpu,memory=2KiB,page=1KiB");
    rig.attach(0, &model);
    rig.load(5, 0, 0..3);
    rig.launch(1, 0, model.plan(&[&[1]]), one(&[indices(&[0])]));
    rig.expect_loaded(5, 0);
    rig.expect_loaded(5, 1);
    let mut errors = Vec::new();
    for _ in 0..2 {
        match rig.next() {
            Completion::LoadFailed { error, .. } => errors.push(error),
            Completion::Ran { result, .. } => errors.push(result.unwrap_err()),
            other => panic!("{other:?}"),
        }
    }
    assert!(errors.iter().all(|error| matches!(error, DeviceError::OutOfMemory { .. })));
    assert_eq!(rig.device.usage().resident_bytes, Bytes(1536));
}

#[test]
fn a_failed_copy_fails_the_load_and_the_runs_that_wait() {
    let model = three_segments(5);
    let rig = Rig::new("cpu,memory=1MiB,link=1MB/s");
    rig.attach(0, &model);
    let fault = DeviceError::Invalid { what: "a bad copy".into(), place: "the link".into() };
    rig.load(1, 0, 0..1);
    rig.clock.advance_to_waiter();
    rig.expect_loaded(1, 0);
    rig.device.fail_next_load(fault.clone());
    rig.load(1, 0, 1..3);
    rig.launch(2, 0, model.plan(&[&[1]]), one(&[indices(&[0])]));
    for _ in 0..2 {
        match rig.next() {
            Completion::LoadFailed { error, .. } | Completion::Ran { result: Err(error), .. } => {
                assert_eq!(error, fault);
            }
            other => panic!("{other:?}"),
        }
    }
    rig.evict(0, 0..3);
    rig.load(3, 0, 0..3);
    for segment in 0..3 {
        rig.clock.advance_to_waiter();
        rig.expect_loaded(3, segment);
    }
    let input = [indices(&[6])];
    assert_eq!(rig.run(0, &model, &input), model.solo(&input).unwrap());
}

#[test]
fn weights_that_never_come_are_an_error() {
    let model = three_segments(6);
    let rig = Rig::new("cpu,memory=1MiB");
    rig.attach(0, &model);
    rig.load_now(0, 0..1);
    rig.launch(1, 0, model.plan(&[&[1]]), one(&[indices(&[0])]));
    let error = rig.expect_ran(1).unwrap_err().to_string();
    assert!(error.contains("neither resident nor being loaded at segment 1"), "{error}");
    rig.launch(2, 9, model.plan(&[&[1]]), one(&[indices(&[0])]));
    assert!(rig.expect_ran(2).unwrap_err().to_string().contains("not attached"));
    rig.load(3, 9, 0..1);
    assert!(rig.expect_load_failed(3).to_string().contains("not attached"));
    rig.load(4, 0, 2..8);
    assert!(rig.expect_load_failed(4).to_string().contains("segments 2..8 of 3"));
}

#[test]
fn a_lost_device_fails_everything() {
    let model = three_segments(7);
    let rig = Rig::new("cpu,memory=1MiB,link=1MB/s");
    rig.attach(0, &model);
    rig.load(1, 0, 0..3);
    rig.launch(2, 0, model.plan(&[&[1]]), one(&[indices(&[0])]));
    rig.device.lose("unplugged");
    rig.launch(3, 0, model.plan(&[&[1]]), one(&[indices(&[0])]));
    rig.load(4, 0, 0..3);
    rig.clock.advance(Time::from_secs(1));
    let lost = DeviceError::Lost("unplugged".into());
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let (what, error) = match rig.next() {
            Completion::Loaded { .. } => continue,
            Completion::Lost { error } => ("lost".to_owned(), error),
            Completion::LoadFailed { load, error } => (load.to_string(), error),
            Completion::Ran { run, result } => (run.to_string(), result.unwrap_err()),
        };
        assert_eq!(error, lost);
        seen.push(what);
    }
    seen.sort();
    assert_eq!(seen, ["lost", "r2", "r3", "s1", "s4"]);
    assert_eq!(rig.device.attach(ModelId(1), model.image.clone()), Err(lost));
}

/// `x + w`, with `w` of shape `[4]`.
fn adder() -> Packed {
    let mut model = Builder::new();
    let x = model.input("x", DType::F32);
    let w = model.weight(Literal::f32(&[4], &[1.0, 2.0, 3.0, 4.0]));
    let y = model.node(Op::Binary(Binary::Add), &[x, w]);
    model.outputs(&[y]);
    Packed::new(model.finish())
}

#[test]
fn a_batch_gives_each_request_what_it_gets_alone() {
    let model = adder();
    let rig = Rig::new("cpu,memory=1MiB");
    rig.attach(0, &model);
    rig.load_now(0, 0..1);
    let parts: Vec<_> = [1, 3, 2]
        .map(|rows| Part { rows, inputs: vec![super::rig::random(rows as u64, &[rows, 4])] })
        .into();
    let wanted: Vec<_> = parts.iter().map(|part| model.solo(&part.inputs).unwrap()).collect();
    rig.launch(1, 0, model.plan(&[&[6, 4]]), parts);
    assert_eq!(rig.expect_ran(1).unwrap().parts, wanted);
}

#[test]
fn parts_that_do_not_fit_the_plan_are_refused() {
    let model = adder();
    let rig = Rig::new("cpu,memory=1MiB");
    rig.attach(0, &model);
    rig.load_now(0, 0..1);
    let part = |rows, shape: &[usize]| Part { rows, inputs: vec![super::rig::random(1, shape)] };
    let wrong_type = Part { rows: 1, inputs: vec![Literal::i64(&[2, 4], &[0; 8])] };
    for parts in [
        vec![],
        vec![Part { rows: 1, inputs: vec![] }],
        vec![wrong_type],
        vec![part(1, &[1, 4])],
        vec![part(1, &[1, 4]), part(2, &[2, 4])],
        vec![part(1, &[1, 4]), part(0, &[0, 4])],
        vec![part(1, &[1, 4]), part(1, &[1, 5])],
        vec![part(2, &[1, 4]), part(0, &[1, 4])],
    ] {
        rig.launch(1, 0, model.plan(&[&[2, 4]]), parts);
        let error = rig.expect_ran(1).unwrap_err();
        assert!(matches!(error, DeviceError::Invalid { .. }), "{error}");
    }
    let good = vec![part(1, &[1, 4]), part(1, &[1, 4])];
    rig.launch(2, 0, model.plan(&[&[2, 4]]), good);
    assert_eq!(rig.expect_ran(2).unwrap().parts.len(), 2);
}

#[test]
fn a_panic_in_a_kernel_ends_the_run_and_not_the_lane() {
    let model = adder();
    let rig = Rig::new("cpu,memory=1MiB");
    rig.attach(0, &model);
    rig.load_now(0, 0..1);
    let mut broken: Plan = model.plan(&[&[2, 4]]);
    broken.slots.clear();
    rig.launch(1, 0, broken, one(&[super::rig::random(1, &[2, 4])]));
    let error = rig.expect_ran(1).unwrap_err().to_string();
    assert!(error.contains("internal error"), "{error}");
    let input = [super::rig::random(1, &[2, 4])];
    assert_eq!(rig.run(0, &model, &input), model.solo(&input).unwrap());
}

#[test]
fn an_arena_beyond_the_limit_is_refused() {
    let model = adder();
    let rig = Rig::new("cpu,memory=1MiB,arena=4KiB");
    rig.attach(0, &model);
    rig.load_now(0, 0..1);
    rig.launch(1, 0, model.plan(&[&[200, 4]]), one(&[super::rig::random(1, &[200, 4])]));
    let error = rig.expect_ran(1).unwrap_err();
    assert!(matches!(error, DeviceError::OutOfMemory { .. }), "{error}");
}

#[test]
fn lanes_run_side_by_side() {
    let model = three_segments(8);
    let rig = Rig::new("cpu,memory=1MiB,lanes=2,threads=2");
    rig.attach(0, &model);
    let input = [indices(&[1, 2])];
    let wanted = model.solo(&input).unwrap();
    rig.load_now(0, 0..1);
    rig.load(2, 0, 1..3);
    for run in 0..10 {
        rig.launch_on(run as u32 % 2, run, 0, model.plan(&[&[2]]), one(&input));
    }
    let mut left = 12;
    while left > 0 {
        if let Completion::Ran { result, .. } = rig.next() {
            assert_eq!(result.unwrap().parts[0], wanted);
        }
        left -= 1;
    }
    assert!(rig.device.usage().arena_bytes > Bytes::ZERO);
    assert_eq!(Arc::strong_count(&model.image), 2, "runs keep nothing alive");
}

#[test]
fn shutdown_finishes_what_was_asked_for() {
    let model = three_segments(9);
    let rig = Rig::new("cpu,memory=1MiB");
    rig.attach(0, &model);
    rig.load(1, 0, 0..3);
    rig.launch(2, 0, model.plan(&[&[1]]), one(&[indices(&[0])]));
    rig.device.shutdown();
    let reports: Vec<_> = (0..4).map(|_| rig.next()).collect();
    let ran = reports.iter().any(|report| matches!(report, Completion::Ran { result: Ok(_), .. }));
    assert!(ran, "{reports:?}");
}
