//! The mean image and the covariance of the colours over the training split, from exact integer sums, so that no result
//! depends on the order in which images are added.

use serde::{Deserialize, Serialize};

use super::eigen::symmetric_eigen;
use crate::shard::dataset::PixelStatistics;
use crate::shard::format::{CHANNELS, PLANE, SAMPLE_BYTES, SIDE};

/// Sums over pixels of each colour and of each product of two colours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColourSums {
    /// The number of pixels in the sums.
    pub num_pixels: u64,
    /// The sums of red, green and blue.
    pub first: [u64; CHANNELS],
    /// Red x red, red x green, red x blue, green x green, green x blue, blue x blue.
    pub second: [u64; 6],
}

/// The pairs of [`ColourSums::second`].
const PAIRS: [[usize; 2]; 6] = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]];

impl ColourSums {
    /// The sums of one sample, (3, 256, 256).
    pub fn of(sample: &[u8]) -> Self {
        assert_eq!(sample.len(), SAMPLE_BYTES, "bytes of a sample");
        let mut sums = Self { num_pixels: PLANE as u64, ..Self::default() };
        let rows = |channel: usize| sample[channel * PLANE..][..PLANE].chunks_exact(SIDE);
        for ((red, green), blue) in rows(0).zip(rows(1)).zip(rows(2)) {
            let (first, second) = row_sums(red, green, blue);
            sums.first.iter_mut().zip(first).for_each(|(sum, row)| *sum += row as u64);
            sums.second.iter_mut().zip(second).for_each(|(sum, row)| *sum += row as u64);
        }
        sums
    }

    pub fn add(&mut self, other: &Self) {
        self.num_pixels += other.num_pixels;
        self.first.iter_mut().zip(other.first).for_each(|(sum, other)| *sum += other);
        self.second.iter_mut().zip(other.second).for_each(|(sum, other)| *sum += other);
    }

    pub fn statistics(&self) -> PixelStatistics {
        assert!(self.num_pixels > 0, "statistics of no pixels");
        let n = self.num_pixels as f64;
        let channel_mean = self.first.map(|sum| sum as f64 / n);
        let mut covariance = [[0.0; CHANNELS]; CHANNELS];
        for ([a, b], &sum) in PAIRS.into_iter().zip(&self.second) {
            // Exact up to the division: n^2 times the covariance.
            let scaled =
                i128::from(self.num_pixels) * i128::from(sum) - i128::from(self.first[a]) * i128::from(self.first[b]);
            covariance[a][b] = scaled as f64 / (n * n);
            covariance[b][a] = covariance[a][b];
        }
        let (values, vectors) = symmetric_eigen(covariance);
        // Rounding may leave a value that is truly zero a little below it.
        let pca_deviation = values.map(|value| value.max(0.0).sqrt());
        PixelStatistics { channel_mean, pca_deviation, pca_vectors: vectors }
    }
}

/// The sums of one row: at most 256 x 255 and 256 x 255 x 255. In i32, since the compiler then multiplies and adds
/// eight pairs at once, and in one loop, which reads each value once.
fn row_sums(red: &[u8], green: &[u8], blue: &[u8]) -> ([i32; CHANNELS], [i32; 6]) {
    let (mut first, mut second) = ([0; CHANNELS], [0; 6]);
    for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
        let [r, g, b] = [red, green, blue].map(i32::from);
        first[0] += r;
        first[1] += g;
        first[2] += b;
        second[0] += r * r;
        second[1] += r * g;
        second[2] += r * b;
        second[3] += g * g;
        second[4] += g * b;
        second[5] += b * b;
    }
    (first, second)
}

/// The sum of all samples at each pixel, (3, 256, 256).
#[derive(Clone, Debug)]
pub struct PixelSums {
    sums: Vec<u64>,
    /// The sums since the last flush, in 16 bits: a quarter of the memory and of the time.
    recent: Vec<u16>,
    num_recent: u16,
    num_samples: u64,
}

/// The number of samples whose sum fits 16 bits even if every value is 255.
const MAX_RECENT: u16 = u16::MAX / 255;

impl Default for PixelSums {
    fn default() -> Self {
        Self { sums: vec![0; SAMPLE_BYTES], recent: vec![0; SAMPLE_BYTES], num_recent: 0, num_samples: 0 }
    }
}

impl PixelSums {
    /// Reverses [`PixelSums::encode`]; `None` if the length is wrong.
    pub fn decode(bytes: &[u8], num_samples: u64) -> Option<Self> {
        if bytes.len() != SAMPLE_BYTES * 8 {
            return None;
        }
        let sums =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes"))).collect();
        Some(Self { sums, num_samples, ..Self::default() })
    }

    /// (3, 256, 256) u64, little-endian.
    pub fn encode(&mut self) -> Vec<u8> {
        self.flush();
        self.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
    }

    pub fn add(&mut self, sample: &[u8]) {
        if self.num_recent == MAX_RECENT {
            self.flush();
        }
        for (sum, &value) in self.recent.iter_mut().zip(sample) {
            *sum += u16::from(value);
        }
        self.num_recent += 1;
        self.num_samples += 1;
    }

    pub fn num_samples(&self) -> u64 {
        self.num_samples
    }

    /// The mean image, rounded to whole numbers, halves up.
    pub fn mean(&mut self) -> Vec<u8> {
        self.flush();
        let n = self.num_samples;
        assert!(n > 0, "the mean of no samples");
        self.sums.iter().map(|sum| ((2 * sum + n) / (2 * n)) as u8).collect()
    }

    fn flush(&mut self) {
        for (sum, recent) in self.sums.iter_mut().zip(&mut self.recent) {
            *sum += u64::from(std::mem::take(recent));
        }
        self.num_recent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u32) -> Vec<u8> {
        (0..SAMPLE_BYTES as u32).map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    #[test]
    fn statistics_agree_with_the_textbook() {
        let (first, second) = (noise(5), noise(77));
        let mut sums = ColourSums::of(&first);
        sums.add(&ColourSums::of(&second));
        let statistics = sums.statistics();
        let values = |channel: usize| {
            let plane = move |sample: &[u8]| sample[channel * PLANE..][..PLANE].to_vec();
            [plane(&first), plane(&second)].concat().into_iter().map(f64::from).collect::<Vec<_>>()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let mut trace = 0.0;
        for channel in 0..3 {
            let values = values(channel);
            let mean = mean(&values);
            assert!((statistics.channel_mean[channel] - mean).abs() < 1e-9);
            trace += values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        }
        // The eigenvalues of a matrix sum to its trace.
        let sum: f64 = statistics.pca_deviation.iter().map(|deviation| deviation * deviation).sum();
        assert!((sum - trace).abs() < 1e-6 * trace, "{sum} and {trace}");
    }

    #[test]
    fn grey_images_vary_along_the_grey_axis_only() {
        let plane = &noise(9)[..PLANE];
        let statistics = ColourSums::of(&[plane, plane, plane].concat()).statistics();
        let third = 1.0 / 3.0_f64.sqrt();
        assert!(statistics.pca_vectors[0].iter().all(|part| (part - third).abs() < 1e-6), "{statistics:?}");
        assert!(statistics.pca_deviation[1] < 1e-3 && statistics.pca_deviation[2] < 1e-3, "{statistics:?}");
    }
}
