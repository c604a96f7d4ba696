//! Unfolding an image into the columns that a convolution multiplies (im2col), and folding gradients back.
//!
//! A tap is a weight of a filter, (channel, y, x); a position is a pixel of the output, (row, column). Then
//!
//! ```text
//! columns[tap][position] = image[channel][row * stride + y - pad][column * stride + x - pad], or 0 outside the image
//! output (out_channels, positions) = weights (out_channels, taps) * columns (taps, positions)
//! ```
//!
//! (`pixel` in the tests below is the first line, plainly.) The columns would be kernel^2 times as large as the image,
//! so they are never whole: each panel is written just before a product reads it, WIDTH positions of all taps, or for
//! the weight gradient WIDTH taps of all positions. The idea is to arrange the image once, so that the writing is
//! copies of contiguous runs, for any stride:
//!
//! ```text
//! arrange             zeros around the image, and each row's pixels sorted by their column modulo the stride (their
//!                     phase): with a stride of 2, 0 1 2 3 4 5 becomes 0 2 4 | 1 3 5. What a tap meets at neighbouring
//!                     positions of a row is then contiguous.
//! unfold_positions    for each tap: copy a run for each row of the output that the panel touches
//! arrange_pixels      zeros around the image, the channels of a pixel side by side. With the taps in the order
//!                     (y, x, channel), what a row of the filter meets at one position is then contiguous.
//! unfold_taps         for each position: copy a run for each row of the filter that the panel touches
//! fold, restore       the transposes of unfolding and arranging: they add where those copy
//! ```

use std::ops::Range;

use super::real::Real;
use super::stride::take_every;
use crate::model::ConvBlock;

/// The geometry of one convolution.
#[derive(Clone, Copy, Debug)]
pub struct Unfold {
    pub in_side: usize,
    /// Height and width of a filter.
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    pub out_side: usize,
}

impl Unfold {
    pub fn new(block: &ConvBlock) -> Self {
        let ConvBlock { in_side, kernel, stride, pad, conv_side, .. } = *block;
        Self { in_side, kernel, stride, pad, out_side: conv_side }
    }

    /// Values of one arranged channel: (padded_side, stride, phase_width).
    pub fn arranged_values(&self) -> usize {
        self.padded_side() * self.line()
    }

    fn padded_side(&self) -> usize {
        self.in_side + 2 * self.pad
    }

    /// Pixels of a padded row that have the same phase.
    fn phase_width(&self) -> usize {
        self.padded_side().div_ceil(self.stride)
    }

    /// Values of an arranged row: (stride, phase_width).
    fn line(&self) -> usize {
        self.stride * self.phase_width()
    }

    /// Where in an arranged channel begins what the tap (y, x) meets at a row of positions: a run of out_side values.
    #[inline(always)]
    fn run_start(&self, out_row: usize, y: usize, x: usize) -> usize {
        (out_row * self.stride + y) * self.line() + x % self.stride * self.phase_width() + x / self.stride
    }

    /// image (channels, in_side, in_side) to arranged (channels, padded_side, stride, phase_width).
    #[inline(always)]
    pub fn arrange<T: Real>(&self, image: &[T], arranged: &mut [T]) {
        let (side, line) = (self.in_side, self.line());
        let channels = image.chunks_exact(side * side).zip(arranged.chunks_exact_mut(self.arranged_values()));
        for (channel, arranged) in channels {
            let (above, rest) = arranged.split_at_mut(self.pad * line);
            let (middle, below) = rest.split_at_mut(side * line);
            above.fill(T::ZERO);
            below.fill(T::ZERO);
            for (row, to) in channel.chunks_exact(side).zip(middle.chunks_exact_mut(line)) {
                self.arrange_row(row, to);
            }
        }
    }

