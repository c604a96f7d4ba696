//! AlexNet: the table of its layers (section 3.5 of the paper), with what a recipe chooses of it.

use super::settings::{DropoutScaling, InitScheme, LrnPlace, ModelSettings};
use crate::error::Result;
use crate::model::layers::Operation::{Conv, Dense};
use crate::model::layers::{BiasRule, ConvSpec, DenseSpec, Deviation, DropoutPlace, LayerSpec, Units};
use crate::model::{Dropout, Lrn, Network, Pool, Tail};

/// The layers of AlexNet.
pub fn layers(settings: &ModelSettings) -> Vec<LayerSpec> {
    let wide = |channels| scaled_width(channels, settings);
    // The layers without them see both towers (section 3.2).
    let towers = settings.towers as usize;
    let Tails { relu, relu_pool, relu_lrn_pool } = tails(settings);
    let dropout = DropoutPlace::After(dropout(settings));
    let Start { early, late, dense, logits, positive } = start(settings.init);

    // What a row does not say: 3 x 3 filters whose output is as large as their input, biases that begin at 0.
    let conv = || ConvSpec { filters: 0, kernel_size: 3, stride: 1, padding: 1, groups: 1, tail: relu.clone() };
    let layer = || LayerSpec {
        name: String::new(),
        operation: Conv(conv()),
        deviation: logits,
        bias: 0.0,
        bias_rule: BiasRule::AS_WEIGHTS,
    };
    let mut layers = vec![
        LayerSpec {
            name: "conv1".into(),
            operation: Conv(ConvSpec {
                filters: wide(96),
                kernel_size: 11,
                stride: 4,
                padding: 0,
                tail: relu_lrn_pool.clone(),
                ..conv()
            }),
            deviation: early,
            ..layer()
        },
        LayerSpec {
            name: "conv2".into(),
            operation: Conv(ConvSpec {
                filters: wide(256),
                kernel_size: 5,
                padding: 2,
                groups: towers,
                tail: relu_lrn_pool,
                ..conv()
            }),
            deviation: early,
            bias: positive,
            ..layer()
        },
        LayerSpec {
            name: "conv3".into(),
            operation: Conv(ConvSpec { filters: wide(384), ..conv() }),
            deviation: late,
            ..layer()
        },
        LayerSpec {
            name: "conv4".into(),
            operation: Conv(ConvSpec { filters: wide(384), groups: towers, ..conv() }),
            deviation: late,
            bias: positive,
            ..layer()
        },
        LayerSpec {
            name: "conv5".into(),
            operation: Conv(ConvSpec { filters: wide(256), groups: towers, tail: relu_pool, ..conv() }),
            deviation: late,
            bias: positive,
            ..layer()
        },
        LayerSpec {
            name: "fc6".into(),
            operation: Dense(DenseSpec { units: Units::Hidden(wide(4096)), dropout }),
            deviation: dense,
            bias: positive,
            ..layer()
        },
        LayerSpec {
            name: "fc7".into(),
            operation: Dense(DenseSpec { units: Units::Hidden(wide(4096)), dropout }),
            deviation: dense,
            bias: positive,
            ..layer()
        },
        LayerSpec {
            name: "fc8".into(),
            operation: Dense(DenseSpec { units: Units::Classes, dropout: DropoutPlace::None }),
            deviation: logits,
            ..layer()
        },
    ];
    for layer in &mut layers {
        let own = settings.layer.get(&layer.name).cloned().unwrap_or_default();
        layer.deviation = own.deviation.map_or(layer.deviation, Deviation::Of);
        layer.bias = own.bias.unwrap_or(layer.bias);
    }
    layers
}

impl Network {
    /// The network of a recipe, for inputs of (N, 3, canvas, canvas).
    pub fn new(settings: &ModelSettings, canvas: usize, num_classes: usize) -> Result<Self> {
        Self::from_layers(&layers(settings), canvas, num_classes)
    }
}

/// What a scheme begins with.
struct Start {
    /// The deviation of conv1 and conv2.
    early: Deviation,
    /// The deviation of conv3 to conv5.
    late: Deviation,
    /// The deviation of fc6 and fc7.
    dense: Deviation,
    /// The deviation of fc8.
    logits: Deviation,
    /// The biases of the layers that the paper starts with positive inputs to their ReLUs.
    positive: f64,
}

fn start(scheme: InitScheme) -> Start {
    let logits = Deviation::Of(0.01);
    let paper = Start { early: logits, late: logits, dense: logits, logits, positive: 1.0 };
    let he = Deviation::He;
    match scheme {
        InitScheme::Paper => paper,
        InitScheme::Code2012 => Start { late: Deviation::Of(0.03), ..paper },
        InitScheme::Caffe => Start { dense: Deviation::Of(0.005), positive: 0.1, ..paper },
        InitScheme::He => Start { early: he, late: he, dense: he, positive: 0.0, ..paper },
    }
}

/// What follows a convolution's bias, in the recipe's order.
struct Tails {
    relu: Vec<Tail>,
    relu_pool: Vec<Tail>,
    relu_lrn_pool: Vec<Tail>,
}

fn tails(settings: &ModelSettings) -> Tails {
    let own = &settings.lrn;
    let lrn = Tail::Lrn(Lrn { k: own.k as f32, n: own.n, alpha: own.alpha as f32, beta: own.beta as f32 });
    let (relu, pool) = (Tail::Relu, Tail::Pool(Pool { window: 3, stride: 2 }));
    let (relu_pool, relu_lrn_pool) = match own.place {
        LrnPlace::BeforePool => (vec![relu, pool], vec![relu, lrn, pool]),
        LrnPlace::AfterPool => (vec![relu, pool], vec![relu, pool, lrn]),
        LrnPlace::BeforeRelu => (vec![pool, relu], vec![lrn, pool, relu]),
        LrnPlace::Off => (vec![relu, pool], vec![relu, pool]),
    };
    Tails { relu: vec![relu], relu_pool, relu_lrn_pool }
}

fn dropout(settings: &ModelSettings) -> Dropout {
    let kept = 1.0 - settings.dropout;
    let (train_scale, eval_scale) = match settings.dropout_scaling {
        DropoutScaling::Evaluation => (1.0, kept),
        DropoutScaling::Training => (1.0 / kept, 1.0),
    };
    Dropout { probability: settings.dropout as f32, train_scale: train_scale as f32, eval_scale: eval_scale as f32 }
}

/// Rounded to a multiple of eight in each tower.
fn scaled_width(channels: usize, settings: &ModelSettings) -> usize {
    let multiple = 8 * settings.towers as usize;
    let multiples = (channels as f64 * settings.width / multiple as f64).round().max(1.0);
    multiples as usize * multiple
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Block;

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
