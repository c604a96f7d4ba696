//! The images of which the network is surest to be right, and is wrong.

use super::super::page::{Width, note, section};
use super::Evaluated;
use super::panels::panel;

const NUM_IMAGES: usize = 12;

/// Nothing where every image is right.
pub(in super::super) fn mistakes(evaluated: &Evaluated) -> Option<String> {
    let predictions = &evaluated.evaluation.predictions;
    let mut wrong: Vec<usize> = (0..predictions.len()).filter(|&index| !predictions[index].is_right()).collect();
    let sure = |index: &usize| predictions[*index].likely[0].probability;
    wrong.sort_by(|a, b| sure(b).total_cmp(&sure(a)).then(a.cmp(b)));
    wrong.truncate(NUM_IMAGES);
    if wrong.is_empty() {
        return None;
    }
    let text = "The wrong answers with the highest probability, of all images that were evaluated: what it cannot tell \
                apart, pictures of two things, and wrong labels.";
    let panels: String = wrong.iter().map(|&index| panel(evaluated, index)).collect();
    let body = format!("{}<div class=\"panels\">\n{panels}</div>\n", note(text));
    Some(section("Its most confident mistakes", Width::Whole, &body))
}
