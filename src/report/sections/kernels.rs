//! What the first layer has learned (the paper's Figure 3).

use super::super::page::{Width, note, section};
use crate::model::Parameters;
use crate::page::html::{data_uri, png};
use crate::page::kernels::kernels;

/// Each weight is a square of so many pixels: small on the disk, and browsers enlarge it without blur.
const SCALE: u32 = 3;

/// The kernels of the first layer, if it is a convolution.
pub(in super::super) fn first_kernels(parameters: &Parameters, num_towers: u32) -> Option<String> {
    let layer = &parameters.layout.layers()[0];
    let [num, _, height, width] = layer.weight_shape[..] else { return None };
    let towers = if num_towers > 1 { " The first half of them is the first tower's." } else { "" };
    let text = format!(
        "The {num} kernels of {}, {height} x {width} pixels in red, green and blue, as in the paper's Figure 3. Zero \
         is grey; each kernel has its own contrast.{towers}",
        layer.name
    );
    let picture = kernels(&parameters.values[layer.weight.clone()], &layer.weight_shape, SCALE);
    let (uri, alt) = (data_uri("image/png", &png(&picture)), "The kernels of the first layer as small colour pictures");
    let body = format!("<img class=\"pixels kernels\" src=\"{uri}\" alt=\"{alt}\">\n");
    Some(section("What the first layer looks for", Width::Whole, &(note(&text) + &body)))
}
