//! Networks of other kinds than the paper's, narrow enough for tests.

use alexnet::model::layers::{
    BiasDecay, BiasRule, ConvSpec, DenseSpec, Deviation, Dropout, DropoutPlace, LayerSpec, Lrn, Operation, Pool, Tail,
    Units,
};

const POOL: Tail = Tail::Pool(Pool { window: 3, stride: 2 });
const LRN: Tail = Tail::Lrn(Lrn { k: 1.0, n: 5, alpha: 0.05, beta: 0.75 });
const HALF: Dropout = Dropout { probability: 0.5, train_scale: 2.0, eval_scale: 1.0 };
/// torchvision's AlexNet with padding in conv1, no LRN and dropout before fc6 and fc7, so many times as narrow; biases
/// learn as Caffe's do.
pub fn torchvision(narrower: usize) -> Vec<LayerSpec> {
    let (channels, hidden) = ([64, 192, 384, 256, 256].map(|filters| filters / narrower), 4096 / narrower.pow(2));
    let relu = || vec![Tail::Relu];
    let pooled = || vec![Tail::Relu, POOL];
    let [conv1, conv2, conv3, conv4, conv5] = channels;
    let caffe = BiasRule { rate: 2.0, decay: BiasDecay::Off };
    let layers = vec![
        conv("conv1", ConvSpec { filters: conv1, kernel_size: 11, stride: 4, padding: 2, groups: 1, tail: pooled() }),
        conv("conv2", ConvSpec { filters: conv2, kernel_size: 5, stride: 1, padding: 2, groups: 1, tail: pooled() }),
        conv("conv3", ConvSpec { filters: conv3, kernel_size: 3, stride: 1, padding: 1, groups: 1, tail: relu() }),
        conv("conv4", ConvSpec { filters: conv4, kernel_size: 3, stride: 1, padding: 1, groups: 1, tail: relu() }),
        conv("conv5", ConvSpec { filters: conv5, kernel_size: 3, stride: 1, padding: 1, groups: 1, tail: pooled() }),
        dense("fc6", Units::Hidden(hidden), DropoutPlace::Before(HALF)),
        dense("fc7", Units::Hidden(hidden), DropoutPlace::Before(HALF)),
        dense("fc8", Units::Classes, DropoutPlace::None),
    ];
    layers.into_iter().map(|layer| LayerSpec { bias_rule: caffe, bias: 0.1, ..layer }).collect()
}

/// As Zeiler and Fergus's network (2013): filters of 7 x 7 by 2 and 5 x 5 by 2, LRN behind pooling.
pub fn zfnet() -> Vec<LayerSpec> {
    let relu = || vec![Tail::Relu];
    let normalised = || vec![Tail::Relu, POOL, LRN];
    vec![
        conv("conv1", ConvSpec { filters: 16, kernel_size: 7, stride: 2, padding: 1, groups: 1, tail: normalised() }),
        conv("conv2", ConvSpec { filters: 32, kernel_size: 5, stride: 2, padding: 0, groups: 1, tail: normalised() }),
        conv("conv3", ConvSpec { filters: 48, kernel_size: 3, stride: 1, padding: 1, groups: 1, tail: relu() }),
        conv("conv4", ConvSpec { filters: 48, kernel_size: 3, stride: 1, padding: 1, groups: 2, tail: relu() }),
        conv(
            "conv5",
            ConvSpec { filters: 32, kernel_size: 3, stride: 1, padding: 1, groups: 1, tail: vec![Tail::Relu, POOL] },
        ),
        dense("fc6", Units::Hidden(64), DropoutPlace::After(HALF)),
        dense("fc7", Units::Hidden(64), DropoutPlace::None),
        dense("fc8", Units::Classes, DropoutPlace::None),
    ]
}

/// Two convolutions, the second one strided and in groups, and dropout before the logits.
pub fn short() -> Vec<LayerSpec> {
    let tail = vec![LRN, POOL, Tail::Relu];
    vec![
        conv("first", ConvSpec { filters: 16, kernel_size: 9, stride: 3, padding: 4, groups: 1, tail }),
        conv(
            "second",
            ConvSpec { filters: 32, kernel_size: 3, stride: 2, padding: 1, groups: 2, tail: vec![Tail::Relu] },
        ),
        dense("third", Units::Classes, DropoutPlace::Before(HALF)),
    ]
}

fn conv(name: &str, conv: ConvSpec) -> LayerSpec {
    layer(name, Operation::Conv(conv))
}

fn dense(name: &str, units: Units, dropout: DropoutPlace) -> LayerSpec {
    layer(name, Operation::Dense(DenseSpec { units, dropout }))
}

fn layer(name: &str, operation: Operation) -> LayerSpec {
    let bias_rule = BiasRule::AS_WEIGHTS;
    LayerSpec { name: name.to_owned(), operation, deviation: Deviation::He, bias: 0.0, bias_rule }
}
