//! Every layout of a dataset is recognised and packed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use alexnet::shard::{Dataset, DatasetInfo, Split};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fixture::*;

fn counts(out: &Path) -> (u64, u64, Vec<String>) {
    let info = DatasetInfo::read(out).unwrap();
    (info.train.num_samples, info.val.num_samples, info.class_names())
}

fn layout(out: &Path) -> String {
    DatasetInfo::read(out).unwrap().source.layout
}

#[test]
fn train_and_val_folders_are_packed_as_they_are() {
    let folders = Folders::new();
    class_folders(&folders.data.join("train"), &["cat", "dog"], 5);
    class_folders(&folders.data.join("val"), &["cat", "dog"], 2);
    let last = folders.pack(&["--shard-samples", "4"]);
    assert!(last.starts_with("14 images, 2 classes, 4 shards, 0 skipped, "), "{last}");
    assert!(last.ends_with(" images/s"), "{last}");
    assert_eq!(counts(&folders.out), (10, 4, vec!["cat".into(), "dog".into()]));
    assert_eq!(layout(&folders.out), "split-folders");
    let names: Vec<_> = files(&folders.out).into_keys().collect();
    assert_eq!(
        names,
        [
            "dataset.json",
            "skipped.csv",
            "train-00000.shard",
            "train-00001.shard",
            "train-00002.shard",
            "val-00000.shard"
        ]
    );
}

#[test]
fn kaggles_doubled_folders_and_other_names_of_splits_are_understood() {
    let folders = Folders::new();
    class_folders(&folders.data.join("wrapper/training_set/training_set"), &["cats", "dogs"], 3);
    class_folders(&folders.data.join("wrapper/test_set/test_set"), &["cats", "dogs"], 1);
    folders.pack(&[]);
    assert_eq!(counts(&folders.out), (6, 2, vec!["cats".into(), "dogs".into()]));
}

#[test]
fn a_folder_per_class_is_divided_by_path_alone_so_adding_images_moves_none() {
    let folders = Folders::new();
    class_folders(&folders.data, &["cat", "dog"], 30);
    let before = folders.pack_into("before", &["--val-fraction", "0.3"]);
    class_folders(&folders.data, &["cat", "dog", "emu"], 40);
    let after = folders.pack_into("after", &["--val-fraction", "0.3", "--seed", "9"]);
    let (num_train, num_val, _) = counts(&before);
    assert_eq!(num_train + num_val, 60);
    assert!((8..=30).contains(&num_val), "{num_val} of 60 at 0.3");
    for split in Split::ALL {
        let set = |out| samples(out, split).into_iter().collect::<BTreeSet<_>>();
        assert!(set(&before).is_subset(&set(&after)), "{split:?} lost images");
    }
    assert_eq!(layout(&after), "class-folders");
}

#[test]
fn subfolders_of_a_class_are_walked_and_circles_of_links_end() {
    let folders = Folders::new();
    class_folders(&folders.data, &["cat/old/older", "cat/new", "dog"], 2);
    symlink(folders.data.join("cat"), folders.data.join("cat/new/up")).unwrap();
    write(&folders.data.join("cat/.hidden.jpg"), b"not looked at");
    write(&folders.data.join(".git/HEAD"), b"not looked at");
    folders.pack(&["--val-fraction", "0"]);
    assert_eq!(counts(&folders.out).2, ["cat", "dog"]);
    assert_eq!(counts(&folders.out).0, 6);
}

#[test]
fn the_folder_of_shards_may_lie_among_the_images() {
    let folders = Folders::new();
    let data = folders.dir.path();
    class_folders(data, &["cat", "dog"], 3);
    for _ in 0..2 {
        pack_shards().current_dir(data).arg(".").args(["--out", "out", "--val-fraction", "0"]).assert().success();
    }
    assert_eq!(counts(&folders.out), (6, 0, vec!["cat".into(), "dog".into()]));
}

/// `data/train/<class>`, a flat `data/val` and the true class of each of its images.
fn imagenet(data: &Path) -> Vec<(String, &'static str)> {
    class_folders(&data.join("train"), &["n01440764", "n01443537"], 3);
    let mut truth = Vec::new();
    for number in 1..=6 {
        let name = format!("ILSVRC2012_val_{number:08}.JPEG");
        let class = if number % 3 == 0 { "n01440764" } else { "n01443537" };
        // Two heights distinguish the classes in the shards.
        let grey = if number % 3 == 0 { 10 } else { 200 };
        let picture = image::RgbImage::from_pixel(64, 64, image::Rgb([grey; 3]));
        write(&data.join("val").join(&name), &jpeg(&picture, 95));
        truth.push((name, class));
    }
    truth
}

