//! Training steps and evaluation passes of the CPU backend, in images a second, and where their time goes.
//!
//! `cargo bench --bench cpu_step -- [--repetitions N] [--threads N]`

use std::num::NonZeroUsize;
use std::time::Instant;

use alexnet::backend::cpu::CpuBackend;
use alexnet::backend::{Backend, BackendOptions, Call, Pass, Slot, StepScalars};
use alexnet::bench::Rates;
use alexnet::error::Result;
use alexnet::input::{Batch, Dtype, Values};
use alexnet::model::Network;
use alexnet::model::init::initial_parameters;
use alexnet::philox::{Purpose, normal_pair, words};
use alexnet::recipe::settings::{ModelSettings, UpdateRule};
use clap::Parser;

const BATCH_SIZE: usize = 32;
const SCALARS: StepScalars = StepScalars { step: 0, learning_rate: 0.001 };

/// The options of the bench.
#[derive(Parser)]
struct Options {
    /// Timed repetitions of each pass.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// Threads of the backend; all cores by default.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Widths of the network.
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 0.25])]
    widths: Vec<f64>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    println!("peak of gemm: {:.0} GFLOP/s a thread, {} threads", gemm_peak(), num_threads(&options));
    for width in &options.widths {
        bench_width(*width, &options)?;
    }
    Ok(())
}

fn num_threads(options: &Options) -> usize {
    options.threads.or(std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

fn bench_width(width: f64, options: &Options) -> Result<()> {
    let settings = ModelSettings { width, ..ModelSettings::default() };
    let network = Network::new(&settings, 227, 1000)?;
    let backend_options =
        BackendOptions { batch_size: BATCH_SIZE, seed: 0, update: UpdateRule::PAPER, label_smoothing: 0.0 };
    let mut backend = CpuBackend::new(&network, backend_options, options.threads);
    backend.load(&initial_parameters(&network, 0))?;
    backend.upload(Slot::Even, synthetic_batch(&network))?;
    println!(
        "\nwidth {width}, batch {BATCH_SIZE}, {}, {} MB",
        backend.device().name,
        backend.device().memory_bytes >> 20
    );
    let rate = report("training step", options.repetitions, || run(&mut backend, Pass::Train));
    report("evaluation", options.repetitions, || run(&mut backend, Pass::Eval));

    let peak = gemm_peak() * num_threads(options) as f64;
    let timed = |_| backend.run_timed(Slot::Even, SCALARS);
    let samples = (0..options.repetitions).map(timed).collect::<Result<Vec<_>>>()?;
    let seconds = |call: Call| {
        let of_call =
            |step: &Vec<(Call, f64)>| step.iter().find(|(timed, _)| *timed == call).expect("a call of each").1;
        Rates::of(samples.iter().map(of_call)).expect("at least one repetition").median
    };
    let mut step_flops = 0.0;
    println!("layer     forward ms  GFLOP/s  of peak   backward ms  GFLOP/s  of peak   update ms");
    for (index, layer) in network.layers.iter().enumerate() {
        let time = [Call::Forward(index), Call::Backward(index), Call::Update(index)].map(seconds);
        let flops = 2.0 * layer.block.multiply_adds() as f64 * BATCH_SIZE as f64;
        let products = if index == 0 { 1.0 } else { 2.0 };
        step_flops += (1.0 + products) * flops;
        let (forward, backward) = (flops / time[0] / 1e9, products * flops / time[1] / 1e9);
        println!(
            "{:8} {:11.2} {:8.0} {:7.0}% {:13.2} {:8.0} {:7.0}% {:11.2}",
            layer.name,
            time[0] * 1e3,
            forward,
            forward / peak * 100.0,
            time[1] * 1e3,
            backward,
            backward / peak * 100.0,
            time[2] * 1e3
        );
    }
    let (floor, step) = (step_flops / peak / 1e9, BATCH_SIZE as f64 / rate);
    println!("step: {:.1} ms, {:.2} of its products at the peak, {:.1} ms", step * 1e3, step / floor, floor * 1e3);
    Ok(())
}

fn run(backend: &mut CpuBackend, pass: Pass) {
    backend.run(Slot::Even, pass, SCALARS).expect("a step of the CPU cannot fail");
}

/// Prints images a second; returns the median.
fn report(name: &str, repetitions: usize, mut pass: impl FnMut()) -> f64 {
    pass();
    let rates = (0..repetitions).map(|_| {
        let start = Instant::now();
        pass();
        BATCH_SIZE as f64 / start.elapsed().as_secs_f64()
    });
    let Rates { median, min, max, n } = Rates::of(rates).expect("at least one repetition");
    println!("{name}: median {median:.1} images/s, n = {n}, {min:.1} to {max:.1}");
    median
}

/// Normal values with the deviation of mean-subtracted photographs, and labels in turn.
fn synthetic_batch(network: &Network) -> Batch {
    let mut batch = Batch::zeros(Dtype::F32, BATCH_SIZE, network.input_values());
    batch.num_valid = BATCH_SIZE;
    if let Values::F32(values) = &mut batch.values {
        for (index, pair) in values.chunks_mut(2).enumerate() {
            let bits = words(0, Purpose::Synthetic, [index as u32, 0, 0]);
            let draws = normal_pair(bits[0], bits[1]);
            pair.iter_mut().zip(draws).for_each(|(value, draw)| *value = 60.0 * draw);
        }
    }
    for (index, label) in batch.labels.iter_mut().enumerate() {
        *label = (index * 37 % network.num_classes) as u32;
    }
    batch
}

/// GFLOP/s of one thread in a product of 1024 x 1024 matrices, the best of a few.
fn gemm_peak() -> f64 {
    const SIDE: usize = 1024;
    let (left, right, mut product) = (vec![1.0_f32; SIDE * SIDE], vec![1.0_f32; SIDE * SIDE], vec![0.0; SIDE * SIDE]);
    let seconds = (0..8).map(|_| {
        let start = Instant::now();
        multiply_squares(SIDE, &left, &right, &mut product);
        start.elapsed().as_secs_f64()
    });
    2.0 * (SIDE as f64).powi(3) / seconds.fold(f64::INFINITY, f64::min) / 1e9
}

fn multiply_squares(side: usize, left: &[f32], right: &[f32], product: &mut [f32]) {
    assert!(left.len() == side * side && right.len() == side * side && product.len() == side * side);
    let stride = side as isize;
    // SAFETY: all three are whole matrices of side x side values, as asserted, and the product is borrowed alone.
    unsafe {
        gemm::gemm(
            side,
            side,
            side,
            product.as_mut_ptr(),
            1,
            stride,
            false,
            left.as_ptr(),
            1,
            stride,
            right.as_ptr(),
            1,
            stride,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
