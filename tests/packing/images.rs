//! Every kind of image, good and bad, is recognised by its content.

use std::fs;
use std::path::Path;

use alexnet::shard::picture::add_mean;
use alexnet::shard::{Dataset, Split};
use image::{DynamicImage, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, imageops};
use tempfile::TempDir;

use crate::fixture::*;

/// A folder with two good classes of ten images, to which a test adds its own.
struct Data {
    dir: TempDir,
}

impl Data {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        class_folders(&dir.path().join("data"), &["good", "other"], 10);
        Self { dir }
    }

    fn put(&self, class: &str, bytes: &[u8]) {
        write(&self.dir.path().join("data").join(class).join("image"), bytes);
    }

    fn out(&self) -> std::path::PathBuf {
        self.dir.path().join("out")
    }

    fn pack(&self) -> String {
        pack(&self.dir.path().join("data"), &self.out(), &["--val-fraction", "0"])
    }

    /// Packs, and returns the reason why the only image of `class` was skipped.
    fn reason(&self, class: &str) -> String {
        let last = self.pack();
        assert!(last.contains("20 images") && last.contains("1 skipped"), "{last}");
        let rows = skipped(&self.out());
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0][..3], [format!("{class}/image"), "train".into(), class.into()]);
        rows[0][3].clone()
    }
}

/// 256 x 256, so that packing moves no pixel; a corner and a stripe distinguish every orientation.
fn marked() -> RgbImage {
    RgbImage::from_fn(256, 256, |x, y| match (x, y) {
        (0..64, 0..64) => Rgb([250, 10, 10]),
        (_, 200..) => Rgb([10, 10, 250]),
        _ => Rgb([90, 160, 90]),
    })
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn every_lossless_format_is_packed_to_the_bit_whatever_its_file_is_called() {
    let data = Data::new();
    let picture = DynamicImage::from(marked());
    let formats = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Pnm];
    for format in formats {
        data.put(&format!("{format:?}"), &encoded(&picture, format));
    }
    data.pack();
    for format in formats {
        assert_eq!(difference(&only_sample(&data.out(), &format!("{format:?}")), &marked()), 0, "{format:?}");
    }
}

#[test]
fn jpeg_and_gif_come_out_close_to_what_went_in() {
    let data = Data::new();
    let smooth = photo(3, 256, 256);
    data.put("jpeg", &jpeg(&smooth, 98));
    data.put("gif", &encoded(&DynamicImage::from(marked()), ImageFormat::Gif));
    data.pack();
    // A good JPEG of a smooth picture, and a palette that holds all three colours.
    assert!(difference(&only_sample(&data.out(), "jpeg"), &smooth) <= 12);
    assert!(difference(&only_sample(&data.out(), "gif"), &marked()) <= 8);
}

#[test]
fn grey_sixteen_bit_and_transparent_images_become_rgb() {
    let data = Data::new();
    let size = 256;
    let grey = image::ImageBuffer::from_fn(size, size, |x, _| Luma([x as u8]));
    let deep_grey = image::ImageBuffer::from_fn(size, size, |x, _| Luma([x as u16 * 257]));
    let deep = image::ImageBuffer::from_fn(size, size, |x, y| Rgb([x as u16 * 257, y as u16 * 257, 0]));
    let glass = image::ImageBuffer::from_fn(size, size, |x, _| Rgba([200, 0, 100, if x < 128 { 255 } else { 0 }]));
    let grey_glass = image::ImageBuffer::from_fn(size, size, |x, _| LumaA([200, if x < 128 { 255 } else { 0 }]));
    data.put("grey", &png(&DynamicImage::ImageLuma8(grey)));
    data.put("deep-grey", &png(&DynamicImage::ImageLuma16(deep_grey)));
    data.put("deep", &png(&DynamicImage::ImageRgb16(deep)));
    data.put("glass", &png(&DynamicImage::ImageRgba8(glass)));
    data.put("grey-glass", &png(&DynamicImage::ImageLumaA8(grey_glass)));
    data.pack();
    let pixel = |class: &str, x, y| only_sample(&data.out(), class).get_pixel(x, y).0;
    assert_eq!(pixel("grey", 77, 5), [77; 3]);
    assert_eq!(pixel("deep-grey", 77, 5), [77; 3]);
    assert_eq!(pixel("deep", 77, 5), [77, 5, 0]);
    assert_eq!([pixel("glass", 5, 5), pixel("glass", 250, 5)], [[200, 0, 100], [124, 117, 104]]);
    assert_eq!([pixel("grey-glass", 5, 5), pixel("grey-glass", 250, 5)], [[200; 3], [124, 117, 104]]);
}

