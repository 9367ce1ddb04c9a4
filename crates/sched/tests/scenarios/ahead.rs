//! Models that are loaded before somebody waits for them.

use crate::script::check;
use sublet_sched::Preset::{FifoLru, Sublet};

/// Asked every 100 ms, for half a second.
const REGULARLY: &str = "
    0 ask q1 m0 => load s1 d0 m0 0..1
    2 loaded s1 0 => run r1 d0.l0 m0 q1 cold
    3 finished r1
    100 ask q2 m0 => run r2 d0.l0 m0 q2
    101 finished r2
    200 ask q3 m0 => run r3 d0.l0 m0 q3
    201 finished r3
    300 ask q4 m0 => run r4 d0.l0 m0 q4
    301 finished r4
    400 ask q5 m0 => run r5 d0.l0 m0 q5
    401 finished r5
    500 ask q6 m0 => run r6 d0.l0 m0 q6
    501 finished r6";

/// Plays `begin`, then a model m0 that is asked regularly, then `end`.
fn check_regular(preset: sublet_sched::Preset, begin: &str, end: &str) {
    check(preset, &format!("{begin}{REGULARLY}{end}"));
}

/// It makes room for another in between and is back when it is asked again.
#[test]
fn a_model_that_is_asked_regularly_is_back_in_time() {
    check_regular(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2",
        "
         510 ask q7 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
         512 loaded s2 0 => run r7 d0.l0 m1 q7 cold
         513 finished r7
         598 wake => evict d0 m1 0..1 Room; load s3 d0 m0 0..1
         600 loaded s3 0
         600 ask q8 m0 => run r8 d0.l0 m0 q8
         601 finished r8",
    );
}

/// The link is busy when it should be on its way: it follows.
#[test]
fn a_load_ahead_waits_for_the_link() {
    check_regular(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2",
        "
         597 ask q7 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
         598 wake
         599 loaded s2 0 => run r7 d0.l0 m1 q7 cold
         600 finished r7 => evict d0 m1 0..1 Room; load s3 d0 m0 0..1
         601 ask q8 m0 => run r8 d0.l0 m0 q8 cold
         602 loaded s3 0",
    );
}

/// Whoever is waited for goes first, and what came ahead gives way.
#[test]
fn requests_go_before_what_nobody_waits_for() {
    check_regular(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2
         0 model m2 pages=2",
        "
         595 ask q7 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
         596 ask q8 m2
         597 loaded s2 0 => run r7 d0.l0 m1 q7 cold
         598 wake
         598 finished r7 => evict d0 m1 0..1 Room; load s3 d0 m2 0..1
         600 loaded s3 0 => run r8 d0.l0 m2 q8 cold
         601 finished r8 => evict d0 m2 0..1 Room; load s4 d0 m0 0..1
         603 loaded s4 0
         604 ask q9 m1 => evict d0 m0 0..1 Room; load s5 d0 m1 0..1",
    );
}

/// Two devices behind one switch: while somebody waits for a copy on one, none comes ahead on the other.
#[test]
fn a_load_ahead_slows_no_load_behind_the_same_switch() {
    check_regular(
        Sublet,
        "0 device d0 pages=2 switch=0
         0 model m0 pages=2
         0 model m1 pages=2
         0 model m2 pages=9",
        "
         510 ask q7 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
         512 loaded s2 0 => run r7 d0.l0 m1 q7 cold
         513 finished r7
         520 device d1 pages=9 switch=0
         595 ask q8 m2 => load s3 d1 m2 0..1
         598 wake
         604 loaded s3 0 => run r8 d1.l0 m2 q8 cold; evict d0 m1 0..1 Room; load s4 d0 m0 0..1",
    );
}

/// Nobody knows when it will be asked next.
#[test]
fn what_is_asked_at_odd_times_comes_when_it_is_asked() {
    check(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..1
         2 loaded s1 0 => run r1 d0.l0 m0 q1 cold
         3 finished r1
        10 ask q2 m0 => run r2 d0.l0 m0 q2
        11 finished r2
       100 ask q3 m0 => run r3 d0.l0 m0 q3
       101 finished r3
       110 ask q4 m0 => run r4 d0.l0 m0 q4
       111 finished r4
       200 ask q5 m0 => run r5 d0.l0 m0 q5
       201 finished r5
       210 ask q6 m0 => run r6 d0.l0 m0 q6
       211 finished r6
       250 ask q7 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
       252 loaded s2 0 => run r7 d0.l0 m1 q7 cold
       253 finished r7
       300 ask q8 m0 => evict d0 m1 0..1 Room; load s3 d0 m0 0..1",
    );
}

#[test]
fn other_presets_load_what_is_asked_for() {
    check_regular(
        FifoLru,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2",
        "
         510 ask q7 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
         512 loaded s2 0 => run r7 d0.l0 m1 q7 cold
         513 finished r7
         600 ask q8 m0 => evict d0 m1 0..1 Room; load s3 d0 m0 0..1",
    );
}
