//! `predict`: the classes of images, from a checkpoint alone.

use std::path::PathBuf;
use std::process::ExitCode;

use alexnet::cli::{ComputeArguments, WeightsArguments};
use alexnet::evaluate::predict::{PredictOptions, Prediction};
use alexnet::say;
use clap::Parser;

/// Predict the classes of images, from a checkpoint alone.
///
/// An image is resized and cropped as the training images were, and the network is given its centre view.
#[derive(Debug, Parser)]
#[command(name = "predict", version, max_term_width = 110, allow_negative_numbers = true, after_help = EXAMPLES)]
struct PredictArguments {
    /// The checkpoint: runs/.../checkpoints/step-....safetensors; or AlexNet's weights from torchvision (.pth,
    /// .safetensors), TensorFlow (bvlc_alexnet.npy) or Caffe (.caffemodel), known by their content.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Image files, or folders of them at any depth; recognised by their content: JPEG, PNG, GIF, BMP, TIFF, WebP.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Print the N most likely classes.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
    #[command(flatten)]
    weights: WeightsArguments,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Print JSON: a list of image, classes (class, probability), and error for an image that cannot be read.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  predict --checkpoint runs/pets-small-1/checkpoints/step-00004500.safetensors cat.jpg dog.png
  predict --checkpoint FILE --top 1 --json photos/
  predict --checkpoint bvlc_alexnet.caffemodel cat.jpg";

fn main() -> ExitCode {
    alexnet::cli::main(|arguments: PredictArguments| {
        let options = PredictOptions {
            checkpoint: arguments.checkpoint,
            given: arguments.weights.given()?,
            images: arguments.images,
            top: arguments.top as usize,
            compute: arguments.compute.choice(),
        };
        let predictions = alexnet::evaluate::predict::predict(&options)?;
        if arguments.json {
            say!("{}", serde_json::to_string(&predictions)?);
        } else {
            predictions.iter().for_each(print);
        }
        let unreadable: Vec<_> = predictions.iter().filter(|prediction| prediction.error.is_some()).collect();
        match unreadable[..] {
            [] => Ok(()),
            [first, ..] => anyhow::bail!(
                "{} of {} images cannot be read, the first: {}: {}",
                unreadable.len(),
                predictions.len(),
                first.image,
                first.error.as_deref().unwrap_or_default()
            ),
        }
    })
}

fn print(prediction: &Prediction) {
    let classes: Vec<_> = prediction
        .classes
        .iter()
        .map(|likely| format!("{} {:.1}%", likely.class, 100.0 * likely.probability))
        .collect();
    if prediction.error.is_none() {
        say!("{}: {}", prediction.image, classes.join(", "));
    }
}
