//! The device itself: swapping, overlapping, failing. Needs a GPU; says so and passes where there is none.

mod rig;

use rig::{Packed, Rig, pages, require_gpu};
use std::collections::VecDeque;
use std::sync::Arc;
use sublet_device::{Completion, Device, DeviceError};
use sublet_graph::Literal;
use sublet_units::{PageId, RunId};

#[test]
fn a_swapped_model_answers_as_before() {
    let Some(rig) = Rig::new("cuda:0,memory=64MiB,page=2MiB,lanes=2") else { return };
    for packed in [Packed::perceptron(1, 12, 512), Packed::convolutions(2, 6, 64)] {
        let model = rig.attach(&packed);
        let input = packed.input(3, 4);
        let wanted = packed.on_cpu(&input);
        let count = packed.pages(rig.page_bytes());
        rig.load_now(model, packed.all(), pages(0..count));
        let warm = rig.run(model, &packed, &input);
        rig::assert_close(&warm, &wanted, 1e-5);
        for shift in [0, 3, 1, 0] {
            rig.device.evict(model, packed.all());
            // The launch goes right behind the load: every step waits for its own segments.
            rig.load(7, model, packed.all(), pages(shift..shift + count));
            rig.launch(0, 8, model, &packed, &input);
            let cold = rig.finish(8, packed.segments());
            assert_eq!(cold, warm, "bit for bit, in other pages");
        }
        assert_eq!(rig.run(model, &packed, &input), warm);
        rig.device.evict(model, packed.all());
        rig.device.detach(model);
    }
    assert_eq!(rig.device.usage().resident_bytes.0, 0);
}

#[test]
fn two_devices_share_a_models_pinned_memory() {
    let options = "cuda:0,memory=64MiB,page=2MiB,lanes=1";
    let Some(one) = Rig::new(options) else { return };
    let packed = Packed::perceptron(1, 12, 512);
    let input = packed.input(3, 4);
    let other = one.beside(options);
    let models = [&one, &other].map(|rig| rig.attach(&packed));
    let [first, second] = [(&one, models[0]), (&other, models[1])].map(|(rig, model)| {
        rig.load_now(model, packed.all(), pages(0..packed.pages(rig.page_bytes())));
        rig.run(model, &packed, &input)
    });
    // Each device measures which algorithm is the fastest, so that they agree within rounding.
    let wanted = packed.on_cpu(&input);
    rig::assert_close(&first, &wanted, 1e-5);
    rig::assert_close(&second, &wanted, 1e-5);
    // What the first device pinned stays for the second.
    one.device.evict(models[0], packed.all());
    one.device.detach(models[0]);
    other.device.evict(models[1], packed.all());
    other.load_now(models[1], packed.all(), pages(0..packed.pages(other.page_bytes())));
    assert_eq!(other.run(models[1], &packed, &input), second);
}

#[test]
fn a_plan_is_cut_again_when_its_time_is_known() {
    let Some(rig) = Rig::new("cuda:0,memory=64MiB,page=2MiB,lanes=1") else { return };
    let packed = Packed::perceptron(3, 12, 512);
    let model = rig.attach(&packed);
    let input = packed.input(8, 2);
    let plan = Arc::new(packed.plan(input[0].shape()));
    let count = packed.pages(rig.page_bytes());
    let cold = |run: u64, shift: u32| {
        rig.device.evict(model, packed.all());
        rig.load(run, model, packed.all(), pages(shift..shift + count));
        rig.launch_again(run, model, &plan, &input);
        rig.finish(run, packed.segments())
    };
    let first = cold(1, 0);
    rig::assert_close(&first, &packed.on_cpu(&input), 1e-5);
    for run in 2..6 {
        assert_eq!(cold(run, run as u32 % 3), first);
        rig.launch_again(10 + run, model, &plan, &input);
        assert_eq!(rig.finish(10 + run, 0), first, "warm");
    }
}

#[test]
fn inputs_of_any_size_reach_the_device() {
    let Some(rig) = Rig::new("cuda:0,memory=64MiB,page=2MiB,lanes=1") else { return };
    // Rows of 28 bytes: no part but the first starts at a whole vector; the last one alone is more than a megabyte.
    let packed = Packed::perceptron(8, 1, 7);
    let model = rig.attach(&packed);
    let count = packed.pages(rig.page_bytes());
    rig.load_now(model, packed.all(), pages(0..count));
    for rows in [vec![1], vec![1, 3], vec![5, 1, 2, 1], vec![3, 20_000, 1, 40_001]] {
        let parts: Vec<_> = (1..).zip(rows).map(|(seed, rows)| packed.input(seed, rows)).collect();
        let answers = rig.run_parts(model, &packed, &parts);
        for (part, answer) in parts.iter().zip(answers) {
            rig::assert_close(&answer, &packed.on_cpu(part), 1e-5);
        }
    }
}

#[test]
fn a_model_may_keep_its_first_segments() {
    let Some(rig) = Rig::new("cuda:0,memory=64MiB,page=2MiB,lanes=1") else { return };
    let packed = Packed::perceptron(4, 12, 512);
    let model = rig.attach(&packed);
    let input = packed.input(5, 1);
    let count = packed.pages(rig.page_bytes());
    rig.load_now(model, packed.all(), pages(0..count));
    let warm = rig.run(model, &packed, &input);
    for kept in [1, packed.segments() / 2, packed.segments() - 1] {
        rig.device.evict(model, kept..packed.segments());
        let first = packed.pages_before(kept, rig.page_bytes());
        rig.load(9, model, kept..packed.segments(), pages(first + 8..count + 8));
        rig.launch(0, 9, model, &packed, &input);
        assert_eq!(rig.finish(9, packed.segments() - kept), warm);
        rig.device.evict(model, packed.all());
        rig.load_now(model, packed.all(), pages(0..count));
    }
}

