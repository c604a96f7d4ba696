//! The picture of the kernels that the first layer has learned (the paper's Figure 3).

use image::{Rgb, RgbImage};

/// The paper's figure has its 96 kernels in 16 columns and 6 rows.
const COLUMNS_A_ROW: f64 = 16.0 / 6.0;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);

/// Draws conv1's weights, (O, 3, H, W) by `shape`, each weight a square of `scale` pixels. Zero is mid grey; each
/// kernel has its own contrast, so that its largest weight by magnitude is as bright or dark as can be.
pub(crate) fn kernels(weights: &[f32], shape: &[usize], scale: u32) -> RgbImage {
    let &[num_kernels, 3, height, width] = shape else { panic!("kernels of three channels, found {shape:?}") };
    assert_eq!(weights.len(), shape.iter().product::<usize>(), "weights of {shape:?}");
    let num_columns = num_columns(num_kernels);
    let num_rows = num_kernels.div_ceil(num_columns);
    let (cell_width, cell_height) = (width as u32 * scale + scale, height as u32 * scale + scale);
    let mut picture =
        RgbImage::from_pixel(num_columns as u32 * cell_width + scale, num_rows as u32 * cell_height + scale, PAPER);
    for (index, kernel) in weights.chunks_exact(3 * height * width).enumerate() {
        let left = scale + (index % num_columns) as u32 * cell_width;
        let top = scale + (index / num_columns) as u32 * cell_height;
        let largest = kernel.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
        let level = |channel: usize, y: usize, x: usize| {
            let weight = kernel[(channel * height + y) * width + x];
            // The cast maps NaN to 0.
            if largest > 0.0 { (127.5 + 127.5 * weight / largest).round() as u8 } else { 128 }
        };
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let colour = Rgb([level(0, y, x), level(1, y, x), level(2, y, x)]);
            for (dy, dx) in (0..scale).flat_map(|dy| (0..scale).map(move |dx| (dy, dx))) {
                picture.put_pixel(left + x as u32 * scale + dx, top + y as u32 * scale + dy, colour);
            }
        }
    }
    picture
}

/// As near as can be to the figure's form with all rows full; where that takes far too many or too few columns, the
/// last row is not.
fn num_columns(num_kernels: usize) -> usize {
    let ideal = (COLUMNS_A_ROW * num_kernels as f64).sqrt();
    let distance = |columns: usize| (columns as f64 / ideal).ln().abs();
    let full = (1..=num_kernels).filter(|columns| num_kernels.is_multiple_of(*columns));
    let nearest = full.min_by(|one, other| distance(*one).total_cmp(&distance(*other)));
    nearest.filter(|columns| distance(*columns) <= 2.0_f64.ln()).unwrap_or(ideal.ceil() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_has_its_place_and_its_own_contrast() {
        // 96 kernels of 2 x 1: the second is red on the left, the 17th is faint and dark blue on the right.
        let mut weights = vec![0.0_f32; 96 * 3 * 2];
        weights[6] = 4.0;
        weights[16 * 6 + 5] = -0.001;
        let picture = kernels(&weights, &[96, 3, 1, 2], 2);
        // Cells of 6 x 4 pixels with a margin of 2.
        assert_eq!(picture.dimensions(), (16 * 6 + 2, 6 * 4 + 2));
        assert_eq!(picture.get_pixel(2, 2), &Rgb([128; 3]));
        assert_eq!(picture.get_pixel(8, 3), &Rgb([255, 128, 128]));
        assert_eq!(picture.get_pixel(10, 3), &Rgb([128; 3]));
        assert_eq!(picture.get_pixel(4, 6), &Rgb([128, 128, 0]));
        assert_eq!(picture.get_pixel(0, 0), &PAPER);
    }

    #[test]
    fn rows_are_full_where_that_looks_like_the_figure() {
        assert_eq!([96, 48, 24, 64, 8, 17, 1].map(num_columns), [16, 12, 8, 16, 4, 7, 1]);
    }
}