    #[inline(always)]
    fn arrange_row<T: Real>(&self, row: &[T], to: &mut [T]) {
        if self.stride == 1 {
            let end = self.pad + row.len();
            to[..self.pad].fill(T::ZERO);
            to[self.pad..end].copy_from_slice(row);
            to[end..].fill(T::ZERO);
            return;
        }
        to.fill(T::ZERO);
        for (phase, to) in to.chunks_exact_mut(self.phase_width()).enumerate() {
            // The first column of the padded row that has this phase and holds a pixel.
            let first = (self.pad..self.pad + self.stride).find(|column| column % self.stride == phase);
            let first = first.expect("consecutive columns have every phase");
            let pixels = &row[(first - self.pad).min(row.len())..];
            let num_pixels = pixels.len().div_ceil(self.stride);
            take_every(self.stride, pixels, &mut to[first / self.stride..][..num_pixels]);
        }
    }

    /// Some positions' columns, from arranged (channels, ...) to a panel (taps, WIDTH), filled up with zeros. Behind
    /// `arranged` there are WIDTH readable values, behind the panel WIDTH writable ones.
    #[inline(always)]
    pub fn unfold_positions<T: Real, const WIDTH: usize>(
        &self,
        channels: usize,
        arranged: &[T],
        positions: Range<usize>,
        panel: &mut [T],
    ) {
        let runs = Runs::<WIDTH>::new(positions, self.out_side, |row| self.run_start(row, 0, 0));
        let (line, phase_width, mut at) = (self.line(), self.phase_width(), 0);
        for channel in 0..channels {
            for y in 0..self.kernel {
                let row = channel * self.arranged_values() + y * line;
                let (mut phase, mut column) = (0, 0);
                for _ in 0..self.kernel {
                    runs.copy(&arranged[row + phase * phase_width + column..], &mut panel[at..]);
                    at += WIDTH;
                    // Counted, since a division costs as much as the copy.
                    phase += 1;
                    if phase == self.stride {
                        (phase, column) = (0, column + 1);
                    }
                }
            }
        }
    }

    /// image (channels, in_side, in_side) to pixels (padded_side, padded_side, channels), with zeros around it.
    #[inline(always)]
    pub fn arrange_pixels<T: Real>(&self, channels: usize, image: &[T], pixels: &mut [T]) {
        let (side, line) = (self.in_side, self.padded_side() * channels);
        pixels[..self.padded_side() * line].fill(T::ZERO);
        let rows = pixels[self.pad * (line + channels)..].chunks_mut(line).take(side).enumerate();
        for (row, to) in rows {
            for (channel, values) in image.chunks_exact(side * side).enumerate() {
                let to = to[channel..].iter_mut().step_by(channels);
                to.zip(&values[row * side..][..side]).for_each(|(to, value)| *to = *value);
            }
        }
    }

    /// Some taps' lines of the columns, from pixels to a panel (out_rows * out_side, WIDTH), filled up with zeros; the
    /// taps are counted in the order (y, x, channel). Behind `pixels` there are WIDTH readable values, behind the panel
    /// WIDTH writable ones.
    #[inline(always)]
    pub fn unfold_taps<T: Real, const WIDTH: usize>(
        &self,
        channels: usize,
        pixels: &[T],
        out_rows: Range<usize>,
        taps: Range<usize>,
        panel: &mut [T],
    ) {
        let line = self.padded_side() * channels;
        let runs = Runs::<WIDTH>::new(taps, self.kernel * channels, |y| y * line);
        for (index, row) in out_rows.enumerate() {
            for column in 0..self.out_side {
                let start = row * self.stride * line + column * self.stride * channels;
                runs.copy(&pixels[start..], &mut panel[(index * self.out_side + column) * WIDTH..]);
            }
        }
    }

    /// Adds columns (taps, out_rows * out_side), whose lines are `pitch` values apart, to arranged (channels, ...): the
    /// transpose of unfolding.
    #[inline(always)]
    pub fn fold<T: Real>(&self, columns: &[T], pitch: usize, out_rows: Range<usize>, arranged: &mut [T]) {
        let mut lines = columns.chunks_exact(pitch);
        for channel in arranged.chunks_exact_mut(self.arranged_values()) {
            for tap in 0..self.kernel * self.kernel {
                let line = lines.next().expect("a line of columns for each tap");
                for (out_row, from) in out_rows.clone().zip(line.chunks_exact(self.out_side)) {
                    let start = self.run_start(out_row, tap / self.kernel, tap % self.kernel);
                    let to = &mut channel[start..start + self.out_side];
                    for (to, from) in to.iter_mut().zip(from) {
                        *to += *from;
                    }
                }
            }
        }
    }

