//! How long the device takes for each call of a step: what a table by layer is made of.

use std::rc::Rc;

use super::driver::{Event, Timing};
use super::{CudaBackend, Real};
use crate::backend::step::step;
use crate::backend::{Backend, Pass, Slot, StepScalars};
use crate::error::Result;
use crate::model::network::NUM_LAYERS;

/// A call that a step makes of a backend. Layers count from 0 (conv1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A block forward.
    Forward(usize),
    /// The loss, its gradient and the statistics.
    Loss,
    /// A block backward.
    Backward(usize),
    /// A layer's weights and velocities.
    Update(usize),
}

impl Call {
    /// All of a training step, the updates last: in a step they run beside the backward passes.
    pub fn of_step() -> Vec<Self> {
        let backward = || (0..NUM_LAYERS).rev();
        let forward = (0..NUM_LAYERS).map(Self::Forward);
        forward.chain([Self::Loss]).chain(backward().map(Self::Backward)).chain(backward().map(Self::Update)).collect()
    }

    /// Whether it runs on the side stream.
    pub fn is_update(self) -> bool {
        matches!(self, Self::Update(_))
    }
}

impl<R: Real> CudaBackend<R> {
    /// The seconds of each call of [`Call::of_step`] in a step on the batch in `slot`, launched call by call. Nothing else is under way meanwhile: updates
    /// follow the backward passes, one by one.
    pub fn call_times(&mut self, slot: Slot, scalars: StepScalars) -> Result<Vec<f64>> {
        let calls = Call::of_step();
        let mark = || Event::new(&self.context, Timing::Yes);
        // One before each stream's first call, one after each call.
        let befores = [mark()?, mark()?];
        let afters = calls.iter().map(|_| mark()).collect::<Result<Vec<_>>>()?;
        self.begin(slot, scalars)?;
        self.running = Some(slot);
        // A step ahead gives the host the time to be ahead: else its launches would be what is measured.
        let launched = self.enqueue_calls(Pass::Train, step).and_then(|()| self.marked(&calls, &befores, &afters));
        self.running = None;
        launched?;
        self.slots[slot as usize].finish(&self.streams.compute)?;
        self.context.synchronize()?;
        let num_computed = calls.iter().filter(|call| !call.is_update()).count();
        let (computed, updated) = afters.split_at(num_computed);
        let mut seconds = Vec::with_capacity(calls.len());
        for (before, afters) in befores.iter().zip([computed, updated]) {
            let mut last = before;
            for after in afters {
                seconds.push(after.seconds_since(last)?);
                last = after;
            }
        }
        Ok(seconds)
    }

    fn marked(&mut self, calls: &[Call], befores: &[Event; 2], afters: &[Event]) -> Result<()> {
        let streams = Rc::clone(&self.streams);
        let [before_all, before_updates] = befores;
        streams.compute.record(before_all)?;
        for (call, after) in calls.iter().zip(afters) {
            match *call {
                Call::Forward(layer) => self.forward(layer, Pass::Train)?,
                Call::Loss => self.loss(Pass::Train)?,
                Call::Backward(layer) => {
                    self.backward(layer)?;
                    if layer == 0 {
                        streams.compute.record(after)?;
                        streams.side.wait(after)?;
                        streams.side.record(before_updates)?;
                        continue;
                    }
                }
                Call::Update(layer) => self.update(layer)?,
            }
            let stream = if call.is_update() { &streams.side } else { &streams.compute };
            stream.record(after)?;
        }
        streams.side.record(&self.events.updated)?;
        streams.compute.wait(&self.events.updated)
    }
}
