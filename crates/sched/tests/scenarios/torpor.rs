//! What the `torpor` preset does differently.

use crate::script::check;
use sublet_sched::Preset::Torpor;

#[test]
fn a_run_starts_with_its_load_on_an_idle_device() {
    check(
        Torpor,
        "0 device d0 pages=4
         0 model m0 pages=1,1
         0 model m1 pages=1
         0 ask q1 m0 => load s1 d0 m0 0..2; run r1 d0.l0 m0 q1 cold
         1 loaded s1 0
         1 ask q2 m1
         2 loaded s1 1
         3 finished r1 => load s2 d0 m1 0..1; run r2 d0.l0 m1 q2 cold",
    );
}

#[test]
fn one_request_of_a_function_is_in_flight_and_none_are_joined() {
    check(
        Torpor,
        "0 device d0 pages=4 lanes=2
         0 device d1 pages=4
         0 model m0 pages=1 batch=4
         0 ask q1 m0 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         0 ask q2 m0
         0 ask q3 m0
         1 loaded s1 0
         2 finished r1 => run r2 d0.l0 m0 q2
         3 finished r2 => run r3 d0.l0 m0 q3",
    );
}

#[test]
fn a_function_on_a_busy_device_is_copied_from_there() {
    check(
        Torpor,
        "0 device d0 pages=4 peers=d1:4
         0 device d1 pages=4 peers=d0:4
         0 model m0 pages=4
         0 model m1
         0 ask q1 m0 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         4 loaded s1 0
         5 finished r1
         5 ask q2 m1 => run r2 d0.l0 m1 q2
         6 ask q3 m0 => load s2 d1 m0 0..1 from d0; run r3 d1.l0 m0 q3 cold",
    );
}

#[test]
fn a_swap_in_goes_beside_the_least_loaded_neighbour() {
    check(
        Torpor,
        "0 device d0 pages=4 switch=0
         0 device d1 pages=4 switch=0
         0 device d2 pages=4 switch=1
         0 device d3 pages=4 switch=1
         0 model m0 pages=4
         0 model m1 pages=4
         0 model m2 pages=4
         0 ask q1 m0 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         0 ask q2 m1 => load s2 d2 m1 0..1; run r2 d2.l0 m1 q2 cold
         4 loaded s1 0
         4 ask q3 m2 => load s3 d1 m2 0..1; run r3 d1.l0 m2 q3 cold",
    );
}

#[test]
fn the_only_copy_of_a_heavy_function_goes_last() {
    // The heavy one takes longer to copy than to run; it was used before the light one and stays all the same.
    check(
        Torpor,
        "0 device d0 pages=5
         0 model m0 pages=3 profile=1x1
         0 model m1 pages=2 profile=1x9
         0 model m2 pages=2 profile=1x9
         0 ask q1 m0 => load s1 d0 m0 0..1; run r1 d0.l0 m0 q1 cold
         3 loaded s1 0
         4 finished r1
         5 ask q2 m1 => load s2 d0 m1 0..1; run r2 d0.l0 m1 q2 cold
         7 loaded s2 0
        14 finished r2
        15 ask q3 m2 => evict d0 m1 0..1 Room; load s3 d0 m2 0..1; run r3 d0.l0 m2 q3 cold",
    );
}

#[test]
fn a_function_that_can_become_compliant_goes_before_one_that_is_far_off() {
    // m0 misses once, m1 three times; both are measured with the review at two seconds, and the threshold, half of all
    // that is missing, admits m0 only.
    check(
        Torpor,
        "0 device d0 pages=4
         0 model m0 slo=5
         0 model m1 slo=5
         0 model m2
         0 ask q1 m0 => run r1 d0.l0 m0 q1
        10 finished r1
        10 ask q2 m1 => run r2 d0.l0 m1 q2
        20 finished r2
        20 ask q3 m1 => run r3 d0.l0 m1 q3
        30 finished r3
        30 ask q4 m1 => run r4 d0.l0 m1 q4
        40 finished r4
      2001 ask q5 m2 => run r5 d0.l0 m2 q5
      2002 ask q6 m1
      2003 ask q7 m0
      2004 finished r5 => run r6 d0.l0 m0 q7
      2005 finished r6 => run r7 d0.l0 m1 q6",
    );
}
