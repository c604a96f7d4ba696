//! AlexNet: the table of its layers (section 3.5 of the paper), with what a recipe chooses of it.

use super::settings::{
    BiasSettings, DropoutScaling, DropoutSide, InitScheme, LayerSettings, LrnPlace, LrnSettings, ModelSettings,
};
use super::table;
use crate::error::Result;
use crate::model::layers::Operation::{Conv, Dense};
use crate::model::layers::{BiasDecay, BiasRule, ConvSpec, DenseSpec, Deviation, DropoutPlace, LayerSpec, Units};
use crate::model::{Dropout, Lrn, Network, Pool, Tail};

/// The paper's pooling (section 3.4).
pub(super) const OVERLAPPING: Pool = Pool { window: 3, stride: 2 };

/// The layers of a recipe: those that it writes itself, or AlexNet's; then what `model.layer` changes of each.
pub fn layers(settings: &ModelSettings) -> Vec<LayerSpec> {
    let written = table::layers(settings, bias_rule(&settings.biases));
    let mut layers = if written.is_empty() { alexnet(settings) } else { written };
    for layer in &mut layers {
        let Some(own) = settings.layer.get(&layer.name) else { continue };
        let LayerSettings { deviation, bias, filters, kernel_size, stride, padding } = *own;
        layer.deviation = deviation.map_or(layer.deviation, Deviation::Of);
        layer.bias = bias.unwrap_or(layer.bias);
        if let Conv(conv) = &mut layer.operation {
            conv.filters = filters.map_or(conv.filters, |filters| scaled_width(filters, settings));
            conv.kernel_size = kernel_size.unwrap_or(conv.kernel_size);
            conv.stride = stride.unwrap_or(conv.stride);
            conv.padding = padding.unwrap_or(conv.padding);
        }
    }
    layers
}

fn alexnet(settings: &ModelSettings) -> Vec<LayerSpec> {
    let wide = |channels| scaled_width(channels, settings);
    // The layers without them see both towers (section 3.2).
    let towers = settings.towers as usize;
    let Tails { relu, relu_pool, relu_lrn_pool } = tails(settings);
    let dropout = match settings.dropout_side {
        DropoutSide::Outputs => DropoutPlace::After(dropout(settings)),
        DropoutSide::Inputs => DropoutPlace::Before(dropout(settings)),
    };
    let Start { early, late, dense, logits, positive } = start(settings.init);

    // What a row does not say: 3 x 3 filters whose output is as large as their input, biases that begin at 0.
    let conv = || ConvSpec { filters: 0, kernel_size: 3, stride: 1, padding: 1, groups: 1, tail: relu.clone() };
    let layer = || LayerSpec {
        name: String::new(),
        operation: Conv(conv()),
        deviation: logits,
        bias: 0.0,
        bias_rule: bias_rule(&settings.biases),
    };
    vec![
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
    ]
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
        InitScheme::PyTorch => {
            let deviation = Deviation::PyTorch;
            Start { early: deviation, late: deviation, dense: deviation, logits: deviation, positive: 0.0 }
        }
    }
}

/// What follows a convolution's bias, in the recipe's order.
struct Tails {
    relu: Vec<Tail>,
    relu_pool: Vec<Tail>,
    relu_lrn_pool: Vec<Tail>,
}

fn tails(settings: &ModelSettings) -> Tails {
    let (relu, lrn, pool) = (Tail::Relu, local_response(settings), Tail::Pool(OVERLAPPING));
    let (relu_pool, relu_lrn_pool) = match settings.lrn.place {
        LrnPlace::BeforePool => (vec![relu, pool], vec![relu, lrn, pool]),
        LrnPlace::AfterPool => (vec![relu, pool], vec![relu, pool, lrn]),
        LrnPlace::BeforeRelu => (vec![pool, relu], vec![lrn, pool, relu]),
        LrnPlace::Off => (vec![relu, pool], vec![relu, pool]),
    };
    Tails { relu: vec![relu], relu_pool, relu_lrn_pool }
}

/// Normalisation with the recipe's numbers.
pub(super) fn local_response(settings: &ModelSettings) -> Tail {
    let LrnSettings { k, n, alpha, beta, .. } = settings.lrn;
    Tail::Lrn(Lrn { k: k as f32, n, alpha: alpha as f32, beta: beta as f32 })
}

fn bias_rule(settings: &BiasSettings) -> BiasRule {
    let decay = if settings.decay { BiasDecay::AsWeights } else { BiasDecay::Off };
    BiasRule { rate: settings.learning_rate as f32, decay }
}

/// Dropout with the recipe's probability and scaling.
pub(super) fn dropout(settings: &ModelSettings) -> Dropout {
    let kept = 1.0 - settings.dropout;
    let (train_scale, eval_scale) = match settings.dropout_scaling {
        DropoutScaling::Evaluation => (1.0, kept),
        DropoutScaling::Training => (1.0 / kept, 1.0),
    };
    Dropout { probability: settings.dropout as f32, train_scale: train_scale as f32, eval_scale: eval_scale as f32 }
}

/// Rounded to a multiple of eight in each tower.
fn scaled_width(channels: usize, settings: &ModelSettings) -> usize {
    rounded(channels, 8 * settings.towers as usize, settings.width)
}

