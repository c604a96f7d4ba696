//! A view is how the network sees a sample: its crop, whether it is mirrored, and its colour jitter (PCA lighting).

use std::sync::Arc;

use crate::philox::{Purpose, below, normal_pair, uniform, words};
use crate::recipe::settings::{AugmentSettings, CropPosition};
use crate::shard::dataset::PixelStatistics;
use crate::shard::{CHANNELS, SIDE};

/// Whether a crop is flipped left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mirror {
    /// Not flipped.
    No,
    /// Flipped about the crop's vertical axis.
    Yes,
}

/// How large a part of the sample the crop is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// As large as the crop: its pixels are the sample's.
    AsCrop,
    /// Another size, which is resized to the crop's.
    Resized {
        /// Rows of the sample.
        height: usize,
        /// Columns of the sample.
        width: usize,
    },
}

/// A view of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The sample's index in the split.
    pub sample: usize,
    /// The crop's first row in the sample.
    pub top: usize,
    /// The crop's first column in the sample, before mirroring.
    pub left: usize,
    /// How much of the sample it shows.
    pub cut: Cut,
    /// Whether the crop is mirrored.
    pub mirror: Mirror,
    /// The colour jitter: what is added to every value of red, green and blue, on the 0-255 scale.
    pub light: [f32; CHANNELS],
}

/// The shape and scale of the network's input, the same for every view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// The side of the crop, at most 256.
    pub crop: usize,
    /// The side of the input: the crop is in its top left corner, and the rest is zero, which is the mean.
    pub canvas: usize,
    /// The factor of every value.
    pub scale: f32,
}

impl Frame {
    /// The number of values of one input, (3, canvas, canvas).
    pub fn num_values(&self) -> usize {
        CHANNELS * self.canvas * self.canvas
    }

    /// The largest `top` and `left`.
    pub fn last_position(&self) -> usize {
        SIDE - self.crop
    }
}

/// The augmentation settings resolved for one dataset, from which every view is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Augmentation {
    frame: Frame,
    position: CropPosition,
    /// Of `resized`: the least share of the sample's area, and the most that width and height differ by as a factor.
    resized: (f64, f64),
    mirror: bool,
    /// For each principal component, what a draw of 1 from N(0, 1) adds to red, green and blue.
    lights: [[f32; CHANNELS]; CHANNELS],
    /// What is added to every value of red, green and blue, on the 0-255 scale.
    shift: [f32; CHANNELS],
    /// The mean image that is subtracted, (3, 256, 256), where it is not the dataset's.
    mean: Option<Arc<[u8]>>,
}

impl Augmentation {
    /// Scales the colour jitter of a recipe's settings, whose ranges were checked, to the deviations of the dataset's
    /// pixels.
    pub fn new(settings: &AugmentSettings, statistics: &PixelStatistics) -> Self {
        let AugmentSettings { crop, canvas, position, min_area, max_ratio, mirror, lighting, scale } = *settings;
        let mut lights = [[0.0; CHANNELS]; CHANNELS];
        for (component, light) in lights.iter_mut().enumerate() {
            let deviation = lighting * statistics.pca_deviation[component];
            *light = statistics.pca_vectors[component].map(|direction| (deviation * direction) as f32);
        }
        let frame = Frame { crop, canvas, scale: scale as f32 };
        let resized = (min_area, max_ratio);
        Self { frame, position, resized, mirror, lights, shift: [0.0; CHANNELS], mean: None }
    }

    /// The same, with so much added to every value of red, green and blue: the part of a mean colour that is no whole
    /// number.
    pub fn shifted(self, shift: [f32; CHANNELS]) -> Self {
        Self { shift, ..self }
    }

    /// The same, with another mean image subtracted from the pixels than the dataset's.
    pub fn with_mean(self, mean: &[u8]) -> Self {
        Self { mean: Some(mean.into()), ..self }
    }

    /// What is added to every value of red, green and blue.
    pub fn shift(&self) -> [f32; CHANNELS] {
        self.shift
    }

    /// The mean image that is subtracted where it is not the dataset's.
    pub fn mean(&self) -> Option<&[u8]> {
        self.mean.as_deref()
    }

