//! Which part of recent requests was answered in time.

use super::Outcome;
use sublet_units::ModelId;

/// A part of all, in 1/2^20.
type Part = u32;
const ALL: Part = 1 << 20;

const fn percent(percent: u32) -> Part {
    ALL / 100 * percent
}

/// What each model is to reach, so that it stays above 98 % with some to spare.
const OBJECTIVE: Part = percent(99);

/// Fewer than this, over all models, are distress; it ends when the objective is met.
const DISTRESS: Part = percent(85);

/// A request counts for one in so many of its model, and of all.
const WINDOW: u32 = 128;
const WINDOW_OF_ALL: u32 = 512;

/// Attainment over a window that fades, of each model and of all; full while nothing is known.
pub(super) struct Attainment {
    models: Vec<Part>,
    all: Part,
    in_distress: bool,
    /// Distress has begun or ended.
    turned: bool,
}

impl Default for Attainment {
    fn default() -> Self {
        Attainment { models: Vec::new(), all: ALL, in_distress: false, turned: false }
    }
}

impl Attainment {
    pub fn note(&mut self, outcome: &Outcome) {
        let index = outcome.model.0 as usize;
        if index >= self.models.len() {
            self.models.resize(index + 1, ALL);
        }
        let in_time = outcome.in_time();
        fade(&mut self.models[index], WINDOW, in_time);
        fade(&mut self.all, WINDOW_OF_ALL, in_time);
        let in_distress = match self.in_distress {
            true => self.all < OBJECTIVE,
            false => self.all < DISTRESS,
        };
        self.turned |= in_distress != std::mem::replace(&mut self.in_distress, in_distress);
    }

    /// Whether distress has begun or ended since this was asked last.
    pub fn turned(&mut self) -> bool {
        std::mem::take(&mut self.turned)
    }

    /// Whether a model meets its objective, so that it can afford a late answer.
    pub fn is_met(&self, model: ModelId) -> bool {
        self.models.get(model.0 as usize).is_none_or(|&part| part >= OBJECTIVE)
    }

    /// Whether so many requests are late that there must be choices.
    pub fn is_in_distress(&self) -> bool {
        self.in_distress
    }
}

fn fade(part: &mut Part, window: u32, in_time: bool) {
    // Rounded so that it comes to full again.
    match in_time {
        true => *part += (ALL - *part).div_ceil(window),
        false => *part -= part.div_ceil(window),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sublet_units::Time;

    fn answered(model: u32, in_time: bool) -> Outcome {
        let due = Time::from_millis(if in_time { 2 } else { 0 });
        let at = Time::from_millis(1);
        Outcome { model: ModelId(model), at, due, took: Some(at) }
    }

    #[test]
    fn a_model_that_misses_its_objective_meets_it_again_later() {
        let mut attainment = Attainment::default();
        assert!(attainment.is_met(ModelId(3)));
        for _ in 0..3 {
            attainment.note(&answered(3, false));
        }
        assert!(!attainment.is_met(ModelId(3)));
        assert!(attainment.is_met(ModelId(2)));
        for _ in 0..WINDOW {
            attainment.note(&answered(3, true));
        }
        assert!(attainment.is_met(ModelId(3)));
    }

    #[test]
    fn distress_begins_late_and_lasts_until_all_is_well() {
        let mut attainment = Attainment::default();
        for round in 0..10_000 {
            attainment.note(&answered(0, round % 10 > 0));
        }
        assert!(!attainment.is_in_distress(), "nine in ten are in time");
        for round in 0..10_000 {
            attainment.note(&answered(0, round % 10 > 2));
        }
        assert!(attainment.is_in_distress(), "seven in ten are");
        for round in 0..10_000 {
            attainment.note(&answered(0, round % 10 > 0));
        }
        assert!(attainment.is_in_distress(), "nine in ten do not end it");
        for _ in 0..10_000 {
            attainment.note(&answered(0, true));
        }
        assert!(!attainment.is_in_distress());
        assert_eq!(attainment.all, ALL);
    }
}
