//! The inside of a step: its calls, and their order, once for every backend.

use super::Pass;
use crate::error::Result;

/// A call that a step makes of a backend's layers, which count from 0 (conv1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A block forward, from the output of the block before it (the input, for layer 0).
    Forward(usize),
    /// Softmax and cross-entropy over the logits; in training also their gradient.
    Loss,
    /// A block backward: the gradients of its weights, biases and input (but for layer 0).
    Backward(usize),
    /// A layer's weights and velocities, from its gradients.
    Update(usize),
}

impl Call {
    /// Whether it may run beside the backward passes.
    pub fn is_update(self) -> bool {
        matches!(self, Self::Update(_))
    }
}

/// The calls of a step in their order.
pub fn calls(num_layers: usize, pass: Pass) -> impl Iterator<Item = Call> {
    let forward = (0..num_layers).map(Call::Forward).chain([Call::Loss]);
    let num_backward = match pass {
        Pass::Train => num_layers,
        Pass::Eval => 0,
    };
    forward.chain((0..num_backward).rev().flat_map(|layer| [Call::Backward(layer), Call::Update(layer)]))
}

/// What a backend's step is made of.
pub(super) trait Layers {
    /// Shows that a step is under way, and on what. Only the backend's own `run` makes one, so no call can be made
    /// outside.
    type Step;

    fn forward(&mut self, step: &Self::Step, layer: usize) -> Result<()>;
    fn loss(&mut self, step: &Self::Step) -> Result<()>;
    fn backward(&mut self, step: &Self::Step, layer: usize) -> Result<()>;
    fn update(&mut self, step: &Self::Step, layer: usize) -> Result<()>;

    fn call(&mut self, step: &Self::Step, call: Call) -> Result<()> {
        match call {
            Call::Forward(layer) => self.forward(step, layer),
            Call::Loss => self.loss(step),
            Call::Backward(layer) => self.backward(step, layer),
            Call::Update(layer) => self.update(step, layer),
        }
    }
}
