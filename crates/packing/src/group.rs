//! The best ways to run a group of models in one partition.
//!
//! Of a way to run a group only two numbers matter to the rest of the GPU: the pressure that it puts on its neighbours, and
//! the pressure that it bears from them. The ways that no other beats in both are found by a search over the models' batch
//! sizes, cut where even the best completion would be beaten.

use crate::bearing::{LOAD_MAX, Member, bears, load};
use crate::choices::{Choice, Options};
use crate::problem::GROUP_MAX;

/// One way to run a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Way {
    /// On the neighbours: that of its worst model.
    pub pressure: f64,
    /// From the neighbours, at most.
    pub bears: f64,
    /// For each model of the group the index of its choice.
    pub choices: [u8; GROUP_MAX],
}

/// The range of pressure in which ways are told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// Less is never met: a way that does not bear this is of no use.
    pub low: f64,
    pub high: f64,
}

/// Every way that is not beaten in both numbers, by another or by one that is known; pressure ascending (so that what they
/// bear ascends too).
pub(crate) fn ways(group: &[&Options], range: Range, known: &[Way]) -> Vec<Way> {
    let mut search = Search::new(group, range, known);
    search.descend(0, f64::NEG_INFINITY);
    search.found
}

/// The way that bears most slowdown without neighbours, if it bears more than `beat`; its pressure is meaningless.
pub(crate) fn alone(group: &[&Options], range: Range, beat: Option<f64>) -> Option<Way> {
    let beaten = beat.map(|bears| Way { pressure: 0.0, bears, choices: [0; GROUP_MAX] });
    let group: Vec<Options> = group.iter().map(|options| undisturbed(options)).collect();
    let group: Vec<&Options> = group.iter().collect();
    let mut search = Search::new(&group, range, beaten.as_slice());
    search.descend(0, f64::NEG_INFINITY);
    search.found.into_iter().next()
}

/// Without neighbours there is no slowdown, so the linear model's own part does not apply.
pub(crate) fn undisturbed(options: &Options) -> Options {
    let calm = |choice: &Choice| Choice { own: 1.0, pressure: 0.0, ..*choice };
    Options { slo: options.slo, choices: options.choices.iter().map(calm).collect() }
}

struct Search<'a> {
    group: &'a [&'a Options],
    range: Range,
    /// What models from each depth on add at least: latency, load, pressure.
    rest: [(f64, f64, f64); GROUP_MAX + 1],
    picked: [u8; GROUP_MAX],
    members: [Member; GROUP_MAX],
    known: &'a [Way],
    found: Vec<Way>,
}

