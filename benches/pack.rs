//! Packing beside what bounds it, in turns on the same images: decoding and resizing alone on as many threads, and for
//! the second pass a plain write of as many bytes with an `fsync`. Also what the `image` crate alone would take.
//!
//! `cargo bench --bench pack [-- --images 4000 --rounds 5 --threads 2 --data DIR --out DIR]` makes 500 x 375 JPEGs of
//! about ImageNet's size in DIR, or takes the images of a folder per class that it finds there. OUT lies on the disk
//! that is measured.

#[path = "common/clock.rs"]
mod clock;
#[path = "common/report.rs"]
mod report;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use alexnet::pack::decode::Decoder;
use alexnet::pack::options::{Begin, PackOptions};
use alexnet::shard::{SAMPLE_BYTES, SIDE};
use clock::{Clock, Rate};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{Rgb, RgbImage};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use report::{argument, number, spread};

const CLASSES: [&str; 2] = ["even", "odd"];
/// Of a plain write.
const PIECE_BYTES: usize = 1 << 20;

fn main() {
    let (num_images, num_rounds) = (number("--images", 4000), number("--rounds", 5));
    let num_threads = number("--threads", std::thread::available_parallelism().map_or(1, usize::from));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| argument(name).map_or_else(|| folder.path().join(&name[2..]), PathBuf::from);
    let (data, out) = (place("--data"), place("--out"));
    if !data.exists() {
        make_images(&data, num_images);
    }
    if num_rounds > 0 {
        measure(&data, &out, &folder.path().join("archives"), num_threads, num_rounds);
    }
}

/// Smooth shapes under fine noise: about 60 kB at quality 90.
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

fn make_images(data: &Path, num_images: usize) {
    for class in CLASSES {
        fs::create_dir_all(data.join(class)).expect("a folder of images");
    }
    (0..num_images).into_par_iter().for_each(|number| {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&photo(number as u32)).expect("a JPEG");
        fs::write(data.join(CLASSES[number % 2]).join(format!("{number}.jpg")), bytes).expect("an image");
    });
}

/// The files of a folder per class, and the same as an archive of an archive a class.
fn read_images(data: &Path, archives: &Path) -> Vec<Vec<u8>> {
    fs::create_dir_all(archives).expect("a folder for the archive");
    let mut outer = tar::Builder::new(File::create(archives.join("train.tar")).expect("an archive"));
    let mut files = Vec::new();
    for class in entries(data) {
        let mut inner = tar::Builder::new(Vec::new());
        for path in entries(&class) {
            let bytes = fs::read(&path).expect("an image");
            append(&mut inner, &path, &bytes);
            files.push(bytes);
        }
        append(&mut outer, &class.with_extension("tar"), &inner.into_inner().expect("an archive"));
    }
    outer.finish().expect("an archive");
    files
}

/// A member under the last component of `path`.
fn append(archive: &mut tar::Builder<impl Write>, path: &Path, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, path.file_name().expect("a name"), bytes).expect("a member");
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

