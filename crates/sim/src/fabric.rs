//! Links that copies share: who gets how much of them.
//!
//! Each copy in flight is a flow with a limit of its own and the shared links that it crosses. Shared links are divided
//! by progressive filling (max-min fairness): all flows grow together until a link or a limit stops some of them.

use sublet_units::Time;

/// Work left in a flow: bytes × 10⁹, so that a rate in bytes per second takes off whole units each nanosecond.
const UNIT: u128 = 1_000_000_000;

/// Flows of one server and the links that they share. A server has few devices, so that plain loops do.
#[derive(Debug, Default)]
pub(crate) struct Fabric {
    servers: Vec<Server>,
    /// Rate of each shared link, in bytes per second.
    rates: Vec<u64>,
    /// Flows that cross each shared link now.
    loads: Vec<u32>,
    flows: Vec<Flow>,
    changed: Vec<FlowId>,
}

#[derive(Debug, Default)]
struct Server {
    active: Vec<FlowId>,
}

pub(crate) type FlowId = u32;
pub(crate) type LinkId = u32;

#[derive(Debug)]
struct Flow {
    server: u32,
    links: Vec<LinkId>,
    is_active: bool,
    left: u128,
    limit: u64,
    rate: u64,
    since: Time,
}

impl Fabric {
    /// A link of so many bytes per second that several flows may cross.
    pub fn add_link(&mut self, rate: u64) -> LinkId {
        self.rates.push(rate.max(1));
        self.loads.push(0);
        self.rates.len() as LinkId - 1
    }

    pub fn add_flow(&mut self, server: u32, links: Vec<LinkId>) -> FlowId {
        let servers = self.servers.len().max(server as usize + 1);
        self.servers.resize_with(servers, Server::default);
        let since = Time::ZERO;
        self.flows.push(Flow {
            server,
            links,
            is_active: false,
            left: 0,
            limit: 1,
            rate: 1,
            since,
        });
        self.flows.len() as FlowId - 1
    }

    /// Lets an idle flow cross other links from now on.
    pub fn reroute(&mut self, id: FlowId, links: &[LinkId]) {
        let flow = &mut self.flows[id as usize];
        assert!(!flow.is_active, "a flow keeps its way while it copies");
        flow.links.clear();
        flow.links.extend_from_slice(links);
    }

    pub fn is_active(&self, id: FlowId) -> bool {
        self.flows[id as usize].is_active
    }

    /// Gives a flow so many bytes to copy, at no more than `limit` bytes per second. A flow that was just active goes
    /// on without letting go of its links.
    pub fn start(&mut self, now: Time, id: FlowId, bytes: u64, limit: u64) {
        let flow = &mut self.flows[id as usize];
        flow.left = u128::from(bytes) * UNIT;
        flow.since = now;
        let limit = limit.max(1);
        let same = flow.is_active && flow.limit == limit;
        flow.limit = limit;
        if same {
            self.changed.push(id);
            return;
        }
        if !flow.is_active {
            flow.is_active = true;
            for &link in &flow.links {
                self.loads[link as usize] += 1;
            }
            self.servers[flow.server as usize].active.push(id);
        }
        self.divide(now, id);
        if !self.changed.contains(&id) {
            self.changed.push(id);
        }
    }

    /// Ends a flow, whatever is left of it.
    pub fn stop(&mut self, now: Time, id: FlowId) {
        let flow = &mut self.flows[id as usize];
        if !flow.is_active {
            return;
        }
        flow.is_active = false;
        for &link in &flow.links {
            self.loads[link as usize] -= 1;
        }
        self.servers[flow.server as usize].active.retain(|&other| other != id);
        self.changed.push(id);
        self.divide(now, id);
    }

    /// Flows that got another rate or other work, or were stopped, since the last call; each with the time at which it
    /// will be done.
    pub fn take_changed(&mut self, into: &mut Vec<(FlowId, Time)>) {
        for id in self.changed.drain(..) {
            let flow = &self.flows[id as usize];
            let rate = flow.rate.max(1);
            let needs = match u64::try_from(flow.left) {
                Ok(left) => Time(left.div_ceil(rate)),
                Err(_) => {
                    let needs = flow.left.div_ceil(u128::from(rate));
                    Time(u64::try_from(needs).unwrap_or(u64::MAX))
                }
            };
            into.push((id, flow.since.saturating_add(needs)));
        }
    }