fn assert_labelled_truly(out: &Path) {
    for (pixels, label) in samples(out, Split::Val) {
        assert_eq!(label, u32::from(pixels[0] > 100), "pixel {} with label {label}", pixels[0]);
    }
    assert_eq!(counts(out), (6, 6, vec!["n01440764".into(), "n01443537".into()]));
}

#[test]
fn imagenets_flat_validation_images_take_their_classes_from_a_list_in_any_usual_form() {
    let folders = Folders::new();
    let truth = imagenet(&folders.data);
    let lines = |line: &dyn Fn(&(String, &str)) -> String| truth.iter().map(line).collect::<Vec<_>>();
    let mut backwards = lines(&|(name, class)| format!("{name} {class}"));
    backwards.reverse();
    let kaggle = lines(&|(name, class)| format!("{},{class} 1 2 30 40", name.trim_end_matches(".JPEG")));
    let forms = [
        ("names", backwards),
        ("kaggle", [vec!["ImageId,PredictionString".into()], kaggle].concat()),
        ("tabs", lines(&|(name, class)| format!("{name}\t{class}\t0\t0\t62\t62"))),
        ("order", lines(&|(_, class)| (*class).to_string())),
    ];
    for (form, lines) in forms {
        let labels = folders.dir.path().join("labels");
        fs::write(&labels, lines.join("\n")).unwrap();
        let out = folders.pack_into(form, &["--val-labels", labels.to_str().unwrap()]);
        assert_labelled_truly(&out);
        assert_eq!(layout(&out), "imagenet");
    }
}

#[test]
fn wrong_lists_of_labels_are_refused_with_what_is_wrong() {
    let folders = Folders::new();
    let truth = imagenet(&folders.data);
    let labels = folders.dir.path().join("labels");
    let refused = |text: &str| {
        fs::write(&labels, text).unwrap();
        let message = folders.failure(&["--val-labels", labels.to_str().unwrap()]);
        assert!(!folders.out.exists(), "something was written");
        message
    };
    let good: Vec<String> = truth.iter().map(|(name, class)| format!("{name} {class}")).collect();
    let message = refused(&good[1..].join("\n"));
    assert!(message.contains("labels of 5 images") && message.contains("holds 6 files"), "{message}");
    let message = refused(&good.join("\n").replace("n01440764", "n09999999"));
    assert!(message.contains("line 3: n09999999 is not one of the 2 class folders"), "{message}");
    let message = refused(&good.join("\n").replace("val_00000002", "val_00000099"));
    assert!(message.contains("no class for the image ILSVRC2012_val_00000002.JPEG"), "{message}");
    let message = refused("490\n361\n171\n822\n297\n482\n");
    assert!(message.contains("not in the order of the folder names"), "{message}");
    let message = folders.failure(&[]);
    assert!(message.contains("--val-labels"), "{message}");
}

