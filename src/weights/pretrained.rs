//! Another program's weights on their way to a network of ours: which recipe's, how wide, and what is converted.

use std::path::Path;

use super::Given;
use super::classes::{self, Classes};
use super::view::View;
use crate::error::{Error, Result};
use crate::input::Augmentation;
use crate::model::layers::Operation;
use crate::model::{Block, Network, ParameterLayout, Parameters};
use crate::recipe::settings::{LayerSettings, ModelSettings};
use crate::recipe::{Recipe, alexnet, limits};
use crate::shard::{CHANNELS, SAMPLE_BYTES, SIDE};
use crate::train::checkpoint::RunState;
use crate::train::experiment::Experiment;

/// A file's weights, from conv1 to fc8, and what they expect of an input.
#[derive(Debug)]
pub(super) struct Pretrained {
    /// What the file is, as its reader tells it apart.
    pub(super) format: &'static str,
    /// The recipe that its network is of, at any width, or why that is not clear.
    pub(super) recipe: Result<Recipe, String>,
    pub(super) layers: Vec<LayerTensors>,
    pub(super) input: InputForm,
    pub(super) classes: Option<Vec<String>>,
}

/// A layer's tensors in our order of dimensions: (O, I, H, W) or (out, in, ...), and (O).
#[derive(Clone, Debug)]
pub(super) struct LayerTensors {
    pub(super) weight: View,
    pub(super) bias: View,
}

/// What the network was given in training, (pixel - mean) * scale.
#[derive(Clone, Debug)]
pub(super) struct InputForm {
    pub(super) mean: Mean,
    /// Of red, green and blue.
    pub(super) scale: [f64; CHANNELS],
    /// What was changed of the file's order and what is folded, in words.
    pub(super) said: String,
}

impl InputForm {
    /// Caffe's: values of 0-255 without the mean colour of ImageNet, blue first until the reader turned them round.
    pub(super) fn caffe(reordered: &str) -> Self {
        let channels = "channels from blue, green, red to red, green, blue";
        let said = if reordered.is_empty() { channels.into() } else { format!("{channels}, {reordered}") };
        Self { mean: Mean::Colour([123.0, 117.0, 104.0]), scale: [1.0; CHANNELS], said }
    }
}

/// What is subtracted, on the 0-255 scale.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mean {
    /// Of red, green and blue.
    Colour([f64; CHANNELS]),
    /// (3, 256, 256), and what is left to add to each channel's values.
    Image { whole: Vec<u8>, shift: [f32; CHANNELS] },
}

impl Pretrained {
    /// A network of the file's own, with its own mean: what evaluation and prediction ask. Says what it converted.
    pub(super) fn experiment(self, path: &Path, given: &Given) -> Result<(Experiment, String)> {
        let recipe = self.fitted(path, given)?;
        let num_classes = self.num_classes();
        let Classes { names, said: classes_said } =
            classes::of_network(path, given.classes.as_deref(), self.classes.clone(), num_classes)?;
        let state = RunState::untrained(recipe, names);
        let network = state.network()?;
        let mut parameters = Parameters::zeros(ParameterLayout::new(&network));
        let settings = &state.recipe.settings;
        self.copy_into(path, &network, settings.augment.scale, &mut parameters)?;
        let (mean, shift) = self.input.mean.whole();
        let said = format!(
            "{}: {}, recipe {}: {}; {} subtracted; {classes_said}",
            path.display(),
            self.format,
            state.recipe.name,
            self.input.said,
            self.input.mean.said()
        );
        let augmentation = Augmentation::new(&settings.augment, &state.statistics).shifted(shift);
        Ok((Experiment { dataset: None, state, network, parameters, mean, augmentation }, said))
    }

    /// Copies the weights into a run's first ones. Says what it converted, and what the run does otherwise.
    pub(super) fn start(&self, path: &Path, experiment: &mut Experiment) -> Result<String> {
        let Experiment { state, network, parameters, .. } = experiment;
        self.check_shapes(path, network, &state.recipe)?;
        self.copy_into(path, network, state.recipe.settings.augment.scale, parameters)?;
        let mut said = format!("{}: {}: {}", path.display(), self.format, self.input.said);
        said += &format!("; {} was subtracted there, the dataset's mean image is here", self.input.mean.said());
        let theirs = self.recipe.as_ref().map(|recipe| &recipe.settings.model.lrn);
        let ours = &state.recipe.settings.model.lrn;
        if theirs.is_ok_and(|theirs| theirs != ours) {
            let theirs = theirs.expect("just seen");
            said += &format!("; its network has model.lrn = {}, this run {}", inline(theirs), inline(ours));
        }
        Ok(said)
    }

    /// The built-in recipe of a name.
    pub(super) fn built_in(name: &str) -> Result<Recipe, String> {
        Ok(Recipe::load(name, &[]).expect("a built-in recipe"))
    }

    fn num_classes(&self) -> usize {
        self.layers.last().expect("fc8").bias.num_values()
    }

    /// The recipe that was given, or the file's own, at the file's width.
    fn fitted(&self, path: &Path, given: &Given) -> Result<Recipe> {
        let mut recipe = match (&given.recipe, &self.recipe) {
            (Some(given), _) => given.clone(),
            (None, Ok(own)) => own.clone(),
            (None, Err(unclear)) => return Err(Error::data(path, unclear)),
        };
        let problem = |problem: &str| Error::data(path, format!("{}: {problem}", self.format));
        // A table of layers says its own sizes.
        if recipe.settings.model.layers.is_empty() {
            fit(&mut recipe.settings.model, &self.layers).map_err(|unfit| problem(&unfit))?;
        }
        limits::check(&recipe.settings)?;
        let augment = &recipe.settings.augment;
        let network = Network::new(&recipe.settings.model, augment.canvas, self.num_classes())?;
        self.check_shapes(path, &network, &recipe)?;
        Ok(recipe)
    }

