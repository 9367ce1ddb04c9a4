//! How much interference a chosen set of batches in one partition can bear.

use crate::choices::Choice;
use sublet_units::Time;

/// The load that a solver allows: a part in a hundred thousand is left for duty cycles rounded to nanoseconds.
pub(crate) const LOAD_MAX: f64 = 0.999_99;
/// Slack beyond this is not told apart: it is enough, and telling it apart would cost time.
pub(crate) const SLACK_MAX: f64 = 0.5;
/// How finely slack is told apart.
const STEP: f64 = 1e-6;

/// One model of a partition with the batch that it uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub alone: f64,
    pub cycle: f64,
    pub slo: f64,
    pub own: f64,
}

impl Member {
    pub fn new(choice: &Choice, slo: f64) -> Member {
        Member { alone: choice.alone, cycle: choice.cycle, slo, own: choice.own }
    }

    /// Latency under pressure from the neighbours, in milliseconds.
    pub fn latency(&self, pressure: f64) -> f64 {
        self.alone * (self.own + pressure).max(1.0)
    }
}

/// The members' load of the partition, `Σ L/d` with the longest duty cycles that rates and SLOs allow; infinite where an
/// SLO leaves none.
pub(crate) fn load(members: &[Member], pressure: f64) -> f64 {
    let total: f64 = members.iter().map(|member| member.latency(pressure)).sum();
    let mut load = 0.0;
    for member in members {
        let duty = member.cycle.min(member.slo - total);
        if duty <= 0.0 {
            return f64::INFINITY;
        }
        load += member.latency(pressure) / duty;
    }
    load
}

/// The most pressure between `low`, which must be bearable, and `high`, that the members bear.
pub(crate) fn bears(members: &[Member], low: f64, high: f64) -> f64 {
    if load(members, high) <= LOAD_MAX {
        return high;
    }
    // The load is convex and rising: the false position with halved weights closes in from both sides. It begins where the
    // runs alone would fill the longest duty cycles that there can be.
    let sums = members.iter().fold((0.0, 0.0), |(fixed, rising), member| {
        let share = member.alone / member.cycle.min(member.slo);
        (fixed + member.own * share, rising + share)
    });
    let (mut low, mut high) = (low, high.min((1.0 - sums.0) / sums.1).max(low + STEP));
    let (mut below, mut above) = (load(members, low) - LOAD_MAX, load(members, high) - LOAD_MAX);
    let mut last = 0;
    while high - low > STEP {
        let middle = if above.is_finite() {
            let guess = (low * above - high * below) / (above - below);
            guess.clamp(low + 0.02 * (high - low), high - 0.02 * (high - low))
        } else {
            0.5 * (low + high)
        };
        let excess = load(members, middle) - LOAD_MAX;
        if excess <= 0.0 {
            (low, below) = (middle, excess);
            above *= if last == -1 { 0.5 } else { 1.0 };
            last = -1;
        } else {
            (high, above) = (middle, excess);
            below *= if last == 1 { 0.5 } else { 1.0 };
            last = 1;
        }
    }
    low
}

/// The duty cycle of each member under pressure: the longest that its rate and SLO allow.
pub(crate) fn duties(members: &[Member], pressure: f64) -> Vec<Time> {
    let total: f64 = members.iter().map(|member| member.latency(pressure)).sum();
    let duty = |member: &Member| member.cycle.min(member.slo - total).max(0.0);
    members.iter().map(|member| Time((duty(member) * 1e6) as u64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bears_exactly_what_the_definition_allows() {
        let members = [
            Member { alone: 5.0, cycle: 20.0, slo: 30.0, own: 0.9 },
            Member { alone: 3.0, cycle: 16.0, slo: 40.0, own: 1.0 },
        ];
        let most = bears(&members, 0.0, 4.0);
        assert!(load(&members, most) <= LOAD_MAX);
        assert!(load(&members, most + 1e-5) > LOAD_MAX, "{most}");
        assert!(most > 0.5);
        let idle = [Member { alone: 0.001, cycle: 20.0, slo: 30.0, own: 1.0 }];
        assert_eq!(bears(&idle, 0.0, 2.0), 2.0);
    }
}
