//! `.caffemodel`: a network of Caffe, its layers and their weights in one protobuf message.

use prost::bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

use super::caffe_proto::{BlobProto, LayerParameter, LrnParameter, NetParameter, PoolingParameter, PowerParameter};
use super::pretrained::{InputForm, LayerTensors, Pretrained};
use super::view::{Dtype, View};
use crate::recipe::Recipe;
use crate::recipe::settings::{LayerSettings, LrnPlace, LrnSettings};
use crate::shard::SIDE;

const NUM_CONVS: usize = 5;
const NUM_DENSE: usize = 3;
/// Messages in a file, more than any network of Caffe's has and few enough to hold.
const MAX_MESSAGES: usize = 20_000;

/// Whether the file begins as a NetParameter does: with its name, or with a layer.
pub(super) fn is_net(file: &[u8]) -> bool {
    let name = || {
        let len = usize::from(*file.get(1)?);
        let name = std::str::from_utf8(file.get(2..2 + len)?).ok()?;
        Some(len < 0x80 && !name.chars().any(char::is_control))
    };
    match file {
        [0x0a, ..] => name().unwrap_or(false),
        [0x12, ..] | [0xa2, 0x06, ..] => true,
        _ => false,
    }
}

pub(super) fn read(file: &Bytes) -> Result<Pretrained, String> {
    let damaged = |error: String| format!("not a whole .caffemodel: {error}; fetch it again");
    let num_messages = count_messages(file.clone(), 0).map_err(damaged)?;
    if num_messages > MAX_MESSAGES {
        return Err(format!("it has {num_messages} layers, shapes and blobs: no network's weights"));
    }
    let net = NetParameter::decode(file.clone()).map_err(|error| damaged(error.to_string()))?;
    let name = net.name.clone().unwrap_or_default();
    let canvas = canvas(&net);
    let layers: Vec<LayerParameter> = net.layers.into_iter().map(|layer| layer.upgraded()).chain(net.layer).collect();
    let learned = learned(&layers, &name)?;
    let mut tensors = Vec::with_capacity(learned.len());
    for &index in &learned {
        let layer = &layers[index];
        let of_layer = |problem| format!("{}: {problem}", layer.name());
        let [weight, bias] = &layer.blobs[..] else {
            return Err(of_layer(format!("{} blobs; expected weights and biases", layer.blobs.len())));
        };
        tensors.push(LayerTensors { weight: view(weight).map_err(of_layer)?, bias: view(bias).map_err(of_layer)? });
    }
    let conv1 = &mut tensors[0].weight;
    if conv1.shape().get(1) != Some(&3) || conv1.shape().len() != 4 {
        return Err(format!(
            "{}: weights of shape {:?}; expected 3 channels",
            layers[learned[0]].name(),
            conv1.shape()
        ));
    }
    *conv1 = conv1.clone().reversed(1);
    let scale = scale(&layers)?;
    let mut input = InputForm::caffe("");
    input.scale = [scale; 3];
    Ok(Pretrained {
        format: "a .caffemodel",
        recipe: recipe(&layers, &learned, &name, canvas),
        layers: tensors,
        input,
        classes: None,
    })
}

/// The messages in a NetParameter, its layers and their blobs (`depth` 0, 1, 2): a hostile file may have one in every
/// two bytes.
fn count_messages(mut message: Bytes, depth: u32) -> Result<usize, String> {
    let damaged = |error: DecodeError| error.to_string();
    let mut count = 0;
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message).map_err(damaged)?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, tag, &mut message, DecodeContext::default()).map_err(damaged)?;
            continue;
        }
        count += 1;
        let len = usize::try_from(decode_varint(&mut message).map_err(damaged)?).unwrap_or(usize::MAX);
        if len > message.remaining() {
            return Err(format!("a field of {len} bytes has only {}", message.remaining()));
        }
        let inner = message.split_to(len);
        if matches!((depth, tag), (0, 2 | 100) | (1, 6 | 7)) {
            count += count_messages(inner, depth + 1)?;
        }
        if count > MAX_MESSAGES {
            break;
        }
    }
    Ok(count)
}