    fn check_shapes(&self, path: &Path, network: &Network, recipe: &Recipe) -> Result<()> {
        let own = match &self.recipe {
            Ok(own) => format!("; the file is of the recipe {}", own.name),
            Err(_) => String::new(),
        };
        if network.layers.len() != self.layers.len() {
            let (theirs, ours) = (self.layers.len(), network.layers.len());
            let problem = format!("{}: {theirs} layers, but the recipe {} has {ours}{own}", self.format, recipe.name);
            return Err(Error::data(path, problem));
        }
        for (layer, tensors) in network.layers.iter().zip(&self.layers) {
            let (expected, found) = (layer.block.weight_shape(), flat_shape(&tensors.weight, &layer.block));
            if expected != found || tensors.bias.num_values() != layer.block.num_biases() {
                let (canvas, width) = (recipe.settings.augment.canvas, recipe.settings.model.width);
                return Err(Error::data(
                    path,
                    format!(
                        "{}: {}.weight is {found:?} with {} biases, but the recipe {} with model.width = {width} and \
                         augment.canvas = {canvas} has {expected:?}{own}; name another with --recipe, or change keys \
                         with a recipe of your own",
                        self.format,
                        layer.name,
                        tensors.bias.num_values(),
                        recipe.name,
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Copies all weights, whose shapes are the network's; inputs will be multiplied by `scale`.
    fn copy_into(&self, path: &Path, network: &Network, scale: f64, parameters: &mut Parameters) -> Result<()> {
        let layout = parameters.layout.clone();
        let eval_scales = network.eval_scales();
        for ((place, tensors), eval_scale) in layout.layers().iter().zip(&self.layers).zip(eval_scales) {
            let weights = &mut parameters.values[place.weight.clone()];
            tensors.weight.gather(weights);
            // What evaluation will multiply the inputs by is divided out: the file's network does not.
            if eval_scale != 1.0 {
                weights.iter_mut().for_each(|weight| *weight /= eval_scale);
            }
            tensors.bias.gather(&mut parameters.values[place.bias.clone()]);
            if parameters.values[place.all()].iter().any(|value| !value.is_finite()) {
                return Err(Error::data(
                    path,
                    format!("{} has values that are not finite; use another file", place.name),
                ));
            }
        }
        let conv1 = &layout.layers()[0];
        let num_taps: usize = conv1.weight_shape[2..].iter().product();
        let channels = parameters.values[conv1.weight.clone()].chunks_exact_mut(num_taps);
        for (channel, weights) in channels.enumerate() {
            let own = self.input.scale[channel % CHANNELS];
            // Frames multiply by an f32.
            if own as f32 != scale as f32 {
                let factor = own / f64::from(scale as f32);
                weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * factor) as f32);
            }
        }
        Ok(())
    }
}

impl Mean {
    /// In whole numbers, (3, 256, 256), and what is left to add to each channel's values.
    fn whole(&self) -> (Vec<u8>, [f32; CHANNELS]) {
        match self {
            Self::Image { whole, shift } => (whole.clone(), *shift),
            Self::Colour(colour) => {
                let mut image = Vec::with_capacity(SAMPLE_BYTES);
                colour.iter().for_each(|mean| image.extend(std::iter::repeat_n(mean.round() as u8, SIDE * SIDE)));
                (image, colour.map(|mean| (mean.round() - mean) as f32))
            }
        }
    }

    fn said(&self) -> String {
        match self {
            Self::Image { .. } => "its own mean image".into(),
            Self::Colour([red, green, blue]) => format!("the mean colour ({red:.1}, {green:.1}, {blue:.1})"),
        }
    }
}

/// The shape as the layer has it: a dense layer's inputs may still be (C, H, W).
fn flat_shape(weight: &View, block: &Block) -> Vec<usize> {
    let shape = weight.shape();
    match (block, &shape[..]) {
        (Block::Dense(_), [outputs, inputs @ ..]) => vec![*outputs, inputs.iter().product()],
        _ => shape,
    }
}

/// Chooses towers, width and, where that does not give them, filters, so that the layers have the outputs of `layers`.
fn fit(model: &mut ModelSettings, layers: &[LayerTensors]) -> Result<(), String> {
    let outputs: Vec<usize> = layers.iter().map(|layer| layer.bias.num_values()).collect();
    let seen_by_conv2 = layers[1].weight.shape().get(1).copied().unwrap_or(0);
    model.towers = match outputs[0].checked_div(seen_by_conv2) {
        Some(1) => 1,
        Some(2) => 2,
        _ => return Err(format!("conv2 sees {seen_by_conv2} of {} channels; expected all or half", outputs[0])),
    };
    let hidden = |model: &ModelSettings| {
        let layers = alexnet::layers(&ModelSettings { layer: Default::default(), ..model.clone() });
        layers
            .iter()
            .find_map(|layer| if let Operation::Dense(dense) = &layer.operation { dense.hidden() } else { None })
    };
    if hidden(model) != Some(outputs[5]) {
        model.width = (outputs[5] as f64 / 4096.0).max(0.01);
    }
    for (layer, &outputs) in alexnet::layers(model).iter().zip(&outputs) {
        if let Operation::Conv(conv) = &layer.operation
            && conv.filters != outputs
        {
            let filters = (outputs as f64 / model.width).round() as usize;
            let own = model.layer.entry(layer.name.clone()).or_default();
            *own = LayerSettings { filters: Some(filters), ..own.clone() };
        }
    }
    Ok(())
}

fn inline(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("settings are plain data")
}