fn tar_of(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn imagenets_archives_give_the_same_samples_as_their_unpacked_folders() {
    let (folders, archives) = (Folders::new(), Folders::new());
    let truth = imagenet(&folders.data);
    let labels = folders.dir.path().join("labels");
    fs::write(&labels, truth.iter().map(|(name, class)| format!("{name} {class}\n")).collect::<String>()).unwrap();
    let members = |folder: &str| files(&folders.data.join(folder)).into_iter().collect::<Vec<_>>();
    // The members of an archive are not sorted by name.
    let mut classes: Vec<_> = ["n01443537", "n01440764"]
        .map(|class| (format!("{class}.tar"), tar_of(&members(&format!("train/{class}")))))
        .into();
    classes.push(("._n01440764.tar".into(), b"left by an archiver".to_vec()));
    write(&archives.data.join("ILSVRC2012_img_train.tar"), &tar_of(&classes));
    write(&archives.data.join("ILSVRC2012_img_val.tar"), &tar_of(&members("val")));
    let args = ["--val-labels", labels.to_str().unwrap()];
    folders.pack(&args);
    archives.pack(&args);
    assert_eq!(layout(&archives.out), "imagenet-tar");
    assert_labelled_truly(&archives.out);
    for split in Split::ALL {
        assert!(samples(&folders.out, split) == samples(&archives.out, split), "{split:?} differs");
    }
}

#[test]
fn an_archive_cut_short_is_reported_with_its_path() {
    let folders = Folders::new();
    let member = ("a.JPEG".to_owned(), jpeg(&photo(1, 64, 64), 90));
    let classes = ["a.tar", "b.tar"].map(|class| (class.to_owned(), tar_of(std::slice::from_ref(&member))));
    let archive = tar_of(&classes);
    write(&folders.data.join("train.tar"), &archive[..archive.len() - 3000]);
    let message = folders.failure(&[]);
    assert!(message.contains("train.tar") && message.contains("cut short"), "{message}");
}

fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files_are_packed_gzipped_or_plain_grey_or_in_colour() {
    let folders = Folders::new();
    // Image i has the colour i and the class i mod 3 + 4.
    let grey: Vec<u8> = (0..30).flat_map(|i| [i; 28 * 28]).collect();
    let labels: Vec<u8> = (0..30).map(|i| i % 3 + 4).collect();
    write(&folders.data.join("train-images-idx3-ubyte.gz"), &gzip(&idx(&[30, 28, 28], &grey)));
    write(&folders.data.join("train-labels-idx1-ubyte.gz"), &gzip(&idx(&[30], &labels)));
    let colour: Vec<u8> = (0..6_u8).flat_map(|i| [i, 100, 200].repeat(32 * 20)).collect();
    write(&folders.data.join("t10k-images.idx4"), &idx(&[6, 32, 20, 3], &colour));
    write(&folders.data.join("t10k-labels.idx1"), &idx(&[6], &labels[..6]));
    let names = folders.dir.path().join("names");
    fs::write(&names, "T-shirt/top\nankle boot\nsandal\n").unwrap();
    folders.pack(&["--class-names", names.to_str().unwrap()]);
    assert_eq!(layout(&folders.out), "idx");
    assert_eq!(counts(&folders.out), (30, 6, vec!["T-shirt/top".into(), "ankle boot".into(), "sandal".into()]));
    for (pixels, label) in samples(&folders.out, Split::Train) {
        assert!(pixels.iter().all(|&value| value == pixels[0]), "a grey image is grey");
        assert_eq!(label, u32::from(pixels[0] % 3));
    }
    for (pixels, label) in samples(&folders.out, Split::Val) {
        assert_eq!([pixels[65_536], pixels[131_072]], [100, 200]);
        assert_eq!(label, u32::from(pixels[0] % 3));
    }
}

#[test]
fn idx_files_that_do_not_belong_together_are_refused() {
    let refused = |files: &[(&str, Vec<u8>)]| {
        let folders = Folders::new();
        for (name, bytes) in files {
            write(&folders.data.join(name), bytes);
        }
        folders.failure(&[])
    };
    let images = idx(&[2, 2, 2], &[0; 8]);
    let message = refused(&[("train-images", images.clone())]);
    assert!(message.contains("no IDX file of labels"), "{message}");
    let message = refused(&[("train-images", images.clone()), ("train-labels", idx(&[3], &[0, 1, 2]))]);
    assert!(message.contains("2 images, but 3 labels"), "{message}");
    let message = refused(&[("train-images", images[..20].to_vec()), ("train-labels", idx(&[2], &[0, 1]))]);
    assert!(message.contains("expected 24 bytes") && message.contains("found 20"), "{message}");
    let message = refused(&[("train-images", images.clone()), ("train-images.copy", images)]);
    assert!(message.contains("keep one dataset in a folder"), "{message}");
}

#[test]
fn a_part_of_a_dataset_is_drawn_from_all_classes_and_val_does_not_depend_on_the_seed() {
    let folders = Folders::new();
    class_folders(&folders.data.join("train"), &["cat", "dog"], 40);
    class_folders(&folders.data.join("val"), &["cat", "dog"], 20);
    let packed = |seed| folders.pack_into(seed, &["--max-train", "20", "--max-val", "10", "--seed", seed]);
    let (first, second) = (packed("1"), packed("2"));
    let info = Dataset::open(&first).unwrap().info().clone();
    assert_eq!((info.train.num_samples, info.val.num_samples), (20, 10));
    assert!(info.classes.iter().all(|class| class.num_train > 2 && class.num_val > 0), "{:?}", info.classes);
    assert!(samples(&first, Split::Train) != samples(&second, Split::Train));
    assert!(samples(&first, Split::Val) == samples(&second, Split::Val));
}