/// A JPEG with an EXIF segment that gives the orientation.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.push(orientation);
    exif.extend([0; 6]);
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xFF, 0xE1]);
    bytes.extend((exif.len() as u16 + 2).to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&jpeg[2..]);
    bytes
}

#[test]
fn all_eight_orientations_come_out_upright() {
    let upright = marked();
    let turns: [fn(&RgbImage) -> RgbImage; 8] = [
        RgbImage::clone,
        imageops::flip_horizontal,
        imageops::rotate180,
        imageops::flip_vertical,
        |picture| imageops::rotate270(&imageops::flip_horizontal(picture)),
        imageops::rotate270,
        |picture| imageops::rotate90(&imageops::flip_horizontal(picture)),
        imageops::rotate90,
    ];
    let data = Data::new();
    for (orientation, stored) in (1..).zip(turns) {
        data.put(&format!("turn{orientation}"), &with_orientation(&jpeg(&stored(&upright), 95), orientation));
    }
    data.pack();
    for orientation in 1..=8 {
        let packed = only_sample(&data.out(), &format!("turn{orientation}"));
        for (x, y) in [(20, 20), (20, 230), (230, 230), (230, 20)] {
            let (found, expected) = (packed.get_pixel(x, y), upright.get_pixel(x, y));
            let near = found.0.iter().zip(expected.0).all(|(found, expected)| found.abs_diff(expected) < 12);
            assert!(near, "orientation {orientation} at ({x}, {y}): expected {expected:?}, found {found:?}");
        }
    }
}

#[test]
fn a_turned_webp_comes_out_upright_with_and_without_the_prefix_of_a_jpeg() {
    use image::ImageEncoder;
    let turned = imageops::rotate270(&marked());
    let data = Data::new();
    for (class, prefix) in [("bare", &b""[..]), ("prefixed", b"Exif\0\0")] {
        // An EXIF block whose only entry says: rotate by 90 degrees.
        let exif = [prefix, b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"].concat();
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut bytes);
        encoder.set_exif_metadata(exif).unwrap();
        encoder.write_image(turned.as_raw(), 256, 256, image::ExtendedColorType::Rgb8).unwrap();
        data.put(class, &bytes);
    }
    data.pack();
    for class in ["bare", "prefixed"] {
        assert_eq!(difference(&only_sample(&data.out(), class), &marked()), 0, "{class}");
    }
}

#[test]
fn an_animation_gives_its_first_frame() {
    let data = Data::new();
    let frame = |grey: u8| image::Frame::new(image::RgbaImage::from_pixel(64, 64, Rgba([grey, grey, grey, 255])));
    let mut bytes = Vec::new();
    image::codecs::gif::GifEncoder::new(&mut bytes).encode_frames([frame(40), frame(240)]).unwrap();
    data.put("moving", &bytes);
    data.pack();
    let pixel = only_sample(&data.out(), "moving").get_pixel(100, 100).0;
    assert!(pixel.iter().all(|value| value.abs_diff(40) < 6), "{pixel:?}");
}

#[test]
fn images_smaller_than_a_sample_and_very_long_ones_are_packed() {
    let data = Data::new();
    data.put("dot", &png(&DynamicImage::from(RgbImage::from_pixel(1, 1, Rgb([7, 8, 9])))));
    data.put("thread", &png(&DynamicImage::from(RgbImage::from_pixel(3000, 2, Rgb([7, 8, 9])))));
    data.pack();
    for class in ["dot", "thread"] {
        assert_eq!(only_sample(&data.out(), class).get_pixel(128, 128).0, [7, 8, 9], "{class}");
    }
}

#[test]
fn a_truncated_jpeg_is_skipped_wherever_it_is_cut() {
    let whole = jpeg(&photo(1, 400, 300), 90);
    for cut in [whole.len() - 1, whole.len() - 20, whole.len() / 2, 700, 30, 3] {
        let data = Data::new();
        data.put("cut", &whole[..cut]);
        let reason = data.reason("cut");
        assert!(reason.starts_with("truncated: the file ends"), "{cut} of {} bytes: {reason}", whole.len());
    }
}

