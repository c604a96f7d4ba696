//! The geometry that follows from a list of layers and the size of an image: what every backend computes.

use super::layers::{
    BiasRule, ConvSpec, DenseSpec, Deviation, Dropout, DropoutPlace, LayerSpec, Operation, Tail, Units,
};
use crate::error::{Error, Result};

/// A network for a given input and number of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Convolutions (conv1 to conv5), then dense layers (fc6 to fc8).
    pub layers: Vec<Layer>,
    /// Height and width of the input (N, 3, canvas, canvas).
    pub canvas: usize,
    /// Outputs of the last layer.
    pub num_classes: usize,
}

/// A learned layer and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// `conv1`, ..., `fc8`.
    pub name: String,
    /// What it computes.
    pub block: Block,
    /// What its parameters begin with.
    pub initial: Initial,
    /// How its biases learn.
    pub bias_rule: BiasRule,
}

/// The distribution of a layer's initial weights, N(0, deviation), and the initial bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Initial {
    /// Of the weights.
    pub deviation: f64,
    /// Of every output channel.
    pub bias: f64,
}

/// The two kinds of learned layers.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Convolution, bias, and a tail of ReLU, LRN and pooling.
    Conv(ConvBlock),
    /// Product, bias, and for hidden layers ReLU and dropout.
    Dense(DenseBlock),
}

/// (N, in_channels, in_side, in_side) to (N, out_channels, out_side, out_side).
#[derive(Clone, Debug, PartialEq)]
pub struct ConvBlock {
    /// Channels of the input.
    pub in_channels: usize,
    /// Height and width of the input.
    pub in_side: usize,
    /// Kernels, and channels of the output.
    pub out_channels: usize,
    /// Height and width of a kernel.
    pub kernel: usize,
    /// Pixels between the places of a kernel.
    pub stride: usize,
    /// Zeros around the input.
    pub pad: usize,
    /// Towers: each group of output channels sees its group of input channels.
    pub groups: usize,
    /// Height and width of the convolution's output, before the tail.
    pub conv_side: usize,
    /// Height and width of the block's output, after the tail.
    pub out_side: usize,
    /// What follows the bias, in this order.
    pub tail: Vec<Tail>,
}

/// (N, inputs) to (N, outputs).
#[derive(Clone, Debug, PartialEq)]
pub struct DenseBlock {
    /// Features of the input; for fc6 (C, H, W) flattened.
    pub inputs: usize,
    /// Features of the output.
    pub outputs: usize,
    /// On the inputs.
    pub dropout_before: Option<Dropout>,
    /// ReLU and dropout behind it; the last layer has neither, its outputs are the logits.
    pub hidden: Option<Dropout>,
}

impl Network {
    /// The network of the given layers, for inputs of (N, 3, canvas, canvas). The last layer, and no other, has the
    /// classes as its units.
    pub fn from_layers(specs: &[LayerSpec], canvas: usize, num_classes: usize) -> Result<Self> {
        let mut layers: Vec<Layer> = Vec::with_capacity(specs.len());
        // (C, H, W) of the image on its way; H = W, and 1 from the first dense layer on.
        let (mut channels, mut side) = (3, canvas);
        for (index, spec) in specs.iter().enumerate() {
            spec.check()?;
            let is_new = layers.iter().all(|layer| layer.name != spec.name);
            spec.require("name", &spec.name, "a name that no other layer has", is_new && !spec.name.is_empty())?;
            let block = match &spec.operation {
                Operation::Conv(conv) => {
                    let before = layers.last().map(|layer| &layer.block);
                    let follows = matches!(before, None | Some(Block::Conv(_)));
                    spec.require("operation", "a convolution", "a dense layer, as the one before it is", follows)?;
                    Block::Conv(conv_block(spec, conv, channels, side, canvas)?)
                }
                Operation::Dense(dense) => {
                    let is_last = index + 1 == specs.len();
                    let units = format!("{:?}", dense.units);
                    let expected = if is_last { "Classes in the last layer" } else { "Hidden before the last layer" };
                    spec.require("units", units, expected, is_last == (dense.units == Units::Classes))?;
                    let drops_logits = is_last && matches!(dense.dropout, DropoutPlace::After(_));
                    spec.require("dropout", "After", "None or Before in the last layer", !drops_logits)?;
                    Block::Dense(dense_block(dense, channels * side * side, num_classes))
                }
            };
            (channels, side) = match &block {
                Block::Conv(conv) => (conv.out_channels, conv.out_side),
                Block::Dense(dense) => (dense.outputs, 1),
            };
            let deviation = match spec.deviation {
                Deviation::Of(deviation) => deviation,
                Deviation::He => (2.0 / block.fan_in() as f64).sqrt(),
                Deviation::PyTorch => (3.0 * block.fan_in() as f64).sqrt().recip(),
            };
            let initial = Initial { deviation, bias: spec.bias };
            layers.push(Layer { name: spec.name.clone(), block, initial, bias_rule: spec.bias_rule });
        }
        if !matches!(layers.last(), Some(Layer { block: Block::Dense(_), .. })) {
            return Err(Error::usage("a network's last layer: expected a dense one with a unit for each class"));
        }
        Ok(Self { layers, canvas, num_classes })
    }

