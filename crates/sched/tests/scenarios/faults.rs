//! Lost devices and failed loads.

use crate::script::check;
use sublet_sched::Preset::Sublet;

#[test]
fn what_waits_moves_to_another_device_when_one_is_lost() {
    check(
        Sublet,
        "0 device d0 pages=2
         0 device d1 pages=2
         0 model m0 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..1
         1 lost d0 => load s2 d1 m0 0..1
         2 loaded s1 0
         3 loaded s2 0 => run r1 d1.l0 m0 q1 cold
         4 ask q2 m0
         5 lost d1 => reject q2 NoDevice
         6 finished r1",
    );
}

#[test]
fn a_failed_load_is_rolled_back_and_tried_elsewhere() {
    check(
        Sublet,
        "0 device d0 pages=3
         0 device d1 pages=3
         0 model m0 pages=1,2
         0 ask q1 m0 => load s1 d0 m0 0..2
         1 loaded s1 0
         2 failed s1 => evict d0 m0 0..1 LoadFailed; load s2 d1 m0 0..2
         3 loaded s2 0
         5 loaded s2 1 => run r1 d1.l0 m0 q1 cold",
    );
}

#[test]
fn loads_are_not_retried_for_ever() {
    check(
        Sublet,
        "0 device d0 pages=3
         0 model m0 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..1
         2 failed s1 => load s2 d0 m0 0..1
         3 failed s2 => reject q1 LoadFailed
         4 ask q2 m0 => load s3 d0 m0 0..1
         5 failed s3 fatal => reject q2 LoadFailed
         6 ask q3 m0 => reject q3 LoadFailed",
    );
}

#[test]
fn a_failed_load_waits_for_the_run_that_overlaps_it() {
    check(
        Sublet,
        "0 device d0 pages=2
         0 model m0 pages=1,1
         0 model m1 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..2
         1 loaded s1 0
         2 loaded s1 1 => run r1 d0.l0 m0 q1 cold
         4 finished r1
         5 ask q2 m1 => evict d0 m0 0..2 Room; load s2 d0 m1 0..1
         7 loaded s2 0 => run r2 d0.l0 m1 q2 cold
         8 finished r2
         9 ask q3 m0 => evict d0 m1 0..1 Room; load s3 d0 m0 0..2; run r3 d0.l0 m0 q3 cold
        10 loaded s3 0
        11 ask q4 m1
        12 failed s3
        13 finished r3 failed => evict d0 m0 0..1 LoadFailed; load s4 d0 m1 0..1",
    );
}
