//! Dotted keys: setting one, telling an unknown one from the nearest known, listing all.

use toml::{Table, Value};

use super::alexnet;
use super::settings::{ModelSettings, Settings};
use crate::error::{Error, Result};
use crate::model::layers::{LayerSpec, Operation};

/// Applies `KEY=VALUE`; a value that is no TOML is a string.
pub fn set_pair(settings: &mut Settings, pair: &str) -> Result<()> {
    let Some((key, text)) = pair.split_once('=') else {
        return Err(Error::usage(format!("--set {pair}: expected KEY=VALUE, such as train.batch_size=64")));
    };
    let (key, text) = (key.trim(), text.trim());
    let value = match format!("value = {text}").parse::<Table>() {
        Ok(mut table) if table.len() == 1 => table.remove("value").expect("the only key"),
        _ => Value::String(text.to_owned()),
    };
    set(settings, key, value, &format!("--set {pair}"))
}

/// Applies every key of `table`.
pub fn merge(settings: &mut Settings, table: &Table, place: &str) -> Result<()> {
    for (key, value) in flat(table) {
        set(settings, &key, value, place)?;
    }
    Ok(())
}

/// `KEY = VALUE` of all keys, in order.
pub fn lines(settings: &Settings) -> Vec<String> {
    flat(&to_table(settings)).into_iter().map(|(key, value)| format!("{key} = {value}")).collect()
}

/// The lines of `to` that are not in `from`.
pub fn differences(from: &Settings, to: &Settings) -> Vec<String> {
    let from = lines(from);
    lines(to).into_iter().filter(|line| !from.contains(line)).collect()
}

/// Sets one key; `place` stands in messages.
pub(super) fn set(settings: &mut Settings, key: &str, value: Value, place: &str) -> Result<()> {
    let mut table = to_table(settings);
    let template = template(&table, key).ok_or_else(|| unknown(&table, key, place))?;
    let value = convert(value, &template)
        .map_err(|(expected, found)| Error::usage(format!("{place}: {key}: expected {expected}, found {found}")))?;
    insert(&mut table, key, value);
    // What is left to find is a word that no choice has, or a number that its type does not hold.
    *settings = table
        .try_into()
        .map_err(|error: toml::de::Error| Error::usage(format!("{place}: {key}: {}", error.message().trim_end())))?;
    Ok(())
}

fn to_table(settings: &Settings) -> Table {
    Table::try_from(settings).expect("settings are plain data")
}

/// A value of the type that `key` has, or nothing where there is no such key.
fn template(table: &Table, key: &str) -> Option<Value> {
    if let ["model", "layer", name, last] = key.split('.').collect::<Vec<_>>()[..] {
        let layer = layers(table).into_iter().find(|layer| layer.name == name)?;
        return layer_keys(&layer).into_iter().find(|(known, _)| *known == last).map(|(_, value)| value);
    }
    flat(table).into_iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

/// The learned layers that `model.layer.NAME` may name.
fn layers(table: &Table) -> Vec<LayerSpec> {
    let model: ModelSettings = table["model"].clone().try_into().expect("settings came from the same");
    alexnet::layers(&model)
}

/// What `model.layer.NAME` may change of a layer, each with a value of its type.
fn layer_keys(layer: &LayerSpec) -> Vec<(&'static str, Value)> {
    let mut keys = vec![("deviation", Value::Float(0.0)), ("bias", Value::Float(0.0))];
    if let Operation::Conv(_) = layer.operation {
        keys.extend(["filters", "kernel_size", "stride", "padding"].map(|key| (key, Value::Integer(0))));
    }
    keys
}

fn unknown(table: &Table, key: &str, place: &str) -> Error {
    let mut known: Vec<String> = flat(table).into_iter().map(|(known, _)| known).collect();
    for layer in layers(table) {
        known.extend(layer_keys(&layer).iter().map(|(last, _)| format!("model.layer.{}.{last}", layer.name)));
    }
    let distance = |candidate: &String| {
        // A key given without its section is as near as its last part.
        let last = candidate.rsplit('.').next().unwrap_or_default();
        strsim::damerau_levenshtein(candidate, key).min(strsim::damerau_levenshtein(last, key) + 1)
    };
    let nearest = known.iter().min_by_key(|candidate| distance(candidate)).expect("there are keys");
    Error::usage(format!("{place}: unknown key {key}; the nearest is {nearest} (train --recipe list shows all)"))
}

/// Makes `value` of the type of `template`, or says what was expected and found.
fn convert(value: Value, template: &Value) -> Result<Value, (&'static str, String)> {
    let expected = match (template, value) {
        (Value::Float(_), Value::Integer(whole)) => return Ok(Value::Float(whole as f64)),
        (Value::Float(_), Value::Float(number)) => return Ok(Value::Float(number)),
        (Value::Integer(_), Value::Integer(whole)) => return Ok(Value::Integer(whole)),
        (Value::Boolean(_), Value::Boolean(truth)) => return Ok(Value::Boolean(truth)),
        (Value::String(_), Value::String(text)) => return Ok(Value::String(text)),
        (Value::Array(_), Value::Array(values)) => return Ok(Value::Array(values)),
        (Value::Float(_), other) => ("a number", other),
        (Value::Integer(_), other) => ("a whole number", other),
        (Value::Boolean(_), other) => ("true or false", other),
        (Value::Array(_), other) => ("a list", other),
        (_, other) => ("a word", other),
    };
    Err((expected.0, expected.1.to_string()))
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        Some((head, rest)) => {
            let inner = table.entry(head).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = inner else { panic!("{head} of {key} is a table") };
            insert(inner, rest, value);
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}

fn flat(table: &Table) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => all.extend(flat(inner).into_iter().map(|(rest, v)| (format!("{key}.{rest}"), v))),
            other => all.push((key.clone(), other.clone())),
        }
    }
    all
}
