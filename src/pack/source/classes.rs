//! The classes of a source: their folder names and their readable names.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, IoContext, Result};

/// The classes in the order of their labels, which is that of their folder names' bytes.
#[derive(Clone, Debug)]
pub struct Classes {
    folders: Vec<Vec<u8>>,
    labels: HashMap<Vec<u8>, u32>,
    names: Vec<String>,
}

impl Classes {
    /// Takes folder names (or IDX labels as text) that are already in order.
    pub fn new(folders: Vec<Vec<u8>>) -> Self {
        let labels = folders.iter().enumerate().map(|(label, folder)| (folder.clone(), label as u32)).collect();
        let names = folders.iter().map(|folder| String::from_utf8_lossy(folder).into_owned()).collect();
        Self { folders, labels, names }
    }

    pub fn num(&self) -> usize {
        self.folders.len()
    }

    pub fn label(&self, folder: &[u8]) -> Option<u32> {
        self.labels.get(folder).copied()
    }

    /// The readable names, in the order of the labels.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Fails if there are fewer than two classes.
    pub fn check(&self, data: &Path) -> Result<()> {
        match self.names.as_slice() {
            [] => Err(Error::data(data, "found no class")),
            [only] => {
                let problem = format!("found one class only, {only}; a network needs at least two to tell apart");
                Err(Error::data(data, problem))
            }
            _ => Ok(()),
        }
    }

    /// Pairs of classes whose names differ only in case, and so are probably one class.
    pub fn alike(&self) -> Vec<[&str; 2]> {
        let mut first: HashMap<String, &str> = HashMap::new();
        let mut alike = Vec::new();
        for name in &self.names {
            match first.get(&name.to_lowercase()) {
                Some(other) => alike.push([*other, name]),
                None => {
                    first.insert(name.to_lowercase(), name);
                }
            }
        }
        alike
    }

    /// Reads readable names from a file: lines of `folder name...` for every class (such as `n01440764 tench, Tinca
    /// tinca`), or one name per line in the order of the labels.
    pub fn rename(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).at("read", path)?;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let by_folder: HashMap<&[u8], &str> = lines
            .iter()
            .filter_map(|line| line.split_once(char::is_whitespace))
            .map(|(folder, name)| (folder.as_bytes(), name.trim()))
            .collect();
        let named: Option<Vec<String>> =
            self.folders.iter().map(|folder| by_folder.get(folder.as_slice()).map(|name| (*name).into())).collect();
        self.names = match named {
            Some(names) => names,
            None if lines.len() == self.num() => lines.into_iter().map(String::from).collect(),
            None => {
                let problem = format!(
                    "expected one name per line for {} classes, or lines of \"folder name\" that cover all of them; \
                     found {} lines",
                    self.num(),
                    lines.len()
                );
                return Err(Error::data(path, problem));
            }
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_stand_beside_their_folders_in_any_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "n02 ray, manta\nn03 cod\nn01 tench, Tinca tinca\n").unwrap();
        let mut classes = Classes::new(vec![b"n01".to_vec(), b"n02".to_vec()]);
        classes.rename(file.path()).unwrap();
        assert_eq!(classes.names(), ["tench, Tinca tinca", "ray, manta"]);
    }
}
