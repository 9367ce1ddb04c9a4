//! Batches, instances, limits, expiry and cancellation.

use crate::script::check;
use sublet_sched::Preset::Sublet;

#[test]
fn a_batch_starts_when_full_or_when_its_first_request_has_waited_long_enough() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 batch=4 delay=5
         0 ask q1 m0
         2 ask q2 m0 rows=2
         5 wake => run r1 d0.l0 m0 q1+q2
         6 finished r1
         7 ask q3 m0 rows=2
         8 ask q4 m0
         9 ask q5 m0 => run r2 d0.l0 m0 q3+q4+q5
        10 ask q6 m0
        11 ask q7 m0
        15 wake
        20 finished r2 => run r3 d0.l0 m0 q6+q7",
    );
}

#[test]
fn only_equal_keys_share_a_batch_and_a_large_request_runs_alone() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 batch=4 delay=5
         0 ask q1 m0 key=1
         1 ask q2 m0 key=2 rows=2
         2 ask q3 m0 key=2 rows=2 => run r1 d0.l0 m0 q2+q3
         3 finished r1
         5 wake => run r2 d0.l0 m0 q1
         6 finished r2
         7 ask q4 m0 rows=9 => run r3 d0.l0 m0 q4",
    );
}

#[test]
fn a_model_runs_at_most_its_instances_at_once() {
    check(
        Sublet,
        "0 device d0 pages=4 lanes=3
         0 model m0 instances=2
         0 ask q1 m0 => run r1 d0.l0 m0 q1
         0 ask q2 m0 => run r2 d0.l1 m0 q2
         0 ask q3 m0
         1 finished r1 => run r3 d0.l0 m0 q3",
    );
}

#[test]
fn full_queues_turn_requests_away() {
    check(
        Sublet,
        "config queue=3 model_queue=2
         0 device d0 pages=4
         0 model m0
         0 model m1
         0 ask q1 m0 => run r1 d0.l0 m0 q1
         1 ask q2 m0
         1 ask q3 m0
         1 ask q4 m0 => reject q4 QueueFull
         1 ask q5 m1
         1 ask q6 m1 => reject q6 QueueFull",
    );
}

#[test]
fn waiting_requests_expire_and_are_cancelled_but_running_ones_go_on() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0
         0 ask q1 m0 expires=5 => run r1 d0.l0 m0 q1
         1 ask q2 m0 expires=5
         2 ask q3 m0
         3 cancel q3 => reject q3 Cancelled
         4 cancel q1
         5 wake => reject q2 Expired
         6 cancel q2
         7 finished r1",
    );
}

#[test]
fn what_can_never_be_served_is_rejected_at_once() {
    check(
        Sublet,
        "0 model m0 pages=5
         0 ask q1 m0 => reject q1 NoDevice
         0 device d0 pages=4
         0 ask q2 m0 => reject q2 NeverFits
         0 ask q3 m7 => reject q3 NoModel
         1 device d1 pages=5
         1 ask q4 m0 => load s1 d1 m0 0..1
         2 lost d1 => reject q4 NeverFits
         3 lost d0
         3 ask q5 m0 => reject q5 NoDevice",
    );
}

#[test]
fn a_removed_model_is_drained_then_evicted_then_gone() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 pages=2
         0 ask q1 m0 => load s1 d0 m0 0..1
         1 unload m0
         1 ask q2 m0 => reject q2 NoModel
         2 loaded s1 0 => run r1 d0.l0 m0 q1 cold
         3 finished r1 => evict d0 m0 0..1 Removed; gone m0
         4 model m1 pages=1
         4 unload m1 => gone m1",
    );
}

#[test]
fn a_model_removed_while_it_loads_for_nobody_leaves_when_the_load_ends() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 pages=1,1
         0 ask q1 m0 => load s1 d0 m0 0..2
         1 cancel q1 => reject q1 Cancelled
         1 loaded s1 0
         1 unload m0
         2 loaded s1 1 => evict d0 m0 0..2 Removed; gone m0",
    );
}
