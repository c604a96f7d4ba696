//! A `.caffemodel`, and beside it the network as text, the mean image and the class names.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use prost::Message;
use prost::bytes::Bytes;

use super::{beside, input_form};
use crate::error::{Error, Result};
use crate::model::parameters::LayerParameters;
use crate::model::{Block, ConvBlock, Lrn, Pool, Tail};
use crate::publish::publish_bytes;
use crate::shard::{CHANNELS, SIDE};
use crate::train::experiment::Experiment;
use crate::weights::caffe_proto::{
    BlobProto, BlobShape, ConvolutionParameter, InnerProductParameter, InputParameter, LayerParameter, LrnParameter,
    NetParameter, PoolingParameter, PowerParameter,
};

pub(super) fn write(out: &Path, experiment: &Experiment) -> Result<Vec<PathBuf>> {
    let layers = layers(out, experiment)?;
    let files =
        [out.to_path_buf(), beside(out, "prototxt"), beside(out, "mean.binaryproto"), beside(out, "classes.txt")];
    let [_, text, mean, classes] = &files;
    publish_bytes(prototxt(&layers, experiment, mean).as_bytes(), text)?;
    publish_bytes(&mean_image(experiment).encode_to_vec(), mean)?;
    publish_bytes((experiment.state.classes.join("\n") + "\n").as_bytes(), classes)?;
    let net = NetParameter { name: Some("AlexNet".into()), layer: layers, ..NetParameter::default() };
    publish_bytes(&net.encode_to_vec(), out)?;
    Ok(files.to_vec())
}

/// The layers with their weights, each reading what the one before it wrote.
fn layers(out: &Path, experiment: &Experiment) -> Result<Vec<LayerParameter>> {
    let Experiment { network, parameters, augmentation, .. } = experiment;
    let canvas = network.canvas as i64;
    let shape = BlobShape { dim: vec![1, CHANNELS as i64, canvas, canvas] };
    let input = LayerParameter { input_param: Some(InputParameter { shape: vec![shape] }), ..layer("Input") };
    let mut chain = Chain { layers: Vec::new() };
    chain.push("data", input);
    let scale = augmentation.frame().scale;
    if scale != 1.0 {
        let power = PowerParameter { power: None, scale: Some(scale), shift: None };
        chain.push("scale", LayerParameter { power_param: Some(power), ..layer("Power") });
    }
    for (index, (ours, place)) in network.layers.iter().zip(parameters.layout.layers()).enumerate() {
        let number = index + 1;
        let blobs = blobs(&parameters.values, place, index == 0);
        match &ours.block {
            Block::Conv(conv) => {
                chain.push(&ours.name, convolution(conv, blobs));
                for op in &conv.tail {
                    chain.push_tail(number, op);
                }
                check(out, &ours.name, conv, index == 0)?;
            }
            Block::Dense(dense) => {
                let inner_product_param = Some(InnerProductParameter { num_output: Some(dense.outputs as u32) });
                chain.push(&ours.name, LayerParameter { inner_product_param, blobs, ..layer("InnerProduct") });
                if dense.hidden.is_some() {
                    chain.push_in_place(&format!("relu{number}"), "ReLU");
                }
            }
        }
    }
    chain.push("prob", layer("Softmax"));
    Ok(chain.layers)
}

/// Caffe's pooling has a last window beyond the edge where the windows do not end there; ours has not. Channels that
/// are convolved each by itself would not change places by their weights alone.
fn check(out: &Path, name: &str, conv: &ConvBlock, is_first: bool) -> Result<()> {
    if is_first && conv.groups != 1 {
        return Err(Error::data(out, format!("not written: {name} has {} groups of colours", conv.groups)));
    }
    for op in &conv.tail {
        if let Tail::Pool(Pool { window, stride }) = op
            && !(conv.conv_side - window).is_multiple_of(*stride)
        {
            return Err(Error::data(
                out,
                format!(
                    "not written: {name} pools {side} x {side} values by {stride}, which Caffe rounds up to one window \
                     more; --format onnx has no such limit",
                    side = conv.conv_side
                ),
            ));
        }
    }
    Ok(())
}

fn layer(kind: &str) -> LayerParameter {
    LayerParameter { kind: Some(kind.into()), ..LayerParameter::default() }
}

fn convolution(conv: &ConvBlock, blobs: Vec<BlobProto>) -> LayerParameter {
    let convolution_param = Some(ConvolutionParameter {
        num_output: Some(conv.out_channels as u32),
        pad: vec![conv.pad as u32],
        kernel_size: vec![conv.kernel as u32],
        group: Some(conv.groups as u32),
        stride: vec![conv.stride as u32],
    });
    LayerParameter { convolution_param, blobs, ..layer("Convolution") }
}

/// Weights and biases; the first layer's channels become blue, green, red.
fn blobs(values: &[f32], place: &LayerParameters, is_first: bool) -> Vec<BlobProto> {
    let mut weights = values[place.weight.clone()].to_vec();
    if is_first {
        // (O, 3, H, W), or (out, 3 x H x W) where there is no convolution.
        let num_inputs = place.weight_shape[1..].iter().product();
        for output in weights.chunks_exact_mut(num_inputs) {
            let (red, rest) = output.split_at_mut(num_inputs / CHANNELS);
            red.swap_with_slice(&mut rest[num_inputs / CHANNELS..]);
        }
    }
    vec![blob(&place.weight_shape, &weights), blob(&[place.bias.len()], &values[place.bias.clone()])]
}