    /// Values of one input image: 3 x canvas x canvas.
    pub fn input_values(&self) -> usize {
        3 * self.canvas * self.canvas
    }

    /// What evaluation multiplies each layer's inputs by, where training drops some of them.
    pub fn eval_scales(&self) -> Vec<f32> {
        let mut behind = 1.0;
        let mut scales = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (before, after) = match &layer.block {
                Block::Conv(_) => (None, None),
                Block::Dense(dense) => (dense.dropout_before, dense.hidden),
            };
            scales.push(behind * before.map_or(1.0, |dropout| dropout.eval_scale));
            behind = after.map_or(1.0, |dropout| dropout.eval_scale);
        }
        scales
    }

    /// Multiply-adds of one image's forward pass.
    pub fn multiply_adds(&self) -> u64 {
        self.layers.iter().map(|layer| layer.block.multiply_adds()).sum()
    }

    /// Floating-point operations of one image's training step: forward, weight gradient, and input gradient of all
    /// layers but the first.
    pub fn step_flops(&self) -> u64 {
        6 * self.multiply_adds() - 2 * self.layers[0].block.multiply_adds()
    }
}

impl Block {
    /// Values of one image's output.
    pub fn output_values(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.out_channels * conv.out_side * conv.out_side,
            Self::Dense(dense) => dense.outputs,
        }
    }

    /// Values of one image's input.
    pub fn input_values(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.in_channels * conv.in_side * conv.in_side,
            Self::Dense(dense) => dense.inputs,
        }
    }

    /// The weights' shape: (O, I, H, W) or (out, in).
    pub fn weight_shape(&self) -> Vec<usize> {
        match self {
            Self::Conv(conv) => {
                vec![conv.out_channels, conv.in_channels / conv.groups, conv.kernel, conv.kernel]
            }
            Self::Dense(dense) => vec![dense.outputs, dense.inputs],
        }
    }

    /// Biases, one an output channel.
    pub fn num_biases(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.out_channels,
            Self::Dense(dense) => dense.outputs,
        }
    }

    /// Inputs of one output: what He's initial values divide by.
    pub fn fan_in(&self) -> usize {
        self.weight_shape()[1..].iter().product()
    }

    /// Multiply-adds of one image's forward pass.
    pub fn multiply_adds(&self) -> u64 {
        let positions = match self {
            Self::Conv(conv) => conv.conv_side * conv.conv_side,
            Self::Dense(_) => 1,
        };
        (positions * self.weight_shape().iter().product::<usize>()) as u64
    }
}

fn conv_block(
    spec: &LayerSpec,
    conv: &ConvSpec,
    in_channels: usize,
    in_side: usize,
    canvas: usize,
) -> Result<ConvBlock> {
    let ConvSpec { filters, kernel_size, stride, padding, groups, ref tail } = *conv;
    let expected = format!("a divisor of the {in_channels} input channels");
    spec.require("groups", groups, &expected, in_channels.is_multiple_of(groups))?;
    // Places of a window along a side of so many pixels.
    let places = |side: usize, window: usize, stride: usize| {
        let steps = side.checked_sub(window).map(|last| last / stride + 1);
        steps.ok_or_else(|| {
            let (name, what) = (&spec.name, format!("{window} x {window} of {side} x {side} pixels"));
            Error::usage(format!("augment.canvas = {canvas}: too small for {name}, which looks at {what}; try 227"))
        })
    };
    let conv_side = places(in_side + 2 * padding, kernel_size, stride)?;
    let mut out_side = conv_side;
    for op in tail {
        if let Tail::Pool(pool) = op {
            out_side = places(out_side, pool.window, pool.stride)?;
        }
    }
    Ok(ConvBlock {
        in_channels,
        in_side,
        out_channels: filters,
        kernel: kernel_size,
        stride,
        pad: padding,
        groups,
        conv_side,
        out_side,
        tail: tail.clone(),
    })
}

fn dense_block(dense: &DenseSpec, inputs: usize, num_classes: usize) -> DenseBlock {
    let (dropout_before, dropout_after) = match dense.dropout {
        DropoutPlace::None => (None, None),
        DropoutPlace::Before(dropout) => (Some(dropout), None),
        DropoutPlace::After(dropout) => (None, Some(dropout)),
    };
    let (outputs, hidden) = match dense.units {
        Units::Hidden(units) => (units, Some(dropout_after.unwrap_or(Dropout::OFF))),
        Units::Classes => (num_classes, None),
    };
    DenseBlock { inputs, outputs, dropout_before, hidden }
}
