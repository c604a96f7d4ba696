//! Every hyperparameter, once: the keys of a recipe, their types, and the paper's values as the defaults.

use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::table::LayerRow;

/// A whole recipe. A recipe's file and `--set` change the keys that they name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The network.
    pub model: ModelSettings,
    /// What happens to an image on its way to the network.
    pub augment: AugmentSettings,
    /// How the network learns.
    pub train: TrainSettings,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// 2: conv2, conv4 and conv5 see only the half of the channels that their own GPU had (section 3.2). 1: all.
    pub towers: u32,
    /// Every layer's channels times this, rounded to multiples of 8 (16 with two towers).
    pub width: f64,
    /// The probability with which a unit of fc6 and fc7 is dropped (section 4.2).
    pub dropout: f64,
    /// Which pass scales for the dropped units.
    pub dropout_scaling: DropoutScaling,
    /// On which side of fc6 and fc7 it stands.
    pub dropout_side: DropoutSide,
    /// How biases learn.
    pub biases: BiasSettings,
    /// Local response normalisation (section 3.3).
    pub lrn: LrnSettings,
    /// The scheme of the initial values (section 5).
    pub init: InitScheme,
    /// Departures of a layer from the paper and the scheme: `model.layer.conv2.bias = 0.1`.
    pub layer: BTreeMap<String, LayerSettings>,
    /// The layers in place of AlexNet's, which then have no use of `towers`, `dropout_side`, `init` and `lrn.place`.
    /// A recipe's file writes them as `[[layer]]`.
    pub layers: Vec<LayerRow>,
}

/// Which pass scales for the dropped units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropoutScaling {
    /// Evaluation multiplies by 1 - p (section 4.2).
    Evaluation,
    /// Training multiplies the kept units by 1 / (1 - p), as Caffe and PyTorch do.
    Training,
}

/// On which side of fc6 and fc7 dropout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropoutSide {
    /// On their outputs, behind ReLU (section 4.2).
    Outputs,
    /// On their inputs: torchvision, whose fc8 sees every unit of fc7.
    Inputs,
}

/// How biases learn beside the weights (section 5: alike).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BiasSettings {
    /// Times the weights' learning rate: 1 in the paper; 2 in the code of 2012 and Caffe.
    pub learning_rate: f64,
    /// Whether weight decay pulls them to 0; not in the code of 2012 and Caffe.
    pub decay: bool,
}

/// b = a / (k + alpha * sum over n neighbouring channels of a^2)^beta (section 3.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LrnSettings {
    /// 2 in the paper.
    pub k: f64,
    /// 5 in the paper: the channel itself and two on each side.
    pub n: usize,
    /// 1e-4 in the paper, not divided by n.
    pub alpha: f64,
    /// 0.75 in the paper.
    pub beta: f64,
    /// Where in conv1 and conv2 it stands.
    pub place: LrnPlace,
}

/// Where in conv1 and conv2 the normalisation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LrnPlace {
    /// conv, ReLU, LRN, pool: the paper (section 3.5).
    BeforePool,
    /// conv, ReLU, pool, LRN: CaffeNet.
    AfterPool,
    /// conv, LRN, pool, ReLU: the code of 2012.
    BeforeRelu,
    /// None.
    Off,
}

/// The scheme of the initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitScheme {
    /// Weights N(0, 0.01); biases 1 in conv2, conv4, conv5, fc6, fc7 and 0 elsewhere (section 5).
    Paper,
    /// As the paper, but 0.03 in conv3, conv4 and conv5: the code of 2012.
    #[serde(rename = "code-2012")]
    Code2012,
    /// As the paper, but 0.005 in fc6 and fc7, and biases 0.1 instead of 1: Caffe's bvlc_alexnet.
    Caffe,
    /// Weights N(0, sqrt(2 / inputs)), biases 0: He, Zhang, Ren and Sun (2015); 0.01 in fc8.
    He,
    /// Weights N(0, sqrt(1 / (3 inputs))), biases 0: the deviation of PyTorch's default weights in every layer.
    #[serde(rename = "pytorch")]
    PyTorch,
}

/// A layer's departures from the paper's sizes and from the scheme; filters, kernel_size, stride and padding are
/// those of a convolution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayerSettings {
    /// The standard deviation of the initial weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// The initial bias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<f64>,
    /// Channels of the output at `model.width` 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<usize>,
    /// Height and width of a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_size: Option<usize>,
    /// Pixels between the places of a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Zeros on each side of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding: Option<usize>,
}

/// What happens to an image on its way to the network (sections 2 and 4.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentSettings {
    /// The side of the square cut out of the 256 x 256 sample: 224.
    pub crop: usize,
    /// The side of the network's input; the crop lies in its top left corner and zeros (the mean) fill the rest.
    pub canvas: usize,
    /// Where the crop is cut in training.
    pub position: CropPosition,
    /// `resized`: the least share of the sample's area.
    pub min_area: f64,
    /// `resized`: the most that width and height differ by, as a factor.
    pub max_ratio: f64,
    /// Whether half of the crops are mirrored in training.
    pub mirror: bool,
    /// The deviation of the PCA lighting's draws: 0.1; 0 turns it off.
    pub lighting: f64,
    /// Every input value is multiplied by this.
    pub scale: f64,
}

