//! The ranges of the numbers in a recipe.

use std::fmt::Display;
use std::ops::RangeBounds;

use super::settings::{ScheduleKind, Settings};
use crate::error::{Error, Result};
use crate::shard::SIDE;

/// Refuses settings that no run can mean.
pub fn check(settings: &Settings) -> Result<()> {
    let Settings { model, augment, train } = settings;
    within("model.towers", model.towers, 1..=2, "1 or 2")?;
    within("model.width", model.width, 0.01..=8.0, "0.01 to 8")?;
    within("model.dropout", model.dropout, 0.0..1.0, "0 up to, but not, 1")?;
    within("model.biases.learning_rate", model.biases.learning_rate, 0.0..=1e3, "0 to 1000")?;
    within("model.lrn.k", model.lrn.k, f64::MIN_POSITIVE..=1e6, "more than 0")?;
    within("model.lrn.alpha", model.lrn.alpha, 0.0..=1e6, "0 or more")?;
    within("model.lrn.beta", model.lrn.beta, 0.0..=10.0, "0 to 10")?;
    if model.lrn.n.is_multiple_of(2) || model.lrn.n > 255 {
        return Err(out_of_range("model.lrn.n", model.lrn.n, "an odd number up to 255"));
    }
    for (name, layer) in &model.layer {
        if let Some(deviation) = layer.deviation {
            within(&format!("model.layer.{name}.deviation"), deviation, 0.0..=1e3, "0 to 1000")?;
        }
        if let Some(bias) = layer.bias {
            within(&format!("model.layer.{name}.bias"), bias, -1e3..=1e3, "-1000 to 1000")?;
        }
        for (key, size, least) in [
            ("filters", layer.filters, 1),
            ("kernel_size", layer.kernel_size, 1),
            ("stride", layer.stride, 1),
            ("padding", layer.padding, 0),
        ] {
            let expected = format!("{least} to 65536");
            within(&format!("model.layer.{name}.{key}"), size.unwrap_or(least), least..=65_536, &expected)?;
        }
    }
    within("augment.crop", augment.crop, 1..=SIDE, "1 to 256")?;
    within("augment.canvas", augment.canvas, augment.crop..=1024, "augment.crop to 1024")?;
    within("augment.min_area", augment.min_area, f64::MIN_POSITIVE..=1.0, "more than 0, up to 1")?;
    within("augment.max_ratio", augment.max_ratio, 1.0..=100.0, "1 to 100")?;
    within("augment.lighting", augment.lighting, 0.0..=10.0, "0 to 10")?;
    within("augment.scale", augment.scale, f32::MIN_POSITIVE.into()..=1e3, "more than 0, up to 1000")?;
    within("train.batch_size", train.batch_size, 1..=65_536, "1 to 65536")?;
    within("train.learning_rate", train.learning_rate, f64::MIN_POSITIVE..=1e3, "more than 0, up to 1000")?;
    within("train.momentum", train.momentum, 0.0..1.0, "0 up to, but not, 1")?;
    within("train.weight_decay", train.weight_decay, 0.0..=1.0, "0 to 1")?;
    within("train.label_smoothing", train.label_smoothing, 0.0..1.0, "0 up to, but not, 1")?;
    within("train.drop_factor", train.drop_factor, 1.0..=1e6, "1 or more")?;
    within("train.patience", train.patience, 1..=1_000_000, "1 or more")?;
    within("train.min_improvement", train.min_improvement, 0.0..=1.0, "0 to 1")?;
    within("train.warmup_epochs", train.warmup_epochs, 0.0..=f64::from(train.epochs), "0 to train.epochs")?;
    if train.schedule == ScheduleKind::OneCycle && train.warmup_epochs > 0.0 {
        return Err(out_of_range(
            "train.warmup_epochs",
            train.warmup_epochs,
            "0, since one-cycle has a rise of its own",
        ));
    }
    within("train.epochs", train.epochs, 1..=1_000_000, "1 to 1000000")?;
    Ok(())
}

fn within<T: PartialOrd + Display>(key: &str, value: T, range: impl RangeBounds<T>, expected: &str) -> Result<()> {
    // A nan is in no range.
    if range.contains(&value) { Ok(()) } else { Err(out_of_range(key, value, expected)) }
}

fn out_of_range(key: &str, value: impl Display, expected: &str) -> Error {
    Error::usage(format!("{key} = {value}: expected {expected}"))
}
