//! Where models are loaded, and who makes room.

use crate::script::check;
use sublet_sched::Preset::Sublet;

#[test]
fn a_cold_request_loads_the_model_and_later_ones_find_it_warm() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 pages=1,2
         0 ask q1 m0 => load s1 d0 m0 0..2
         1 loaded s1 0
         3 loaded s1 1 => run r1 d0.l0 m0 q1 cold
         5 finished r1
         6 ask q2 m0 => run r2 d0.l0 m0 q2
         8 finished r2",
    );
}

#[test]
fn a_run_overlaps_the_end_of_its_load_once_its_time_is_known() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 pages=1,1,1,1
         0 model m1 pages=4
         0 ask q1 m0 => load s1 d0 m0 0..4
         1 loaded s1 0
         2 loaded s1 1
         3 loaded s1 2
         4 loaded s1 3 => run r1 d0.l0 m0 q1 cold
         6 finished r1
         7 ask q2 m1 => evict d0 m0 0..4 Room; load s2 d0 m1 0..1
        11 loaded s2 0 => run r2 d0.l0 m1 q2 cold
        12 finished r2
        13 ask q3 m0 => evict d0 m1 0..1 Room; load s3 d0 m0 0..4
        14 loaded s3 0
        15 loaded s3 1 => run r3 d0.l0 m0 q3 cold",
    );
}

#[test]
fn a_load_does_not_block_the_lane_for_warm_models() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 pages=1
         0 model m1 pages=1,1
         0 ask q1 m0 => load s1 d0 m0 0..1
         1 loaded s1 0 => run r1 d0.l0 m0 q1 cold
         2 finished r1
         3 ask q2 m1 => load s2 d0 m1 0..2
         4 ask q3 m0 => run r2 d0.l0 m0 q3
         4 loaded s2 0
         5 finished r2
         6 ask q4 m0 => run r3 d0.l0 m0 q4
         7 loaded s2 1
         8 finished r3 => run r4 d0.l0 m1 q2 cold",
    );
}

#[test]
fn the_next_models_are_loaded_while_the_first_computes_but_not_too_many() {
    check(
        Sublet,
        "0 device d0 pages=9
         0 model m0 pages=1
         0 model m1 pages=1
         0 model m2 pages=1
         0 model m3 pages=1
         0 ask q0 m0 => load s1 d0 m0 0..1
         1 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         2 ask q1 m1 => load s2 d0 m1 0..1
         2 ask q2 m2 => load s3 d0 m2 0..1
         2 ask q3 m3
         3 loaded s2 0 => load s4 d0 m3 0..1
         4 loaded s3 0
         5 finished r1 => run r2 d0.l0 m1 q1 cold
         6 loaded s4 0
         7 finished r2 => run r3 d0.l0 m2 q2 cold",
    );
}

#[test]
fn the_least_used_bytes_go_first_and_leading_segments_stay() {
    check(
        Sublet,
        "0 device d0 pages=6
         0 model m0 pages=1,1,1
         0 model m1 pages=1,1,1
         0 model m2 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..3
         1 loaded s1 0
         2 loaded s1 1
         3 loaded s1 2 => run r1 d0.l0 m0 q1 cold
         4 finished r1
         4 ask q2 m1 => load s2 d0 m1 0..3
         5 loaded s2 0
         6 loaded s2 1
         7 loaded s2 2 => run r2 d0.l0 m1 q2 cold
         8 finished r2
         8 ask q3 m0 => run r3 d0.l0 m0 q3
         9 finished r3
        10 ask q4 m2 => evict d0 m1 1..3 Room; load s3 d0 m2 0..1
        12 loaded s3 0 => run r4 d0.l0 m2 q4 cold
        13 finished r4
        14 ask q5 m1 => evict d0 m2 0..1 Room; load s4 d0 m1 1..3",
    );
}

#[test]
fn one_load_may_take_several_victims_but_nobody_is_evicted_in_vain() {
    check(
        Sublet,
        "0 device d0 pages=4 lanes=2
         0 model m0 pages=1
         0 model m1 pages=1
         0 model m2 pages=2
         0 model m3 pages=4
         0 ask q0 m0 => load s1 d0 m0 0..1
         0 ask q1 m1 => load s2 d0 m1 0..1
         1 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         2 loaded s2 0 => run r2 d0.l1 m1 q1 cold
         3 finished r1
         3 ask q2 m2 => load s3 d0 m2 0..1
         5 loaded s3 0 => run r3 d0.l0 m2 q2 cold
         6 ask q3 m3
         7 finished r3
         8 finished r2 => evict d0 m0 0..1 Room; evict d0 m1 0..1 Room; evict d0 m2 0..1 Room; load s4 d0 m3 0..1",
    );
}

