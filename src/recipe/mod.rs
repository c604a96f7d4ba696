//! Recipes: TOML that names every choice of a run.
//!
//! In: a recipe's name or file and `--set` pairs. Out: checked [`Settings`], owned by the run.

pub mod alexnet;
pub mod keys;
pub mod limits;
pub mod settings;
pub mod table;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::settings::Settings;
use crate::error::{Error, IoContext, Result};

/// The recipe of a run that names none.
pub(crate) const DEFAULT: &str = "alexnet";
/// The recipes that travel in the binary.
const BUILT_IN: [(&str, &str); 8] = [
    (DEFAULT, include_str!("../../recipes/alexnet.toml")),
    ("two-tower", include_str!("../../recipes/two-tower.toml")),
    ("small", include_str!("../../recipes/small.toml")),
    ("code2012", include_str!("../../recipes/code2012.toml")),
    ("caffe", include_str!("../../recipes/caffe.toml")),
    ("caffenet", include_str!("../../recipes/caffenet.toml")),
    ("torchvision", include_str!("../../recipes/torchvision.toml")),
    ("zfnet", include_str!("../../recipes/zfnet.toml")),
];

/// A named set of choices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The built-in recipe's name or the file's stem.
    pub name: String,
    /// What it is for, in one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its choices.
    #[serde(flatten)]
    pub settings: Settings,
}