fn blob(shape: &[usize], values: &[f32]) -> BlobProto {
    BlobProto {
        shape: Some(BlobShape { dim: shape.iter().map(|&dim| dim as i64).collect() }),
        data: Some(Bytes::copy_from_slice(bytemuck::cast_slice(values))),
        ..BlobProto::default()
    }
}

/// (1, 3, 256, 256), blue first, as Caffe's `mean_file`, whose shape is in four numbers.
fn mean_image(experiment: &Experiment) -> BlobProto {
    let shift = experiment.augmentation.shift();
    let planes = experiment.mean.chunks_exact(SIDE * SIDE).zip(shift).rev();
    let values: Vec<f32> =
        planes.flat_map(|(plane, shift)| plane.iter().map(move |&mean| f32::from(mean) - shift)).collect();
    BlobProto {
        num: Some(1),
        channels: Some(CHANNELS as i64),
        height: Some(SIDE as i64),
        width: Some(SIDE as i64),
        shape: None,
        ..blob(&[], &values)
    }
}

struct Chain {
    layers: Vec<LayerParameter>,
}

impl Chain {
    fn last(&self) -> Vec<String> {
        self.layers.last().map_or(Vec::new(), |layer| layer.top.clone())
    }

    fn push(&mut self, name: &str, layer: LayerParameter) {
        let bottom = self.last();
        self.layers.push(LayerParameter { name: Some(name.into()), bottom, top: vec![name.into()], ..layer });
    }

    fn push_in_place(&mut self, name: &str, kind: &str) {
        let bottom = self.last();
        self.layers.push(LayerParameter { name: Some(name.into()), top: bottom.clone(), bottom, ..layer(kind) });
    }

    fn push_tail(&mut self, number: usize, op: &Tail) {
        match *op {
            Tail::Relu => self.push_in_place(&format!("relu{number}"), "ReLU"),
            Tail::Lrn(Lrn { k, n, alpha, beta }) => {
                let param = LrnParameter {
                    local_size: Some(n as u32),
                    // Caffe divides the sum by its size.
                    alpha: Some((f64::from(alpha) * n as f64) as f32),
                    beta: Some(beta),
                    norm_region: None,
                    k: Some(k),
                };
                self.push(&format!("norm{number}"), LayerParameter { lrn_param: Some(param), ..layer("LRN") });
            }
            Tail::Pool(Pool { window, stride }) => {
                let (kernel_size, stride) = (Some(window as u32), Some(stride as u32));
                let param = PoolingParameter { pool: None, kernel_size, stride, pad: None };
                self.push(&format!("pool{number}"), LayerParameter { pooling_param: Some(param), ..layer("Pooling") });
            }
        }
    }
}

/// The network in protobuf's text format, as `caffe::Net` takes it to evaluate.
fn prototxt(layers: &[LayerParameter], experiment: &Experiment, mean: &Path) -> String {
    let frame = experiment.augmentation.frame();
    let mean = mean.file_name().unwrap_or_default().to_string_lossy();
    let mut text = format!(
        "# Written by alexnet {}.\n# Input: {}.\n# Channels here: blue, green, red; the mean is {mean}, and `scale` \
         (if there is one) a layer.\nname: \"AlexNet\"\n",
        env!("CARGO_PKG_VERSION"),
        input_form(frame.crop, frame.canvas)
    );
    for layer in layers {
        // Writing to a String does not fail.
        let _ = write_layer(&mut text, layer);
    }
    text
}

fn write_layer(text: &mut String, layer: &LayerParameter) -> std::fmt::Result {
    writeln!(text, "layer {{\n  name: {:?}\n  type: {:?}", layer.name(), layer.kind())?;
    for bottom in &layer.bottom {
        writeln!(text, "  bottom: {bottom:?}")?;
    }
    for top in &layer.top {
        writeln!(text, "  top: {top:?}")?;
    }
    if let Some(input) = &layer.input_param {
        let dims: Vec<_> = input.shape[0].dim.iter().map(|dim| format!("dim: {dim}")).collect();
        writeln!(text, "  input_param {{ shape {{ {} }} }}", dims.join(" "))?;
    }
    if let Some(power) = &layer.power_param {
        writeln!(text, "  power_param {{ scale: {} }}", power.scale())?;
    }
    if let Some(conv) = &layer.convolution_param {
        writeln!(
            text,
            "  convolution_param {{ num_output: {} pad: {} kernel_size: {} group: {} stride: {} }}",
            conv.num_output(),
            conv.pad[0],
            conv.kernel_size[0],
            conv.group(),
            conv.stride[0]
        )?;
    }
    if let Some(dense) = &layer.inner_product_param {
        writeln!(text, "  inner_product_param {{ num_output: {} }}", dense.num_output())?;
    }
    if let Some(lrn) = &layer.lrn_param {
        let LrnParameter { .. } = lrn;
        writeln!(
            text,
            "  lrn_param {{ local_size: {} alpha: {} beta: {} k: {} }}",
            lrn.local_size(),
            lrn.alpha(),
            lrn.beta(),
            lrn.k()
        )?;
    }
    if let Some(pool) = &layer.pooling_param {
        let (window, stride) = (pool.kernel_size(), pool.stride());
        writeln!(text, "  pooling_param {{ pool: MAX kernel_size: {window} stride: {stride} }}")?;
    }
    writeln!(text, "}}")
}
