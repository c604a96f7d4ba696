//! Caffe's mean image, which stands in a file of its own.

use std::path::Path;

use prost::Message;

use super::caffe_proto::BlobProto;
use super::pretrained::Mean;
use super::view::{Dtype, View};
use crate::error::{Error, IoContext, Result};
use crate::shard::{CHANNELS, SAMPLE_BYTES, SIDE};

/// Larger files are no mean images.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a BlobProto of (1, 3, 256, 256), blue first; it is rounded to whole numbers, as ours are.
pub(super) fn read(path: &Path) -> Result<Mean> {
    let num_bytes = std::fs::metadata(path).at("read", path)?.len();
    let expected = "expected Caffe's mean image, a binaryproto of (1, 3, 256, 256)";
    if num_bytes > MAX_BYTES {
        return Err(Error::data(path, format!("{num_bytes} bytes; {expected}")));
    }
    let file = std::fs::read(path).at("read", path)?;
    let blob = BlobProto::decode(&file[..]).map_err(|error| Error::data(path, format!("{error}; {expected}")))?;
    let dims = match &blob.shape {
        Some(shape) => shape.dim.clone(),
        None => vec![blob.num(), blob.channels(), blob.height(), blob.width()],
    };
    if dims != [1, CHANNELS as i64, SIDE as i64, SIDE as i64] {
        return Err(Error::data(path, format!("a blob of shape {dims:?}; {expected}")));
    }
    let view = View::dense(blob.data.unwrap_or_default(), Dtype::F32, &[CHANNELS, SIDE, SIDE])
        .map_err(|problem| Error::data(path, problem))?;
    let mut values = vec![0.0; SAMPLE_BYTES];
    view.reversed(0).gather(&mut values);
    // What all pixels of a channel have of a fraction, as a mean colour has it, is kept.
    let shift = std::array::from_fn(|channel| {
        let plane = &values[channel * SIDE * SIDE..][..SIDE * SIDE];
        let first = plane[0].round() - plane[0];
        if plane.iter().all(|&value| value.round() - value == first) { first } else { 0.0 }
    });
    Ok(Mean::Image { whole: values.iter().map(|value| value.round() as u8).collect(), shift })
}
