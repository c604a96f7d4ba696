//! The table of layers (the paper's section 3.5) and the geometry that follows from it.

use crate::error::{Error, Result};
use crate::recipe::settings::{DropoutScaling, LrnPlace, ModelSettings};

/// The number of learned layers.
pub const NUM_LAYERS: usize = 8;

/// AlexNet for a given input and number of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// conv1 to conv5, fc6 to fc8.
    pub layers: Vec<Layer>,
    /// Height and width of the input (N, 3, canvas, canvas).
    pub canvas: usize,
    /// Outputs of fc8.
    pub num_classes: usize,
}

/// A learned layer and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// `conv1`, ..., `fc8`.
    pub name: &'static str,
    /// What it computes.
    pub block: Block,
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
    /// Height and width of the window: 3.
    pub window: usize,
    /// Pixels between windows: 2.
    pub stride: usize,
}

/// (N, inputs) to (N, outputs).
#[derive(Clone, Debug, PartialEq)]
pub struct DenseBlock {
    /// Features of the input; for fc6 (C, H, W) flattened.
    pub inputs: usize,
    /// Features of the output.
    pub outputs: usize,
    /// fc6 and fc7: ReLU and dropout. fc8: neither, its outputs are the logits.
    pub hidden: Option<Dropout>,
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

/// The columns of the paper's table: kernels, kernel side, stride, pad, LRN and pooling of conv1 to conv5.
const CONVS: [(&str, usize, usize, usize, usize, bool, bool); 5] = [
    ("conv1", 96, 11, 4, 0, true, true),
    ("conv2", 256, 5, 1, 2, true, true),
    ("conv3", 384, 3, 1, 1, false, false),
    ("conv4", 384, 3, 1, 1, false, false),
    ("conv5", 256, 3, 1, 1, false, true),
];
/// Layers whose groups are the towers: conv3 and the dense layers see both (section 3.2).
const GROUPED: [&str; 3] = ["conv2", "conv4", "conv5"];
/// Hidden units of fc6 and fc7.
const DENSE_UNITS: usize = 4096;
const POOL: Pool = Pool { window: 3, stride: 2 };

impl Network {
    /// The network of a recipe, for inputs of (N, 3, canvas, canvas).
    pub fn new(settings: &ModelSettings, canvas: usize, num_classes: usize) -> Result<Self> {
        let multiple = match settings.towers {
            1 => 8,
            2 => 16,
            other => return Err(Error::usage(format!("model.towers = {other}: expected 1 or 2"))),
        };
        let scaled = |channels: usize| scaled_width(channels, settings.width, multiple);
        let mut layers = Vec::with_capacity(NUM_LAYERS);
        let (mut channels, mut side) = (3, canvas);
        for (name, kernels, kernel, stride, pad, lrn, pool) in CONVS {
            if side + 2 * pad < kernel {
                return Err(too_small(canvas));
            }
            let conv_side = (side + 2 * pad - kernel) / stride + 1;
            let mut out_side = conv_side;
            if pool {
                if conv_side < POOL.window {
                    return Err(too_small(canvas));
                }
                out_side = (conv_side - POOL.window) / POOL.stride + 1;
            }
            let block = ConvBlock {
                in_channels: channels,
                in_side: side,
                out_channels: scaled(kernels),
                kernel,
                stride,
                pad,
                groups: if GROUPED.contains(&name) { settings.towers as usize } else { 1 },
                conv_side,
                out_side,
                tail: tail(settings, lrn, pool),
            };
            (channels, side) = (block.out_channels, block.out_side);
            layers.push(Layer { name, block: Block::Conv(block) });
        }
        let hidden = dropout(settings);
        let units = scaled(DENSE_UNITS);
        let dense = [
            ("fc6", channels * side * side, units, Some(hidden)),
            ("fc7", units, units, Some(hidden)),
            ("fc8", units, num_classes, None),
        ];
        for (name, inputs, outputs, hidden) in dense {
            layers.push(Layer { name, block: Block::Dense(DenseBlock { inputs, outputs, hidden }) });
        }
        Ok(Self { layers, canvas, num_classes })
    }