#[test]
fn victims_that_turn_out_unneeded_are_kept() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 pages=1
         0 model m1 pages=3
         0 model m2 pages=3
         0 ask q0 m0 => load s1 d0 m0 0..1
         1 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         2 finished r1
         2 ask q1 m1 => load s2 d0 m1 0..1
         5 loaded s2 0 => run r2 d0.l0 m1 q1 cold
         6 finished r2
         7 ask q2 m1 => run r3 d0.l0 m1 q2
         8 finished r3
         9 ask q3 m2 => evict d0 m1 0..1 Room; load s3 d0 m2 0..1",
    );
}

#[test]
fn models_that_others_wait_for_are_spared_until_a_request_presses() {
    check(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2
         0 ask q0 m0 => load s1 d0 m0 0..1
         2 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         3 ask q1 m0
         4 ask q2 m1 deadline=500
         5 finished r1 => run r2 d0.l0 m0 q1
         6 ask q3 m0
         7 finished r2 => run r3 d0.l0 m0 q3
       490 ask q4 m0
       498 wake
       498 finished r3 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1",
    );
}

#[test]
fn a_starved_model_gets_room_although_another_is_always_busy() {
    check(
        Sublet,
        "config patience=10
         0 device d0 pages=2 lanes=2
         0 model m0 pages=2
         0 model m1 pages=2
         0 ask q0 m0 => load s1 d0 m0 0..1
         2 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         3 ask q1 m0 => run r2 d0.l1 m0 q1
         4 ask q2 m1
         5 ask q3 m0
        14 wake
        15 finished r1
        16 finished r2 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
        17 ask q4 m0
        18 loaded s2 0 => run r3 d0.l0 m1 q2 cold",
    );
}

#[test]
fn a_pinned_model_comes_ahead_of_requests_and_stays() {
    check(
        Sublet,
        "0 device d0 pages=3
         0 model m0 pages=2 pinned => load s1 d0 m0 0..1
         0 model m1 pages=2
         0 model m2 pages=1
         0 ask q0 m0
         2 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         3 finished r1
         4 ask q1 m1 => reject q1 NeverFits
         5 ask q2 m2 => load s2 d0 m2 0..1
         6 unload m0 => evict d0 m0 0..1 Removed; gone m0
         7 ask q3 m1 => load s3 d0 m1 0..1",
    );
}

#[test]
fn a_model_without_weights_runs_anywhere_at_once() {
    check(
        Sublet,
        "0 model m0
         0 device d0 pages=0
         0 device d1 pages=0
         0 ask q0 m0 => run r1 d0.l0 m0 q0
         0 ask q1 m0 => run r2 d1.l0 m0 q1
         1 ask q2 m0
         2 finished r2 => run r3 d1.l0 m0 q2
         3 lost d0
         4 unload m0
         5 finished r3 => gone m0",
    );
}

#[test]
fn the_earlier_finish_decides_where_to_load() {
    check(
        Sublet,
        "0 device d0 pages=4 rate=1
         0 device d1 pages=4 rate=4
         0 model m0 pages=4
         0 model m1 pages=4
         0 ask q0 m0 => load s1 d1 m0 0..1
         0 ask q1 m1 => load s2 d0 m1 0..1",
    );
}

#[test]
fn a_second_copy_is_made_only_where_it_finishes_earlier() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 device d1 pages=4
         0 model m0 pages=4
         0 ask q0 m0 => load s1 d0 m0 0..1
         4 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         7 finished r1
        10 ask q1 m0 => run r2 d0.l0 m0 q1
        10 ask q2 m0
        10 ask q3 m0 => load s2 d1 m0 0..1
        11 wake => run r3 d1.l0 m0 q2 cold
        13 finished r2 => run r4 d0.l0 m0 q3",
    );
}

/// The link is nearly done when the third model is asked for: its next load is that of the second.
#[test]
fn a_later_model_does_not_overtake_at_the_end_of_a_load() {
    check(
        Sublet,
        "0 device d0 pages=9
         0 model m0 pages=3
         0 model m1 pages=3
         0 model m2 pages=3
         0 ask q1 m0 => load s1 d0 m0 0..1
         1 ask q2 m1
         2.5 ask q3 m2 => load s2 d0 m1 0..1
         3 loaded s1 0 => run r1 d0.l0 m0 q1 cold",
    );
}
