//! torchvision's AlexNet as PyTorch saves it: a state dict in a zip of storages, in the format before PyTorch 1.6, or
//! in safetensors.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::bytes::Bytes;
use safetensors::SafeTensors;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Global, Made, Node, Pickle};
use super::pretrained::{InputForm, LayerTensors, Mean, Pretrained};
use super::view::{Dtype, View};
use crate::recipe::{Recipe, limits};
use crate::shard::SAMPLE_BYTES;

/// The recipe of torchvision's AlexNet.
const RECIPE: &str = "torchvision";
/// Its layers' names in torchvision's state dict, from conv1 to fc8.
pub(super) const LAYERS: [&str; 8] = [
    "features.0",
    "features.3",
    "features.6",
    "features.8",
    "features.10",
    "classifier.1",
    "classifier.4",
    "classifier.6",
];
/// So many of them are convolutions.
pub(super) const NUM_CONVS: usize = 5;
/// The channels' mean and deviation of torchvision's transforms, times 255.
const MEAN: [f64; 3] = [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0];
const DEVIATION: [f64; 3] = [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0];

/// What begins a file of PyTorch before 1.6: a pickle of a magic number.
pub(super) const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// What a state dict's pickle names.
const KNOWN: &[Global] = &[
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch", "FloatStorage"),
    ("torch", "HalfStorage"),
    ("torch", "BFloat16Storage"),
    ("torch", "DoubleStorage"),
    ("torch", "LongStorage"),
    ("torch", "IntStorage"),
    ("torch", "BoolStorage"),
];

/// The bytes of a storage by its key.
type Storages = HashMap<String, Bytes>;

/// Reads a zip file as `torch.save` writes it. Nothing in it is compressed, so it cannot grow.
pub(super) fn read_zip(file: &Bytes) -> Result<Pretrained, String> {
    let damaged = |error: zip::result::ZipError| format!("not a whole zip file: {error}; fetch it again");
    let mut archive = ZipArchive::new(Cursor::new(file.as_ref())).map_err(damaged)?;
    let names: Vec<String> =
        archive.file_names().map(|name| name.map(Cow::into_owned)).collect::<Result<_, _>>().map_err(damaged)?;
    let folder = names
        .iter()
        .find_map(|name| name.strip_suffix("data.pkl"))
        .ok_or("a zip file without data.pkl: not one of torch.save; expected a state dict that torch.save wrote")?;
    let mut entry = |name: &str| {
        let index = archive.index_for_name(name).expect("one of its names");
        // Raw: what is compressed would be refused with less advice.
        let found = archive.by_index_raw(index).map_err(damaged)?;
        if found.compression() != CompressionMethod::Stored {
            return Err(format!("{name} in it is compressed, which torch.save never does; save the weights again"));
        }
        let start = found.data_start().and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(|start| Some(start..start.checked_add(usize::try_from(found.size()).ok()?)?));
        let range = range.filter(|range| range.end <= file.len());
        let bytes = file.slice(range.ok_or_else(|| format!("{name} in it is truncated; fetch it again"))?);
        if crc32fast::hash(&bytes) != found.crc32() {
            return Err(format!("{name} in it does not have its checksum: the file is damaged; fetch it again"));
        }
        Ok(bytes)
    };
    if names.contains(&format!("{folder}byteorder")) && entry(&format!("{folder}byteorder"))?.as_ref() != b"little" {
        return Err("its numbers are big-endian; save it on a little-endian machine".into());
    }
    let pickle_bytes = entry(&format!("{folder}data.pkl"))?;
    let mut storages = Storages::new();
    for name in &names {
        if let Some(key) = name.strip_prefix(folder).and_then(|name| name.strip_prefix("data/")) {
            storages.insert(key.to_owned(), entry(name)?);
        }
    }
    let tensors = state_dict(&Pickle::read(&pickle_bytes, KNOWN)?, &storages)?;
    of_torchvision("torchvision's AlexNet (.pth)", tensors, file.len())
}

