//! Reads `--val-labels FILE`: the classes of a flat folder of validation images.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Classes;
use crate::error::{Error, IoContext, Result};

#[derive(Debug)]
pub struct LabelFile {
    path: PathBuf,
    labels: Labels,
}

#[derive(Debug)]
enum Labels {
    /// By file name, with or without its extension.
    ByName(HashMap<Vec<u8>, u32>),
    /// In the order of the file names.
    InOrder(Vec<u32>),
}

impl LabelFile {
    /// Reads lines of `image class` or of `class` alone. Words are separated by spaces, tabs or commas, and everything
    /// after the second is ignored, so that ImageNet's `LOC_val_solution.csv` and Tiny ImageNet's `val_annotations.txt`
    /// work unchanged.
    pub fn read(path: &Path, classes: &Classes) -> Result<Self> {
        let text = std::fs::read(path).at("read", path)?;
        let mut by_name = HashMap::new();
        let mut in_order = Vec::new();
        for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let mut words =
                line.split(|byte| byte.is_ascii_whitespace() || *byte == b',').filter(|word| !word.is_empty());
            let wrong = |problem: String| Error::data(path, format!("line {}: {problem}", number + 1));
            let Some(first) = words.next() else { continue };
            let second = words.next();
            if number == 0 && first == b"ImageId" {
                continue;
            }
            if second.map_or(!by_name.is_empty(), |_| !in_order.is_empty()) {
                return Err(wrong("lines of \"image class\" and lines of \"class\" are mixed".into()));
            }
            let class = second.unwrap_or(first);
            let Some(label) = classes.label(class) else { return Err(wrong(unknown(class, classes))) };
            match second {
                None => in_order.push(label),
                Some(_) => {
                    let name = first.rsplit(|&byte| byte == b'/').next().unwrap_or(first);
                    if by_name.insert(name.to_vec(), label).is_some_and(|other| other != label) {
                        return Err(wrong(format!("a second class for {}", name.escape_ascii())));
                    }
                }
            }
        }
        let labels = if by_name.is_empty() { Labels::InOrder(in_order) } else { Labels::ByName(by_name) };
        Ok(Self { path: path.to_path_buf(), labels })
    }

    pub fn num(&self) -> usize {
        match &self.labels {
            Labels::ByName(labels) => labels.len(),
            Labels::InOrder(labels) => labels.len(),
        }
    }

    /// Whether it is the file at `path`, which then is not an image.
    pub fn is_at(&self, path: &Path) -> bool {
        path.file_name() == self.path.file_name()
            && matches!((path.canonicalize(), self.path.canonicalize()), (Ok(a), Ok(b)) if a == b)
    }

    /// The class of the image at `position` of the sorted file names, named `file_name`.
    pub fn label(&self, position: usize, file_name: &[u8]) -> Result<u32> {
        let label = match &self.labels {
            Labels::InOrder(labels) => labels.get(position),
            Labels::ByName(labels) => labels.get(file_name).or_else(|| labels.get(stem(file_name))),
        };
        label.copied().ok_or_else(|| {
            Error::data(&self.path, format!("it has no class for the image {}", file_name.escape_ascii()))
        })
    }

    pub fn check_count(&self, num_images: usize, images: &Path) -> Result<()> {
        if self.num() == num_images {
            return Ok(());
        }
        let problem = format!("labels of {} images, but {} holds {num_images} files", self.num(), images.display());
        Err(Error::data(&self.path, problem))
    }
}

/// Strips the extension, as in `ILSVRC2012_val_00000001` for `ILSVRC2012_val_00000001.JPEG`.
fn stem(file_name: &[u8]) -> &[u8] {
    file_name.iter().rposition(|&byte| byte == b'.').map_or(file_name, |dot| &file_name[..dot])
}

fn unknown(class: &[u8], classes: &Classes) -> String {
    let name = class.escape_ascii();
    if class.iter().all(u8::is_ascii_digit) {
        return format!(
            "{name} is not a class folder of the training split. ILSVRC's numbers are not in the order of the folder \
             names, so a guess would train on wrong classes: give a file that names folders, such as \
             LOC_val_solution.csv"
        );
    }
    format!("{name} is not one of the {} class folders of the training split", classes.num())
}
