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
