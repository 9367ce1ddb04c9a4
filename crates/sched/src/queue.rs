//! The waiting requests of one model.

use crate::event::Batching;
use crate::policy::{BatchPolicy, Urgency};
use std::collections::{BTreeMap, BTreeSet};
use sublet_units::{BatchKey, RequestId, Time};

/// A waiting request's place in its model's queue: by urgency, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub urgency: Urgency,
    /// Counts arrivals.
    pub sequence: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub id: RequestId,
    pub key: BatchKey,
    pub rows: u32,
    pub arrived: Time,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: BTreeMap<Ticket, Entry>,
    by_arrival: BTreeMap<u64, Ticket>,
    /// Requests that may share a batch; empty for a model that does not batch.
    groups: BTreeMap<BatchKey, Group>,
    /// Groups with enough rows for a whole batch.
    full: BTreeSet<BatchKey>,
    rows: u64,
    batching: Option<Batching>,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeSet<Ticket>,
    rows: u64,
}

impl Queue {
    pub fn new(batching: Option<Batching>) -> Self {
        Queue { batching, ..Queue::default() }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn push(&mut self, ticket: Ticket, entry: Entry) {
        let before = self.entries.insert(ticket, entry);
        assert!(before.is_none(), "tickets are unique");
        self.by_arrival.insert(ticket.sequence, ticket);
        self.rows += u64::from(entry.rows);
        if let Some(batching) = self.batching {
            let group = self.groups.entry(entry.key).or_default();
            group.members.insert(ticket);
            group.rows += u64::from(entry.rows);
            if group.rows >= u64::from(batching.rows_max) {
                self.full.insert(entry.key);
            }
        }
    }

    pub fn remove(&mut self, ticket: Ticket) -> Entry {
        let entry = self.entries.remove(&ticket).expect("a waiting request");
        self.by_arrival.remove(&ticket.sequence);
        self.rows -= u64::from(entry.rows);
        if let Some(batching) = self.batching {
            let group = self.groups.get_mut(&entry.key).expect("the group of a waiting request");
            group.members.remove(&ticket);
            group.rows -= u64::from(entry.rows);
            if group.rows < u64::from(batching.rows_max) {
                self.full.remove(&entry.key);
            }
            if group.members.is_empty() {
                self.groups.remove(&entry.key);
                self.full.remove(&entry.key);
            }
        }
        entry
    }

    pub fn oldest(&self) -> Option<(Ticket, &Entry)> {
        let ticket = *self.by_arrival.first_key_value()?.1;
        Some((ticket, &self.entries[&ticket]))
    }

    pub fn most_urgent(&self) -> Option<(Ticket, &Entry)> {
        self.entries.first_key_value().map(|(&ticket, entry)| (ticket, entry))
    }

    /// Every waiting request, the most urgent first.
    pub fn requests(&self) -> impl Iterator<Item = RequestId> {
        self.entries.values().map(|entry| entry.id)
    }

    /// How many batches the waiting requests will make, at least.
    pub fn batches(&self) -> u64 {
        match self.batching {
            Some(batching) => {
                let whole = self.rows.div_ceil(u64::from(batching.rows_max.max(1)));
                whole.max(self.groups.len() as u64)
            }
            None => self.entries.len() as u64,
        }
    }

    /// Rows of the batch that `leader` would lead now.
    pub fn batch_rows(&self, leader: Ticket) -> u32 {
        let entry = &self.entries[&leader];
        let Some(batching) = self.batching else { return entry.rows };
        let rows = self.groups[&entry.key].rows.min(u64::from(batching.rows_max));
        entry.rows.max(rows as u32)
    }

    /// Who leads the next batch: `first` if its batch may start, else another whose batch may. Otherwise when the
    /// next batch may start.
    pub fn leader(
        &self,
        now: Time,
        first: Ticket,
        policy: &dyn BatchPolicy,
    ) -> Result<Ticket, Time> {
        let Some(batching) = self.batching else { return Ok(first) };
        let start_at = |ticket: Ticket| {
            let entry = &self.entries[&ticket];
            policy.start_at(&batching, self.groups[&entry.key].rows, entry.arrived)
        };
        let (oldest, _) = self.oldest().expect("a queue with a first request");
        let full = self.full.first().and_then(|key| self.groups[key].members.first()).copied();
        let mut wait = Time::MAX;
        for ticket in [Some(first), Some(oldest), full].into_iter().flatten() {
            let at = start_at(ticket);
            if at <= now {
                return Ok(ticket);
            }
            wait = wait.min(at);
        }
        Err(wait)
    }

    /// Takes the batch that `leader` leads: the leader and the most urgent of those that may join it, as long as
    /// they fit.
    pub fn take_batch(&mut self, leader: Ticket) -> Vec<Entry> {
        let first = self.entries[&leader];
        let mut tickets = vec![leader];
        if let Some(batching) = self.batching {
            let mut rows = u64::from(first.rows);
            let members = &self.groups[&first.key].members;
            for &ticket in members.iter().filter(|&&ticket| ticket != leader) {
                rows += u64::from(self.entries[&ticket].rows);
                if rows > u64::from(batching.rows_max) {
                    break;
                }
                tickets.push(ticket);
            }
        }
        tickets.into_iter().map(|ticket| self.remove(ticket)).collect()
    }
}
