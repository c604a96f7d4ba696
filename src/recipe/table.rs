//! Layers that a recipe writes itself, one `[[layer]]` each, from the image to the logits.
//!
//! ```toml
//! [[layer]]
//! name = "conv1"
//! kind = "conv"
//! filters = 64
//! kernel_size = 11
//! stride = 4
//! padding = 2
//! tail = ["relu", "pool"]
//!
//! [[layer]]
//! name = "fc2"
//! kind = "dense" # without units: the classes
//! ```

use serde::{Deserialize, Serialize};

use super::alexnet::{OVERLAPPING, dropout, local_response, rounded};
use super::settings::{DropoutSide, ModelSettings};
use crate::model::layers::{
    BiasRule, ConvSpec, DenseSpec, Deviation, DropoutPlace, LayerSpec, Operation, Pool, Tail, Units,
};

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum LayerRow {
    /// A convolution; all of them come before the dense layers.
    Conv(ConvRow),
    /// A dense layer.
    Dense(DenseRow),
}

/// A convolution and its tail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvRow {
    /// Names its tensors in checkpoints.
    pub name: String,
    /// Channels of the output at `model.width` 1.
    pub filters: usize,
    /// Height and width of a filter.
    pub kernel_size: usize,
    /// Pixels between the places of a filter: 1 if not said.
    #[serde(default = "one")]
    pub stride: usize,
    /// Zeros on each side of the input: none if not said.
    #[serde(default)]
    pub padding: usize,
    /// Each group of output channels sees its group of input channels only: 1 if not said.
    #[serde(default = "one")]
    pub groups: usize,
    /// What follows the bias, in this order: ReLU alone if not said.
    #[serde(default = "relu")]
    pub tail: Vec<TailWord>,
    /// The window and stride of `pool`: 3 by 2, the paper's, if not said.
    #[serde(default = "pool")]
    pub pool: PoolRow,
    /// The standard deviation of the initial weights: 0.01, the paper's, if not said.
    #[serde(default)]
    pub deviation: DeviationWord,
    /// The initial bias: 0 if not said.
    #[serde(default)]
    pub bias: f64,
}

/// A dense layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseRow {
    /// Names its tensors in checkpoints.
    pub name: String,
    /// Outputs at `model.width` 1, with ReLU behind them. Without it, the layer gives the logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// Where units are dropped in training, with the probability `model.dropout`: nowhere if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<DropoutSide>,
    /// The standard deviation of the initial weights: 0.01, the paper's, if not said.
    #[serde(default)]
    pub deviation: DeviationWord,
    /// The initial bias: 0 if not said.
    #[serde(default)]
    pub bias: f64,
}

/// An operation behind a convolution's bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TailWord {
    /// max(x, 0).
    Relu,
    /// Local response normalisation, with the numbers of `model.lrn`.
    Lrn,
    /// Max pooling.
    Pool,
}

/// Max pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRow {
    /// Height and width of a window.
    pub window: usize,
    /// Pixels between windows.
    pub stride: usize,
}

/// A number, or `he` or `pytorch` (`model.init`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a deviation is a number, \"he\" or \"pytorch\"")]
pub enum DeviationWord {
    /// This number.
    Of(f64),
    /// By the layer's number of inputs.
    Scheme(DeviationScheme),
}

/// A deviation that follows from a layer's number of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviationScheme {
    /// sqrt(2 / inputs).
    He,
    /// sqrt(1 / (3 inputs)).
    PyTorch,
}

impl Default for DeviationWord {
    fn default() -> Self {
        Self::Of(0.01)
    }
}

fn one() -> usize {
    1
}

fn relu() -> Vec<TailWord> {
    vec![TailWord::Relu]
}

fn pool() -> PoolRow {
    PoolRow { window: OVERLAPPING.window, stride: OVERLAPPING.stride }
}

/// The layers of the rows; `rule` is that of all biases.
pub(super) fn layers(settings: &ModelSettings, rule: BiasRule) -> Vec<LayerSpec> {
    settings.layers.iter().map(|row| layer(row, settings, rule)).collect()
}

fn layer(row: &LayerRow, settings: &ModelSettings, bias_rule: BiasRule) -> LayerSpec {
    let (name, deviation, bias, operation) = match row {
        LayerRow::Conv(row) => {
            let tail = row.tail.iter().map(|word| match word {
                TailWord::Relu => Tail::Relu,
                TailWord::Lrn => local_response(settings),
                TailWord::Pool => Tail::Pool(Pool { window: row.pool.window, stride: row.pool.stride }),
            });
            let conv = ConvSpec {
                filters: scaled(row.filters, row.groups, settings),
                kernel_size: row.kernel_size,
                stride: row.stride,
                padding: row.padding,
                groups: row.groups,
                tail: tail.collect(),
            };
            (&row.name, row.deviation, row.bias, Operation::Conv(conv))
        }
        LayerRow::Dense(row) => {
            let units = row.units.map_or(Units::Classes, |units| Units::Hidden(scaled(units, 1, settings)));
            let dropout = match row.dropout {
                None => DropoutPlace::None,
                Some(DropoutSide::Inputs) => DropoutPlace::Before(dropout(settings)),
                Some(DropoutSide::Outputs) => DropoutPlace::After(dropout(settings)),
            };
            (&row.name, row.deviation, row.bias, Operation::Dense(DenseSpec { units, dropout }))
        }
    };
    let deviation = match deviation {
        DeviationWord::Of(deviation) => Deviation::Of(deviation),
        DeviationWord::Scheme(DeviationScheme::He) => Deviation::He,
        DeviationWord::Scheme(DeviationScheme::PyTorch) => Deviation::PyTorch,
    };
    LayerSpec { name: name.clone(), operation, deviation, bias, bias_rule }
}

