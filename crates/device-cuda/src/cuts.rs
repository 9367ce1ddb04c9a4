//! Where a cold program is cut into pieces that wait for weights one after the other.
//!
//! A cut lets what comes before it run while later weights are still on their way, but the device pauses between two
//! pieces. Small models compute longer than they are copied and want few cuts; large ones wait for the link and want many.

use std::ops::Range;
use sublet_units::Time;

/// Consecutive actions that need the same leading segments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// From the start of a load until the last of these segments is there.
    pub arrives: Time,
    /// What the actions take.
    pub compute: Time,
}

/// The stretches of each piece, such that a run that starts with the load of all weights ends soonest; of equals, the one
/// with the fewest pieces. `pause`: between the end of a piece and the start of the next.
pub fn pieces(stretches: &[Stretch], pause: Time) -> Vec<Range<usize>> {
    // By number of leading stretches: how soon they can have ended, in how many pieces, where the last of these begins.
    let mut best = vec![(Time::ZERO, 0usize, 0usize)];
    for end in 1..=stretches.len() {
        let arrives = stretches[end - 1].arrives;
        let mut compute = Time::ZERO;
        let mut least = (Time::MAX, usize::MAX, 0);
        for begin in (0..end).rev() {
            compute = compute.saturating_add(stretches[begin].compute);
            let (before, count, _) = best[begin];
            let ready = if begin == 0 { before } else { before.saturating_add(pause) };
            least = least.min((ready.max(arrives).saturating_add(compute), count + 1, begin));
        }
        best.push(least);
    }
    let mut pieces = Vec::new();
    let mut end = stretches.len();
    while end > 0 {
        let begin = best[end].2;
        pieces.push(begin..end);
        end = begin;
    }
    pieces.reverse();
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Time = Time::from_micros(8);

    fn stretches(micros: &[(u64, u64)]) -> Vec<Stretch> {
        let stretch = |&(arrives, compute)| Stretch {
            arrives: Time::from_micros(arrives),
            compute: Time::from_micros(compute),
        };
        micros.iter().map(stretch).collect()
    }

    /// When the last piece ends.
    fn end(stretches: &[Stretch], pieces: &[Range<usize>]) -> Time {
        let mut now = Time::ZERO;
        for (index, piece) in pieces.iter().enumerate() {
            let ready = if index == 0 { now } else { now.saturating_add(PAUSE) };
            let start = ready.max(stretches[piece.end - 1].arrives);
            let took = stretches[piece.clone()].iter().map(|stretch| stretch.compute.0).sum();
            now = start.saturating_add(Time(took));
        }
        now
    }

    #[test]
    fn a_small_model_is_cut_where_it_would_wait_long() {
        // 7 MB at 53 GB/s; most of the computing needs few of the weights.
        let small = stretches(&[(10, 100), (28, 30), (66, 30), (106, 20), (132, 16)]);
        let found = pieces(&small, PAUSE);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(end(&small, &found), Time::from_micros(222));
        let whole = end(&small, std::slice::from_ref(&(0..5)));
        let finest: Vec<_> = (0..5).map(|index| index..index + 1).collect();
        assert_eq!((whole, end(&small, &finest)), (Time::from_micros(328), Time::from_micros(238)));
    }

    #[test]
    fn a_model_that_waits_for_the_link_is_cut_everywhere() {
        let large: Vec<Stretch> = (1..40)
            .map(|index| Stretch {
                arrives: Time::from_micros(index * 150),
                compute: Time::from_micros(40),
            })
            .collect();
        assert_eq!(
            pieces(&large, PAUSE),
            (0..39).map(|index| index..index + 1).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_needs_no_waiting_is_one_piece() {
        assert_eq!(pieces(&[], PAUSE), []);
        assert_eq!(pieces(&stretches(&[(0, 5), (0, 5), (1, 90)]), PAUSE).len(), 1);
    }

    #[test]
    fn no_other_cuts_end_sooner() {
        let mut draw = 1u64;
        let mut below = |limit: u64| {
            draw = draw
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (draw >> 33) % limit
        };
        for _ in 0..200 {
            let mut arrives = 0;
            let micros: Vec<(u64, u64)> = (0..7)
                .map(|_| {
                    arrives += below(60);
                    (arrives, below(60))
                })
                .collect();
            let stretches = stretches(&micros);
            let found = pieces(&stretches, PAUSE);
            let every = (0..1u32 << 6).map(|cuts| {
                let mut pieces = Vec::new();
                let mut begin = 0;
                for at in 1..=7 {
                    if at == 7 || cuts >> (at - 1) & 1 == 1 {
                        pieces.push(begin..at);
                        begin = at;
                    }
                }
                (end(&stretches, &pieces), pieces.len())
            });
            let wanted = every.min().expect("there are 64 ways");
            assert_eq!((end(&stretches, &found), found.len()).0, wanted.0, "{micros:?}: {found:?}");
        }
    }
}