/// Reads a file as `torch.save` wrote it before PyTorch 1.6: the magic number, the version, a description of the
/// machine, the state dict, the storages' keys, and the storages with their lengths.
pub(super) fn read_legacy(file: &Bytes) -> Result<Pretrained, String> {
    let mut at = LEGACY_MAGIC.len();
    let mut next = || {
        let pickle = Pickle::read(&file[at..], KNOWN)?;
        at += pickle.num_bytes;
        Ok::<_, String>(pickle)
    };
    let (_version, _machine, state, keys) = (next()?, next()?, next()?, next()?);
    let sizes = storage_sizes(&state);
    let mut storages = Storages::new();
    for &id in keys.row(keys.root).ok_or("it has no list of its storages: the file is damaged")? {
        let key = String::from_utf8_lossy(keys.text(id).unwrap_or_default()).into_owned();
        let truncated = || format!("its storage {key} is truncated; fetch it again");
        let value_bytes = *sizes.get(&key).ok_or_else(|| format!("no tensor uses its storage {key}"))?;
        let len = file.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(truncated)?;
        let num_bytes = usize::try_from(u64::from_le_bytes(*len)).ok().and_then(|len| len.checked_mul(value_bytes));
        let start = at + size_of::<u64>();
        let end = num_bytes.and_then(|num_bytes| start.checked_add(num_bytes)).filter(|&end| end <= file.len());
        at = end.ok_or_else(truncated)?;
        storages.insert(key, file.slice(start..at));
    }
    let tensors = state_dict(&state, &storages)?;
    of_torchvision("torchvision's AlexNet (.pth of PyTorch before 1.6)", tensors, file.len())
}

/// Takes the tensors of a safetensors file, and what `export` says about them.
pub(super) fn read_safetensors(
    file: &Bytes,
    tensors: &SafeTensors<'_>,
    metadata: Option<&HashMap<String, String>>,
) -> Result<Pretrained, String> {
    let view = |(name, tensor): (String, safetensors::tensor::TensorView<'_>)| {
        let dtype = match tensor.dtype() {
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::BF16 => Dtype::Bf16,
            other => return Err(format!("{name} is of {other:?}; expected F32, F16 or BF16")),
        };
        let view = View::dense(file.slice_ref(tensor.data()), dtype, tensor.shape());
        Ok((name.clone(), view.map_err(|problem| format!("{name}: {problem}"))?))
    };
    let tensors = tensors.tensors().into_iter().map(view).collect::<Result<_, _>>()?;
    let pretrained = of_torchvision("torchvision's AlexNet (safetensors)", tensors, file.len())?;
    match metadata.filter(|metadata| metadata.contains_key("recipe")) {
        Some(metadata) => exported(pretrained, metadata),
        None => Ok(pretrained),
    }
}

/// What `export` wrote has its recipe's network and inputs, whatever the names of its tensors.
fn exported(pretrained: Pretrained, metadata: &HashMap<String, String>) -> Result<Pretrained, String> {
    let text = |key: &str| metadata.get(key).ok_or_else(|| format!("its metadata has no {key:?}; export it again"));
    let wrong = |key: &str, error: &dyn std::fmt::Display| format!("its metadata's {key:?}: {error}; export it again");
    let recipe = Recipe::parse("exported", text("recipe")?, "its recipe").map_err(|error| error.to_string())?;
    limits::check(&recipe.settings).map_err(|error| error.to_string())?;
    let whole = BASE64.decode(text("mean")?).map_err(|error| wrong("mean", &error))?;
    if whole.len() != SAMPLE_BYTES {
        return Err(wrong("mean", &format!("{} bytes, expected {SAMPLE_BYTES}", whole.len())));
    }
    let fraction: [f32; 3] =
        serde_json::from_str(text("mean_fraction")?).map_err(|error| wrong("mean_fraction", &error))?;
    let classes = serde_json::from_str(text("classes")?).map_err(|error| wrong("classes", &error))?;
    Ok(Pretrained {
        format: "an export of ours under torchvision's names",
        input: InputForm {
            mean: Mean::Image { whole, shift: fraction.map(|fraction| -fraction) },
            scale: [recipe.settings.augment.scale; 3],
            said: format!("channels RGB, values times {}", recipe.settings.augment.scale),
        },
        recipe: Ok(recipe),
        classes: Some(classes),
        ..pretrained
    })
}

