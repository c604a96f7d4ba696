//! What is not a number passes every layer, the vendor's too, and shows in the loss of its step: a layer that turned it
//! into 0 would train on without a word.

use super::finding::Task;
use super::gpu::{self, PRECISIONS};
use super::outcome::Found;
use alexnet::backend::cuda::{Gpu, Graphs, Precision};
use alexnet::backend::parity::losses_with_nan;
use alexnet::backend::{BackendOptions, StepScalars};
use alexnet::error::Result;
use alexnet::model::Network;
use alexnet::model::init::initial_parameters;
use alexnet::recipe::settings::{ModelSettings, UpdateRule};

const OPTIONS: BackendOptions =
    BackendOptions { batch_size: 4, seed: 11, update: UpdateRule::PAPER, label_smoothing: 0.0 };
const SCALARS: StepScalars = StepScalars { step: 3, learning_rate: 0.01 };

pub fn tasks(gpu: &Gpu) -> Vec<Task<'_>> {
    let task = |precision: Precision| {
        Task::check(format!("NaN in any layer shows in the loss: {}", precision.name()), move || tried(gpu, precision))
    };
    PRECISIONS.into_iter().map(task).collect()
}

/// Puts NaN in the biases of one layer after another, and makes a step.
fn tried(gpu: &Gpu, precision: Precision) -> Result<Found> {
    let network = Network::new(&ModelSettings { width: 0.1, ..ModelSettings::default() }, 67, 10)?;
    let mut backend = gpu::backend(gpu, &network, OPTIONS, Graphs::Unused, precision)?;
    let parameters = initial_parameters(&network, OPTIONS.seed);
    let losses = losses_with_nan(&network, &parameters, OPTIONS, SCALARS, backend.as_mut())?;
    let names = network.layers.iter().map(|layer| layer.name.clone());
    let losses: Vec<_> = names.zip(losses).collect();
    Ok(judged(&losses))
}

fn judged(losses: &[(String, f64)]) -> Found {
    let hidden = losses.iter().filter(|(_, loss)| !loss.is_nan());
    let hidden: Vec<_> = hidden.map(|(layer, loss)| format!("{layer} (loss {loss:.3})")).collect();
    if hidden.is_empty() {
        return Found::passed(format!("{} layers", losses.len()));
    }
    Found::failed(format!("hidden by {}", hidden.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_hide_it_are_named() {
        let losses = [("conv1".to_owned(), f64::NAN), ("conv3".to_owned(), 2.3)];
        assert_eq!(judged(&losses), Found::failed("hidden by conv3 (loss 2.300)"));
        assert_eq!(judged(&losses[..1]), Found::passed("1 layers"));
    }
}
