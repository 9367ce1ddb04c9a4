//! What is due when: a queue in the order of time, and of insertion where times are equal.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use sublet_units::Time;

#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<E> {
    time: Time,
    sequence: u64,
    due: E,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Agenda { heap: BinaryHeap::new(), sequence: 0 }
    }
}

impl<E> Agenda<E> {
    pub fn push(&mut self, time: Time, due: E) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { time, sequence: self.sequence, due }));
    }

    pub fn peek(&self) -> Option<(Time, &E)> {
        self.heap.peek().map(|Reverse(entry)| (entry.time, &entry.due))
    }

    pub fn pop(&mut self) -> Option<(Time, E)> {
        self.heap.pop().map(|Reverse(entry)| (entry.time, entry.due))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.time, self.sequence).cmp(&(other.time, other.sequence))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Entry<E> {}
