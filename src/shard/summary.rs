//! Summarises a dataset for a person to read.

use std::fmt::{self, Write};
use std::path::Path;

use indicatif::{DecimalBytes, HumanCount};

use super::dataset::{Class, DatasetInfo, SplitInfo};
use super::format::{SIDE, Split};

/// If there are more classes, only the first and the last ones are shown.
const MAX_CLASSES_SHOWN: usize = 20;

/// Describes the dataset at `out` in several lines.
pub fn summary(out: &Path, info: &DatasetInfo) -> String {
    let mut text = String::new();
    write_summary(&mut text, out, info).expect("writing to a string does not fail");
    text
}

fn write_summary(text: &mut String, out: &Path, info: &DatasetInfo) -> fmt::Result {
    let num_images = HumanCount(info.train.num_samples + info.val.num_samples);
    let num_classes = HumanCount(info.classes.len() as u64);
    writeln!(
        text,
        "{}: {num_images} images of {num_classes} classes, {SIDE} x {SIDE}, in {}\n",
        info.name,
        out.display()
    )?;
    writeln!(text, "  split       images    shards          size")?;
    for split in Split::ALL {
        let part = info.split(split);
        let (images, size) = (HumanCount(part.num_samples).to_string(), DecimalBytes(num_bytes(part)).to_string());
        writeln!(text, "  {:<6}{images:>12}{:>10}{size:>14}", split.name(), part.shards.len())?;
    }
    write_classes(text, &info.classes)?;
    write_statistics(text, info)?;
    write_origin(text, info)
}

fn num_bytes(part: &SplitInfo) -> u64 {
    part.shards.iter().map(|shard| shard.num_bytes).sum()
}

fn write_classes(text: &mut String, classes: &[Class]) -> fmt::Result {
    let (first, last) = if classes.len() > MAX_CLASSES_SHOWN {
        (&classes[..MAX_CLASSES_SHOWN / 2], &classes[classes.len() - MAX_CLASSES_SHOWN / 2..])
    } else {
        (classes, &classes[..0])
    };
    let shown = || first.iter().chain(last);
    let width = shown().map(|class| class.name.chars().count()).max().unwrap_or(0).clamp(5, 40);
    writeln!(text, "\n  {:>5}  {:width$}{:>10}{:>10}", "label", "class", "train", "val")?;
    let row = |text: &mut String, label: usize, class: &Class| {
        let name: String = class.name.chars().take(width).collect();
        let (train, val) = (HumanCount(class.num_train).to_string(), HumanCount(class.num_val).to_string());
        writeln!(text, "  {label:>5}  {name:width$}{train:>10}{val:>10}")
    };
    for (label, class) in first.iter().enumerate() {
        row(text, label, class)?;
    }
    if !last.is_empty() {
        writeln!(text, "  {:>5}  {} more", "...", HumanCount((classes.len() - MAX_CLASSES_SHOWN) as u64))?;
    }
    for (label, class) in classes.iter().enumerate().skip(classes.len() - last.len()) {
        row(text, label, class)?;
    }
    let counts = || classes.iter().map(|class| class.num_train);
    if let (Some(fewest), Some(most)) = (counts().min(), counts().max())
        && classes.len() > MAX_CLASSES_SHOWN
    {
        writeln!(text, "  {:>5}  from {} to {} training images per class", "", HumanCount(fewest), HumanCount(most))?;
    }
    Ok(())
}

fn write_statistics(text: &mut String, info: &DatasetInfo) -> fmt::Result {
    let statistics = &info.statistics;
    let [red, green, blue] = statistics.channel_mean;
    writeln!(text, "\n  mean colour  red {red:.1}, green {green:.1}, blue {blue:.1} of 255, over the training split")?;
    for (number, (deviation, [red, green, blue])) in
        statistics.pca_deviation.iter().zip(statistics.pca_vectors).enumerate()
    {
        let what = if number == 0 { "lighting" } else { "" };
        writeln!(text, "  {what:<11}  deviation {deviation:>6.2} along ({red:>6.3}, {green:>6.3}, {blue:>6.3})")?;
    }
    Ok(())
}

fn write_origin(text: &mut String, info: &DatasetInfo) -> fmt::Result {
    let (source, settings) = (&info.source, &info.settings);
    writeln!(text, "\n  source       {} ({}), {} images", source.path, source.layout, HumanCount(source.num_images))?;
    match info.num_skipped {
        0 => writeln!(text, "  skipped      none")?,
        num => writeln!(text, "  skipped      {} that could not be read: skipped.csv", HumanCount(num))?,
    }
    write!(text, "  settings     seed {}, {} samples per shard", settings.seed, settings.shard_samples)?;
    if settings.val_fraction > 0.0 {
        write!(text, ", {} of each class for validation", settings.val_fraction)?;
    }
    for (what, limit) in [("training", settings.max_train), ("validation", settings.max_val)] {
        if let Some(limit) = limit {
            write!(text, ", at most {} {what} images", HumanCount(limit))?;
        }
    }
    writeln!(text, "\n  packed by    {}, dataset {} of format {}", info.written_by, info.id, info.version)
}