    /// Values of one input image: 3 x canvas x canvas.
    pub fn input_values(&self) -> usize {
        3 * self.canvas * self.canvas
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

    fn multiply_adds(&self) -> u64 {
        let positions = match self {
            Self::Conv(conv) => conv.conv_side * conv.conv_side,
            Self::Dense(_) => 1,
        };
        (positions * self.weight_shape().iter().product::<usize>()) as u64
    }
}

fn scaled_width(channels: usize, width: f64, multiple: usize) -> usize {
    let multiples = (channels as f64 * width / multiple as f64).round().max(1.0);
    multiples as usize * multiple
}

fn tail(settings: &ModelSettings, with_lrn: bool, with_pool: bool) -> Vec<Tail> {
    let lrn = Lrn {
        k: settings.lrn.k as f32,
        n: settings.lrn.n,
        alpha: settings.lrn.alpha as f32,
        beta: settings.lrn.beta as f32,
    };
    let lrn = with_lrn.then_some(Tail::Lrn(lrn));
    let pool = with_pool.then_some(Tail::Pool(POOL));
    let relu = Some(Tail::Relu);
    let order = match settings.lrn.place {
        LrnPlace::BeforePool => [relu, lrn, pool],
        LrnPlace::AfterPool => [relu, pool, lrn],
        LrnPlace::BeforeRelu => [lrn, pool, relu],
        LrnPlace::Off => [relu, pool, None],
    };
    order.into_iter().flatten().collect()
}

fn dropout(settings: &ModelSettings) -> Dropout {
    let kept = 1.0 - settings.dropout;
    let (train_scale, eval_scale) = match settings.dropout_scaling {
        DropoutScaling::Evaluation => (1.0, kept),
        DropoutScaling::Training => (1.0 / kept, 1.0),
    };
    Dropout { probability: settings.dropout as f32, train_scale: train_scale as f32, eval_scale: eval_scale as f32 }
}

fn too_small(canvas: usize) -> Error {
    Error::usage(format!(
        "augment.canvas = {canvas}: five convolutions and three poolings leave nothing of it; try 227"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(settings: &ModelSettings) -> Network {
        Network::new(settings, 227, 1000).unwrap()
    }

    fn num_parameters(network: &Network) -> usize {
        let blocks = network.layers.iter().map(|layer| &layer.block);
        blocks.map(|block| block.weight_shape().iter().product::<usize>() + block.num_biases()).sum()
    }

    #[test]
    fn one_tower_has_the_known_sizes() {
        let network = network(&ModelSettings::default());
        assert_eq!(num_parameters(&network), 62_378_344);
        let sides: Vec<_> = network
            .layers
            .iter()
            .filter_map(|layer| match &layer.block {
                Block::Conv(conv) => Some((conv.conv_side, conv.out_side)),
                Block::Dense(_) => None,
            })
            .collect();
        assert_eq!(sides, [(55, 27), (27, 13), (13, 13), (13, 13), (13, 6)]);
        assert_eq!(network.multiply_adds(), 1_135_256_096);
    }

    #[test]
    fn two_towers_have_the_papers_sixty_million_parameters() {
        let settings = ModelSettings { towers: 2, ..ModelSettings::default() };
        assert_eq!(num_parameters(&network(&settings)), 60_965_224);
    }

    #[test]
    fn width_scales_channels_to_multiples() {
        let settings = ModelSettings { width: 0.25, ..ModelSettings::default() };
        let outputs: Vec<_> = network(&settings).layers.iter().map(|layer| layer.block.num_biases()).collect();
        assert_eq!(outputs, [24, 64, 96, 96, 64, 1024, 1024, 1000]);
        let settings = ModelSettings { towers: 2, ..settings };
        let outputs: Vec<_> = network(&settings).layers.iter().map(|layer| layer.block.num_biases()).collect();
        assert_eq!(outputs, [32, 64, 96, 96, 64, 1024, 1024, 1000]);
    }

    #[test]
    fn a_canvas_too_small_is_refused() {
        let error = Network::new(&ModelSettings::default(), 60, 10).unwrap_err();
        assert!(error.to_string().contains("augment.canvas = 60"), "{error}");
    }
}