fn measure(data: &Path, out: &Path, archives: &Path, num_threads: usize, num_rounds: usize) {
    let files = read_images(data, archives);
    let (num_images, shard_bytes) = (files.len(), files.len() * SAMPLE_BYTES);
    let mean_bytes = files.iter().map(Vec::len).sum::<usize>() / num_images;
    fs::create_dir_all(out).expect("a folder for the shards");
    let (shards, plain) = (out.join("shards"), out.join("plain"));
    let pack = |source: &Path| {
        let clock = Clock::start();
        let options = PackOptions { num_threads, begin: Begin::Over, ..PackOptions::new(source, &shards) };
        let report = alexnet::pack::pack_dataset(&options).expect("packed");
        (clock.rate(num_images), report.pass_seconds)
    };
    let (mut ceiling, mut image, mut folder, mut archive) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut first, mut second, mut written) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..num_rounds {
        ceiling.push(on_threads(num_threads, &files, || {
            let (mut decoder, mut sample) = (Decoder::default(), vec![0; SAMPLE_BYTES]);
            move |file: &[u8]| {
                decoder.decode(file, &mut sample).expect("an image that can be read");
                black_box(&sample);
            }
        }));
        image.push(on_threads(num_threads, &files, || {
            |file: &[u8]| {
                let image = image::load_from_memory(file).expect("an image that can be read");
                black_box(image.resize_to_fill(SIDE as u32, SIDE as u32, FilterType::CatmullRom).into_rgb8());
            }
        }));
        for (source, rates) in [(data, &mut folder), (archives, &mut archive)] {
            // What earlier rounds left for the disk to do is not this one's.
            rustix::fs::sync();
            let (rate, [first_seconds, second_seconds]) = pack(source);
            rates.push(rate);
            if source == data {
                first.push(num_images as f64 / first_seconds);
                second.push(shard_bytes as f64 / second_seconds * 1e-6);
            }
        }
        rustix::fs::sync();
        written.push(shard_bytes as f64 / write_plainly(&plain, shard_bytes) * 1e-6);
    }
    println!(
        "{num_images} images, {mean_bytes} bytes on average; {num_threads} threads; {num_rounds} rounds: \
         median (lowest to highest), ratios round by round"
    );
    println!("| | images/s | of the ceiling | images per CPU second | of the ceiling, CPU |\n|---|---|---|---|---|");
    let wall = |rates: &[Rate]| rates.iter().map(|rate| rate.wall).collect::<Vec<_>>();
    let cpu = |rates: &[Rate]| rates.iter().map(|rate| rate.cpu).collect::<Vec<_>>();
    let (wall_ceiling, cpu_ceiling) = (wall(&ceiling), cpu(&ceiling));
    for (name, rates) in [
        ("decode and resize alone, the ceiling", &ceiling),
        ("the `image` crate's decode and resize alone", &image),
        ("pack-shards, a folder, to its last `fsync`", &folder),
        ("pack-shards, a tar, to its last `fsync`", &archive),
    ] {
        let (wall, cpu) = (wall(rates), cpu(rates));
        let ratios = [ratio(&wall, &wall_ceiling), ratio(&cpu, &cpu_ceiling)];
        println!(
            "| {name} | {} | {} | {} | {} |",
            spread(wall.iter().copied(), 0),
            ratios[0],
            spread(cpu.iter().copied(), 0),
            ratios[1]
        );
    }
    println!(
        "| of a folder: the first pass | {} | {} | | |",
        spread(first.iter().copied(), 0),
        ratio(&first, &wall_ceiling)
    );
    println!("tar / folder: {}", ratio(&wall(&archive), &wall(&folder)));
    println!(
        "second pass: {} MB/s; a plain write and fsync of as many bytes: {} MB/s; ratio {}",
        spread(second.iter().copied(), 0),
        spread(written.iter().copied(), 0),
        ratio(&second, &written)
    );
}

/// Every file through a worker a thread.
fn on_threads<W: FnMut(&[u8])>(num_threads: usize, files: &[Vec<u8>], worker: impl Fn() -> W + Sync) -> Rate {
    let (clock, next) = (Clock::start(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..num_threads {
            scope.spawn(|| {
                let mut work = worker();
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(file);
                }
            });
        }
    });
    clock.rate(files.len())
}

/// Seconds.
fn write_plainly(path: &Path, num_bytes: usize) -> f64 {
    let piece: Vec<u8> = (0..PIECE_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let begun = Instant::now();
    let mut file = File::create(path).expect("a file");
    let mut left = num_bytes;
    while left > 0 {
        let num = left.min(PIECE_BYTES);
        file.write_all(&piece[..num]).expect("written");
        left -= num;
    }
    file.sync_all().expect("on the disk");
    let seconds = begun.elapsed().as_secs_f64();
    fs::remove_file(path).expect("deleted");
    seconds
}

fn ratio(values: &[f64], of: &[f64]) -> String {
    spread(values.iter().zip(of).map(|(value, of)| value / of), 2)
}