impl Recipe {
    /// A built-in recipe by its name, or a file that ends in `.toml`, with `KEY=VALUE` pairs applied in order.
    pub fn load(name: &str, sets: &[String]) -> Result<Self> {
        let (short_name, text) = if name.ends_with(".toml") {
            let path = Path::new(name);
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (stem, std::fs::read_to_string(path).at("read", path)?)
        } else {
            let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) else {
                let names = BUILT_IN.map(|(built_in, _)| built_in).join(", ");
                return Err(Error::usage(format!(
                    "--recipe {name}: no such recipe; expected one of {names}, or a file that ends in .toml"
                )));
            };
            (name.to_owned(), (*text).to_owned())
        };
        let mut recipe = Self::parse(&short_name, &text, &format!("recipe {name}"))?;
        for pair in sets {
            keys::set_pair(&mut recipe.settings, pair)?;
        }
        limits::check(&recipe.settings)?;
        Ok(recipe)
    }

    /// Reads a recipe's text; `place` stands in messages.
    pub fn parse(name: &str, text: &str, place: &str) -> Result<Self> {
        let mut table: toml::Table = text.parse().map_err(|error| Error::usage(format!("{place}: {error}")))?;
        // A run's config.toml is a recipe too: it carries its name and its resolved run.
        let name = match table.remove("name") {
            Some(toml::Value::String(own)) => own,
            _ => name.to_owned(),
        };
        let description = match table.remove("description") {
            Some(toml::Value::String(text)) => text,
            _ => String::new(),
        };
        table.remove("run");
        let mut settings = Settings::default();
        // The layers first: other keys may name one.
        let written = match (table.remove("layer"), table.get_mut("model")) {
            (None, Some(toml::Value::Table(model))) => model.remove("layers"),
            (written, _) => written,
        };
        if let Some(written) = written {
            keys::set(&mut settings, "model.layers", written, place)?;
        }
        keys::merge(&mut settings, &table, place)?;
        Ok(Self { name, description, settings })
    }

    /// All keys as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is plain data")
    }

    /// What `--recipe list` prints.
    pub fn list() -> String {
        let mut text = String::from("Recipes (--recipe NAME, or a .toml file with the same keys):\n");
        for (name, source) in BUILT_IN {
            let recipe = Self::parse(name, source, name).expect("built-in recipes are tested");
            text += &format!("\n  {name:11} {}\n", recipe.description);
            let changes = keys::differences(&Settings::default(), &recipe.settings);
            for change in &changes {
                text += &format!("             {change}\n");
            }
            if changes.is_empty() {
                text += "             every key at the paper's value\n";
            }
        }
        text += "\nKeys, with the values of alexnet (--set KEY=VALUE changes one):\n\n";
        for line in keys::lines(&Settings::default()) {
            text += &format!("  {line}\n");
        }
        text +=
            "  model.layer.NAME.deviation, model.layer.NAME.bias (a layer's own initial values; NAME: conv1 ... fc8)\n";
        text += "  model.layer.NAME.filters, .kernel_size, .stride, .padding (NAME: conv1 ... conv5)\n";
        text += "  [[layer]] in a .toml file: other layers in place of AlexNet's (docs/fidelity.md)\n";
        text += "  train.order is shuffled, blocks (nearly shuffled, for datasets larger than memory) or sequential\n";
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sets: &[&str]) -> String {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        Recipe::load("alexnet", &sets).unwrap_err().to_string()
    }

    #[test]
    fn alexnet_is_the_defaults() {
        assert_eq!(Recipe::load("alexnet", &[]).unwrap().settings, Settings::default());
    }

    #[test]
    fn a_recipe_survives_its_own_toml() {
        for (name, _) in BUILT_IN {
            let sets = ["model.layer.conv2.bias=0.5".to_owned()];
            let recipe = Recipe::load(name, &sets).unwrap();
            assert_eq!(Recipe::parse("other", &recipe.to_toml(), "test").unwrap(), recipe);
        }
    }

    #[test]
    fn sets_take_every_kind_of_value() {
        let sets = [
            "train.batch_size=32",
            "train.learning_rate=1",
            "augment.mirror=false",
            "train.order=sequential",
            "train.drop_epochs=[1, 2]",
            "model.lrn.place=after-pool",
            "model.init=code-2012",
            "model.layer.fc8.deviation=0.1",
        ];
        let settings = Recipe::load("small", &sets.map(str::to_owned)).unwrap().settings;
        assert_eq!(settings.train.batch_size, 32);
        assert_eq!(settings.train.learning_rate, 1.0);
        assert_eq!(settings.train.drop_epochs, [1, 2]);
        assert_eq!(settings.model.layer["fc8"].deviation, Some(0.1));
        assert!(!settings.augment.mirror);
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let message = refused(&["train.learningrate=1"]);
        assert!(message.contains("train.learning_rate"), "{message}");
        let message = refused(&["model.layer.conv9.bias=1"]);
        assert!(message.contains("model.layer.conv"), "{message}");
        let message = refused(&["model.layer.fc6.filters=9"]);
        assert!(message.contains("unknown key model.layer.fc6.filters"), "{message}");
        let message = Recipe::parse("x", "[train]\nbatchsize = 3", "x.toml").unwrap_err().to_string();
        assert!(message.contains("x.toml") && message.contains("train.batch_size"), "{message}");
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_key() {
        for (set, expected) in [
            ("train.batch_size=many", "a whole number"),
            ("train.batch_size=1.5", "a whole number"),
            ("augment.mirror=1", "true or false"),
            ("train.schedule=cosinus", "plateau"),
            ("train.batch_size=-1", "train.batch_size"),
            ("train.batch_size", "KEY=VALUE"),
        ] {
            let message = refused(&[set]);
            assert!(message.contains(expected), "{set}: {message}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_their_key() {
        for set in [
            "train.batch_size=0",
            "train.learning_rate=0",
            "train.learning_rate=nan",
            "train.momentum=1",
            "train.weight_decay=-1",
            "train.label_smoothing=1",
            "train.epochs=0",
            "train.drop_factor=0.5",
            "model.width=0",
            "model.width=1000000",
            "model.dropout=1",
            "model.lrn.n=4",
            "model.lrn.k=0",
            "augment.crop=300",
            "augment.canvas=100",
            "augment.lighting=-1",
            "augment.scale=inf",
            "model.layer.conv1.deviation=-1",
            "model.layer.conv1.filters=0",
            "model.layer.conv1.stride=0",
            "model.biases.learning_rate=-1",
        ] {
            let message = refused(&[set]);
            let key = set.split('=').next().unwrap();
            assert!(message.contains(key), "{set}: {message}");
        }
    }
}