/// So many channels times `width`, rounded to a multiple, of which there is one at least.
pub(super) fn rounded(channels: usize, multiple: usize, width: f64) -> usize {
    (channels as f64 * width / multiple as f64).round().max(1.0) as usize * multiple
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Block;
    use crate::recipe::Recipe;

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
        assert_eq!(sides(&network), [(55, 27), (27, 13), (13, 13), (13, 13), (13, 6)]);
        assert_eq!(network.multiply_adds(), 1_135_256_096);
    }

    #[test]
    fn two_towers_have_the_papers_sixty_million_parameters() {
        let settings = ModelSettings { towers: 2, ..ModelSettings::default() };
        assert_eq!(num_parameters(&network(&settings)), 60_965_224);
    }

    /// The network of a built-in recipe with the size of input that it asks for.
    fn of_recipe(name: &str) -> Network {
        let settings = Recipe::load(name, &[]).unwrap().settings;
        Network::new(&settings.model, settings.augment.canvas, 1000).unwrap()
    }

    fn sides(network: &Network) -> Vec<(usize, usize)> {
        let side = |layer: &crate::model::Layer| match &layer.block {
            Block::Conv(conv) => Some((conv.conv_side, conv.out_side)),
            Block::Dense(_) => None,
        };
        network.layers.iter().filter_map(side).collect()
    }

    #[test]
    fn the_recipes_of_other_networks_have_the_known_sizes() {
        for (name, parameters) in [("code2012", 60_965_224), ("caffe", 60_965_224), ("caffenet", 60_965_224)] {
            assert_eq!(num_parameters(&of_recipe(name)), parameters, "{name}");
        }
        let torchvision = of_recipe("torchvision");
        assert_eq!(num_parameters(&torchvision), 61_100_840);
        assert_eq!(sides(&torchvision), [(55, 27), (27, 13), (13, 13), (13, 13), (13, 6)]);
        assert_eq!(sides(&of_recipe("zfnet")), [(111, 55), (27, 13), (13, 13), (13, 13), (13, 6)]);
    }

    /// alexnet's layers, of which `set` changed some: (the settings' layer, the same of the paper).
    fn changed(set: &str) -> Vec<(LayerSpec, LayerSpec)> {
        let settings = Recipe::load("alexnet", &[set.to_owned()]).unwrap().settings.model;
        let pairs = layers(&settings).into_iter().zip(layers(&ModelSettings::default()));
        pairs.filter(|(changed, paper)| changed != paper).collect()
    }

    #[test]
    fn a_key_of_a_convolution_changes_that_number_alone() {
        for (key, value) in [("filters", 64), ("kernel_size", 7), ("stride", 2), ("padding", 3)] {
            let [(changed, mut paper)] = changed(&format!("model.layer.conv1.{key}={value}")).try_into().unwrap();
            let Conv(conv) = &mut paper.operation else { panic!("{paper:?}") };
            match key {
                "filters" => conv.filters = value,
                "kernel_size" => conv.kernel_size = value,
                "stride" => conv.stride = value,
                _ => conv.padding = value,
            }
            assert_eq!(changed, paper, "{key}");
        }
    }

    #[test]
    fn a_layers_own_filters_are_scaled_by_the_width() {
        let sets = ["model.layer.conv1.filters=64".to_owned(), "model.width=0.25".to_owned()];
        let settings = Recipe::load("alexnet", &sets).unwrap().settings.model;
        assert_eq!(network(&settings).layers[0].block.num_biases(), 16);
    }

    #[test]
    fn biases_of_all_layers_learn_by_their_own_keys() {
        let changed_rules = |set| changed(set).into_iter().map(|(layer, _)| layer.bias_rule).collect::<Vec<_>>();
        let rule = BiasRule { rate: 2.0, ..BiasRule::AS_WEIGHTS };
        assert_eq!(changed_rules("model.biases.learning_rate=2"), [rule; 8]);
        let rule = BiasRule { decay: BiasDecay::Off, ..BiasRule::AS_WEIGHTS };
        assert_eq!(changed_rules("model.biases.decay=false"), [rule; 8]);
    }

    #[test]
    fn dropout_on_inputs_stands_before_fc6_and_fc7() {
        let changed = changed("model.dropout_side=inputs");
        let names: Vec<_> = changed.iter().map(|(layer, _)| layer.name.as_str()).collect();
        assert_eq!(names, ["fc6", "fc7"]);
        for (layer, paper) in &changed {
            let (Dense(inputs), Dense(outputs)) = (&layer.operation, &paper.operation) else { panic!("{layer:?}") };
            let DropoutPlace::After(same) = outputs.dropout else { panic!("{outputs:?}") };
            assert_eq!(inputs.dropout, DropoutPlace::Before(same));
        }
    }

    #[test]
    fn pytorchs_scheme_has_the_deviation_of_its_uniform_weights() {
        let settings = ModelSettings { init: InitScheme::PyTorch, ..ModelSettings::default() };
        for layer in network(&settings).layers {
            // U(-a, a) deviates by a / sqrt(3), and a is sqrt(1 / inputs).
            let bound = (1.0 / layer.block.fan_in() as f64).sqrt();
            assert!((layer.initial.deviation * 3_f64.sqrt() / bound - 1.0).abs() < 1e-12, "{}", layer.name);
            assert_eq!(layer.initial.bias, 0.0);
        }
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