    /// arranged (channels, ...) to image (channels, in_side, in_side), the zeros around it dropped: the transpose of
    /// [`Unfold::arrange`].
    #[inline(always)]
    pub fn restore<T: Real>(&self, arranged: &[T], image: &mut [T]) {
        let (side, line) = (self.in_side, self.line());
        let channels = image.chunks_exact_mut(side * side).zip(arranged.chunks_exact(self.arranged_values()));
        for (channel, arranged) in channels {
            let middle = &arranged[self.pad * line..];
            for (row, from) in channel.chunks_exact_mut(side).zip(middle.chunks_exact(line)) {
                if self.stride == 1 {
                    row.copy_from_slice(&from[self.pad..self.pad + side]);
                    continue;
                }
                for (column, to) in row.iter_mut().enumerate() {
                    let padded = column + self.pad;
                    *to = from[padded % self.stride * self.phase_width() + padded / self.stride];
                }
            }
        }
    }
}

/// Up to WIDTH neighbours in a matrix, as the runs that lie in one row each.
struct Runs<const WIDTH: usize> {
    /// Where each run begins, in the source and among the neighbours.
    starts: [(usize, usize); WIDTH],
    num_runs: usize,
    len: usize,
}

impl<const WIDTH: usize> Runs<WIDTH> {
    /// The neighbours `range` of a matrix of rows of `row_len`, each of which begins at `row_start` in the source.
    #[inline(always)]
    fn new(range: Range<usize>, row_len: usize, row_start: impl Fn(usize) -> usize) -> Self {
        let mut runs = Self { starts: [(0, 0); WIDTH], num_runs: 0, len: range.len() };
        let mut at = range.start;
        while at < range.end {
            runs.starts[runs.num_runs] = (row_start(at / row_len) + at % row_len, at - range.start);
            runs.num_runs += 1;
            at = (at / row_len + 1) * row_len;
        }
        runs
    }

