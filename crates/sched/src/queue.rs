//! The waiting requests of one model.

use crate::event::Batching;
use crate::policy::{BatchPolicy, Urgency};
use crate::table::NumberMap;
use std::collections::VecDeque;
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
    pub ticket: Ticket,
    pub id: RequestId,
    pub key: BatchKey,
    pub rows: u32,
    pub arrived: Time,
    /// When the answer should be there.
    pub due: Time,
}

/// Sorted rows of requests instead of trees: requests come nearly in the order in which they go.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// By ticket.
    live: VecDeque<Entry>,
    /// Those that cannot be answered in time any more, by ticket.
    late: VecDeque<Entry>,
    /// Those that were not put off, in order of arrival; all but the first may have left.
    arrivals: VecDeque<Ticket>,
    /// Those that were put off, likewise.
    put_off: VecDeque<Ticket>,
    /// Requests that may share a batch; empty for a model that does not batch.
    groups: NumberMap<BatchKey, Group>,
    /// Groups with enough rows for a whole batch, in order.
    full: Vec<BatchKey>,
    rows: u64,
    batching: Option<Batching>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    members: u32,
    rows: u64,
}

impl Queue {
    pub fn new(batching: Option<Batching>) -> Self {
        Queue { batching, ..Queue::default() }
    }

    pub fn batching(&self) -> Option<Batching> {
        self.batching
    }

    /// Changes how large batches get and how long they may wait.
    pub fn rebatch(&mut self, batching: Batching) {
        self.batching = Some(batching);
        let (mut groups, mut full) = (NumberMap::default(), Vec::new());
        for entry in self.live.iter().chain(&self.late) {
            join(&mut groups, &mut full, batching, entry);
        }
        (self.groups, self.full) = (groups, full);
    }

    pub fn len(&self) -> usize {
        self.live.len() + self.late.len()
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.late.is_empty()
    }

    pub fn push(&mut self, entry: Entry) {
        insert(&mut self.live, entry);
        self.arrivals.push_back(entry.ticket);
        self.rows += u64::from(entry.rows);
        if let Some(batching) = self.batching {
            join(&mut self.groups, &mut self.full, batching, &entry);
        }
    }

    pub fn remove(&mut self, ticket: Ticket) -> Entry {
        let entry = match find(&self.live, ticket) {
            Ok(at) => self.live.remove(at),
            Err(_) => find(&self.late, ticket).ok().and_then(|at| self.late.remove(at)),
        };
        let entry = entry.expect("a waiting request");
        self.left(&entry);
        entry
    }

    /// Sets those aside that cannot be answered in time any more, from the most urgent on: whatever starts now ends at
    /// `earliest` at best. Those come back that would be answered `margin` before their time after all.
    pub fn set_late_aside(&mut self, earliest: Time, margin: Time) {
        while let Some(first) = self.live.front()
            && first.due < earliest
        {
            let entry = self.live.pop_front().expect("the first");
            insert(&mut self.late, entry);
        }
        while let Some(last) = self.late.back()
            && last.due > earliest.saturating_add(margin)
        {
            let entry = self.late.pop_back().expect("the last");
            insert(&mut self.live, entry);
        }
    }

    /// Takes all those back that were set aside.
    pub fn take_late_back(&mut self) {
        while let Some(entry) = self.late.pop_back() {
            insert(&mut self.live, entry);
        }
    }

    /// The oldest of those that were not put off, if there are any, else of the others.
    pub fn oldest(&self) -> Option<&Entry> {
        self.get(*self.arrivals.front().or(self.put_off.front())?)
    }

    /// The oldest of those that were not put off, and of those that were.
    pub fn oldest_of_each(&self) -> (Option<&Entry>, Option<&Entry>) {
        let find = |row: &VecDeque<Ticket>| row.front().and_then(|&ticket| self.get(ticket));
        (find(&self.arrivals), find(&self.put_off))
    }

    /// Puts the oldest off.
    pub fn put_off_oldest(&mut self) {
        if let Some(ticket) = self.arrivals.pop_front() {
            self.put_off.push_back(ticket);
            self.trim();
        }
    }

    /// Lets each row begin with a request that waits.
    fn trim(&mut self) {
        while let Some(&ticket) = self.arrivals.front()
            && self.get(ticket).is_none()
        {
            self.arrivals.pop_front();
        }
        while let Some(&ticket) = self.put_off.front()
            && self.get(ticket).is_none()
        {
            self.put_off.pop_front();
        }
    }

    /// The most urgent of those that can be answered in time, else of the others; and whether it is one of these.
    pub fn most_urgent(&self) -> Option<(&Entry, bool)> {
        match self.live.front() {
            Some(entry) => Some((entry, false)),
            None => self.late.front().map(|entry| (entry, true)),
        }
    }

    /// Every waiting request.
    pub fn requests(&self) -> impl Iterator<Item = RequestId> {
        self.live.iter().chain(&self.late).map(|entry| entry.id)
    }

    /// How many batches the waiting requests will make, at least.
    pub fn batches(&self) -> u64 {
        match self.batching {
            Some(batching) => {
                let rows_max = u64::from(batching.rows_max.max(1));
                let whole = if self.rows <= rows_max { 1 } else { self.rows.div_ceil(rows_max) };
                whole.min(self.rows).max(self.groups.len() as u64)
            }
            None => self.len() as u64,
        }
    }

