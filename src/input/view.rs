//! A view: how the network sees a sample. Where it is cut, whether it is mirrored, and how it is lit.

use crate::error::{Error, Result};
use crate::philox::{Purpose, below, normal_pair, words};
use crate::recipe::settings::{AugmentSettings, CropPosition};
use crate::shard::dataset::PixelStatistics;
use crate::shard::{CHANNELS, SIDE};

/// Whether left and right are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mirror {
    /// As it is.
    No,
    /// Flipped about the crop's vertical axis.
    Yes,
}

/// How the network sees a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Its index in the split.
    pub sample: usize,
    /// The crop's first row in the sample.
    pub top: usize,
    /// The crop's first column in the sample, before mirroring.
    pub left: usize,
    /// Whether the crop is mirrored.
    pub mirror: Mirror,
    /// Added to every value of red, green and blue, on the 0-255 scale.
    pub light: [f32; CHANNELS],
}

/// The shape of the network's input: what is the same for every view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// The side of the crop, at most 256.
    pub crop: usize,
    /// The side of the input: the crop lies in its top left corner, zeros (the mean) fill the rest.
    pub canvas: usize,
    /// Every value is multiplied by this.
    pub scale: f32,
}

impl Frame {
    /// Values of one input, (3, canvas, canvas).
    pub fn num_values(&self) -> usize {
        CHANNELS * self.canvas * self.canvas
    }

    /// The highest `top` and `left`.
    pub fn last_position(&self) -> usize {
        SIDE - self.crop
    }
}

/// The settings of the augmentation, resolved for one dataset: from it every view is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Augmentation {
    frame: Frame,
    position: CropPosition,
    mirror: bool,
    /// For each principal component, what a draw of 1 from N(0, 1) adds to red, green and blue.
    lights: [[f32; CHANNELS]; CHANNELS],
}

impl Augmentation {
    /// Checks the settings, and scales the lighting to the deviations of the dataset's pixels.
    pub fn new(settings: &AugmentSettings, statistics: &PixelStatistics) -> Result<Self> {
        let AugmentSettings { crop, canvas, position, mirror, lighting, scale } = *settings;
        if crop == 0 || crop > SIDE {
            return Err(Error::usage(format!("augment.crop = {crop}: a crop of a sample has a side of 1 to {SIDE}")));
        }
        if canvas < crop {
            return Err(Error::usage(format!(
                "augment.canvas = {canvas}: it holds the crop, so it is at least augment.crop = {crop}"
            )));
        }
        if !(lighting.is_finite() && lighting >= 0.0) {
            return Err(Error::usage(format!("augment.lighting = {lighting}: a deviation is 0 (off) or more")));
        }
        if !(scale as f32).is_normal() {
            return Err(Error::usage(format!("augment.scale = {scale}: values are multiplied by it, 1 leaves them")));
        }
        let mut lights = [[0.0; CHANNELS]; CHANNELS];
        for (component, light) in lights.iter_mut().enumerate() {
            let deviation = lighting * statistics.pca_deviation[component];
            *light = statistics.pca_vectors[component].map(|direction| (deviation * direction) as f32);
        }
        Ok(Self { frame: Frame { crop, canvas, scale: scale as f32 }, position, mirror, lights })
    }

    /// The shape of the network's input.
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// The view of a sample that is trained on in an epoch: a pure function of its arguments.
    ///
    /// A random crop begins at 0..=32 in both directions: 33 x 33 x 2 = 2178 views. The paper counts 32 x 32 x 2 =
    /// 2048 (section 4.1); its code draws from 33, as Caffe does, and so trains on the corners that it is tested on.
    pub fn training_view(&self, seed: u64, epoch: u32, sample: usize) -> View {
        let index = u32::try_from(sample).expect("samples of a split are counted in 32 bits");
        let draw = |number| words(seed, Purpose::Augment, [index, epoch, number]);
        let [top, left, mirror, _] = draw(0);
        let mut view = self.centre_view(sample);
        if self.position == CropPosition::Random {
            let num_positions = self.frame.last_position() as u32 + 1;
            view.top = below(top, num_positions) as usize;
            view.left = below(left, num_positions) as usize;
        }
        if self.mirror && below(mirror, 2) == 1 {
            view.mirror = Mirror::Yes;
        }
        let [a, b, c, d] = draw(1);
        let [first, second] = normal_pair(a, b);
        let [third, _] = normal_pair(c, d);
        view.light = self.light([first, second, third]);
        view
    }

    /// The middle of a sample, as it is.
    pub fn centre_view(&self, sample: usize) -> View {
        let middle = self.frame.last_position() / 2;
        View { sample, top: middle, left: middle, mirror: Mirror::No, light: [0.0; CHANNELS] }
    }

    /// The ten views whose predictions are averaged (section 4.1): top left, top right, bottom left, bottom right and
    /// centre, each followed by its mirror image.
    pub fn ten_views(&self, sample: usize) -> [View; 10] {
        let (centre, end) = (self.centre_view(sample), self.frame.last_position());
        let places = [(0, 0), (0, end), (end, 0), (end, end), (centre.top, centre.left)];
        std::array::from_fn(|index| {
            let (top, left) = places[index / 2];
            let mirror = if index % 2 == 0 { Mirror::No } else { Mirror::Yes };
            View { sample, top, left, mirror, light: [0.0; CHANNELS] }
        })
    }

    /// Sum over the components i of p_i * a_i * s_i (section 4.1), for `draws` a_i of N(0, 1).
    fn light(&self, draws: [f32; CHANNELS]) -> [f32; CHANNELS] {
        std::array::from_fn(|channel| (0..CHANNELS).map(|i| draws[i] * self.lights[i][channel]).sum())
    }
}