/// The bytes of a value in each storage that the pickle names.
fn storage_sizes(pickle: &Pickle<'_>) -> HashMap<String, usize> {
    let stored = pickle.nodes().filter_map(|node| if let Node::Stored(id) = node { pickle.row(*id) } else { None });
    let size = |row: &[usize]| {
        let Node::Global((_, name)) = pickle.node(*row.get(1)?) else { return None };
        let num_bytes = match *name {
            "DoubleStorage" | "LongStorage" => 8,
            "FloatStorage" | "IntStorage" => 4,
            "BoolStorage" => 1,
            _ => 2,
        };
        Some((String::from_utf8_lossy(pickle.text(*row.get(2)?)?).into_owned(), num_bytes))
    };
    stored.filter_map(size).collect()
}

/// The tensors of a state dict, or of a training script's dictionary that holds one.
fn state_dict(pickle: &Pickle<'_>, storages: &Storages) -> Result<Vec<(String, View)>, String> {
    let entries = |id| pickle.entries(id).ok_or("it holds no state dict; save model.state_dict()");
    let mut all = entries(pickle.root)?;
    if let Some((_, inner)) = all.iter().find(|(name, _)| ["state_dict", "model"].contains(&name.as_str())) {
        all = entries(*inner)?;
    }
    let tensor = |(name, id): (String, usize)| {
        let made = pickle.made(id).filter(|made| made.by.1 == "_rebuild_tensor_v2")?;
        let view = tensor(pickle, storages, made).map_err(|problem| format!("{name}: {problem}"));
        // DataParallel puts its own name before or between the others.
        Some(view.map(|view| (name.replace("module.", ""), view)))
    };
    all.into_iter().filter_map(tensor).collect()
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, of a storage `("storage", type, key, device, len)`.
fn tensor(pickle: &Pickle<'_>, storages: &Storages, made: &Made) -> Result<View, String> {
    let read = || {
        let [storage, first, shape, strides, ..] = pickle.row(made.arguments)? else { return None };
        let Node::Stored(storage) = pickle.node(*storage) else { return None };
        let [_, kind, key, ..] = pickle.row(*storage)? else { return None };
        let Node::Global((_, kind)) = pickle.node(*kind) else { return None };
        let key = String::from_utf8_lossy(pickle.text(*key)?).into_owned();
        Some((*kind, key, pickle.size(*first)?, pickle.sizes(*shape)?, pickle.sizes(*strides)?))
    };
    let (kind, key, first, shape, strides) = read().ok_or("no tensor as torch.save describes one")?;
    let dtype = match kind {
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::Bf16,
        other => return Err(format!("it is a {other}; expected a FloatStorage: save model.float().state_dict()")),
    };
    let storage = storages.get(&key).ok_or_else(|| format!("its storage {key} is missing: the file is damaged"))?;
    View::strided(storage.clone(), dtype, first, &shape, &strides)
}

/// Puts tensors of torchvision's names in the order of the layers.
fn of_torchvision(format: &'static str, tensors: Vec<(String, View)>, file_bytes: usize) -> Result<Pretrained, String> {
    let mut by_name: HashMap<String, View> = tensors.into_iter().collect();
    let mut found: Vec<String> = by_name.keys().cloned().collect();
    found.sort();
    let mut take = |name: String| {
        by_name.remove(&name).ok_or_else(|| {
            let found = if found.is_empty() { "no tensor at all".into() } else { some_of(&found) };
            format!("it has no {name}, as torchvision's AlexNet has; found {found}")
        })
    };
    let mut layers = Vec::with_capacity(LAYERS.len());
    for layer in LAYERS {
        layers.push(LayerTensors { weight: take(format!("{layer}.weight"))?, bias: take(format!("{layer}.bias"))? });
    }
    if let Some(other) = by_name.keys().min() {
        return Err(format!("it has {other} too, which torchvision's AlexNet has not: the weights of another network"));
    }
    // Tensors may share a storage, and so be many times what the file is.
    let num_values: usize = layers.iter().map(|layer| layer.weight.num_values() + layer.bias.num_values()).sum();
    if num_values > file_bytes {
        return Err(format!("its tensors have {num_values} values, but the file only {file_bytes} bytes"));
    }
    Ok(Pretrained {
        format,
        recipe: Pretrained::built_in(RECIPE),
        layers,
        input: InputForm {
            mean: Mean::Colour(MEAN),
            scale: DEVIATION.map(f64::recip),
            said: "channels RGB, deviations of 58.4, 57.1 and 57.4 folded into conv1".into(),
        },
        classes: None,
    })
}

fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    names[..names.len().min(SHOWN)].join(", ") + &more
}
