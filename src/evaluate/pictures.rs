//! The picture files that `predict` is given: files by name, and folders with all that are in them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::pack::decode::is_image;
use crate::pack::source::walk::Walker;

/// No format is known by later bytes.
const BEGINNING_BYTES: u64 = 64;

/// The files, in the order of the arguments; a folder's by their paths, without what is no image by its content. Says
/// how many a folder has.
pub(super) fn list(arguments: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    for argument in arguments {
        if argument.is_dir() {
            pictures.extend(of_folder(argument)?);
        } else {
            pictures.push(argument.clone());
        }
    }
    Ok(pictures)
}

fn of_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = Walker { out: None }.files_under(folder)?;
    let num_files = files.len();
    let mut pictures = Vec::new();
    for file in files {
        // What cannot be opened is told with the pictures that cannot be read.
        if begins_as_image(&file.path).unwrap_or(true) {
            pictures.push(file.path);
        }
    }
    if pictures.is_empty() {
        return Err(Error::data(folder, format!("no image among its {num_files} files; expected a folder of images")));
    }
    let others = match num_files - pictures.len() {
        0 => String::new(),
        others => format!(", {others} other files left out"),
    };
    crate::tell!("{}: {} images{others}", folder.display(), pictures.len());
    Ok(pictures)
}

fn begins_as_image(path: &Path) -> Result<bool> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(BEGINNING_BYTES).read_to_end(&mut bytes)).at("read", path)?;
    Ok(is_image(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_images_are_known_by_content_and_sorted_by_path() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        let image = image::RgbImage::new(2, 2);
        for name in ["z.png", "b/a.png"] {
            image.save(folder.path().join(name)).unwrap();
        }
        std::fs::rename(folder.path().join("z.png"), folder.path().join("z.txt")).unwrap();
        std::fs::write(folder.path().join("notes.png"), "no image").unwrap();
        let alone = folder.path().join("notes.png");
        let found = list(&[alone.clone(), folder.path().to_path_buf()]).unwrap();
        assert_eq!(found, [alone, folder.path().join("b/a.png"), folder.path().join("z.txt")]);
    }

    #[test]
    fn a_folder_without_images_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no image").unwrap();
        let message = list(&[folder.path().to_path_buf()]).unwrap_err().to_string();
        assert!(message.contains("no image among its 1 files"), "{message}");
    }
}
