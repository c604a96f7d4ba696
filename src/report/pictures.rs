//! Pictures of samples, as they stand in a page.

use image::imageops::{self, FilterType};

use crate::page::html::{data_uri, jpeg};
use crate::shard::picture::{add_mean, picture};
use crate::shard::{Dataset, SIDE, Split};

/// Photographs of this quality and size take about 4 kB each.
const QUALITY: u8 = 82;

/// The address of a validation image as JPEG of `side` pixels: the centre crop, which is what the network was given.
pub(super) fn photograph(dataset: &Dataset, index: usize, crop: usize, side: u32) -> String {
    let sample = dataset.split(Split::Val).sample(index);
    let whole = picture(&add_mean(sample.bytes, dataset.mean()));
    let (margin, crop) = (((SIDE - crop) / 2) as u32, crop as u32);
    let view = imageops::crop_imm(&whole, margin, margin, crop, crop).to_image();
    data_uri("image/jpeg", &jpeg(&imageops::resize(&view, side, side, FilterType::CatmullRom), QUALITY))
}
