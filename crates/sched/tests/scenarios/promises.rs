//! Deadlines, admission, shares.

use crate::script::check;
use sublet_sched::Preset::Sublet;

#[test]
fn what_cannot_be_in_time_goes_after_what_can() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 profile=1x10
         0 model m1 profile=1x10
         0 ask q1 m0 deadline=50 => run r1 d0.l0 m0 q1
         1 ask q2 m0 deadline=15
         1 ask q3 m1 deadline=25
  5.000001 wake
        10 finished r1 => run r2 d0.l0 m1 q3
      18.5 wake
        20 finished r2 => run r3 d0.l0 m0 q2",
    );
}

#[test]
fn it_goes_first_where_that_makes_nothing_else_late() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 profile=1x10
         0 model m1 profile=1x10
         0 ask q1 m0 deadline=50 => run r1 d0.l0 m0 q1
         1 ask q2 m0 deadline=15
         1 ask q3 m1 deadline=35
  5.000001 wake
        10 finished r1 => run r2 d0.l0 m0 q2
        20 finished r2 => run r3 d0.l0 m1 q3",
    );
}

#[test]
fn within_a_model_too() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 profile=1x10
         0 ask q1 m0 deadline=50 => run r1 d0.l0 m0 q1
         1 ask q2 m0 deadline=15
         1 ask q3 m0 deadline=40
  5.000001 wake
        10 finished r1 => run r2 d0.l0 m0 q3
      18.5 wake
        20 finished r2 => run r3 d0.l0 m0 q2",
    );
}

#[test]
fn a_batch_is_no_larger_than_its_first_deadline_allows() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 batch=4 profile=1x10,4x40
         0 ask q0 m0 deadline=500 => run r1 d0.l0 m0 q0
         1 ask q1 m0 deadline=35
         1 ask q2 m0 deadline=500
         1 ask q3 m0 deadline=500
         1 ask q4 m0 deadline=500
        10 finished r1 => run r2 d0.l0 m0 q1+q2
        30 finished r2 => run r3 d0.l0 m0 q3+q4",
    );
}

#[test]
fn a_batch_waits_for_more_only_while_its_deadline_allows() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 batch=4 delay=100 profile=1x10,4x10
         0 ask q1 m0 deadline=30
        20 wake => run r1 d0.l0 m0 q1",
    );
}

#[test]
fn a_request_that_cannot_be_in_time_is_not_admitted() {
    check(
        Sublet,
        "config admit
         0 device d0 pages=4
         0 model m0 profile=1x10
         0 ask q1 m0 deadline=9 => reject q1 TooLate
         0 ask q2 m0 deadline=10 => run r1 d0.l0 m0 q2
         1 ask q3 m0 deadline=19 => reject q3 TooLate
         1 ask q4 m0 deadline=20
         1 ask q5 m0",
    );
}

#[test]
fn a_tenant_that_had_more_than_its_share_waits() {
    check(
        Sublet,
        "config fair
         0 device d0 pages=4
         0 model m0 tenant=1 profile=1x10
         0 model m1 tenant=2 weight=2 profile=1x10
         0 ask q1 m0 => run r1 d0.l0 m0 q1
         1 ask q2 m0 deadline=300
         1 ask q3 m1 deadline=350
         1 ask q4 m1 deadline=400
        10 finished r1 => run r2 d0.l0 m1 q3
      18.5 wake
        20 finished r2 => run r3 d0.l0 m1 q4
        30 finished r3 => run r4 d0.l0 m0 q2",
    );
}

#[test]
fn a_model_has_a_queue_of_its_own() {
    check(
        Sublet,
        "0 device d0 pages=4
         0 model m0 queue=1
         0 ask q1 m0 => run r1 d0.l0 m0 q1
         1 ask q2 m0
         2 ask q3 m0 => reject q3 QueueFull",
    );
}
