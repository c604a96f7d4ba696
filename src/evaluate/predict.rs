//! What pictures show, from a checkpoint alone: the classes, the mean image and the recipe travel in it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::pictures;
use crate::backend::{BackendOptions, Choice, Chosen, Pass, Slot, StepScalars};
use crate::error::Result;
use crate::input::augment::{Augmenter, Value};
use crate::input::{Augmentation, Batch, Values};
use crate::pack::decode::Decoder;
use crate::shard::SAMPLE_BYTES;
use crate::train::checkpoint::RunState;
use crate::train::experiment::Experiment;
use crate::weights::{self, Given, Opened, Origin};

/// Pictures of one pass through the network.
const BATCH_SIZE: usize = 16;

/// What `predict` is asked for.
#[derive(Clone, Debug)]
pub struct PredictOptions {
    /// The checkpoint file to predict with.
    pub checkpoint: PathBuf,
    /// What is said about the file beside it.
    pub given: Given,
    /// The picture files, known by their content, and folders of them.
    pub images: Vec<PathBuf>,
    /// The likeliest so many classes are told.
    pub top: usize,
    /// Who computes, and how.
    pub compute: Choice,
}

/// What one picture shows, or why it could not be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The file as it was named.
    pub image: String,
    /// The likeliest classes, falling; empty where the picture could not be read.
    pub classes: Vec<Likely>,
    /// Why the picture could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A class and how likely it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Likely {
    /// The class's name in the dataset.
    pub class: String,
    /// The softmax output of the centre view, 0 to 1.
    pub probability: f32,
}

/// Predicts every picture's class; one that cannot be read does not keep the others from being predicted.
pub fn predict(options: &PredictOptions) -> Result<Vec<Prediction>> {
    let chosen = Chosen::new(&options.compute)?;
    let Opened { experiment, origin } = weights::open(&options.checkpoint, &options.given)?;
    if let Origin::Converted(said) = origin {
        crate::tell!("{said}");
    }
    let Experiment { state, network, parameters, mean, augmentation, .. } = experiment;
    let images = pictures::list(&options.images)?;
    let batch_size = images.len().clamp(1, BATCH_SIZE);
    let mut reader = Reader { augmentation, mean, decoder: Decoder::default(), sample: vec![0; SAMPLE_BYTES] };
    let mut backend = chosen.open(&network, BackendOptions::for_evaluation(batch_size))?;
    backend.load(&parameters)?;
    let mut predictions = Vec::with_capacity(images.len());
    let mut batch = Batch::zeros(backend.input_dtype(), batch_size, network.input_values());
    for images in images.chunks(batch_size) {
        let errors = reader.fill(images, &mut batch);
        backend.upload(Slot::Even, batch)?;
        backend.run(Slot::Even, Pass::Eval, StepScalars { step: 0, learning_rate: 0.0 })?;
        let probabilities = backend.probabilities(Slot::Even)?.chunks_exact(network.num_classes);
        for ((image, error), probabilities) in images.iter().zip(errors).zip(probabilities) {
            let classes = match error {
                None => likeliest(&state, probabilities, options.top),
                Some(_) => Vec::new(),
            };
            predictions.push(Prediction { image: image.display().to_string(), classes, error });
        }
        batch = backend.reclaim(Slot::Even)?.expect("the batch that was uploaded");
    }
    Ok(predictions)
}

/// Turns picture files into inputs.
struct Reader {
    augmentation: Augmentation,
    mean: Vec<u8>,
    decoder: Decoder,
    sample: Vec<u8>,
}

impl Reader {
    /// Fills the batch with the centre views of `images`; what could not be read is left as zeros.
    fn fill(&mut self, images: &[PathBuf], batch: &mut Batch) -> Vec<Option<String>> {
        batch.num_valid = images.len();
        match &mut batch.values {
            Values::F32(values) => self.fill_values(images, values),
            Values::F16(values) => self.fill_values(images, values),
        }
    }

    fn fill_values<T: Value>(&mut self, images: &[PathBuf], values: &mut [T]) -> Vec<Option<String>> {
        let frame = self.augmentation.frame();
        let mut errors = Vec::with_capacity(images.len());
        for (image, values) in images.iter().zip(values.chunks_exact_mut(frame.num_values())) {
            let read = self.read(image);
            if read.is_ok() {
                let view = self.augmentation.centre_view(0);
                Augmenter::fastest().write(&self.sample, &self.mean, &view, frame, values);
            } else {
                values.fill(T::ZERO);
            }
            errors.push(read.err());
        }
        errors
    }

    fn read(&mut self, image: &Path) -> Result<(), String> {
        let file = std::fs::read(image).map_err(|error| error.to_string())?;
        self.decoder.decode(&file, &mut self.sample).map_err(|unreadable| unreadable.0)?;
        for (pixel, mean) in self.sample.iter_mut().zip(&self.mean) {
            *pixel = pixel.wrapping_sub(*mean);
        }
        Ok(())
    }
}

fn likeliest(state: &RunState, probabilities: &[f32], top: usize) -> Vec<Likely> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    let likely = |label: usize| Likely { class: state.classes[label].clone(), probability: probabilities[label] };
    order.into_iter().take(top).map(likely).collect()
}
