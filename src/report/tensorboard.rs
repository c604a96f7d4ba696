//! Event files of TensorBoard, from logs.
//!
//! An event file is a TFRecord file: records of a length, its checksum, a protobuf message, and that one's checksum
//! (<https://www.tensorflow.org/tutorials/load_data/tfrecord>). The messages' fields are those of TensorFlow's
//! event.proto and summary.proto.

use std::path::{Path, PathBuf};

use prost::Message;

use super::compare::Comparison;
use super::run::Run;
use crate::error::{IoContext, Result};
use crate::publish::publish_bytes;
use crate::train::log::{Kind, Line};

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// Writes an event file for each run into a folder of its name under `folder`, and says where. What an earlier call
/// wrote is replaced.
pub fn write(runs: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>> {
    let write = |run: &Run| {
        let begun = run.lines.first().map_or(0.0, |line| line.time);
        // A path among runs of the same name becomes one folder.
        let folder = folder.join(run.name.replace('/', "_"));
        std::fs::create_dir_all(&folder).at("create", &folder)?;
        let path = folder.join(format!("events.out.tfevents.{begun:.0}.alexnet"));
        publish_bytes(&event_file(run), &path)?;
        Ok(path)
    };
    Comparison::read(runs)?.runs.iter().map(write).collect()
}

fn event_file(run: &Run) -> Vec<u8> {
    let wall_time = run.lines.first().map_or(0.0, |line| line.time);
    let first = Event { wall_time, step: 0, file_version: Some("brain.Event:2".into()), summary: None };
    let mut file = record(&first);
    for line in &run.lines {
        let values = values(line);
        if !values.is_empty() {
            let summary = Some(Summary { values });
            file.extend(record(&Event { wall_time: line.time, step: line.step as i64, file_version: None, summary }));
        }
    }
    file
}

/// What a line of the log says in numbers.
fn values(line: &Line) -> Vec<Value> {
    let group = match line.kind {
        Kind::Step => "training",
        Kind::Epoch => "epoch",
        Kind::Validation => "validation",
        Kind::Event => return Vec::new(),
    };
    let numbers = [
        ("loss", line.loss),
        ("top1_error", line.top1_error),
        ("top5_error", line.top5_error),
        ("learning_rate", line.learning_rate),
        ("images_per_second", line.images_per_second),
        ("input_wait_seconds", line.input_wait_seconds),
    ];
    let value = |(name, number): (&str, Option<f64>)| {
        Some(Value { tag: format!("{group}/{name}"), simple_value: Some(number? as f32) })
    };
    numbers.into_iter().filter_map(value).collect()
}

fn record(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_checksum(&length).to_le_bytes());
    record.extend(&message);
    record.extend(masked_checksum(&message).to_le_bytes());
    record
}

/// CRC-32C, turned and shifted as TFRecord does, so that a checksum of checksums is no special case.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::{run_of, validation};
    use super::*;

    /// The messages of a TFRecord file, whose checksums are right.
    fn messages(mut file: &[u8]) -> Vec<&[u8]> {
        let mut messages = Vec::new();
        while !file.is_empty() {
            let (head, rest) = file.split_at(12);
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            let (message, rest) = rest.split_at(length);
            for (bytes, checksum) in [(&head[..8], &head[8..]), (message, &rest[..4])] {
                assert_eq!(masked_checksum(bytes).to_le_bytes(), checksum);
            }
            messages.push(message);
            file = &rest[4..];
        }
        messages
    }

    #[test]
    fn checksums_are_those_of_the_format() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        // The first record that TensorFlow writes: 24 bytes of message.
        assert_eq!(masked_checksum(&24_u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn an_event_has_the_bytes_that_protobuf_gives_it() {
        let line = Line { time: 2.0, top5_error: None, ..validation(300, 1, 0.5) };
        let file = event_file(&run_of("run", &[], vec![line, Line::new(Kind::Event, 301, 1)]));
        let [version, event] = messages(&file)[..] else { panic!("two records") };
        let mut expected = vec![0x09];
        expected.extend(2.0_f64.to_le_bytes());
        assert_eq!(version, [&expected[..], &[0x1a, 13], b"brain.Event:2"].concat());
        // step: tag 2 as varint, 300 = 0b10_0101100; summary: tag 5; its value: tag 1; a name and a float.
        expected.extend([0x10, 0xac, 0x02, 0x2a, 30, 0x0a, 28, 0x0a, 21]);
        expected.extend(b"validation/top1_error");
        expected.push(0x15);
        expected.extend(0.5_f32.to_le_bytes());
        assert_eq!(event, expected);
    }

    #[test]
    fn a_value_of_zero_is_written() {
        let file = event_file(&run_of("run", &[], vec![validation(4, 0, 0.0)]));
        let event = Event::decode(messages(&file)[1]).unwrap();
        let values: Vec<_> = event.summary.unwrap().values.into_iter().map(|value| value.simple_value).collect();
        assert_eq!(values, [Some(0.0), Some(0.0)]);
    }
}
