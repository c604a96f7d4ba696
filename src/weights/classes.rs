//! The names of a network's classes: a file's, ImageNet's, or numbers.

use std::path::Path;

use crate::error::{Error, IoContext, Result};

/// ImageNet's 1,000 classes in the order of their WordNet ids, as torchvision names them (its `models/_meta.py`,
/// BSD-3-Clause, copyright Soumith Chintala 2016).
const IMAGENET: &str = include_str!("imagenet-classes.txt");

/// Class names in the order of their labels, and where they are from.
pub(super) struct Classes {
    pub(super) names: Vec<String>,
    pub(super) said: String,
}

/// The names of a network's classes: those of the file `given`, else its `own`, else ImageNet's if there are as many,
/// else numbers.
pub(super) fn of_network(
    weights: &Path,
    given: Option<&Path>,
    own: Option<Vec<String>>,
    num_classes: usize,
) -> Result<Classes> {
    let imagenet = || IMAGENET.lines().map(str::to_owned).collect::<Vec<_>>();
    let (names, from) = match (given, own) {
        (Some(path), _) => (read(path)?, format!("named in {}", path.display())),
        (None, Some(own)) => (own, "with their own names".into()),
        (None, None) if num_classes == imagenet().len() => (imagenet(), "with ImageNet's names".into()),
        (None, None) => {
            ((0..num_classes).map(|label| format!("class {label}")).collect(), "that --classes would name".into())
        }
    };
    if names.len() != num_classes {
        let place = given.unwrap_or(weights);
        return Err(Error::data(
            place,
            format!("{} class names for the {num_classes} classes of {}", names.len(), weights.display()),
        ));
    }
    Ok(Classes { names, said: format!("{num_classes} classes {from}") })
}

/// Reads a file of one class name a line, in the order of the labels.
pub(super) fn read(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).at("read", path)?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match names.iter().position(String::is_empty) {
        Some(line) => Err(Error::data(path, format!("line {} is empty; expected one class name a line", line + 1))),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imagenet_has_1000_classes_in_wordnets_order() {
        let names: Vec<_> = IMAGENET.lines().collect();
        assert_eq!(
            (names.len(), names[0], names[207], names[999]),
            (1000, "tench", "golden retriever", "toilet tissue")
        );
    }

    #[test]
    fn classes_that_are_too_few_or_unnamed_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.txt");
        std::fs::write(&path, "cat\n\ndog\n").unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("names.txt: line 2 is empty"), "{message}");
        std::fs::write(&path, "cat\r\ndog\r\n").unwrap();
        assert_eq!(read(&path).unwrap(), ["cat", "dog"]);
        let message = of_network(Path::new("w.pth"), Some(&path), None, 3).err().unwrap().to_string();
        assert!(message.contains("2 class names for the 3 classes of w.pth"), "{message}");
    }
}
