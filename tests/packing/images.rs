//! Every kind of image, good and bad, is recognised by its content.

use std::fs;

use alexnet::shard::picture::add_mean;
use alexnet::shard::{Dataset, Split};
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba, imageops};
use predicates::prelude::predicate;

use crate::fixture::*;

/// Two good classes of ten images, to which a test adds its own.
struct Data(Folders);

impl Data {
    fn new() -> Self {
        let folders = Folders::new();
        class_folders(&folders.data, &["good", "other"], 10);
        Self(folders)
    }

    fn put(&self, class: &str, bytes: &[u8]) {
        write(&self.0.data.join(class).join("image"), bytes);
    }

    fn pack(&self) -> String {
        self.0.pack(&["--val-fraction", "0"])
    }

    /// The packed sample of `class`, as a picture.
    fn sample(&self, class: &str) -> RgbImage {
        only_sample(&self.0.out, class)
    }

    /// Packs, and returns the reason why the only image of `class` was skipped.
    fn reason(&self, class: &str) -> String {
        let last = self.pack();
        assert!(last.contains("20 images") && last.contains("1 skipped"), "{last}");
        let rows = skipped(&self.0.out);
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

fn png(picture: &DynamicImage) -> Vec<u8> {
    encoded(picture, ImageFormat::Png)
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
        assert_eq!(difference(&data.sample(&format!("{format:?}")), &marked()), 0, "{format:?}");
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
    assert!(difference(&data.sample("jpeg"), &smooth) <= 12);
    assert!(difference(&data.sample("gif"), &marked()) <= 8);
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
    let pixel = |class: &str, x, y| data.sample(class).get_pixel(x, y).0;
    assert_eq!(pixel("grey", 77, 5), [77; 3]);
    assert_eq!(pixel("deep-grey", 77, 5), [77; 3]);
    assert_eq!(pixel("deep", 77, 5), [77, 5, 0]);
    assert_eq!([pixel("glass", 5, 5), pixel("glass", 250, 5)], [[200, 0, 100], [124, 117, 104]]);
    assert_eq!([pixel("grey-glass", 5, 5), pixel("grey-glass", 250, 5)], [[200; 3], [124, 117, 104]]);
}

/// An EXIF block whose only entry is the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    [b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", &[orientation][..], &[0; 6]].concat()
}

fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let exif = [b"Exif\0\0", &exif(orientation)[..]].concat();
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xFF, 0xE1]);
    bytes.extend((exif.len() as u16 + 2).to_be_bytes());
    bytes.extend(exif);
    bytes.extend(&jpeg[2..]);
    bytes
}

/// A lossless WebP with that block; `prefix` is what the block begins with in a JPEG.
fn webp_with_orientation(picture: &RgbImage, orientation: u8, prefix: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut bytes);
    encoder.set_exif_metadata([prefix, &exif(orientation)].concat()).unwrap();
    encoder.write_image(picture.as_raw(), 256, 256, ExtendedColorType::Rgb8).unwrap();
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
    for (orientation, stored) in (1..).zip(turns.map(|turn| turn(&upright))) {
        data.put(&format!("jpeg{orientation}"), &with_orientation(&jpeg(&stored, 95), orientation));
        data.put(&format!("bare{orientation}"), &webp_with_orientation(&stored, orientation, b""));
        data.put(&format!("prefixed{orientation}"), &webp_with_orientation(&stored, orientation, b"Exif\0\0"));
    }
    data.pack();
    for orientation in 1..=8 {
        let packed = data.sample(&format!("jpeg{orientation}"));
        for (x, y) in [(20, 20), (20, 230), (230, 230), (230, 20)] {
            let (found, expected) = (packed.get_pixel(x, y), upright.get_pixel(x, y));
            let near = found.0.iter().zip(expected.0).all(|(found, expected)| found.abs_diff(expected) < 12);
            assert!(near, "orientation {orientation} at ({x}, {y}): expected {expected:?}, found {found:?}");
        }
        for class in ["bare", "prefixed"].map(|prefix| format!("{prefix}{orientation}")) {
            assert_eq!(difference(&data.sample(&class), &upright), 0, "{class}");
        }
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
    let pixel = data.sample("moving").get_pixel(100, 100).0;
    assert!(pixel.iter().all(|value| value.abs_diff(40) < 6), "{pixel:?}");
}

#[test]
fn images_smaller_than_a_sample_and_very_long_ones_are_packed() {
    let data = Data::new();
    data.put("dot", &png(&DynamicImage::from(RgbImage::from_pixel(1, 1, Rgb([7, 8, 9])))));
    data.put("thread", &png(&DynamicImage::from(RgbImage::from_pixel(3000, 2, Rgb([7, 8, 9])))));
    data.pack();
    for class in ["dot", "thread"] {
        assert_eq!(data.sample(class).get_pixel(128, 128).0, [7, 8, 9], "{class}");
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
    let folder = data.0.data.join("good");
    let odd = |name: &[u8], bytes: &[u8]| fs::write(folder.join(std::ffi::OsStr::from_bytes(name)), bytes).unwrap();
    odd(b"caf\xe9.jpg", &jpeg(&photo(70, 90, 90), 90));
    odd(b"Case.jpg", &jpeg(&photo(71, 90, 90), 90));
    odd(b"case.jpg", &jpeg(&photo(72, 90, 90), 90));
    odd(b"bad\xff.jpg", b"no image");
    let last = data.pack();
    assert!(last.contains("23 images") && last.contains("1 skipped"), "{last}");
    assert_eq!(skipped(&data.0.out)[0][0], "good/bad\u{fffd}.jpg");
}

#[test]
fn class_folders_that_differ_in_case_are_two_classes_and_a_warning() {
    let data = Data::new();
    data.put("Good", &jpeg(&photo(70, 90, 90), 90));
    let warning = predicate::str::contains("the classes Good and good differ only in case");
    data.0.command(&[]).assert().success().stderr(warning);
}

#[test]
fn the_mean_of_all_residuals_is_within_half_of_zero_at_every_pixel() {
    let data = Data::new();
    data.pack();
    let dataset = Dataset::open(&data.0.out).unwrap();
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
fn a_link_to_nothing_or_to_itself_is_skipped_with_what_the_system_says() {
    for (target, said) in [("/nowhere/at/all", "No such file"), ("image", "Too many levels of symbolic links")] {
        let data = Data::new();
        let folder = data.0.data.join("linked");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(target, folder.join("image")).unwrap();
        let reason = data.reason("linked");
        assert!(reason.contains("cannot be read") && reason.contains(said), "{reason}");
    }
}