    /// Copies the neighbours, and zeros behind them. Each run is copied as if it filled the panel, in one wide step;
    /// what is too much, the next run, the zeros or the next line of the panel overwrites.
    #[inline(always)]
    fn copy<T: Real>(&self, from: &[T], to: &mut [T]) {
        for (source, at) in &self.starts[..self.num_runs] {
            to[*at..][..WIDTH].copy_from_slice(&from[*source..][..WIDTH]);
        }
        if self.len < WIDTH {
            to[self.len..][..WIDTH].fill(T::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::testing::{assert_close, dot, draws};

    const CHANNELS: usize = 2;

    fn cases() -> [Unfold; 4] {
        let unfold = Unfold { in_side: 6, kernel: 3, stride: 1, pad: 1, out_side: 6 };
        let strided = Unfold { in_side: 11, kernel: 5, stride: 4, pad: 0, out_side: 2 };
        [unfold, Unfold { kernel: 5, pad: 2, ..unfold }, strided, Unfold { pad: 3, out_side: 4, ..strided }]
    }

    const WIDTH: usize = 4;

    fn arranged(unfold: &Unfold, image: &[f64]) -> Vec<f64> {
        let mut arranged = vec![f64::NAN; CHANNELS * unfold.arranged_values() + WIDTH];
        unfold.arrange(image, &mut arranged);
        arranged
    }

    /// The columns, put together from panels of positions.
    fn unfolded(unfold: &Unfold, image: &[f64], rows: Range<usize>) -> Vec<f64> {
        let (depth, width) = (CHANNELS * unfold.kernel.pow(2), rows.len() * unfold.out_side);
        let mut columns = vec![f64::NAN; depth * width];
        let mut panel = vec![f64::NAN; (depth + 1) * WIDTH];
        for start in (0..width).step_by(WIDTH) {
            let (first, num) = (rows.start * unfold.out_side + start, WIDTH.min(width - start));
            let arranged = arranged(unfold, image);
            unfold.unfold_positions::<_, WIDTH>(CHANNELS, &arranged, first..first + num, &mut panel);
            for at in 0..depth * WIDTH {
                match at % WIDTH < num {
                    true => columns[at / WIDTH * width + start + at % WIDTH] = panel[at],
                    false => assert_eq!(panel[at], 0.0),
                }
            }
        }
        columns
    }

    /// The columns, put together from panels of taps.
    fn unfolded_taps(unfold: &Unfold, image: &[f64], rows: Range<usize>) -> Vec<f64> {
        let (depth, width) = (CHANNELS * unfold.kernel.pow(2), rows.len() * unfold.out_side);
        let mut pixels = vec![f64::NAN; CHANNELS * unfold.padded_side().pow(2) + WIDTH];
        unfold.arrange_pixels(CHANNELS, image, &mut pixels);
        let mut columns = vec![f64::NAN; depth * width];
        let mut panel = vec![f64::NAN; (width + 1) * WIDTH];
        for start in (0..depth).step_by(WIDTH) {
            let num = WIDTH.min(depth - start);
            unfold.unfold_taps::<_, WIDTH>(CHANNELS, &pixels, rows.clone(), start..start + num, &mut panel);
            for at in 0..width * WIDTH {
                let (yx, channel) = ((start + at % WIDTH) / CHANNELS, (start + at % WIDTH) % CHANNELS);
                match at % WIDTH < num {
                    true => columns[(channel * unfold.kernel.pow(2) + yx) * width + at / WIDTH] = panel[at],
                    false => assert_eq!(panel[at], 0.0),
                }
            }
        }
        columns
    }

    /// What a tap meets at a position: a pixel, or the zero around the image.
    fn pixel(unfold: &Unfold, image: &[f64], tap: usize, row: usize, column: usize) -> f64 {
        let (kernel, side) = (unfold.kernel, unfold.in_side);
        let at = |out: usize, tap: usize| (out * unfold.stride + tap).checked_sub(unfold.pad).filter(|at| *at < side);
        let channel = &image[tap / (kernel * kernel) * side * side..];
        let pixel = at(row, tap / kernel % kernel).zip(at(column, tap % kernel));
        pixel.map_or(0.0, |(y, x)| channel[y * side + x])
    }

    #[test]
    fn columns_hold_the_pixels_under_each_tap() {
        for unfold in cases() {
            let image = draws(CHANNELS * unfold.in_side.pow(2), 1);
            for rows in [0..unfold.out_side, 1..unfold.out_side] {
                let expected: Vec<_> = (0..CHANNELS * unfold.kernel.pow(2))
                    .flat_map(|tap| rows.clone().map(move |row| (tap, row)))
                    .flat_map(|(tap, row)| (0..unfold.out_side).map(move |column| (tap, row, column)))
                    .map(|(tap, row, column)| pixel(&unfold, &image, tap, row, column))
                    .collect();
                assert_eq!(unfolded(&unfold, &image, rows.clone()), expected, "{unfold:?}");
                assert_eq!(unfolded_taps(&unfold, &image, rows), expected, "{unfold:?}");
            }
        }
    }

    #[test]
    fn folding_is_the_transpose_of_unfolding() {
        for unfold in cases() {
            let rows = 0..unfold.out_side;
            let image = draws(CHANNELS * unfold.in_side.pow(2), 1);
            let columns = unfolded(&unfold, &image, rows.clone());
            let others = draws(columns.len(), 2);
            let mut arranged = vec![0.0; CHANNELS * unfold.arranged_values()];
            unfold.fold(&others, rows.len() * unfold.out_side, rows, &mut arranged);
            let mut folded = vec![f64::NAN; image.len()];
            unfold.restore(&arranged, &mut folded);
            assert_close("<unfold x, y> = <x, fold y>", &[dot(&columns, &others)], &[dot(&image, &folded)]);
        }
    }
}
