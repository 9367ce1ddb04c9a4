//! Requests and runs: who waits, who runs where, and who has ended.

use super::*;

impl Checker {
    pub(super) fn arrive(&mut self, now: Time, request: &Request) {
        self.waiting += 1;
        if let Some(model) = self.models.get_mut(&request.model) {
            model.open += 1;
        }
        let asked = Asked { request: request.clone(), arrived: now, state: State::Waiting };
        self.requests.insert(request.id, asked);
    }

    pub(super) fn run(
        &mut self,
        now: Time,
        device_id: DeviceId,
        lane: LaneId,
        run: RunId,
        model_id: ModelId,
        requests: &[RequestId],
    ) -> Checked {
        let model = self.models.get(&model_id).ok_or(format!("{run} of unknown {model_id}"))?;
        let instances = self.runs.values().filter(|run| run.model == model_id).count();
        let limit = model.spec.instances.unwrap_or(u32::MAX) as usize;
        ensure(instances < limit, || format!("{run} is one instance of {model_id} too many"))?;
        let device =
            self.devices.get_mut(&device_id).ok_or(format!("{run} goes to {device_id}"))?;
        device.occupy(lane, run).map_err(|what| format!("{run} on {device_id}: {what}"))?;
        let segments = model.spec.segments.len() as u32;
        ensure(device.will_have(model_id, segments), || {
            format!("{run} starts {model_id} without its weights")
        })?;

        let mut rows = 0;
        let key = requests.first().and_then(|id| Some(self.requests.get(id)?.request.key));
        for id in requests {
            let asked = self.requests.get_mut(id).ok_or(format!("{id} is unknown"))?;
            ensure(asked.state != State::Ended, || format!("{id} ends twice"))?;
            ensure(asked.state == State::Waiting, || format!("{id} runs twice"))?;
            asked.state = State::Running;
            self.waiting -= 1;
            let request = &asked.request;
            ensure(request.model == model_id, || format!("{id} is not for {model_id}"))?;
            ensure(requests.len() == 1 || Some(request.key) == key, || {
                format!("{run} mixes keys")
            })?;
            rows += request.rows;
            if self.watched_since.is_some_and(|since| asked.arrived >= since) {
                self.longest_wait = self.longest_wait.max(now - asked.arrived);
            }
        }
        let rows_max = model.spec.batching.map_or(1, |batching| batching.rows_max);
        let fits = rows <= rows_max || requests.len() == 1;
        ensure(fits && !requests.is_empty(), || format!("{run} has {rows} rows"))?;
        let requests = requests.to_vec();
        self.runs.insert(run, Run { device: device_id, lane, model: model_id, requests });
        Ok(())
    }

    pub(super) fn finished(&mut self, device_id: DeviceId, run: RunId, ok: bool) -> Checked {
        let Some(ended) = self.runs.get(&run) else { return Ok(()) };
        let model_id = ended.model;
        if let (true, Some(device), Some(model)) =
            (ok, self.devices.get(&device_id), self.models.get(&model_id))
        {
            let segments = model.spec.segments.len() as u32;
            ensure(device.has_all(model_id, segments), || {
                format!("{run} of {model_id} ends before its weights have arrived")
            })?;
        }
        self.end_run(run)?;
        self.release_failed(device_id, model_id);
        Ok(())
    }

    pub(super) fn end_run(&mut self, run: RunId) -> Checked {
        let Some(run) = self.runs.remove(&run) else { return Ok(()) };
        if let Some(device) = self.devices.get_mut(&run.device) {
            device.vacate(run.lane);
        }
        for id in run.requests {
            let state = self.requests.get(&id).map(|asked| asked.state);
            ensure(state == Some(State::Running), || format!("{id} ends twice"))?;
            self.end(id);
        }
        Ok(())
    }

    pub(super) fn reject(&mut self, now: Time, id: RequestId, reason: RejectReason) -> Checked {
        let asked = self.requests.get(&id).ok_or(format!("{id} is unknown"))?;
        ensure(asked.state != State::Ended, || format!("{id} ends twice"))?;
        ensure(asked.state == State::Waiting, || format!("{id} is rejected while it runs"))?;
        let request = &asked.request;
        let model = self.models.get(&request.model);
        let is_true = match reason {
            RejectReason::NoModel => model.is_none_or(|model| model.removed),
            RejectReason::NeverFits => !self.fits_empty(request.model),
            RejectReason::QueueFull => {
                self.waiting > self.queue_max
                    || model
                        .and_then(|m| m.spec.queue_max)
                        .is_some_and(|max| self.waiting_for(request.model) > max as usize)
            }
            RejectReason::Expired => request.expires.is_some_and(|at| at <= now),
            RejectReason::Cancelled => self.cancelled.contains(&id),
            RejectReason::LoadFailed => true,
            RejectReason::NoDevice => self.devices.is_empty(),
            // Its deadline may be the model's or the scheduler's own.
            RejectReason::TooLate => true,
        };
        ensure(is_true, || format!("{id} is rejected as {reason:?}, which is not so"))?;
        self.waiting -= 1;
        self.end(id);
        Ok(())
    }

    fn waiting_for(&self, model: ModelId) -> usize {
        let waits = |asked: &&Asked| asked.request.model == model && asked.state == State::Waiting;
        self.requests.values().filter(waits).count()
    }

    fn end(&mut self, id: RequestId) {
        let asked = self.requests.get_mut(&id).expect("a request that was looked up");
        asked.state = State::Ended;
        if let Some(model) = self.models.get_mut(&asked.request.model) {
            model.open = model.open.saturating_sub(1);
        }
    }
}
