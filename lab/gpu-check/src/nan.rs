//! What is not a number passes every layer, the vendor's too, and shows in the loss of its step: a layer that turned it
//! into 0 would train on without a word.

use super::finding::Task;
use super::gpu::{self, PRECISIONS};
use super::outcome::Found;
use alexnet::backend::cuda::{Gpu, Graphs, Precision};
use alexnet::backend::{BackendOptions, Pass, Slot, StepScalars};
use alexnet::error::Result;
use alexnet::input::Batch;
use alexnet::model::Network;
use alexnet::model::init::initial_parameters;
use alexnet::recipe::settings::{ModelSettings, UpdateRule};

const OPTIONS: BackendOptions = BackendOptions { batch_size: 4, seed: 11, update: UpdateRule::PAPER };
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
    let mut batch = Batch::zeros(backend.input_dtype(), OPTIONS.batch_size, network.input_values());
    batch.num_valid = OPTIONS.batch_size;
    let mut losses = Vec::new();
    for (index, layer) in network.layers.iter().enumerate() {
        let mut parameters = initial_parameters(&network, OPTIONS.seed);
        let biases = parameters.layout.layers()[index].bias.clone();
        parameters.values[biases].fill(f32::NAN);
        backend.load(&parameters)?;
        backend.upload(Slot::Even, batch)?;
        backend.run(Slot::Even, Pass::Train, SCALARS)?;
        losses.push((layer.name.clone(), backend.statistics(Slot::Even)?.loss_sum));
        batch = backend.reclaim(Slot::Even)?.expect("the batch that was uploaded");
    }
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
