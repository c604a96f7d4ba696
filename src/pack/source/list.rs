//! Lists every image of a source in its index, one class at a time.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::classes::Classes;
use super::detect::FoundLayout;
use super::idx::IdxPair;
use super::index::{Entry, IndexWriter, Place};
use super::labels::LabelFile;
use super::read::{Container, Content};
use super::walk::{FoundFile, Walker};
use super::{Source, SourceLayout, asked_fraction, drawn_split, tar};
use crate::error::{Error, IoContext, Result};
use crate::pack::options::PackOptions;
use crate::shard::Split;

#[derive(Clone, Copy, Debug)]
enum Splits {
    /// The source has splits of its own.
    Own(Split),
    /// Drawn by name, with this fraction for validation.
    Drawn(f64),
}

impl Splits {
    fn of(self, name: &[u8]) -> Split {
        match self {
            Self::Own(split) => split,
            Self::Drawn(val_fraction) => drawn_split(name, val_fraction),
        }
    }
}

struct Lister<'a> {
    options: &'a PackOptions,
    walker: Walker,
    workspace: &'a Path,
    writer: IndexWriter,
    containers: Vec<Container>,
    warnings: Vec<String>,
    val_fraction: f64,
}

/// Writes the list into files in `workspace`.
pub fn list(found: FoundLayout, options: &PackOptions, walker: Walker, workspace: &Path) -> Result<Source> {
    let mut lister = Lister {
        options,
        walker,
        workspace,
        writer: IndexWriter::create(workspace)?,
        containers: Vec::new(),
        warnings: Vec::new(),
        val_fraction: 0.0,
    };
    let (layout, mut classes) = match &found {
        FoundLayout::SplitFolders { train, val } => (SourceLayout::SplitFolders, lister.split_folders(train, val)?),
        FoundLayout::ClassFolders { root } => (SourceLayout::ClassFolders, lister.class_folders(root)?),
        FoundLayout::ImageNet { train, val } => (SourceLayout::ImageNet, lister.imagenet(train, val)?),
        FoundLayout::ImageNetTar { train, val } => {
            (SourceLayout::ImageNetTar, lister.imagenet_tar(train, val.as_deref())?)
        }
        FoundLayout::Idx(pairs) => (SourceLayout::Idx, lister.idx(pairs)?),
    };
    if lister.val_fraction == 0.0 && options.val_fraction.is_some_and(|fraction| fraction > 0.0) {
        let problem = "it has a validation split of its own, so --val-fraction has nothing to divide; leave it out";
        return Err(Error::data(&options.data, problem));
    }
    for [first, second] in classes.alike() {
        lister.warnings.push(format!(
            "the classes {first} and {second} differ only in case and are packed as two; \
             merge their folders if they are one"
        ));
    }
    if let Some(names) = &options.class_names {
        classes.rename(names)?;
    }
    Ok(Source {
        layout,
        classes,
        index: lister.writer.finish()?,
        containers: lister.containers,
        root: options.data.clone(),
        val_fraction: lister.val_fraction,
        warnings: lister.warnings,
    })
}

