//! `bvlc_alexnet.npy`: Caffe's AlexNet as TensorFlow's users have it, a NumPy file that holds a pickled dictionary from
//! a layer's name to its weights and biases.

use prost::bytes::Bytes;

use super::pickle::{Global, Made, Pickle};
use super::pretrained::{InputForm, LayerTensors, Pretrained};
use super::view::{Dtype, View};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

const LAYERS: [&str; 8] = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"];
const NUM_CONVS: usize = 5;

/// What the pickle of such a file names.
const KNOWN: &[Global] = &[
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
];

pub(super) fn read(file: &Bytes) -> Result<Pretrained, String> {
    let pickle_bytes = behind_header(file)?;
    let pickle = Pickle::read(&file[file.len() - pickle_bytes..], KNOWN)?;
    let expected = "expected an array of one dictionary: layer name to [weights, biases]";
    let whole = array_state(&pickle, pickle.root).and_then(|[_, _, data]| pickle.row(data));
    let Some([dictionary]) = whole else { return Err(format!("no weights in a NumPy file; {expected}")) };
    let layers = pickle.entries(*dictionary).ok_or_else(|| format!("an array of other objects; {expected}"))?;
    let mut found = Vec::with_capacity(LAYERS.len());
    for name in LAYERS {
        let (_, id) = layers.iter().find(|(key, _)| key == name).ok_or_else(|| {
            let keys: Vec<_> = layers.iter().take(3).map(|(key, _)| key.as_str()).collect();
            format!("it has no layer {name}, as AlexNet has; found {}, ...", keys.join(", "))
        })?;
        let Some([weight, bias]) = pickle.row(*id) else { return Err(format!("{name} is not [weights, biases]")) };
        let tensor = |id, part| array(file, &pickle, id).map_err(|problem| format!("{name}'s {part}: {problem}"));
        found.push(LayerTensors { weight: tensor(*weight, "weights")?, bias: tensor(*bias, "biases")? });
    }
    if let Some((other, _)) = layers.iter().find(|(key, _)| !LAYERS.contains(&key.as_str())) {
        return Err(format!("it has a layer {other} too, which AlexNet has not: the weights of another network"));
    }
    Ok(Pretrained {
        format: "bvlc_alexnet (.npy, TensorFlow's order)",
        recipe: Pretrained::built_in("caffe"),
        layers: in_our_order(found)?,
        input: InputForm::caffe("filters from (H, W, I, O), fc6's inputs from (H, W, C)"),
        classes: None,
    })
}

/// The length of what follows the header, which says that the file holds one object.
fn behind_header(file: &[u8]) -> Result<usize, String> {
    let truncated = "its header is truncated; fetch it again";
    let version = *file.get(MAGIC.len()).ok_or(truncated)?;
    let behind = &file[MAGIC.len() + 2.min(file.len() - MAGIC.len())..];
    let (len, rest) = match version {
        1 => behind.split_first_chunk().map(|(len, rest)| (usize::from(u16::from_le_bytes(*len)), rest)),
        _ => behind.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len) as usize, rest)),
    }
    .ok_or(truncated)?;
    let header = String::from_utf8_lossy(rest.get(..len).ok_or(truncated)?).into_owned();
    if !header.contains("'descr': '|O'") || !header.contains("'shape': ()") {
        return Err(format!(
            "a NumPy file of {}; expected a dictionary: layer name to [weights, biases]",
            header.trim_end()
        ));
    }
    Ok(rest.len() - len)
}

/// HWIO to OIHW with red first; (in, out) to (out, in), with the inputs of fc6 from (H, W, C) to (C, H, W).
fn in_our_order(layers: Vec<LayerTensors>) -> Result<Vec<LayerTensors>, String> {
    let channels = layers[NUM_CONVS - 1].bias.num_values();
    let reorder = |(index, LayerTensors { weight, bias }): (usize, LayerTensors)| {
        let shape = weight.shape();
        let weight = match shape[..] {
            [_, _, 3, _] if index == 0 => weight.permuted([3, 2, 0, 1]).reversed(1),
            [_, _, _, _] if (1..NUM_CONVS).contains(&index) => weight.permuted([3, 2, 0, 1]),
            [inputs, _] if index == NUM_CONVS => {
                let side = (inputs / channels).isqrt();
                if side * side * channels != inputs {
                    return Err(format!("fc6 has {inputs} inputs, which is no square of conv5's {channels} channels"));
                }
                weight.split(0, &[side, side, channels]).permuted([3, 2, 0, 1])
            }
            [_, _] if index > NUM_CONVS => weight.permuted([1, 0]),
            _ => return Err(format!("{}'s weights are of shape {shape:?}; another network's", LAYERS[index])),
        };
        Ok(LayerTensors { weight, bias })
    };
    layers.into_iter().enumerate().map(reorder).collect()
}

/// An array's shape, type and data, and whether they are in Fortran's order: what NumPy would have rebuilt it from.
fn array_state(pickle: &Pickle<'_>, id: usize) -> Option<[usize; 3]> {
    let made = pickle.made(id).filter(|made| made.by.1 == "_reconstruct")?;
    let [_version, shape, dtype, _order, data] = pickle.row(made.state?)? else { return None };
    Some([*shape, *dtype, *data])
}

fn array(file: &Bytes, pickle: &Pickle<'_>, id: usize) -> Result<View, String> {
    let read = || {
        let [shape, dtype, data] = array_state(pickle, id)?;
        Some((pickle.sizes(shape)?, pickle.made(dtype).filter(|made| made.by.1 == "dtype")?, pickle.text(data)?))
    };
    let (shape, dtype, data) = read().ok_or("no array as NumPy pickles one")?;
    let dtype = float_type(pickle, dtype)?;
    let made = pickle.made(id).expect("just read");
    let is_fortran = pickle.row(made.state.expect("just read")).is_some_and(|state| pickle.is_true(state[3]));
    let data = file.slice_ref(data);
    if !is_fortran {
        return View::dense(data, dtype, &shape);
    }
    let backwards: Vec<usize> = shape.iter().rev().copied().collect();
    Ok(View::dense(data, dtype, &backwards)?.transposed())
}

/// `dtype('f4')` with the state `(3, '<', ...)`.
fn float_type(pickle: &Pickle<'_>, made: &Made) -> Result<Dtype, String> {
    let first = |row: Option<&[usize]>, index: usize| row.and_then(|row| pickle.text(*row.get(index)?));
    let name = first(pickle.row(made.arguments), 0).unwrap_or_default();
    let order = first(made.state.and_then(|state| pickle.row(state)), 1).unwrap_or_default();
    match (order, name) {
        (b"<", b"f4") => Ok(Dtype::F32),
        (b"<", b"f2") => Ok(Dtype::F16),
        _ => Err(format!(
            "numbers of type {}{}; expected <f4: save them with .astype('<f4')",
            String::from_utf8_lossy(order),
            String::from_utf8_lossy(name)
        )),
    }
}
