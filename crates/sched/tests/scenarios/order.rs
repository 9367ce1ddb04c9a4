//! Who goes first.

use crate::script::check;
use sublet_sched::Preset::Sublet;

#[test]
fn the_earlier_deadline_goes_first() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 pages=1
         0 ask q0 m0 => load s1 d0 m0 0..1
         1 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         2 ask q1 m0
         3 ask q2 m0 deadline=500
         4 ask q3 m0 deadline=100
         5 finished r1 => run r2 d0.l0 m0 q3
         6 finished r2 => run r3 d0.l0 m0 q2
         7 finished r3 => run r4 d0.l0 m0 q1",
    );
}

#[test]
fn the_earlier_deadline_goes_before_what_takes_longer() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 pages=1
         0 model m1 pages=1
         0 ask q0 m0 => load s1 d0 m0 0..1
         1 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         2 finished r1
         2 ask q1 m1 => load s2 d0 m1 0..1
         3 loaded s2 0 => run r2 d0.l0 m1 q1 cold
        23 finished r2
        24 ask q2 m0 => run r3 d0.l0 m0 q2
        25 ask q3 m1 deadline=52
        25 ask q4 m0 deadline=40
        26 finished r3 => run r4 d0.l0 m0 q4
        28 finished r4 => run r5 d0.l0 m1 q3",
    );
}

#[test]
fn priority_goes_before_deadline_and_patience_before_both() {
    check(
        Sublet,
        "config patience=50
         0 device d0 pages=4
         0 model m0 pages=1
         0 ask q0 m0 => load s1 d0 m0 0..1
         1 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         2 ask q1 m0
        10 ask q2 m0 deadline=20 priority=2
        11 ask q3 m0 deadline=90 priority=1
        12 finished r1 => run r2 d0.l0 m0 q3
        13 ask q4 m0 deadline=90 priority=1
        14 finished r2 => run r3 d0.l0 m0 q4
        52 ask q5 m0 deadline=90 priority=1
        53 finished r3 => run r4 d0.l0 m0 q1
        54 finished r4 => run r5 d0.l0 m0 q2
        55 finished r5 => run r6 d0.l0 m0 q5",
    );
}

#[test]
fn the_most_urgent_of_several_models_is_loaded_first() {
    check(
        Sublet,
        "0 model m0 pages=2
         0 model m1 pages=2
         0 model m2 pages=2
         0 device d0 pages=2
         0 ask q0 m0 => load s1 d0 m0 0..1
         1 ask q1 m1 deadline=900
         1 ask q2 m2 deadline=800
         2 loaded s1 0 => run r1 d0.l0 m0 q0 cold
         3 finished r1 => evict d0 m0 0..1 Room; load s2 d0 m2 0..1",
    );
}

#[test]
fn while_all_can_be_in_time_the_oldest_goes_first() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 profile=1x10
         0 model m1 profile=1x10
         0 ask q1 m0 deadline=50 => run r1 d0.l0 m0 q1
         1 ask q2 m0 deadline=90
         2 ask q3 m1 deadline=80
        10 finished r1 => run r2 d0.l0 m0 q2
        11 ask q4 m0 deadline=35
        20 finished r2 => run r3 d0.l0 m0 q4
        30 finished r3 => run r4 d0.l0 m1 q3",
    );
}

/// Late requests of a model that meets its objective go after those that can be in time, but they keep their turn once too
/// many of that model's have been late.
#[test]
fn a_model_that_was_late_too_often_is_not_made_to_wait_again() {
    check(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=1 profile=1x10
         0 model m1 pages=1 profile=1x10
         0 ask q1 m0 deadline=1000 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         1 loaded s1 0
        11 finished r1
        20 ask q2 m1 deadline=1000 => load s2 d0 m1 0..1; run r2 d0.l0 m1 q2 cold
        21 loaded s2 0
        31 finished r2
       100 ask q3 m1 deadline=200 => run r3 d0.l0 m1 q3
       101 ask q4 m0 deadline=109
       102 ask q5 m1 deadline=121
       110 finished r3 => run r4 d0.l0 m1 q5
       111 wake
       120 finished r4 => run r5 d0.l0 m0 q4
       130 finished r5
       200 ask q6 m1 deadline=300 => run r6 d0.l0 m1 q6
       201 ask q7 m0 deadline=209
       202 ask q8 m1 deadline=221
       210 finished r6 => run r7 d0.l0 m1 q8
       211 wake
       220 finished r7 => run r8 d0.l0 m0 q7
       230 finished r8
       300 ask q9 m1 deadline=400 => run r9 d0.l0 m1 q9
       301 ask q10 m0 deadline=309
       302 ask q11 m1 deadline=321
       310 finished r9 => run r10 d0.l0 m0 q10
       311.000001 wake
       320 finished r10 => run r11 d0.l0 m1 q11",
    );
}

/// The same for models that must be loaded first.
#[test]
fn a_model_that_was_late_too_often_keeps_its_turn_at_the_link() {
    check(
        Sublet,
        "0 device d0 pages=1
         0 model m0 pages=1 profile=1x10
         0 model m1 pages=1 profile=1x10
         0 model m2 pages=1 profile=1x10
         0 ask q1 m0 deadline=1 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         1 loaded s1 0
        10 finished r1
        20 ask q2 m0 deadline=21 => run r2 d0.l0 m0 q2
        30 finished r2
        40 ask q3 m1 deadline=90 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1; run r3 d0.l0 m1 q3 cold
        41 loaded s2 0
        42 ask q4 m0 deadline=59
        43 ask q5 m2 deadline=99
        48 wake
        50 finished r3 => evict d0 m1 0..1 Room; load s3 d0 m0 0..1; run r4 d0.l0 m0 q4 cold",
    );
}
