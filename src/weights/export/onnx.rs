//! An ONNX graph of the checkpoint's own network, with the outputs `logits` and `probabilities`.

use std::path::{Path, PathBuf};

use prost::Message;
use prost::bytes::Bytes;

use super::metadata;
use super::onnx_proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetId, StringStringEntry, TensorProto,
    TensorShape, TensorType, TypeProto, ValueInfo,
};
use crate::error::Result;
use crate::model::{Block, Network, ParameterLayout, Tail};
use crate::publish::publish_bytes;
use crate::train::experiment::Experiment;

/// Of 2020: every operator of the network has had its present form since, and runtimes of that age read the file.
const OPSET: i64 = 13;
const IR_VERSION: i64 = 7;
const FLOAT: i32 = 1;

pub(super) fn write(out: &Path, experiment: Experiment) -> Result<Vec<PathBuf>> {
    let entry = |(key, value): (&str, String)| StringStringEntry { key: Some(key.into()), value: Some(value) };
    let metadata_props = metadata(&experiment).into_iter().map(entry).collect();
    let Experiment { network, parameters, .. } = experiment;
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("alexnet".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(graph(&network, &parameters.layout, Bytes::from_owner(Values(parameters.values)))),
        opset_import: vec![OperatorSetId { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props,
    };
    publish_bytes(&model.encode_to_vec(), out)?;
    Ok(vec![out.to_path_buf()])
}

/// Weights as the bytes of the file, without a copy.
struct Values(Vec<f32>);

impl AsRef<[u8]> for Values {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

fn graph(network: &Network, layout: &ParameterLayout, values: Bytes) -> GraphProto {
    let mut chain = Chain { nodes: Vec::new(), last: "input".into() };
    let mut is_flat = false;
    for layer in &network.layers {
        let name = &layer.name;
        let tensors = [format!("{name}.weight"), format!("{name}.bias")];
        match &layer.block {
            Block::Conv(conv) => {
                let pads = [conv.pad; 4];
                let attributes = vec![
                    ints("kernel_shape", &[conv.kernel; 2]),
                    ints("strides", &[conv.stride; 2]),
                    ints("pads", &pads),
                    int("group", conv.groups),
                ];
                chain.push("Conv", name, &tensors, attributes);
                for op in &conv.tail {
                    chain.push_tail(name, op);
                }
            }
            Block::Dense(dense) => {
                if !is_flat {
                    chain.push("Flatten", &format!("{name}.inputs"), &[], vec![int("axis", 1)]);
                    is_flat = true;
                }
                let output = if dense.hidden.is_some() { name.as_str() } else { "logits" };
                chain.push("Gemm", output, &tensors, vec![int("transB", 1)]);
                if dense.hidden.is_some() {
                    chain.push("Relu", &format!("{name}.relu"), &[], Vec::new());
                }
            }
        }
    }
    chain.push("Softmax", "probabilities", &[], vec![int("axis", 1)]);
    let tensor = |name: String, dims: &[usize], range: std::ops::Range<usize>| TensorProto {
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: Some(FLOAT),
        name: Some(name),
        raw_data: Some(values.slice(range.start * size_of::<f32>()..range.end * size_of::<f32>())),
    };
    let initializer = layout.layers().iter().flat_map(|layer| {
        [
            tensor(format!("{}.weight", layer.name), &layer.weight_shape, layer.weight.clone()),
            tensor(format!("{}.bias", layer.name), &[layer.bias.len()], layer.bias.clone()),
        ]
    });
    let classes = [network.num_classes];
    GraphProto {
        initializer: initializer.collect(),
        node: chain.nodes,
        name: Some("alexnet".into()),
        input: vec![batch_of("input", &[3, network.canvas, network.canvas])],
        output: vec![batch_of("logits", &classes), batch_of("probabilities", &classes)],
    }
}

/// Nodes that follow one another.
struct Chain {
    nodes: Vec<NodeProto>,
    last: String,
}

impl Chain {
    fn push(&mut self, op_type: &str, output: &str, tensors: &[String], attribute: Vec<AttributeProto>) {
        let input = std::iter::once(std::mem::replace(&mut self.last, output.to_owned()));
        self.nodes.push(NodeProto {
            input: input.chain(tensors.iter().cloned()).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op_type.to_owned()),
            attribute,
        });
    }

    fn push_tail(&mut self, layer: &str, op: &Tail) {
        match op {
            Tail::Relu => self.push("Relu", &format!("{layer}.relu"), &[], Vec::new()),
            Tail::Lrn(lrn) => {
                let attributes = vec![
                    // ONNX divides the sum by its size.
                    float("alpha", (f64::from(lrn.alpha) * lrn.n as f64) as f32),
                    float("beta", lrn.beta),
                    float("bias", lrn.k),
                    int("size", lrn.n),
                ];
                self.push("LRN", &format!("{layer}.lrn"), &[], attributes);
            }
            Tail::Pool(pool) => {
                let attributes = vec![ints("kernel_shape", &[pool.window; 2]), ints("strides", &[pool.stride; 2])];
                self.push("MaxPool", &format!("{layer}.pool"), &[], attributes);
            }
        }
    }
}

fn int(name: &str, value: usize) -> AttributeProto {
    AttributeProto { name: Some(name.into()), i: Some(value as i64), kind: Some(2), ..AttributeProto::default() }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: Some(name.into()), f: Some(value), kind: Some(1), ..AttributeProto::default() }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { name: Some(name.into()), ints, kind: Some(7), ..AttributeProto::default() }
}

/// A tensor of any number of samples.
fn batch_of(name: &str, dims: &[usize]) -> ValueInfo {
    let batch = Dimension { value: None, param: Some("N".into()) };
    let fixed = dims.iter().map(|&dim| Dimension { value: Some(dim as i64), param: None });
    let shape = TensorShape { dim: std::iter::once(batch).chain(fixed).collect() };
    let tensor = TensorType { element: Some(FLOAT), shape: Some(shape) };
    ValueInfo { name: Some(name.into()), kind: Some(TypeProto { tensor: Some(tensor) }) }
}