    pub fn due(&self, ticket: Ticket) -> Time {
        self.get(ticket).expect("a waiting request").due
    }

    /// What a request had from its arrival until its answer should be there.
    pub fn span(&self, ticket: Ticket) -> Time {
        let entry = self.get(ticket).expect("a waiting request");
        entry.due.saturating_sub(entry.arrived)
    }

    /// Rows of the batch that `leader` would lead now.
    pub fn batch_rows(&self, leader: &Entry) -> u32 {
        let Some(batching) = self.batching else { return leader.rows };
        let rows = self.groups[&leader.key].rows.min(u64::from(batching.rows_max));
        leader.rows.max(rows as u32)
    }

    /// Who leads the next batch: `first` if its batch may start, else another whose batch may. Otherwise when the
    /// next batch may start. `run`: what the first batch's run is predicted to take.
    pub fn leader(
        &self,
        now: Time,
        first: Ticket,
        run: Time,
        policy: &dyn BatchPolicy,
    ) -> Result<Ticket, Time> {
        let Some(batching) = self.batching else { return Ok(first) };
        let start_at = |entry: &Entry| {
            let latest = entry.due.saturating_sub(run);
            policy.start_at(&batching, self.groups[&entry.key].rows, entry.arrived, latest)
        };
        let first = self.get(first).expect("a waiting request");
        let mut wait = start_at(first);
        if wait <= now {
            return Ok(first.ticket);
        }
        let oldest = self.oldest().expect("a queue with a first request");
        let is_full = |entry: &&Entry| Some(&entry.key) == self.full.first();
        let full = match self.full.is_empty() {
            true => None,
            false => self.live.iter().chain(&self.late).find(is_full),
        };
        for entry in [Some(oldest), full].into_iter().flatten() {
            let at = start_at(entry);
            if at <= now {
                return Ok(entry.ticket);
            }
            wait = wait.min(at);
        }
        Err(wait)
    }

    /// Takes the batch that `leader` leads: the leader and the most urgent of those that may join it, as long as
    /// they fit into `rows_max`. Late ones join last.
    pub fn take_batch(&mut self, leader: Ticket, rows_max: u32, batch: &mut Vec<Entry>) {
        let first = self.remove(leader);
        batch.push(first);
        if self.batching.is_none() {
            return;
        }
        let mut wanted = self.groups.get(&first.key).map_or(0, |group| group.members);
        let mut room = u64::from(rows_max).saturating_sub(first.rows.into());
        let (mut at, live) = (0, self.live.len());
        while wanted > 0 && at < self.len() {
            let late = at.checked_sub(self.live.len());
            let entry = late.map_or_else(|| self.live[at], |at| self.late[at]);
            if entry.key != first.key {
                at += 1;
                continue;
            }
            if u64::from(entry.rows) > room {
                break;
            }
            room -= u64::from(entry.rows);
            wanted -= 1;
            match late {
                Some(at) => self.late.remove(at),
                None => self.live.remove(at),
            };
            self.left(&entry);
            batch.push(entry);
        }
        debug_assert!(self.live.len() <= live, "nobody joins the queue here");
    }

    fn get(&self, ticket: Ticket) -> Option<&Entry> {
        match find(&self.live, ticket) {
            Ok(at) => self.live.get(at),
            Err(_) => find(&self.late, ticket).ok().map(|at| &self.late[at]),
        }
    }

    /// Forgets an entry that was taken out.
    fn left(&mut self, entry: &Entry) {
        self.rows -= u64::from(entry.rows);
        let first = Some(&entry.ticket);
        if self.arrivals.front() == first || self.put_off.front() == first {
            self.trim();
        }
        if let Some(batching) = self.batching {
            let group = self.groups.get_mut(&entry.key).expect("the group of a waiting request");
            group.members -= 1;
            let rows = group.rows;
            group.rows -= u64::from(entry.rows);
            let full = u64::from(batching.rows_max);
            if rows >= full
                && (group.rows < full || group.members == 0)
                && let Ok(at) = self.full.binary_search(&entry.key)
            {
                self.full.remove(at);
            }
            if group.members == 0 {
                self.groups.remove(&entry.key);
            }
        }
    }
}

fn join(
    groups: &mut NumberMap<BatchKey, Group>,
    full: &mut Vec<BatchKey>,
    batching: Batching,
    entry: &Entry,
) {
    let group = groups.entry(entry.key).or_default();
    group.members += 1;
    group.rows += u64::from(entry.rows);
    if group.rows >= u64::from(batching.rows_max)
        && let Err(at) = full.binary_search(&entry.key)
    {
        full.insert(at, entry.key);
    }
}

fn find(entries: &VecDeque<Entry>, ticket: Ticket) -> Result<usize, usize> {
    // The first is the one that leaves nearly always.
    match entries.front() {
        Some(first) if first.ticket == ticket => Ok(0),
        Some(_) => entries.binary_search_by(|entry| entry.ticket.cmp(&ticket)),
        None => Err(0),
    }
}

fn insert(entries: &mut VecDeque<Entry>, entry: Entry) {
    match entries.back() {
        Some(last) if last.ticket >= entry.ticket => {
            let at = find(entries, entry.ticket).expect_err("tickets are unique");
            entries.insert(at, entry);
        }
        _ => entries.push_back(entry),
    }
}
