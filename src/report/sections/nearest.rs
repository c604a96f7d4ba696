//! Images beside those that the network sees alike (the paper's Figure 4, right).

use super::super::neighbours::nearest;
use super::super::page::{Width, count, note, section};
use super::super::pictures::photograph;
use super::{Evaluated, examples};
use crate::page::html::escape;

const NUM_QUERIES: usize = 6;
const NUM_NEIGHBOURS: usize = 6;
const SIDE: u32 = 112;

/// Nothing where there are too few images.
pub(in super::super) fn neighbours(evaluated: &Evaluated) -> Option<String> {
    let Evaluated { dataset, classes, crop, evaluation, .. } = evaluated;
    let features = &evaluation.features;
    let num_images = features.rows().len();
    if num_images < 2 {
        return None;
    }
    let text = format!(
        "On the left a validation image, then the {} of {} validation images whose {} activations lie nearest, with \
         their Euclidean distance (the paper's section 6.1, which searches the training images).",
        NUM_NEIGHBOURS.min(num_images - 1),
        count(num_images as u64),
        escape(&features.layer)
    );
    let picture = |index: usize| {
        let class = escape(&classes[evaluation.predictions[index].label]);
        let uri = photograph(dataset, index, *crop, SIDE);
        format!(
            "<img src=\"{uri}\" width=\"{SIDE}\" height=\"{SIDE}\" alt=\"validation image {index}, {class}\">{class}"
        )
    };
    let mut rows = String::new();
    for query in examples(&evaluation.predictions[..num_images], NUM_QUERIES) {
        rows += &format!("<tr><th scope=\"row\">{}</th>", picture(query));
        for (index, distance) in nearest(features, query, NUM_NEIGHBOURS) {
            rows += &format!("<td>{} {distance:.1}</td>", picture(index));
        }
        rows += "</tr>\n";
    }
    let columns: String =
        (1..=NUM_NEIGHBOURS.min(num_images - 1)).map(|place| format!("<th scope=\"col\">{place}</th>")).collect();
    let body = format!(
        "{}<div class=\"scroll\"><table class=\"neighbours\">\n<thead><tr><th scope=\"col\">image</th>{columns}</tr>\
         </thead>\n<tbody>\n{rows}</tbody></table></div>\n",
        note(&text)
    );
    Some(section("What it sees alike", Width::Whole, &body))
}
