//! Images a second that one core packs, beside what decoding and resizing alone would allow.
//!
//! `cargo bench --bench pack` makes 500 x 375 JPEGs of about ImageNet's size; `PACK_BENCH_IMAGES=DIR` takes the images
//! of a folder per class instead.

use std::fs;
use std::path::{Path, PathBuf};

use alexnet::pack::decode::Decoder;
use alexnet::pack::options::{Begin, PackOptions};
use alexnet::shard::SAMPLE_BYTES;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};

/// Enough that listing and opening files do not show.
const NUM_IMAGES: u32 = 1000;

/// Smooth shapes under fine noise: about 100 kB at quality 90.
fn photo(seed: u32) -> RgbImage {
    let noise = |x: u32, y: u32| {
        (x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77) ^ seed).wrapping_mul(0xC2B2_AE35) >> 28
    };
    RgbImage::from_fn(500, 375, |x, y| {
        let wave = |period: f64| 110.0 + 100.0 * (f64::from(x + seed) / period).sin() * (f64::from(y) / 37.0).cos();
        let grain = noise(x, y) as f64;
        Rgb([(wave(31.0) + grain) as u8, (wave(43.0) + grain) as u8, (wave(71.0) + grain) as u8])
    })
}

fn make_images(data: &Path) {
    for number in 0..NUM_IMAGES {
        let folder = data.join(if number % 2 == 0 { "even" } else { "odd" });
        fs::create_dir_all(&folder).expect("a folder of images");
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&photo(number)).expect("a JPEG");
        fs::write(folder.join(format!("{number}.jpg")), bytes).expect("an image");
    }
}

fn files(data: &Path) -> Vec<Vec<u8>> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
    };
    let files = entries(data).into_iter().filter(|path| path.is_dir()).flat_map(|class| entries(&class));
    files.filter(|path| path.is_file()).map(|path| fs::read(path).expect("an image")).collect()
}

fn pack(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = folder.path().join("data");
    let data = match std::env::var_os("PACK_BENCH_IMAGES") {
        Some(folder) => folder.into(),
        None => {
            make_images(&made);
            made
        }
    };
    let files = files(&data);
    let mean_bytes = files.iter().map(Vec::len).sum::<usize>() / files.len();
    println!("{} images, {mean_bytes} bytes on average; one thread; an element is an image", files.len());
    let mut group = criterion.benchmark_group("pack");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(files.len() as u64));
    group.bench_function("decode-and-resize", |bencher| {
        let (mut decoder, mut sample) = (Decoder::default(), vec![0; SAMPLE_BYTES]);
        bencher.iter(|| {
            for file in &files {
                decoder.decode(file, &mut sample).expect("an image that can be read");
            }
        });
    });
    let options =
        PackOptions { num_threads: 1, begin: Begin::Over, ..PackOptions::new(&data, folder.path().join("out")) };
    group.bench_function("pack-shards", |bencher| {
        bencher.iter(|| alexnet::pack::run(&options).expect("packed"));
    });
    group.finish();
}

criterion_group!(benches, pack);
criterion_main!(benches);