impl<'a> Search<'a> {
    fn new(group: &'a [&'a Options], range: Range, known: &'a [Way]) -> Self {
        let least = |options: &Options, of: fn(&Choice) -> f64| {
            options.choices.iter().map(of).fold(f64::INFINITY, f64::min)
        };
        let mut rest = [(0.0, 0.0, f64::NEG_INFINITY); GROUP_MAX + 1];
        for (index, options) in group.iter().enumerate().rev() {
            let (latency, load, pressure): (f64, f64, f64) = rest[index + 1];
            rest[index] = (
                latency + least(options, |choice| choice.alone),
                load + least(options, |choice| choice.alone / choice.cycle),
                pressure.max(least(options, |choice| choice.pressure)),
            );
        }
        let nobody = Member { alone: 0.0, cycle: 1.0, slo: 1.0, own: 1.0 };
        Search {
            group,
            range,
            rest,
            picked: [0; GROUP_MAX],
            members: [nobody; GROUP_MAX],
            known,
            found: Vec::new(),
        }
    }

    /// What a way with this pressure must bear more than, to be of use.
    fn bar(&self, pressure: f64) -> Option<f64> {
        let known = self.known.iter().chain(&self.found);
        let beaten = known.filter(|way| way.pressure <= pressure);
        beaten.map(|way| way.bears).max_by(f64::total_cmp)
    }

    fn descend(&mut self, depth: usize, pressure: f64) {
        let (rest_latency, rest_load, rest_pressure) = self.rest[depth];
        let bar = self.bar(pressure.max(rest_pressure));
        if bar.is_some_and(|bar| bar >= self.range.high) {
            return;
        }
        let least = bar.unwrap_or(self.range.low);
        let chosen = &self.members[..depth];
        if depth == self.group.len() {
            if load(chosen, least) <= LOAD_MAX {
                let bears = bears(chosen, least, self.range.high);
                if bar.is_none_or(|bar| bears > bar) {
                    let way = Way { pressure, bears, choices: self.picked };
                    self.found.retain(|other| other.pressure < pressure || other.bears > bears);
                    let place = self.found.partition_point(|other| other.pressure < pressure);
                    self.found.insert(place, way);
                }
            }
            return;
        }
        // Even with the least that the others add, does it bear more than what is known?
        let total = chosen.iter().map(|member| member.latency(least)).sum::<f64>() + rest_latency;
        let mut load = rest_load;
        for member in chosen {
            let duty = member.cycle.min(member.slo - total);
            if duty <= 0.0 {
                return;
            }
            load += member.latency(least) / duty;
        }
        if load > LOAD_MAX {
            return;
        }
        let options = self.group[depth];
        for (index, choice) in options.choices.iter().enumerate().rev() {
            self.picked[depth] = index as u8;
            self.members[depth] = Member::new(choice, options.slo);
            self.descend(depth + 1, pressure.max(choice.pressure));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All ways by brute force.
    fn every(group: &[&Options], range: Range) -> Vec<(f64, f64)> {
        let mut picks = vec![vec![]];
        for options in group {
            let extended = picks.iter().flat_map(|pick: &Vec<(Choice, f64)>| {
                options.choices.iter().map(|choice| {
                    let mut pick = pick.clone();
                    pick.push((*choice, options.slo));
                    pick
                })
            });
            picks = extended.collect();
        }
        let mut found = Vec::new();
        for pick in picks {
            let members: Vec<Member> =
                pick.iter().map(|(choice, slo)| Member::new(choice, *slo)).collect();
            if load(&members, range.low) <= LOAD_MAX {
                let pressure = pick
                    .iter()
                    .map(|(choice, _)| choice.pressure)
                    .fold(f64::NEG_INFINITY, f64::max);
                found.push((pressure, bears(&members, range.low, range.high)));
            }
        }
        found
    }

    #[test]
    fn the_search_keeps_exactly_what_is_not_beaten() {
        let mut draw = fastrand::Rng::with_seed(5);
        let range = Range { low: 0.0, high: 2.0 };
        let mut feasible = 0;
        for _ in 0..300 {
            let models = draw.usize(1..4);
            let group: Vec<Options> = (0..models)
                .map(|_| {
                    let rate = 20.0 + 200.0 * draw.f64();
                    let base = 1.0 + 4.0 * draw.f64();
                    let choices = [1u32, 2, 4, 8].map(|batch| Choice {
                        batch,
                        alone: base * (0.6 + 0.4 * f64::from(batch)),
                        cycle: 1000.0 * f64::from(batch) / rate,
                        own: 0.9 + 0.2 * draw.f64(),
                        pressure: 0.3 * draw.f64(),
                    });
                    Options { slo: 10.0 + 60.0 * draw.f64(), choices: choices.to_vec() }
                })
                .collect();
            let group: Vec<&Options> = group.iter().collect();
            let (found, all) = (ways(&group, range, &[]), every(&group, range));
            assert_eq!(found.is_empty(), all.is_empty());
            feasible += usize::from(!found.is_empty());
            for (pressure, bears) in all {
                assert!(
                    found.iter().any(|way| way.pressure <= pressure && way.bears >= bears - 1e-6),
                    "{pressure} {bears}"
                );
            }
            for pair in found.windows(2) {
                assert!(pair[0].pressure < pair[1].pressure && pair[0].bears < pair[1].bears);
            }
        }
        assert!((50..300).contains(&feasible), "{feasible}");
    }
}