    /// The shape of the network's input.
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// The view of a sample in an epoch of training, a pure function of its arguments.
    ///
    /// A random crop begins at 0..=32 in both directions: 33 x 33 x 2 = 2178 views. The paper counts 32 x 32 x 2 =
    /// 2048 (section 4.1); its code draws from 33, as Caffe does, and so trains on the corners that it is evaluated on.
    pub fn training_view(&self, seed: u64, epoch: u32, sample: usize) -> View {
        let index = u32::try_from(sample).expect("samples of a split are counted in 32 bits");
        let draw = |number| words(seed, Purpose::Augment, [index, epoch, number]);
        let [top, left, mirror, _] = draw(0);
        let mut view = self.centre_view(sample);
        match self.position {
            CropPosition::Centre => {}
            CropPosition::Random => {
                let num_positions = self.frame.last_position() as u32 + 1;
                view.top = below(top, num_positions) as usize;
                view.left = below(left, num_positions) as usize;
            }
            CropPosition::Resized => (view.top, view.left, view.cut) = self.resized_cut(draw),
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

    /// The centre crop, neither mirrored nor jittered.
    pub fn centre_view(&self, sample: usize) -> View {
        let middle = self.frame.last_position() / 2;
        View { sample, top: middle, left: middle, cut: Cut::AsCrop, mirror: Mirror::No, light: self.shift }
    }

    /// The ten views whose predictions are averaged (section 4.1): top left, top right, bottom left, bottom right and
    /// centre, each followed by its mirror image.
    pub fn ten_views(&self, sample: usize) -> [View; 10] {
        let (centre, end) = (self.centre_view(sample), self.frame.last_position());
        let places = [(0, 0), (0, end), (end, 0), (end, end), (centre.top, centre.left)];
        std::array::from_fn(|index| {
            let (top, left) = places[index / 2];
            let mirror = if index % 2 == 0 { Mirror::No } else { Mirror::Yes };
            View { sample, top, left, cut: Cut::AsCrop, mirror, light: self.shift }
        })
    }

    /// The top, left and size of a part of random area and shape (Szegedy and others, 2014), drawn as torchvision's
    /// RandomResizedCrop draws it: the first of ten that fits into the sample, or the whole sample.
    fn resized_cut(&self, draw: impl Fn(u32) -> [u32; 4]) -> (usize, usize, Cut) {
        // Draws 0 and 1 are the mirror's and the lighting's.
        const FIRST_DRAW: u32 = 2;
        let (min_area, max_ratio) = self.resized;
        for attempt in 0..10 {
            let [area, ratio, top, left] = draw(FIRST_DRAW + attempt);
            let area = (SIDE * SIDE) as f64 * (min_area + (1.0 - min_area) * f64::from(uniform(area)));
            let ratio = (max_ratio.ln() * (2.0 * f64::from(uniform(ratio)) - 1.0)).exp();
            let [height, width] = [area / ratio, area * ratio].map(|side| (side.sqrt().round() as usize).max(1));
            if height <= SIDE && width <= SIDE {
                let place = |word, side: usize| below(word, (SIDE - side) as u32 + 1) as usize;
                return (place(top, height), place(left, width), Cut::Resized { height, width });
            }
        }
        (0, 0, Cut::Resized { height: SIDE, width: SIDE })
    }

    /// The sum over the components i of p_i * a_i * s_i (section 4.1), where `draws` are the a_i from N(0, 1).
    fn light(&self, draws: [f32; CHANNELS]) -> [f32; CHANNELS] {
        let jitter = |channel: usize| (0..CHANNELS).map(|i| draws[i] * self.lights[i][channel]).sum::<f32>();
        std::array::from_fn(|channel| jitter(channel) + self.shift[channel])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics() -> PixelStatistics {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        PixelStatistics {
            channel_mean: [0.0; CHANNELS],
            pca_deviation: [100.0, 40.0, 10.0],
            pca_vectors: [[half, half, 0.0], [half, -half, 0.0], [0.0, 0.0, 1.0]],
        }
    }

    fn augmentation(change: impl Fn(&mut AugmentSettings)) -> Augmentation {
        let mut settings = AugmentSettings::default();
        change(&mut settings);
        Augmentation::new(&settings, &statistics())
    }

    fn views(augmentation: &Augmentation, num_views: usize) -> Vec<View> {
        (0..num_views).map(|i| augmentation.training_view(9, (i % 7) as u32, i / 7)).collect()
    }

    /// Whether a count of draws of probability `p` is within five standard deviations of its expectation.
    fn within_chance(count: usize, num_draws: usize, p: f64) -> bool {
        let (mean, variance) = (num_draws as f64 * p, num_draws as f64 * p * (1.0 - p));
        (count as f64 - mean).abs() < 5.0 * variance.sqrt()
    }

    #[test]
    fn crops_begin_at_all_33_positions_equally_often_in_both_directions() {
        let views = views(&augmentation(|_| {}), 33_000);
        for place in 0..=32 {
            let tops = views.iter().filter(|view| view.top == place).count();
            let lefts = views.iter().filter(|view| view.left == place).count();
            assert!(within_chance(tops, 33_000, 1.0 / 33.0) && within_chance(lefts, 33_000, 1.0 / 33.0), "{place}");
        }
        assert!(views.iter().all(|view| view.top <= 32 && view.left <= 32));
        // Independent of each other: of 33 x 33 places none is empty or crowded (30 expected, deviation 5.5).
        let mut counts = [0_usize; 33 * 33];
        views.iter().for_each(|view| counts[view.top * 33 + view.left] += 1);
        assert!(counts.iter().all(|&count| within_chance(count, 33_000, 1.0 / 1089.0)), "{counts:?}");
    }

    #[test]
    fn resized_cuts_have_areas_and_shapes_of_the_range_and_lie_inside() {
        let resized = augmentation(|settings| settings.position = CropPosition::Resized);
        let views = views(&resized, 20_000);
        let mut areas = Vec::new();
        for view in &views {
            let Cut::Resized { height, width } = view.cut else { panic!("{view:?}") };
            assert!(view.top + height <= SIDE && view.left + width <= SIDE, "{view:?}");
            let ratio = width as f64 / height as f64;
            // Sides are whole pixels: 64 at least, where half a pixel on either side is 2%.
            assert!((0.98 * 0.75..1.02 / 0.75).contains(&ratio), "{view:?}");
            areas.push((height * width) as f64 / (SIDE * SIDE) as f64);
        }
        assert!(areas.iter().all(|area| (0.078..=1.0).contains(area)));
        // Uniform from 0.08 to 1 but for the largest, of which few shapes fit: a quarter is below 0.31 or a little
        // more.
        let small = areas.iter().filter(|area| **area < 0.31).count() as f64 / 20_000.0;
        assert!((0.25..0.30).contains(&small), "{small}");
        let wide = views.iter().filter(|view| matches!(view.cut, Cut::Resized { height, width } if width > height));
        let wide = wide.count() as f64 / 20_000.0;
        assert!((0.47..0.52).contains(&wide), "{wide}");
    }

    #[test]
    fn half_of_the_crops_are_mirrored() {
        let views = views(&augmentation(|_| {}), 20_000);
        assert!(within_chance(views.iter().filter(|view| view.mirror == Mirror::Yes).count(), 20_000, 0.5));
        let both = views.iter().filter(|view| view.mirror == Mirror::Yes && view.top < 11).count();
        assert!(within_chance(both, 20_000, 0.5 / 3.0));
    }

    #[test]
    fn lighting_has_the_deviations_of_the_principal_components() {
        let views = views(&augmentation(|_| {}), 20_000);
        let half = std::f64::consts::FRAC_1_SQRT_2;
        // Along the components: 0.1 times 100, 40 and 10.
        let along = |view: &View| {
            let [red, green, blue] = view.light.map(f64::from);
            [(red + green) * half, (red - green) * half, blue]
        };
        for (component, deviation) in [10.0, 4.0, 1.0].into_iter().enumerate() {
            let draws: Vec<f64> = views.iter().map(|view| along(view)[component] / deviation).collect();
            let mean = draws.iter().sum::<f64>() / 20_000.0;
            let variance = draws.iter().map(|draw| draw * draw).sum::<f64>() / 20_000.0;
            // Five standard errors of 20,000 draws: 0.035 for the mean, 0.05 for the variance.
            assert!(mean.abs() < 0.035 && (variance - 1.0).abs() < 0.05, "{component}: {mean}, {variance}");
        }
        let product = views.iter().map(|view| along(view)[0] / 10.0 * along(view)[1] / 4.0).sum::<f64>() / 20_000.0;
        assert!(product.abs() < 0.035, "the components are independent: {product}");
    }

    #[test]
    fn a_setting_that_is_off_leaves_the_other_draws_as_they_were() {
        let all = augmentation(|_| {}).training_view(1, 2, 3);
        let dark = augmentation(|settings| settings.lighting = 0.0).training_view(1, 2, 3);
        assert_eq!(dark, View { light: [0.0; CHANNELS], ..all });
        let centred = augmentation(|settings| settings.position = CropPosition::Centre).training_view(1, 2, 3);
        assert_eq!(centred, View { top: 16, left: 16, ..all });
        let straight = augmentation(|settings| settings.mirror = false);
        assert!(views(&straight, 100).iter().all(|view| view.mirror == Mirror::No));
    }

    #[test]
    fn a_view_depends_on_seed_epoch_and_sample() {
        let augmentation = augmentation(|_| {});
        let view = augmentation.training_view(1, 2, 3);
        assert_eq!(view, augmentation.training_view(1, 2, 3));
        for other in [(0, 2, 3), (1, 3, 3), (1, 2, 4)].map(|(a, b, c)| augmentation.training_view(a, b, c)) {
            assert_ne!(view.light, other.light);
        }
    }

    #[test]
    fn the_ten_views_are_corners_and_centre_each_with_its_mirror() {
        let views = augmentation(|_| {}).ten_views(5);
        let places = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)];
        for (pair, place) in views.chunks(2).zip(places) {
            assert!(pair.iter().all(|view| (view.top, view.left) == place && view.sample == 5));
            assert_eq!([pair[0].mirror, pair[1].mirror], [Mirror::No, Mirror::Yes]);
            assert!(pair.iter().all(|view| view.light == [0.0; CHANNELS]));
        }
        assert_eq!(views[8], augmentation(|_| {}).centre_view(5));
    }
}