#[test]
fn a_jpeg_damaged_in_its_middle_is_skipped_and_not_painted_grey() {
    let mut bytes = jpeg(&photo(1, 400, 300), 90);
    let middle = bytes.len() / 2;
    // No Huffman code is all ones.
    bytes[middle..middle + 64].copy_from_slice(&[0xFF, 0x00].repeat(32));
    let data = Data::new();
    data.put("bent", &bytes);
    let reason = data.reason("bent");
    assert!(reason.starts_with("damaged Jpeg: "), "{reason}");
}

#[test]
fn truncated_images_of_other_formats_are_skipped() {
    let picture = DynamicImage::from(photo(2, 200, 150));
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Gif] {
        let whole = encoded(&picture, format);
        let data = Data::new();
        data.put("cut", &whole[..whole.len() * 2 / 3]);
        let reason = data.reason("cut");
        assert!(reason.contains(&format!("{format:?}")), "{format:?}: {reason}");
    }
}

/// A grey PNG that claims a size, without its pixels.
fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(&DynamicImage::new_luma8(1, 1));
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc32fast::hash(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

#[test]
fn an_image_that_claims_too_many_pixels_is_skipped_before_they_are_allocated() {
    let data = Data::new();
    data.put("bomb", &png_of_size(60_000, 60_000));
    let reason = data.reason("bomb");
    assert!(reason.contains("60000 x 60000 pixels: more than 100 million"), "{reason}");
}

#[test]
fn files_that_are_no_images_are_skipped_with_what_they_begin_with() {
    for (bytes, expected) in [
        (&b"<!DOCTYPE html><title>404</title>"[..], "not an image: it begins with \"<!DOCTYPE html><\""),
        (b"", "the file is empty"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "Avif images are not supported"),
    ] {
        let data = Data::new();
        data.put("page", bytes);
        let reason = data.reason("page");
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn names_that_are_not_utf8_and_names_that_differ_in_case_are_all_packed() {
    use std::os::unix::ffi::OsStrExt;
    let data = Data::new();
    let folder = data.dir.path().join("data/good");
    let odd = |name: &[u8], bytes: &[u8]| fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), bytes).unwrap();
    odd(b"caf\xe9.jpg", &jpeg(&photo(70, 90, 90), 90));
    odd(b"Case.jpg", &jpeg(&photo(71, 90, 90), 90));
    odd(b"case.jpg", &jpeg(&photo(72, 90, 90), 90));
    odd(b"bad\xff.jpg", b"no image");
    let last = data.pack();
    assert!(last.contains("23 images") && last.contains("1 skipped"), "{last}");
    assert_eq!(skipped(&data.out())[0][0], "good/bad\u{fffd}.jpg");
}

#[test]
fn class_folders_that_differ_in_case_are_two_classes_and_a_warning() {
    let data = Data::new();
    data.put("Good", &jpeg(&photo(70, 90, 90), 90));
    let mut command = pack_shards();
    command.arg(data.dir.path().join("data")).arg("--out").arg(data.out());
    let output = command.assert().success().get_output().clone();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("the classes Good and good differ only in case"), "{message}");
}

#[test]
fn the_mean_of_all_residuals_is_within_half_of_zero_at_every_pixel() {
    let data = Data::new();
    data.pack();
    let dataset = Dataset::open(&data.out()).unwrap();
    let train = dataset.split(Split::Train);
    let mut sums = vec![0_i64; dataset.mean().len()];
    for index in 0..train.num_samples() {
        let pixels = add_mean(train.sample(index).bytes, dataset.mean());
        for ((sum, pixel), mean) in sums.iter_mut().zip(pixels).zip(dataset.mean()) {
            *sum += i64::from(pixel) - i64::from(*mean);
        }
    }
    let worst = sums.iter().map(|sum| (*sum as f64 / train.num_samples() as f64).abs()).fold(0.0, f64::max);
    assert!(worst <= 0.5, "{worst}");
}

#[test]
fn a_link_to_nothing_is_skipped_with_what_the_system_says() {
    let data = Data::new();
    let folder = data.dir.path().join("data/linked");
    fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(Path::new("/nowhere/at/all"), folder.join("image")).unwrap();
    let reason = data.reason("linked");
    assert!(reason.contains("cannot be read") && reason.contains("No such file"), "{reason}");
}
