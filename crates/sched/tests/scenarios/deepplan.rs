//! What the `deepplan-server` preset does differently.

use crate::script::check;
use sublet_sched::Preset::DeepPlanServer;

#[test]
fn each_model_has_its_device() {
    check(
        DeepPlanServer,
        "0 device d0 pages=4
         0 device d1 pages=4
         0 model m0 pages=2
         0 model m1 pages=2
         0 model m2 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         0 ask q2 m2
         0 ask q3 m1 => load s2 d1 m1 0..1; run r2 d1.l0 m1 q3 cold
         2 loaded s1 0
         2 loaded s2 0
         3 finished r2
         4 finished r1 => load s3 d0 m2 0..1; run r3 d0.l0 m2 q2 cold",
    );
}

#[test]
fn a_worker_serves_one_request_after_the_other_in_order_of_arrival() {
    check(
        DeepPlanServer,
        "0 device d0 pages=4 lanes=2
         0 model m0 pages=2 batch=4
         0 model m1 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         1 ask q2 m0
         1 ask q3 m1
         2 ask q4 m0 deadline=3
         2 loaded s1 0
         3 finished r1 => run r2 d0.l0 m0 q2
         4 finished r2 => load s2 d0 m1 0..1; run r3 d0.l0 m1 q3 cold
         6 loaded s2 0
         7 finished r3 => run r4 d0.l0 m0 q4",
    );
}

#[test]
fn the_least_recently_used_model_goes_whole() {
    check(
        DeepPlanServer,
        "0 device d0 pages=4
         0 model m0 pages=1,1
         0 model m1 pages=2
         0 model m2 pages=1
         0 ask q1 m0 => load s1 d0 m0 0..2; run r1 d0.l0 m0 q1 cold
         1 loaded s1 0
         2 loaded s1 1
         3 finished r1
         3 ask q2 m1 => load s2 d0 m1 0..1; run r2 d0.l0 m1 q2 cold
         5 loaded s2 0
         6 finished r2
         7 ask q3 m2 => evict d0 m0 0..2 Room; load s3 d0 m2 0..1; run r3 d0.l0 m2 q3 cold",
    );
}
