//! Convolutions as products with the matrix of patches; bit-identical for any number of threads.

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::product::{Matrix, product};

/// Calls `visit` with (pixel of the output, tap of the filter, place in the image) for the first channel of `group` at
/// every tap that lies in the image.
fn visit_patches(geometry: &Geometry, group: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let [_, channels, height, width] = geometry.input.shape;
    let [_, group_channels, filter_height, filter_width] = geometry.filter.shape;
    let [stride_y, stride_x] = geometry.convolution.stride;
    let [pad_y, pad_x] = geometry.convolution.padding;
    let [_, _, output_height, output_width] = geometry.output.shape;
    for pixel_y in 0..output_height {
        for tap_y in 0..filter_height {
            let Some(y) = (pixel_y * stride_y + tap_y).checked_sub(pad_y).filter(|y| *y < height) else { continue };
            for pixel_x in 0..output_width {
                for tap_x in 0..filter_width {
                    let Some(x) = (pixel_x * stride_x + tap_x).checked_sub(pad_x).filter(|x| *x < width) else {
                        continue;
                    };
                    let tap = (tap_y * filter_width + tap_x) * group_channels;
                    visit(pixel_y * output_width + pixel_x, tap, (y * width + x) * channels + group * group_channels);
                }
            }
        }
    }
}

/// The patches of an image for a group: (pixels of the output, taps).
fn patches(geometry: &Geometry, image: &[f32], group: usize) -> Vec<f32> {
    let (taps, channels) = (geometry.taps(), geometry.group_channels());
    let mut patches = vec![0.0; geometry.output_pixels() * taps];
    visit_patches(geometry, group, |pixel, tap, place| {
        patches[pixel * taps + tap..][..channels].copy_from_slice(&image[place..place + channels]);
    });
    patches
}

/// The filters of a group: (outputs of the group, taps).
fn group_filters<'a>(geometry: &Geometry, filter: &'a [f32], group: usize) -> &'a [f32] {
    let numbers = geometry.group_outputs() * geometry.taps();
    &filter[group * numbers..][..numbers]
}

/// The output.
pub fn forward(geometry: &Geometry, input: &[f32], filter: &[f32]) -> Vec<f32> {
    let (taps, outputs, pixels) = (geometry.taps(), geometry.group_outputs(), geometry.output_pixels());
    let mut output = vec![0.0; input.len() / geometry.input_image() * geometry.output_image()];
    let images = output.par_chunks_mut(geometry.output_image()).zip(input.par_chunks(geometry.input_image()));
    images.for_each(|(output, image)| {
        for group in 0..geometry.convolution.groups {
            let patches = patches(geometry, image, group);
            let left = Matrix { values: &patches, row_stride: taps, column_stride: 1 };
            let right = Matrix { values: group_filters(geometry, filter, group), row_stride: 1, column_stride: taps };
            product(pixels, outputs, taps, left, right, &mut output[group * outputs..], geometry.output.shape[1]);
        }
    });
    output
}

/// The input's gradient.
pub fn backward_data(geometry: &Geometry, filter: &[f32], output_gradient: &[f32]) -> Vec<f32> {
    let (taps, outputs, pixels) = (geometry.taps(), geometry.group_outputs(), geometry.output_pixels());
    let channels = geometry.group_channels();
    let mut gradient = vec![0.0; output_gradient.len() / geometry.output_image() * geometry.input_image()];
    let images =
        gradient.par_chunks_mut(geometry.input_image()).zip(output_gradient.par_chunks(geometry.output_image()));
    images.for_each(|(image, output_gradient)| {
        let mut patches = vec![0.0; pixels * taps];
        for group in 0..geometry.convolution.groups {
            let left = Matrix {
                values: &output_gradient[group * outputs..],
                row_stride: geometry.output.shape[1],
                column_stride: 1,
            };
            let right = Matrix { values: group_filters(geometry, filter, group), row_stride: taps, column_stride: 1 };
            product(pixels, taps, outputs, left, right, &mut patches, taps);
            visit_patches(geometry, group, |pixel, tap, place| {
                let patch = &patches[pixel * taps + tap..][..channels];
                image[place..place + channels].iter_mut().zip(patch).for_each(|(sum, part)| *sum += part);
            });
        }
    });
    gradient
}

/// Images whose products are added in one sum; the sums are added in their order.
const IMAGES_A_SUM: usize = 4;

/// The filter's gradient.
pub fn backward_filter(geometry: &Geometry, input: &[f32], output_gradient: &[f32]) -> Vec<f32> {
    let numbers = geometry.filter.shape.iter().product::<usize>();
    let chunks = input
        .par_chunks(IMAGES_A_SUM * geometry.input_image())
        .zip(output_gradient.par_chunks(IMAGES_A_SUM * geometry.output_image()));
    let sums: Vec<Vec<f32>> = chunks.map(|(images, gradients)| filter_gradient(geometry, images, gradients)).collect();
    let mut gradient = vec![0.0; numbers];
    for sum in sums {
        gradient.iter_mut().zip(sum).for_each(|(total, part)| *total += part);
    }
    gradient
}

/// The filter's gradient by a few images.
fn filter_gradient(geometry: &Geometry, images: &[f32], gradients: &[f32]) -> Vec<f32> {
    let (taps, outputs, pixels) = (geometry.taps(), geometry.group_outputs(), geometry.output_pixels());
    let mut total = vec![0.0; geometry.filter.shape.iter().product()];
    let mut part = vec![0.0; outputs * taps];
    for (image, gradient) in images.chunks(geometry.input_image()).zip(gradients.chunks(geometry.output_image())) {
        for group in 0..geometry.convolution.groups {
            let patches = patches(geometry, image, group);
            let left =
                Matrix { values: &gradient[group * outputs..], row_stride: 1, column_stride: geometry.output.shape[1] };
            let right = Matrix { values: &patches, row_stride: taps, column_stride: 1 };
            product(outputs, taps, pixels, left, right, &mut part, taps);
            let place = &mut total[group * outputs * taps..][..outputs * taps];
            place.iter_mut().zip(&part).for_each(|(sum, part)| *sum += part);
        }
    }
    total
}
