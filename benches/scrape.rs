//! What a scrape costs the process that trains: `cargo bench --bench scrape [-- --rounds 10]`.
//!
//! A run on a device that computes nothing is scraped twenty times a second, and not, in turns; the difference of its
//! processor time is the scrapes'.

#[path = "common/report.rs"]
mod report;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alexnet::machine::processor;

const SCRAPES: u32 = 60;
const BETWEEN: Duration = Duration::from_millis(50);

fn main() {
    let rounds = report::number("--rounds", 10);
    let (mut run, address) = start();
    let (mut milliseconds, mut latencies) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=rounds {
        let idle = spent(&run, || ());
        let mut seen = Vec::new();
        let scraped = spent(&run, || {
            let begun = Instant::now();
            scrape(address);
            seen.push(1e3 * begun.elapsed().as_secs_f64());
        });
        if round > 0 {
            milliseconds.push(1e3 * (scraped - idle) / f64::from(SCRAPES));
            latencies.extend(seen);
        }
    }
    run.kill().expect("the run can be ended");
    run.wait().expect("the run ends");
    let median = report::sorted(milliseconds.iter().copied())[milliseconds.len() / 2];
    println!("{}, {rounds} rounds of {SCRAPES} scrapes", processor());
    println!("milliseconds until a scrape is answered, median (lowest to highest): {}", report::spread(latencies, 2));
    println!("the run's processor milliseconds for a scrape: {}", report::spread(milliseconds, 2));
    println!("one scrape a second takes {:.3}% of one core", 0.1 * median);
}

/// A run, and where it is scraped.
fn start() -> (Child, SocketAddr) {
    let mut run = Command::new(env!("CARGO_BIN_EXE_train"))
        .args(["--synthetic", "--synthetic-device", "100", "--width", "0.05", "--batch-size", "4"])
        .args(["--metrics", "127.0.0.1:0", "--run"])
        .arg(std::env::temp_dir().join(format!("alexnet-scraped-{}", std::process::id())))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("train is built");
    let mut lines = BufReader::new(run.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with("metrics")).expect("the run says where it is scraped");
    let address = line.split("http://").nth(1).and_then(|url| url.split('/').next()).expect("an address");
    (run, address.parse().expect("an address and a port"))
}

/// The run's processor seconds while `act` is called once in each interval.
fn spent(run: &Child, mut act: impl FnMut()) -> f64 {
    let before = cpu_seconds(run);
    for _ in 0..SCRAPES {
        act();
        std::thread::sleep(BETWEEN);
    }
    cpu_seconds(run) - before
}

/// All threads of the run since it began.
fn cpu_seconds(run: &Child) -> f64 {
    let ran_nanoseconds = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    let tasks = std::fs::read_dir(format!("/proc/{}/task", run.id())).expect("the run is alive (Linux)");
    tasks.flatten().filter_map(ran_nanoseconds).sum::<f64>() / 1e9
}

fn scrape(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).expect("the run answers");
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("the run reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the run writes");
    assert!(text.contains("alexnet_steps_total"), "{text}");
}
