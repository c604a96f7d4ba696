//! Files that are damaged, of another network, or hostile: one clear error each, and nothing executed.

use std::io::Write;
use std::path::Path;

use alexnet::weights::{Given, open};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::narrow::{given, path};

fn refused_with(path: &Path, given: &Given) -> String {
    let message = open(path, given).expect_err("a file that cannot be read").to_string();
    assert!(message.contains(path.file_name().unwrap().to_str().unwrap()), "no path in: {message}");
    message
}

fn refused(name: &str, bytes: &[u8], recipe: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    refused_with(&file, &given(recipe))
}

/// A NumPy file up to its data.
fn npy_header(dtype: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat()
}

/// A zip file as torch.save's, with this pickle.
fn zipped(pickle: &[u8], compression: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(compression);
    zip.start_file("archive/data.pkl", options).unwrap();
    zip.write_all(pickle).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn every_truncation_of_every_format_is_refused() {
    for (name, recipe) in [
        ("torchvision.safetensors", "torchvision"),
        ("torchvision.pth", "torchvision"),
        ("torchvision-legacy.pth", "torchvision"),
        ("bvlc_alexnet.npy", "caffe"),
        ("caffe.npy", "caffe"),
        ("caffe.caffemodel", "caffe"),
        ("caffenet.caffemodel", "caffenet"),
    ] {
        let whole = std::fs::read(path(name)).unwrap();
        let every = whole.len() / 40 + 1;
        for len in (0..whole.len()).step_by(every).chain([1, 8, 16, whole.len() - 1]) {
            refused(name, &whole[..len], recipe);
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_or_other_weights_but_never_a_panic() {
    for (name, recipe) in
        [("torchvision.pth", "torchvision"), ("bvlc_alexnet.npy", "caffe"), ("caffe.caffemodel", "caffe")]
    {
        let whole = std::fs::read(path(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        // The beginning has most of the structure.
        for place in (0..400).chain((400..whole.len()).step_by(997)) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x55;
            std::fs::write(&file, bytes).unwrap();
            let _ = open(&file, &given(recipe));
        }
    }
}

#[test]
fn a_pickle_that_calls_a_function_is_refused_by_name_and_calls_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let proof = folder.path().join("executed");
    let command = format!("touch {}", proof.display());
    let mut evil = b"\x80\x02cos\nsystem\nX".to_vec();
    evil.extend((command.len() as u32).to_le_bytes());
    evil.extend(command.as_bytes());
    evil.extend(b"\x85R.");
    let message = refused("evil.pth", &zipped(&evil, CompressionMethod::Stored), "torchvision");
    assert!(message.contains("asks for os.system") && message.contains("nothing of it was executed"), "{message}");
    let mut npy = npy_header("'|O'", "()");
    npy.extend(&evil);
    assert!(refused("evil.npy", &npy, "caffe").contains("asks for os.system"));
    let mut legacy = std::fs::read(path("torchvision-legacy.pth")).unwrap()[..15].to_vec();
    legacy.extend(&evil);
    assert!(refused("evil-legacy.pth", &legacy, "torchvision").contains("asks for os.system"));
    assert!(!proof.exists());
}

#[test]
fn a_zip_file_that_claims_more_than_it_has_is_refused() {
    let pickle = b"\x80\x02}.";
    assert!(
        refused("empty.pth", &zipped(pickle, CompressionMethod::Stored), "torchvision").contains("no tensor at all")
    );
    // As a bomb would be, its entry is marked as compressed.
    let mut bytes = zipped(pickle, CompressionMethod::Stored);
    for (signature, at) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
        let start = bytes.windows(4).position(|window| window == signature).unwrap();
        bytes[start + at] = 8;
    }
    let message = refused("bomb.pth", &bytes, "torchvision");
    assert!(message.contains("compressed") && message.contains("save the weights again"), "{message}");
    let other = refused("other.zip", &zipped(b"", CompressionMethod::Stored), "torchvision");
    assert!(other.contains("truncated"), "{other}");
}

#[test]
fn a_tensor_larger_than_its_storage_is_refused() {
    // torchvision.pth's features.0.weight is (8, 3, 11, 11); stride 0 would make a million values of one.
    let storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ";
    let mut pickle = b"\x80\x02}X\x11\x00\x00\x00features.0.weightctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    pickle.extend(storage);
    pickle.extend(b"K\x00M\xe8\x03M\xe8\x03\x86K\x00K\x00\x86\x89ccollections\nOrderedDict\n)RtRs.");
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [("a/data.pkl", &pickle[..]), ("a/data/0", &[0, 0, 128, 63])] {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    let message = refused("wide.pth", &zip.finish().unwrap().into_inner(), "torchvision");
    assert!(message.contains("features.0.weight") && message.contains("not within 1 stored values"), "{message}");
}

#[test]
fn a_storage_that_changed_on_the_way_is_refused() {
    let mut bytes = std::fs::read(path("torchvision.pth")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    assert!(refused("changed.pth", &bytes, "torchvision").contains("checksum"));
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let mut bytes = std::fs::read(path("torchvision.safetensors")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(refused("nan.safetensors", &bytes, "torchvision").contains("not finite"));
}

#[test]
fn another_networks_weights_are_told_apart() {
    // AlexNet's .npy and .caffemodel without one layer's name or kind.
    let renamed = |name: &str, from: &[u8], to: &[u8]| {
        let mut bytes = std::fs::read(path(name)).unwrap();
        let places: Vec<_> = (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
        assert!(!places.is_empty(), "{name} has no {from:?}");
        places.iter().for_each(|&at| bytes[at..at + to.len()].copy_from_slice(to));
        bytes
    };
    let message = refused("other.npy", &renamed("bvlc_alexnet.npy", b"conv3", b"conv9"), "caffe");
    assert!(message.contains("no layer conv3"), "{message}");
    let message =
        refused("other.caffemodel", &renamed("caffenet.caffemodel", b"InnerProduct", b"OuterProduct"), "caffe");
    assert!(message.contains("5 convolutions and 0 inner products"), "{message}");
    let message =
        refused("other.safetensors", &renamed("torchvision.safetensors", b"features.3.", b"features.4."), "caffe");
    assert!(message.contains("no features.3.weight"), "{message}");
    // Of the recipe's own input, fc6 would see 6 x 6 values of each channel.
    let message = refused_with(&path("torchvision.pth"), &Given::default());
    assert!(message.contains("fc6.weight is [40, 32]") && message.contains("augment.canvas = 224"), "{message}");
}

#[test]
fn what_is_no_file_of_weights_is_said() {
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let message = refused("alexnet.pth", lfs, "torchvision");
    assert!(
        message.contains("it begins with \"version https://\"") && message.contains("bvlc_alexnet.npy"),
        "{message}"
    );
    let mut npy = npy_header("'<f4'", "(3,)");
    npy.extend([0; 12]);
    assert!(refused("mean.npy", &npy, "caffe").contains("expected a dictionary"));
    let own = given("caffe");
    let folder = tempfile::tempdir().unwrap();
    assert!(open(&folder.path().join("none.pth"), &own).unwrap_err().to_string().contains("cannot open"));
}