impl Lister<'_> {
    fn split_folders(&mut self, train: &Path, val: &Path) -> Result<Classes> {
        let (classes, folders) = self.classes_of(train)?;
        self.folders(&folders, Splits::Own(Split::Train))?;
        let listing = self.walker.list(val)?;
        let mut val_folders = Vec::new();
        for folder in listing.folders {
            let Some(label) = classes.label(name_of(&folder)) else {
                let problem = format!("no such class in {}; rename it or move it away", train.display());
                return Err(Error::data(folder, problem));
            };
            val_folders.push((label, folder));
        }
        for (label, folder) in val_folders {
            let files = self.walker.files_under(&folder)?;
            self.files(&files, label, Splits::Own(Split::Val))?;
        }
        Ok(classes)
    }

    fn class_folders(&mut self, root: &Path) -> Result<Classes> {
        self.val_fraction = asked_fraction(self.options);
        let (classes, folders) = self.classes_of(root)?;
        self.folders(&folders, Splits::Drawn(self.val_fraction))?;
        Ok(classes)
    }

    fn imagenet(&mut self, train: &Path, val: &Path) -> Result<Classes> {
        let (classes, folders) = self.classes_of(train)?;
        self.folders(&folders, Splits::Own(Split::Train))?;
        let labels = self.val_labels(&classes)?;
        let mut files = self.walker.files_under(val)?;
        files.retain(|file| !labels.is_at(&file.path));
        files.sort_by(|a, b| name_of(&a.path).cmp(name_of(&b.path)));
        labels.check_count(files.len(), val)?;
        for (position, file) in files.iter().enumerate() {
            let label = labels.label(position, name_of(&file.path))?;
            self.files(std::slice::from_ref(file), label, Splits::Own(Split::Val))?;
        }
        Ok(classes)
    }

    fn imagenet_tar(&mut self, train: &Path, val: Option<&Path>) -> Result<Classes> {
        let outer = File::open(train).at("open", train)?;
        let num_bytes = outer.metadata().at("read", train)?.len();
        let class_tars = tar::members(&outer, train, 0, num_bytes)?;
        if let Some(odd) = class_tars.iter().find(|member| !tar::begins_with_header(&outer, member.offset)) {
            let problem = format!(
                "expected an archive per class, found {}; unpack it and pack the folder",
                odd.name.escape_ascii()
            );
            return Err(Error::data(train, problem));
        }
        let classes = Classes::new(class_tars.iter().map(|member| class_of_tar(member).to_vec()).collect());
        classes.check(train)?;
        if val.is_none() {
            self.val_fraction = asked_fraction(self.options);
        }
        let splits = if val.is_none() { Splits::Drawn(self.val_fraction) } else { Splits::Own(Split::Train) };
        let container = self.add_container(train, Content::Files);
        for (label, class) in class_tars.iter().enumerate() {
            let members = tar::members(&outer, train, class.offset, class.num_bytes)?;
            if members.is_empty() {
                return Err(Error::data(train, format!("{} is empty", class.name.escape_ascii())));
            }
            for member in &members {
                let name = [class_of_tar(class), b"/", member.name.as_slice()].concat();
                self.member(name, member, label as u32, container, splits)?;
            }
        }
        if let Some(val) = val {
            self.val_tar(val, &classes)?;
        }
        Ok(classes)
    }

    fn val_tar(&mut self, val: &Path, classes: &Classes) -> Result<()> {
        let labels = self.val_labels(classes)?;
        let file = File::open(val).at("open", val)?;
        let mut members = tar::members(&file, val, 0, file.metadata().at("read", val)?.len())?;
        members.sort_by(|a, b| a.file_name().cmp(b.file_name()));
        labels.check_count(members.len(), val)?;
        let container = self.add_container(val, Content::Files);
        for (position, member) in members.iter().enumerate() {
            let label = labels.label(position, member.file_name())?;
            self.member(member.name.clone(), member, label, container, Splits::Own(Split::Val))?;
        }
        Ok(())
    }

    fn member(
        &mut self,
        name: Vec<u8>,
        member: &tar::Member,
        label: u32,
        container: u32,
        splits: Splits,
    ) -> Result<()> {
        let place = Place::Part { container, offset: member.offset, num_bytes: member.num_bytes };
        self.writer.push(splits.of(&name), &Entry { name, label, place })
    }

    fn idx(&mut self, pairs: &[IdxPair]) -> Result<Classes> {
        let mut used = [false; 256];
        let mut labels = Vec::new();
        for pair in pairs {
            labels.push(pair.labels.labels()?);
        }
        for &value in &labels[0] {
            used[usize::from(value)] = true;
        }
        let values = (0..=u8::MAX).filter(|&value| used[usize::from(value)]);
        let classes = Classes::new(values.map(|value| value.to_string().into_bytes()).collect());
        classes.check(&pairs[0].labels.path)?;
        for (pair, labels) in pairs.iter().zip(&labels) {
            let splits = match pair.split {
                Some(split) => Splits::Own(split),
                None => {
                    self.val_fraction = asked_fraction(self.options);
                    Splits::Drawn(self.val_fraction)
                }
            };
            self.idx_images(pair, labels, &classes, splits)?;
        }
        Ok(classes)
    }

    fn idx_images(&mut self, pair: &IdxPair, labels: &[u8], classes: &Classes, splits: Splits) -> Result<()> {
        let geometry = pair.images.geometry()?;
        let num_bytes = u64::from(geometry.width) * u64::from(geometry.height) * geometry.colours.num_bytes() as u64;
        let copy = self.workspace.join(format!("pixels-{}", self.containers.len()));
        let container = self.add_container(&pair.images.plain(&copy)?, Content::Pixels(geometry));
        for (number, value) in labels.iter().enumerate() {
            let Some(label) = classes.label(value.to_string().as_bytes()) else {
                let problem = format!("label {value} of image {number} does not occur in the training split");
                return Err(Error::data(&pair.labels.path, problem));
            };
            let name = [name_of(&pair.images.path), format!("/{number:08}").as_bytes()].concat();
            let place =
                Place::Part { container, offset: pair.images.header_bytes() + number as u64 * num_bytes, num_bytes };
            self.writer.push(splits.of(&name), &Entry { name, label, place })?;
        }
        Ok(())
    }

    fn add_container(&mut self, path: &Path, content: Content) -> u32 {
        self.containers.push(Container { path: path.to_path_buf(), content });
        (self.containers.len() - 1) as u32
    }

    fn val_labels(&self, classes: &Classes) -> Result<LabelFile> {
        let Some(path) = &self.options.val_labels else {
            let problem = "its validation images are not in class folders: give their classes with --val-labels FILE";
            return Err(Error::data(&self.options.data, problem));
        };
        LabelFile::read(path, classes)
    }

    /// The class folders of `root` in the order of their labels.
    fn classes_of(&mut self, root: &Path) -> Result<(Classes, Vec<PathBuf>)> {
        let listing = self.walker.list(root)?;
        if !listing.files.is_empty() {
            let warning =
                format!("{}: {} files beside the class folders are left out", root.display(), listing.files.len());
            self.warnings.push(warning);
        }
        let classes = Classes::new(listing.folders.iter().map(|folder| name_of(folder).to_vec()).collect());
        classes.check(root)?;
        Ok((classes, listing.folders))
    }

    fn folders(&mut self, folders: &[PathBuf], splits: Splits) -> Result<()> {
        let mut empty = Vec::new();
        for (label, folder) in folders.iter().enumerate() {
            let files = self.walker.files_under(folder)?;
            if files.is_empty() {
                empty.push(folder);
            }
            self.files(&files, label as u32, splits)?;
        }
        match empty.as_slice() {
            [] => Ok(()),
            [only] => Err(Error::data(only, "the class folder is empty; put images there or delete it")),
            [first, others @ ..] => {
                let problem = format!(
                    "the class folder is empty, and so are {} others; put images there or delete them",
                    others.len()
                );
                Err(Error::data(first, problem))
            }
        }
    }

    fn files(&mut self, files: &[FoundFile], label: u32, splits: Splits) -> Result<()> {
        for FoundFile { path, num_bytes } in files {
            let name = path.strip_prefix(&self.options.data).unwrap_or(path).as_os_str().as_bytes().to_vec();
            let place = Place::File { num_bytes: *num_bytes };
            self.writer.push(splits.of(&name), &Entry { name, label, place })?;
        }
        Ok(())
    }
}

fn name_of(path: &Path) -> &[u8] {
    path.file_name().map_or(&[], OsStrExt::as_bytes)
}

/// The class that an archive is named after, such as `n01440764` for `n01440764.tar`.
fn class_of_tar(member: &tar::Member) -> &[u8] {
    let name = member.file_name();
    name.strip_suffix(b".tar").unwrap_or(name)
}