/// Where the crop is cut in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropPosition {
    /// Anywhere, every position equally likely.
    Random,
    /// In the middle.
    Centre,
    /// A part of random area and shape, resized to the crop's side: Szegedy and others (2014), torchvision's habit.
    Resized,
}

/// How the network learns (section 5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// Samples of a step.
    pub batch_size: usize,
    /// The first learning rate, of all layers.
    pub learning_rate: f64,
    /// v = momentum v - weight_decay lr w - lr g; w = w + v.
    pub momentum: f64,
    /// Of weights and biases alike.
    pub weight_decay: f64,
    /// The part of each label that all classes share (Szegedy and others, 2015): 0 in the paper. The loss that is
    /// logged stays that of the label itself.
    pub label_smoothing: f64,
    /// What lowers the learning rate.
    pub schedule: ScheduleKind,
    /// The learning rate is divided by this.
    pub drop_factor: f64,
    /// `plateau`: so many epochs without a lower top-1 error divide the learning rate.
    pub patience: u32,
    /// `plateau`: a top-1 error counts as lower when it falls by this much.
    pub min_improvement: f64,
    /// `plateau`: how many times at most.
    pub max_drops: u32,
    /// `steps`: before these epochs, counted from 0.
    pub drop_epochs: Vec<u32>,
    /// Epochs over which the rate rises to the schedule's by equal steps (Goyal and others, 2017); fractions count. Not
    /// with `one-cycle`, which has its own rise.
    pub warmup_epochs: f64,
    /// Passes over the training split.
    pub epochs: u32,
    /// The order of the samples in an epoch.
    pub order: OrderKind,
    /// Of everything random.
    pub seed: u64,
}

/// What lowers the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// A validation error that has stopped improving (section 5).
    Plateau,
    /// The epochs of `train.drop_epochs`.
    Steps,
    /// Half a cosine from the first rate to 0 over all steps: Loshchilov and Hutter (2017), without restarts.
    Cosine,
    /// Up from a 25th of `train.learning_rate` over the first 0.3 of all steps, and down to a 250,000th of it, both by
    /// half a cosine: Smith and Topin (2017) with PyTorch's numbers. The momentum stays.
    OneCycle,
}

/// The order of the samples in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderKind {
    /// Another order each epoch.
    Shuffled,
    /// Another order each epoch, of blocks that are shuffled in windows: for datasets larger than memory
    /// (`src/input/order.rs`).
    Blocks,
    /// As they lie in the shards, which were shuffled when packed: the code of 2012.
    Sequential,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            towers: 1,
            width: 1.0,
            dropout: 0.5,
            dropout_scaling: DropoutScaling::Evaluation,
            dropout_side: DropoutSide::Outputs,
            biases: BiasSettings::default(),
            lrn: LrnSettings::default(),
            init: InitScheme::Paper,
            layer: BTreeMap::new(),
            layers: Vec::new(),
        }
    }
}

impl Default for BiasSettings {
    fn default() -> Self {
        Self { learning_rate: 1.0, decay: true }
    }
}

impl Default for LrnSettings {
    fn default() -> Self {
        Self { k: 2.0, n: 5, alpha: 1e-4, beta: 0.75, place: LrnPlace::BeforePool }
    }
}

impl Default for AugmentSettings {
    fn default() -> Self {
        Self {
            crop: 224,
            canvas: 227,
            position: CropPosition::Random,
            min_area: 0.08,
            max_ratio: 4.0 / 3.0,
            mirror: true,
            lighting: 0.1,
            scale: 1.0,
        }
    }
}

/// How weights follow their gradients: v = momentum v - weight_decay lr w - lr g; w = w + v (section 5 of the paper).
/// Kernels take it as it lies in memory (`kernels/update.cu`).
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct UpdateRule {
    /// The part of a velocity that stays from step to step.
    pub momentum: f32,
    /// How strongly weights are drawn to 0, in shares of the learning rate.
    pub weight_decay: f32,
}

impl UpdateRule {
    /// The paper's numbers.
    pub const PAPER: Self = Self { momentum: 0.9, weight_decay: 0.0005 };
}

impl TrainSettings {
    /// The settings of the update, as backends compute with them.
    pub fn update_rule(&self) -> UpdateRule {
        UpdateRule { momentum: self.momentum as f32, weight_decay: self.weight_decay as f32 }
    }
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            batch_size: 128,
            learning_rate: 0.01,
            momentum: 0.9,
            weight_decay: 0.0005,
            label_smoothing: 0.0,
            schedule: ScheduleKind::Plateau,
            drop_factor: 10.0,
            patience: 5,
            min_improvement: 0.001,
            max_drops: 3,
            drop_epochs: vec![25, 51, 79],
            warmup_epochs: 0.0,
            epochs: 90,
            order: OrderKind::Shuffled,
            seed: 0,
        }
    }
}
