//! What the `fifo-lru` preset does differently.

use crate::script::check;
use sublet_sched::Preset::FifoLru;

#[test]
fn the_oldest_request_goes_first_whatever_its_deadline() {
    check(
        FifoLru,
        "0 device d0 pages=4
         0 model m0
         0 model m1
         0 ask q1 m0 => run r1 d0.l0 m0 q1
         1 ask q2 m1
         2 ask q3 m0 deadline=5 priority=1
         3 finished r1 => run r2 d0.l0 m1 q2
         4 finished r2 => run r3 d0.l0 m0 q3",
    );
}

#[test]
fn the_least_recently_used_model_goes_whole() {
    check(
        FifoLru,
        "0 device d0 pages=4
         0 model m0 pages=1,1
         0 model m1 pages=2
         0 model m2 pages=1
         0 ask q1 m0 => load s1 d0 m0 0..2
         1 loaded s1 0
         2 loaded s1 1 => run r1 d0.l0 m0 q1 cold
         3 finished r1
         4 ask q2 m1 => load s2 d0 m1 0..1
         6 loaded s2 0 => run r2 d0.l0 m1 q2 cold
         7 finished r2
         8 ask q3 m2 => evict d0 m0 0..2 Room; load s3 d0 m2 0..1
         9 loaded s3 0 => run r3 d0.l0 m2 q3 cold",
    );
}

#[test]
fn a_model_is_loaded_whole_before_it_runs_and_alone_on_its_link() {
    check(
        FifoLru,
        "0 device d0 pages=4
         0 model m0 pages=1,1
         0 model m1 pages=1
         0 ask q1 m0 => load s1 d0 m0 0..2
         0 ask q2 m1
         1 loaded s1 0
         2 loaded s1 1 => load s2 d0 m1 0..1; run r1 d0.l0 m0 q1 cold",
    );
}

#[test]
fn the_oldest_request_holds_back_younger_ones_that_keep_its_room() {
    check(
        FifoLru,
        "0 device d0 pages=2 lanes=2
         0 model m0 pages=2
         0 model m1 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..1
         2 loaded s1 0 => run r1 d0.l0 m0 q1 cold
         3 ask q2 m0 => run r2 d0.l1 m0 q2
         4 ask q3 m1
         5 ask q4 m0
         6 finished r1
         7 finished r2 => evict d0 m0 0..1 Room; load s2 d0 m1 0..1",
    );
}
