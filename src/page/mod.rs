//! What the pages of a run share: line charts, the picture of conv1's kernels, escaping, and the style.

pub(crate) mod chart;
pub(crate) mod html;
pub(crate) mod kernels;

/// The style of every page, in light and dark. Charts take their colours from its variables.
pub(crate) const STYLE: &str = include_str!("style.css");
