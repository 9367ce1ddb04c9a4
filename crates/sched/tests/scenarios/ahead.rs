//! Models that are loaded before somebody waits for them.

use crate::script::check;
use sublet_sched::Preset::{FifoLru, Sublet};

/// Asked every 100 ms, it makes room for another in between and is back when it is asked again.
#[test]
fn a_model_that_is_asked_regularly_is_back_in_time() {
    check(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2
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
         501 finished r6
         510 ask q7 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
         512 loaded s2 0 => run r7 d0.l0 m1 q7 cold
         513 finished r7 => evict d0 m1 0..1 Room; load s3 d0 m0 0..1
         515 loaded s3 0
         600 ask q8 m0 => run r8 d0.l0 m0 q8 cold
         601 finished r8",
    );
}

/// Whoever is waited for goes first, and what came ahead gives way.
#[test]
fn requests_go_before_what_nobody_waits_for() {
    check(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2
         0 model m2 pages=2
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
         501 finished r6
         510 ask q7 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
         511 ask q8 m2
         512 loaded s2 0 => run r7 d0.l0 m1 q7 cold
         513 finished r7 => evict d0 m1 0..1 Room; load s3 d0 m2 0..1
         515 loaded s3 0 => run r8 d0.l0 m2 q8 cold
         516 finished r8 => evict d0 m2 0..1 Room; load s4 d0 m0 0..1
         518 loaded s4 0
         519 ask q9 m1 => evict d0 m0 0..1 Room; load s5 d0 m1 0..1",
    );
}

/// What is asked at odd times makes nobody else go, but comes back where there is room.
#[test]
fn others_come_back_where_there_is_room() {
    check(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..1
         2 loaded s1 0 => run r1 d0.l0 m0 q1 cold
         3 finished r1
         10 ask q2 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
         12 loaded s2 0 => run r2 d0.l0 m1 q2 cold
         13 finished r2
         50 unload m1 => evict d0 m1 0..1 Removed; gone m1; load s3 d0 m0 0..1
         52 loaded s3 0
         60 ask q3 m0 => run r3 d0.l0 m0 q3 cold",
    );
}

#[test]
fn other_presets_load_what_is_asked_for() {
    check(
        FifoLru,
        "0 device d0 pages=2
         0 model m0 pages=2
         0 model m1 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..1
         2 loaded s1 0 => run r1 d0.l0 m0 q1 cold
         3 finished r1
         10 ask q2 m1 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1
         12 loaded s2 0 => run r2 d0.l0 m1 q2 cold
         13 finished r2
         50 unload m1 => evict d0 m1 0..1 Removed; gone m1",
    );
}
