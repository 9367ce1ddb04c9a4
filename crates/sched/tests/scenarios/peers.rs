//! Copies from other devices.

use crate::script::check;
use sublet_sched::Preset::Sublet;

#[test]
fn a_further_copy_comes_from_the_device_that_has_the_model() {
    check(
        Sublet,
        "0 device d0 pages=4 peers=d1:4
         0 device d1 pages=4 peers=d0:4
         0 model m0 pages=4 profile=1x10
         0 ask q1 m0 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         4 loaded s1 0
         5 ask q2 m0 => load s2 d1 m0 0..1 from d0; run r2 d1.l0 m0 q2 cold
         6 loaded s2 0",
    );
}

#[test]
fn the_lender_keeps_its_copy_until_the_load_has_ended() {
    check(
        Sublet,
        "0 device d0 pages=4 peers=d1:1
         0 device d1 pages=4 peers=d0:1
         0 model m0 pages=4 profile=1x10
         0 model m1 pages=4 profile=1x1
         0 ask q1 m0 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         4 loaded s1 0
         5 ask q2 m0 => load s2 d1 m0 0..1 from d0; run r2 d1.l0 m0 q2 cold
         6 finished r1
         7 ask q3 m1 deadline=8
      8.25 wake
         9 loaded s2 0 => evict d0 m0 0..1 Room; load s3 d0 m1 0..1",
    );
}

#[test]
fn a_lost_lender_costs_the_load_that_copied_from_it() {
    check(
        Sublet,
        "0 device d0 pages=4 peers=d1:1
         0 device d1 pages=4 peers=d0:1
         0 model m0 pages=4 profile=1x10
         0 ask q1 m0 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         4 loaded s1 0
         5 ask q2 m0 => load s2 d1 m0 0..1 from d0; run r2 d1.l0 m0 q2 cold
         6 lost d0
         6 failed s2
         6 finished r2 failed
         7 ask q3 m0 => load s3 d1 m0 0..1; run r3 d1.l0 m0 q3 cold",
    );
}