#[test]
fn models_take_turns_in_the_same_pages_on_two_lanes() {
    let Some(rig) = Rig::new("cuda:0,memory=64MiB,page=2MiB,lanes=2") else { return };
    let packed: Vec<Packed> = (0..16).map(|seed| Packed::perceptron(seed, 6, 512)).collect();
    let models: Vec<_> = packed.iter().map(|packed| rig.attach(packed)).collect();
    let each = packed[0].pages(rig.page_bytes());
    let places = 32 / each;
    let mut warm: Vec<Option<Vec<Literal>>> = vec![None; packed.len()];
    // Which model has which place, the one loaded longest ago first.
    let mut held: VecDeque<(usize, u32)> = VecDeque::new();
    let mut state = 12345u64;
    for round in 0..400u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        let which = (state >> 33) as usize % packed.len();
        let lane = (round % 2) as u32;
        let is_held = held.iter().any(|&(held, _)| held == which);
        let mut segments = 0;
        if !is_held {
            let place = if held.len() < places as usize {
                held.len() as u32
            } else {
                let (gone, place) = held.pop_front().expect("somebody has a place");
                rig.device.evict(models[gone], packed[gone].all());
                place
            };
            rig.load(
                round,
                models[which],
                packed[which].all(),
                pages(place * each..(place + 1) * each),
            );
            held.push_back((which, place));
            segments = packed[which].segments();
        }
        let input = packed[which].input(which as u64, 2);
        rig.launch(lane, round, models[which], &packed[which], &input);
        let output = rig.finish(round, segments);
        let first = warm[which].get_or_insert_with(|| output.clone());
        assert_eq!(&output, first, "round {round}, model {which}");
    }
}

#[test]
fn a_failed_load_leaves_nothing_and_may_be_tried_again() {
    let Some(rig) = Rig::new("cuda:0,memory=64MiB,page=2MiB,lanes=1") else { return };
    let packed = Packed::perceptron(6, 6, 512);
    let model = rig.attach(&packed);
    let count = packed.pages(rig.page_bytes());
    let place = "a test".to_owned();
    let failure = DeviceError::OutOfMemory { wanted: sublet_units::Bytes(1), place };
    rig.device.fail_next_load(failure.clone());
    rig.load(1, model, packed.all(), pages(0..count));
    let input = packed.input(1, 1);
    rig.launch(0, 1, model, &packed, &input);
    let (mut load, mut run) = (None, None);
    while load.is_none() || run.is_none() {
        match rig.next() {
            Completion::LoadFailed { error, .. } => load = Some(error),
            Completion::Ran { result, .. } => run = Some(result.map(|_| ())),
            Completion::Loaded { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(load, Some(failure.clone()));
    assert_eq!(run, Some(Err(failure)), "what waits for the weights learns why they do not come");
    rig.device.evict(model, packed.all());
    rig.load_now(model, packed.all(), pages(0..count));
    rig::assert_close(&rig.run(model, &packed, &input), &packed.on_cpu(&input), 1e-5);
}

#[test]
fn a_lost_device_fails_what_is_asked_of_it() {
    let Some(rig) = Rig::new("cuda:0,memory=64MiB,page=2MiB,lanes=1") else { return };
    let packed = Packed::perceptron(6, 2, 256);
    let model = rig.attach(&packed);
    rig.device.lose("a test pulled the plug");
    assert!(matches!(rig.next(), Completion::Lost { error: DeviceError::Lost(_) }));
    let count = packed.pages(rig.page_bytes());
    rig.load(1, model, packed.all(), pages(0..count));
    assert!(matches!(rig.next(), Completion::LoadFailed { error: DeviceError::Lost(_), .. }));
    rig.launch(0, 2, model, &packed, &packed.input(1, 1));
    let Completion::Ran { run: RunId(2), result: Err(DeviceError::Lost(_)) } = rig.next() else {
        panic!("the run fails too");
    };
}

#[test]
fn requests_of_a_batch_get_their_own_rows() {
    let Some(rig) = Rig::new("cuda:0,memory=64MiB,page=2MiB,lanes=1") else { return };
    let packed = Packed::perceptron(8, 3, 256);
    let model = rig.attach(&packed);
    let count = packed.pages(rig.page_bytes());
    rig.load_now(model, packed.all(), pages(0..count));
    let parts = [packed.input(1, 1), packed.input(2, 3), packed.input(3, 2)];
    let answers = rig.run_parts(model, &packed, &parts);
    for (part, answer) in parts.iter().zip(answers) {
        rig::assert_close(&answer, &packed.on_cpu(part), 1e-5);
        assert_eq!(answer[0].shape()[0], part[0].shape()[0]);
    }
}

#[test]
fn memory_is_given_back_when_the_device_goes() {
    if !require_gpu() {
        return;
    }
    let _alone = rig::alone();
    let free = || {
        let rig = Rig::on("cuda:0,memory=256MiB,page=16MiB,lanes=1");
        let packed = Packed::perceptron(8, 3, 256);
        let model = rig.attach(&packed);
        rig.load_now(model, packed.all(), vec![PageId(5)]);
        rig.run(model, &packed, &packed.input(1, 1));
        rig.device.free_bytes().unwrap()
    };
    let first = free();
    for _ in 0..4 {
        let again = free();
        assert!(again + (8 << 20) >= first, "{first} bytes were free at first, {again} now");
    }
}