/// The indices of the five convolutions and three inner products, in the order of the file.
fn learned(layers: &[LayerParameter], name: &str) -> Result<Vec<usize>, String> {
    let of_kind = |kind: &str| -> Vec<usize> {
        let is_it = |index: &usize| layers[*index].kind() == kind && !layers[*index].blobs.is_empty();
        (0..layers.len()).filter(is_it).collect()
    };
    let (convs, dense) = (of_kind("Convolution"), of_kind("InnerProduct"));
    let num_learned = layers.iter().filter(|layer| !layer.blobs.is_empty()).count();
    if (convs.len(), dense.len(), num_learned) != (NUM_CONVS, NUM_DENSE, NUM_CONVS + NUM_DENSE) {
        return Err(format!(
            "the network {name:?} has {} convolutions and {} inner products among {num_learned} layers with weights; \
             AlexNet has {NUM_CONVS} and {NUM_DENSE}: the weights of another network",
            convs.len(),
            dense.len()
        ));
    }
    Ok([convs, dense].concat())
}

/// A blob in Caffe's order, which is ours: (O, I, H, W), (out, in) and (O). Before shapes there were always four
/// numbers, the first of them 1 where there are fewer dimensions.
fn view(blob: &BlobProto) -> Result<View, String> {
    let dims = match &blob.shape {
        Some(shape) => shape.dim.clone(),
        None => vec![blob.num(), blob.channels(), blob.height(), blob.width()],
    };
    let own = match dims[..] {
        [1, 1, 1, _] => &dims[3..],
        [1, 1, _, _] => &dims[2..],
        _ => &dims,
    };
    let shape: Result<Vec<usize>, _> = own.iter().map(|&dim| usize::try_from(dim)).collect();
    let shape = shape.map_err(|_| format!("a blob of shape {dims:?}"))?;
    View::dense(blob.data.clone().unwrap_or_default(), Dtype::F32, &shape)
}

/// The recipe that the layers are of. Files may have the weights alone; then the network's name decides.
fn recipe(layers: &[LayerParameter], learned: &[usize], name: &str, canvas: Option<usize>) -> Result<Recipe, String> {
    let between = |from: usize, to: usize| &layers[learned[from] + 1..learned[to]];
    let tails = [between(0, 1), between(1, 2)];
    let has_tails = layers.iter().any(|layer| ["LRN", "Pooling"].contains(&layer.kind()));
    let place = match (has_tails, name) {
        (true, _) => match tails.map(place_of) {
            [Some(first), Some(second)] if first == second => first,
            _ => {
                return Err("its order of ReLU, LRN and pooling is none of our recipes'; name one with --recipe".into());
            }
        },
        (false, "AlexNet") => LrnPlace::BeforePool,
        (false, "CaffeNet") => LrnPlace::AfterPool,
        (false, other) => {
            return Err(format!(
                "it does not say whether LRN stands before or behind pooling, nor does its name {other:?}; \
                 say --recipe caffe (before) or --recipe caffenet (behind)"
            ));
        }
    };
    let mut recipe = Pretrained::built_in(if place == LrnPlace::AfterPool { "caffenet" } else { "caffe" })?;
    let model = &mut recipe.settings.model;
    model.lrn.place = place;
    let mut norms = layers.iter().filter(|layer| layer.kind() == "LRN");
    if let Some(first) = norms.next() {
        if norms.any(|norm| norm.lrn_param != first.lrn_param) {
            return Err("its two normalisations differ, as no recipe's do; name one with --recipe".into());
        }
        model.lrn = LrnSettings { place, ..lrn(first.lrn_param.clone().unwrap_or_default())? };
    }
    for pooling in layers.iter().filter(|layer| layer.kind() == "Pooling") {
        let own = pooling.pooling_param.clone().unwrap_or_default();
        let ours = PoolingParameter { pool: None, kernel_size: Some(3), stride: Some(2), pad: None };
        if own.pool() != ours.pool()
            || own.pad() != 0
            || (own.kernel_size, own.stride) != (ours.kernel_size, ours.stride)
        {
            return Err(format!("{}: expected the maximum over 3 x 3 by 2, found {own:?}", pooling.name()));
        }
    }
    for (&index, our_layer) in learned.iter().zip(crate::recipe::alexnet::layers(model)).take(NUM_CONVS) {
        let Some(own) = &layers[index].convolution_param else { continue };
        let first = |values: &[u32], default: u32| values.first().copied().unwrap_or(default) as usize;
        let (kernel_size, stride, padding) = (first(&own.kernel_size, 3), first(&own.stride, 1), first(&own.pad, 0));
        let crate::model::layers::Operation::Conv(ours) = &our_layer.operation else { continue };
        if (kernel_size, stride, padding) != (ours.kernel_size, ours.stride, ours.padding) {
            let (kernel_size, stride, padding) = (Some(kernel_size), Some(stride), Some(padding));
            let changed = LayerSettings { kernel_size, stride, padding, ..LayerSettings::default() };
            recipe.settings.model.layer.insert(our_layer.name, changed);
        }
    }
    if let Some(canvas) = canvas.filter(|canvas| (1..=SIDE).contains(canvas)) {
        (recipe.settings.augment.canvas, recipe.settings.augment.crop) = (canvas, canvas);
    }
    Ok(recipe)
}

