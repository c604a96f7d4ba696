//! `export`: a checkpoint as a file of PyTorch's, ONNX's or Caffe's.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::cli::WeightsArguments;
use alexnet::weights::Origin;
use alexnet::weights::export::{ExportOptions, Target};
use alexnet::{say, tell};
use clap::Parser;

/// Write a checkpoint for another program.
///
/// torch: safetensors under the names of torchvision's AlexNet; classes and mean image are in its metadata. onnx: a
/// graph of the checkpoint's own network with the outputs logits and probabilities; classes and mean image are in its
/// metadata_props. caffe: a .caffemodel, and beside it the network (.prototxt), the mean (.mean.binaryproto) and the
/// class names (.classes.txt). docs/weights.md shows how each is read in Python.
#[derive(Debug, Parser)]
#[command(name = "export", version, max_term_width = 110, after_help = EXAMPLES)]
struct ExportArguments {
    /// The checkpoint: runs/.../checkpoints/step-....safetensors; or another program's weights of AlexNet.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// torch, onnx or caffe.
    #[arg(long, value_name = "FORMAT")]
    format: Target,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    weights: WeightsArguments,
}

const EXAMPLES: &str = "\
Examples:
  export --checkpoint runs/pets-alexnet-1/checkpoints/step-00004500.safetensors --format onnx --out pets.onnx
  export --checkpoint bvlc_alexnet.caffemodel --format torch --out alexnet.safetensors";

fn main() -> ExitCode {
    alexnet::cli::main(|arguments: ExportArguments| {
        let options = ExportOptions {
            checkpoint: arguments.checkpoint,
            given: arguments.weights.given()?,
            target: arguments.format,
            out: arguments.out,
        };
        let (files, origin) = alexnet::weights::export::export(&options)?;
        if let Origin::Converted(said) = origin {
            tell!("{said}");
        }
        files.iter().for_each(|file| say!("wrote {}", file.display()));
        Ok(())
    })
}