    /// Divides the links that a flow shares with others anew.
    fn divide(&mut self, now: Time, id: FlowId) {
        let flow = &mut self.flows[id as usize];
        let others = if flow.is_active { 1 } else { 0 };
        if flow.links.iter().all(|&link| self.loads[link as usize] <= others) {
            let free = flow.links.iter().map(|&link| self.rates[link as usize]).min();
            flow.rate = flow.limit.min(free.unwrap_or(u64::MAX));
            return;
        }
        let server = flow.server as usize;
        let mut open: Vec<FlowId> = self.servers[server].active.clone();
        let mut room: Vec<(LinkId, u64, u32)> = Vec::new();
        for &id in &open {
            for &link in &self.flows[id as usize].links {
                match room.iter_mut().find(|(at, ..)| *at == link) {
                    Some((_, _, count)) => *count += 1,
                    None => room.push((link, self.rates[link as usize], 1)),
                }
            }
        }
        while !open.is_empty() {
            let share = |id: &FlowId| {
                let flow = &self.flows[*id as usize];
                let links = room.iter().filter(|(link, ..)| flow.links.contains(link));
                links.map(|&(_, left, count)| left / u64::from(count)).min().unwrap_or(u64::MAX)
            };
            let bounded = |id: &FlowId| share(id).min(self.flows[*id as usize].limit);
            let (at, rate) = open
                .iter()
                .map(bounded)
                .enumerate()
                .min_by_key(|&(_, rate)| rate)
                .expect("an open flow");
            let id = open.remove(at);
            let flow = &mut self.flows[id as usize];
            for entry in room.iter_mut().filter(|(link, ..)| flow.links.contains(link)) {
                entry.1 = entry.1.saturating_sub(rate);
                entry.2 -= 1;
            }
            let rate = rate.max(1);
            if flow.rate != rate || flow.since == now {
                let elapsed = u128::from(now.saturating_sub(flow.since).0);
                flow.left = flow.left.saturating_sub(elapsed * u128::from(flow.rate));
                (flow.rate, flow.since) = (rate, now);
                if !self.changed.contains(&id) {
                    self.changed.push(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(fabric: &mut Fabric) -> Vec<(FlowId, u64)> {
        let mut into = Vec::new();
        fabric.take_changed(&mut into);
        into.sort_unstable();
        into.into_iter().map(|(id, time)| (id, time.0 / 1_000_000)).collect()
    }

    #[test]
    fn two_flows_share_a_switch_and_one_has_it_alone_again() {
        let mut fabric = Fabric::default();
        let switch = fabric.add_link(1_000_000);
        let (a, b) = (fabric.add_flow(0, vec![switch]), fabric.add_flow(0, vec![switch]));
        fabric.start(Time::ZERO, a, 100_000, 800_000);
        assert_eq!(changed(&mut fabric), [(a, 125)]);
        // After 50 ms 60 kB are left; at half a megabyte per second they take 120 ms.
        fabric.start(Time::from_millis(50), b, 20_000, 800_000);
        assert_eq!(changed(&mut fabric), [(a, 170), (b, 90)]);
        // After 40 ms more b is done and a has 40 kB left.
        fabric.stop(Time::from_millis(90), b);
        assert_eq!(changed(&mut fabric)[0], (a, 140));
    }

    #[test]
    fn what_a_slow_flow_leaves_goes_to_the_others() {
        let mut fabric = Fabric::default();
        let switch = fabric.add_link(1_000_000);
        let (a, b) = (fabric.add_flow(0, vec![switch]), fabric.add_flow(0, vec![switch]));
        fabric.start(Time::ZERO, a, 100_000, 100_000);
        fabric.start(Time::ZERO, b, 90_000, 5_000_000);
        assert_eq!(changed(&mut fabric), [(a, 1000), (b, 100)]);
        assert!(fabric.is_active(a));
    }
}
