//! What a network is made of: the learned layers as a table names them, before any size of an image is known.

use crate::error::{Error, Result};

/// A learned layer: the numbers that the paper or a layer file gives. What follows from them is [`super::Layer`]'s.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// Names the layer's tensors in checkpoints and its keys in recipes: `conv1`.
    pub name: String,
    /// The product and what follows it.
    pub operation: Operation,
    /// The standard deviation of the initial weights.
    pub deviation: Deviation,
    /// The initial bias.
    pub bias: f64,
    /// How the biases learn; the weights always decay and learn at the step's rate.
    pub bias_rule: BiasRule,
}

/// The two kinds of learned layers.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// A convolution; all of them come before the dense layers.
    Conv(ConvSpec),
    /// A dense layer, whose inputs are the (C, H, W) values of the layer before it, flattened.
    Dense(DenseSpec),
}

/// A convolution and its tail.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvSpec {
    /// Channels of the output.
    pub filters: usize,
    /// Height and width of a filter.
    pub kernel_size: usize,
    /// Pixels between the places of a filter.
    pub stride: usize,
    /// Zeros on each side of the input.
    pub padding: usize,
    /// Each group of output channels sees its group of input channels only.
    pub groups: usize,
    /// What follows the bias, in this order; at most one pooling.
    pub tail: Vec<Tail>,
}

/// A dense layer.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseSpec {
    /// How many outputs it has, and whether ReLU follows.
    pub units: Units,
    /// Where units are dropped in training.
    pub dropout: DropoutPlace,
}

/// Outputs of a dense layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// So many, followed by ReLU.
    Hidden(usize),
    /// One logit a class: the last layer.
    Classes,
}

/// Where a dense layer has dropout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DropoutPlace {
    /// Nowhere.
    None,
    /// On its inputs, as torchvision's AlexNet has it.
    Before(Dropout),
    /// On its outputs, behind ReLU, as the paper has it (section 4.2).
    After(Dropout),
}

/// Units are dropped with `probability` in training (section 4.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// 0 keeps every unit.
    pub probability: f32,
    /// What a kept unit is multiplied by in training.
    pub train_scale: f32,
    /// What every unit is multiplied by in evaluation.
    pub eval_scale: f32,
}

impl DenseSpec {
    /// The outputs of a layer before the last.
    pub fn hidden(&self) -> Option<usize> {
        if let Units::Hidden(units) = self.units { Some(units) } else { None }
    }
}

impl Dropout {
    /// Keeps every unit as it is.
    pub const OFF: Self = Self { probability: 0.0, train_scale: 1.0, eval_scale: 1.0 };
}

/// An operation after a convolution's bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tail {
    /// max(x, 0) (section 3.1).
    Relu,
    /// Local response normalisation (section 3.3).
    Lrn(Lrn),
    /// Overlapping max pooling (section 3.4).
    Pool(Pool),
}

/// b = a / (k + alpha * sum over n neighbouring channels of a^2)^beta.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lrn {
    /// Keeps the denominator away from zero.
    pub k: f32,
    /// Channels in the sum; odd; fewer at the ends.
    pub n: usize,
    /// Of the sum, not of the mean.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
}

/// Max pooling without padding: out = (side - window) / stride + 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Height and width of a window.
    pub window: usize,
    /// Pixels between windows.
    pub stride: usize,
}

/// The standard deviation of a layer's initial weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deviation {
    /// This number.
    Of(f64),
    /// sqrt(2 / inputs of one output): He, Zhang, Ren and Sun (2015).
    He,
    /// sqrt(1 / (3 inputs of one output)): that of PyTorch's default weights, which are uniform within
    /// sqrt(1 / inputs).
    PyTorch,
}

/// How a layer's biases learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BiasRule {
    /// Times the step's learning rate: 1 in the paper, 2 in Caffe.
    pub rate: f32,
    /// Whether weight decay pulls them to zero as it does the weights.
    pub decay: BiasDecay,
}

/// Whether biases decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BiasDecay {
    /// As the weights do: the paper.
    AsWeights,
    /// Not at all: Caffe.
    Off,
}

impl BiasRule {
    /// As the weights learn: the paper's one rule for all (section 5).
    pub const AS_WEIGHTS: Self = Self { rate: 1.0, decay: BiasDecay::AsWeights };

    /// The weight decay of the biases where the weights have `weight_decay`.
    pub fn weight_decay(&self, weight_decay: f32) -> f32 {
        match self.decay {
            BiasDecay::AsWeights => weight_decay,
            BiasDecay::Off => 0.0,
        }
    }
}

impl LayerSpec {
    /// Refuses numbers that no layer can have, whatever comes before it.
    pub(super) fn check(&self) -> Result<()> {
        if let Operation::Conv(conv) = &self.operation {
            let ConvSpec { filters, kernel_size, stride, padding, groups, tail } = conv;
            for (key, value) in
                [("filters", filters), ("kernel_size", kernel_size), ("stride", stride), ("groups", groups)]
            {
                self.require(key, *value, "1 or more", *value > 0)?;
            }
            self.require("padding", *padding, "less than kernel_size", padding < kernel_size)?;
            self.require("groups", *groups, &format!("a divisor of {filters} filters"), filters % groups == 0)?;
            for op in tail {
                if let Tail::Lrn(Lrn { n, .. }) = op {
                    self.require("n of LRN", n, "an odd number", !n.is_multiple_of(2))?;
                }
            }
            let pools = tail.iter().filter_map(|op| if let Tail::Pool(pool) = op { Some(pool) } else { None });
            self.require("poolings", pools.clone().count(), "one at most", pools.clone().count() <= 1)?;
            for Pool { window, stride } in pools {
                self.require("pooling's window", *window, "1 or more", *window > 0)?;
                self.require("pooling's stride", *stride, "1 or more", *stride > 0)?;
            }
        }
        if let Operation::Dense(DenseSpec { units: Units::Hidden(units), .. }) = self.operation {
            self.require("units", units, "1 or more", units > 0)?;
        }
        Ok(())
    }

    /// An error that names the layer, unless the value is right.
    pub(super) fn require(&self, key: &str, value: impl std::fmt::Display, expected: &str, holds: bool) -> Result<()> {
        if holds {
            return Ok(());
        }
        Err(Error::usage(format!("layer {}: {key} = {value}: expected {expected}", self.name)))
    }
}