/// As written at width 1, where no multiple is asked for.
fn scaled(channels: usize, groups: usize, settings: &ModelSettings) -> usize {
    if settings.width == 1.0 { channels } else { rounded(channels, 8 * groups.max(1), settings.width) }
}

#[cfg(test)]
mod tests {
    use crate::model::Network;
    use crate::recipe::Recipe;
    use crate::recipe::settings::ModelSettings;

    /// AlexNet's table, written out.
    const ALEXNET: &str = r#"
        [[layer]]
        name = "conv1"
        kind = "conv"
        filters = 96
        kernel_size = 11
        stride = 4
        tail = ["relu", "lrn", "pool"]
        [[layer]]
        name = "conv2"
        kind = "conv"
        filters = 256
        kernel_size = 5
        padding = 2
        tail = ["relu", "lrn", "pool"]
        bias = 1
        [[layer]]
        name = "conv3"
        kind = "conv"
        filters = 384
        kernel_size = 3
        padding = 1
        [[layer]]
        name = "conv4"
        kind = "conv"
        filters = 384
        kernel_size = 3
        padding = 1
        bias = 1
        [[layer]]
        name = "conv5"
        kind = "conv"
        filters = 256
        kernel_size = 3
        padding = 1
        tail = ["relu", "pool"]
        bias = 1
        [[layer]]
        name = "fc6"
        kind = "dense"
        units = 4096
        dropout = "outputs"
        bias = 1
        [[layer]]
        name = "fc7"
        kind = "dense"
        units = 4096
        dropout = "outputs"
        bias = 1
        [[layer]]
        name = "fc8"
        kind = "dense"
    "#;

    fn network(settings: &ModelSettings) -> Network {
        Network::new(settings, 227, 1000).unwrap()
    }

    #[test]
    fn alexnet_written_out_is_alexnet_at_every_width() {
        let mut written = Recipe::parse("own", ALEXNET, "own.toml").unwrap().settings.model;
        let mut built_in = ModelSettings::default();
        for width in [1.0, 0.25] {
            (written.width, built_in.width) = (width, width);
            assert_eq!(network(&written), network(&built_in), "{width}");
        }
    }

    #[test]
    fn a_written_table_survives_its_own_toml_and_takes_the_keys_of_its_layers() {
        let text = ALEXNET.replace("conv1", "first") + "[model.layer]\nfirst = { stride = 3, deviation = 0.5 }";
        let recipe = Recipe::parse("own", &text, "own.toml").unwrap();
        let first = &network(&recipe.settings.model).layers[0];
        assert_eq!((first.name.as_str(), first.initial.deviation), ("first", 0.5));
        assert_eq!(Recipe::parse("own", &recipe.to_toml(), "test").unwrap(), recipe);
    }

    #[test]
    fn deviations_may_be_words_and_channels_any_number() {
        let text = "[[layer]]\nname = 'c'\nkind = 'conv'\nfilters = 5\nkernel_size = 3\ndeviation = 'he'\n\
                    pool = { window = 2, stride = 2 }\ntail = ['pool']\n\
                    [[layer]]\nname = 'd'\nkind = 'dense'\ndeviation = 'pytorch'";
        let network = network(&Recipe::parse("own", text, "own.toml").unwrap().settings.model);
        let deviations: Vec<f64> = network.layers.iter().map(|layer| layer.initial.deviation).collect();
        let inputs = 5 * 112 * 112;
        assert_eq!(deviations, [(2.0_f64 / 27.0).sqrt(), (3.0 * f64::from(inputs)).sqrt().recip()]);
    }

    #[test]
    fn rows_that_say_too_little_too_much_or_nonsense_are_refused() {
        for (row, expected) in [
            ("name = 'c'\nkind = 'conv'\nkernel_size = 3", "filters"),
            ("name = 'c'\nkind = 'conv'\nfilters = 8\nkernel_size = 3\nunits = 9", "units"),
            ("name = 'c'\nkind = 'recurrent'", "recurrent"),
            ("name = 'c'\nkind = 'dense'\ndeviation = 'wide'", "deviation"),
            ("kind = 'dense'", "name"),
        ] {
            let message = Recipe::parse("own", &format!("[[layer]]\n{row}"), "own.toml").unwrap_err().to_string();
            assert!(message.contains("own.toml: model.layers") && message.contains(expected), "{row}: {message}");
        }
    }
}
