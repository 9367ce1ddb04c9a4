//! What the `gpulet` preset does differently.

use crate::script::check;
use sublet_sched::Preset::Gpulet;

#[test]
fn devices_are_divided_by_rate_once_their_runs_have_ended() {
    // Both models keep their deadlines on half a device, so that one device is divided between them.
    check(
        Gpulet,
        "0 device d0 pages=4 partitions
         0 model m0 slo=100 profile=1x10,1x12@50
         0 model m1 slo=80 profile=1x10,1x12@50
       500 ask q1 m0 => run r1 d0.l0 m0 q1
       510 ask q2 m1
      5000 finished r1 => repartition d0 [50, 50]; run r2 d0.l1 m1 q2
      5001 ask q3 m1
      5001 ask q4 m0 => run r3 d0.l0 m0 q4
      5012 finished r2 => run r4 d0.l1 m1 q3",
    );
}

#[test]
fn a_device_that_cannot_be_divided_serves_all_in_order_of_arrival() {
    check(
        Gpulet,
        "0 device d0 pages=4
         0 model m0 slo=100 profile=1x10,1x12@50
         0 model m1 slo=80 profile=1x10,1x12@50
       500 ask q1 m0 => run r1 d0.l0 m0 q1
       510 ask q2 m1
       511 ask q3 m0
      5000 finished r1 => run r2 d0.l0 m1 q2
      5020 finished r2 => run r3 d0.l0 m0 q3",
    );
}

#[test]
fn what_a_division_wants_is_loaded_ahead() {
    check(
        Gpulet,
        "0 device d0 pages=4
         0 device d1 pages=4 partitions
         0 model m0 pages=2 slo=100 profile=1x10,1x12@50
       500 ask q1 m0 => load s1 d0 m0 0..1
       502 loaded s1 0 => run r1 d0.l0 m0 q1 cold
       512 finished r1
      5000 wake => repartition d1 [50, 50]; load s2 d1 m0 0..1",
    );
}
