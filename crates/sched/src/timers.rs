//! When something must be looked at again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use sublet_units::{ModelId, Time};

/// One timer per model, kept lazily: a timer that moves later or goes away stays in the heap until its old time is the
/// next, and only then is put right. Most timers of a busy scheduler are never the next.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Time, ModelId)>>,
    /// By model: the time wanted, and the time at which it stands in the heap; `MAX`: none.
    wanted: Vec<(Time, Time)>,
}

impl Timers {
    /// Replaces a model's timer.
    pub fn set(&mut self, model: ModelId, at: Option<Time>) {
        let index = model.0 as usize;
        if index >= self.wanted.len() {
            if at.is_none() {
                return;
            }
            self.wanted.resize(index + 1, (Time::MAX, Time::MAX));
        }
        let (wanted, listed) = &mut self.wanted[index];
        *wanted = at.unwrap_or(Time::MAX);
        if *wanted < *listed {
            *listed = *wanted;
            self.heap.push(Reverse((*wanted, model)));
        }
    }

    /// Puts right what stands first, so that [`Timers::next`] is exact.
    pub fn settle(&mut self) {
        while let Some(&Reverse((time, model))) = self.heap.peek() {
            let (wanted, listed) = &mut self.wanted[model.0 as usize];
            if *wanted == time && *listed == time {
                return;
            }
            self.heap.pop();
            if *listed != time {
                continue;
            }
            *listed = *wanted;
            if *wanted < Time::MAX {
                self.heap.push(Reverse((*wanted, model)));
            }
        }
    }

    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|&Reverse((time, _))| time)
    }

    /// Takes a model whose timer is due.
    pub fn pop_due(&mut self, now: Time) -> Option<ModelId> {
        loop {
            let &Reverse((time, model)) = self.heap.peek()?;
            if time > now {
                return None;
            }
            self.heap.pop();
            let (wanted, listed) = &mut self.wanted[model.0 as usize];
            if *listed != time {
                continue;
            }
            let due = *wanted <= now;
            *listed = Time::MAX;
            if due {
                *wanted = Time::MAX;
                return Some(model);
            }
            let at = *wanted;
            if at < Time::MAX {
                self.set(model, Some(at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Against a plain map, with timers that move at random.
    #[test]
    fn lazy_timers_ring_like_eager_ones() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut timers, mut plain) = (Timers::default(), BTreeMap::new());
        let mut now = Time::ZERO;
        for _ in 0..20_000 {
            let model = ModelId(rng.u32(0..9));
            let at = (rng.u32(0..4) > 0).then(|| now + Time(rng.u64(1..50)));
            timers.set(model, at);
            plain.remove(&model);
            if let Some(at) = at {
                plain.insert(model, at);
            }
            now += Time(rng.u64(0..5));
            let mut rung = Vec::new();
            while let Some(model) = timers.pop_due(now) {
                rung.push(model);
            }
            rung.sort_unstable();
            let due: Vec<ModelId> =
                plain.iter().filter(|&(_, &at)| at <= now).map(|(&model, _)| model).collect();
            assert_eq!(rung, due);
            plain.retain(|_, at| *at > now);
            timers.settle();
            assert_eq!(timers.next(), plain.values().min().copied());
        }
    }
}