/// Where LRN stands between a convolution and the next.
fn place_of(tail: &[LayerParameter]) -> Option<LrnPlace> {
    let known = ["ReLU", "LRN", "Pooling"];
    let order: Vec<&str> = tail.iter().map(LayerParameter::kind).filter(|kind| known.contains(kind)).collect();
    match order[..] {
        ["ReLU", "LRN", "Pooling"] => Some(LrnPlace::BeforePool),
        ["ReLU", "Pooling", "LRN"] => Some(LrnPlace::AfterPool),
        ["LRN", "Pooling", "ReLU"] => Some(LrnPlace::BeforeRelu),
        ["ReLU", "Pooling"] => Some(LrnPlace::Off),
        _ => None,
    }
}

/// Caffe's alpha is divided by n.
fn lrn(own: LrnParameter) -> Result<LrnSettings, String> {
    if own.norm_region() != 0 {
        return Err("its LRN is within channels; ours is across them".into());
    }
    let n = own.local_size() as usize;
    let (k, alpha, beta) = (decimal(own.k()), decimal(own.alpha()) / n as f64, decimal(own.beta()));
    Ok(LrnSettings { k, n, alpha, beta, place: LrnPlace::BeforePool })
}

/// The number that a person wrote, of which the f32 is the nearest.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("a number")
}

/// What the network itself multiplies its input by, before the first convolution.
fn scale(layers: &[LayerParameter]) -> Result<f64, String> {
    let Some(layer) = layers.iter().find(|layer| layer.kind() == "Power") else { return Ok(1.0) };
    match layer.power_param.clone().unwrap_or_default() {
        power @ PowerParameter { .. } if power.power() == 1.0 && power.shift() == 0.0 => Ok(decimal(power.scale())),
        other => Err(format!("{}: {other:?}, which is no scale of the input", layer.name())),
    }
}

/// The side of the input, where the file has it.
fn canvas(net: &NetParameter) -> Option<usize> {
    let input = net.layer.iter().find_map(|layer| layer.input_param.as_ref()?.shape.first());
    let dims = input.or(net.input_shape.first()).map_or(&net.input_dim, |shape| &shape.dim);
    dims.get(3).and_then(|&side| usize::try_from(side).ok())
}
