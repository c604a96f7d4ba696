//! Validation images with their likeliest classes (the paper's Figure 4, left).

use super::super::evaluation::{Likely, Prediction};
use super::super::page::{Width, bar, note, section};
use super::super::pictures::photograph;
use super::{Evaluated, examples};
use crate::page::html::escape;

const NUM_IMAGES: usize = 12;
/// Of a picture, in pixels; it is shown at most as large as it is sharp on a screen of high density.
const SIDE: u32 = 192;

pub(in super::super) fn panels(evaluated: &Evaluated) -> String {
    let images = examples(&evaluated.evaluation.predictions, NUM_IMAGES);
    let text = "The first validation images of classes spread over all, each with its class and the five likeliest by \
                the network. Its own class has a green bar, as far as it is among them.";
    let panels: String = images.iter().map(|&index| panel(evaluated, index)).collect();
    section("What it says of images", Width::Whole, &format!("{}<div class=\"panels\">\n{panels}</div>\n", note(text)))
}

/// An image, its class, and what the network takes it for.
pub(super) fn panel(evaluated: &Evaluated, index: usize) -> String {
    let Evaluated { dataset, classes, crop, evaluation, .. } = evaluated;
    let Prediction { label, likely, .. } = &evaluation.predictions[index];
    let class = escape(&classes[*label]);
    let line = |likely: &Likely| {
        let this = if likely.class == *label { " class=\"true\"" } else { "" };
        let share = f64::from(likely.probability);
        format!(
            "<li{this}><span>{}</span><span>{:.1}%</span>{}</li>\n",
            escape(&classes[likely.class]),
            100.0 * share,
            bar(share)
        )
    };
    format!(
        "<div class=\"panel\"><img src=\"{}\" width=\"{SIDE}\" height=\"{SIDE}\" \
         alt=\"validation image {index}, {class}\">\n<h3>{class}</h3>\n<ol>\n{}</ol></div>\n",
        photograph(dataset, index, *crop, SIDE),
        likely.iter().map(line).collect::<String>()
    )
}
