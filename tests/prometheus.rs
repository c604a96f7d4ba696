//! Debian's Prometheus, with the project's own configuration, scrapes two training runs: one on the CPU, one on the
//! simulated CUDA.
//!
//! `tools/test` fetches Prometheus and runs this; a plain `cargo test` shows it as ignored.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alexnet::backend::cuda::libraries::FOLDERS_VARIABLE;
use alexnet::backend::cuda::libraries::compile::CACHE_VARIABLE;
use alexnet::synthetic::dataset::coloured_dataset;
use alexnet::train::log::{self, Kind, Line};

#[path = "common/simulated.rs"]
mod simulated;

/// The window of the rate, in seconds; the run trains a little longer than twice that.
const WINDOW_SECONDS: f64 = 10.0;
const BATCH_SIZE: f64 = 4.0;
/// The counter moves in steps and is sampled every second, so each end of the window is off by at most one
/// scrape: two of ten seconds, when the speed changes as much as it can.
const TOLERANCE: f64 = 0.2;

/// A child that does not outlive the test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The body of a GET on this machine.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    head.contains("200 OK").then(|| body.to_owned())
}

/// A series that a query gave.
struct Found {
    value: f64,
    time: f64,
    run: Option<String>,
}

fn queries(port: u16, query: &str) -> Option<Vec<Found>> {
    let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let body = get(port, &format!("/api/v1/query?query={query}"))?;
    let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
    let found = |series: &serde_json::Value| {
        let value = &series["value"];
        let run = series["metric"]["run"].as_str().map(str::to_owned);
        Some(Found { value: value[1].as_str()?.parse().ok()?, time: value[0].as_f64()?, run })
    };
    answer["data"]["result"].as_array()?.iter().map(found).collect()
}

/// The value and the time of a query about the run on the CPU.
fn query(port: u16, query: &str) -> Option<(f64, f64)> {
    let found = queries(port, query)?;
    found.iter().find(|found| found.run.as_deref() == Some("cpu")).map(|found| (found.value, found.time))
}

/// Each panel's queries, with the unit that it shows them in.
fn dashboard_queries() -> Vec<(String, String)> {
    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../deploy/grafana/dashboard.json")).unwrap();
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            all.push((target["expr"].as_str().unwrap().replace("$run", ".*"), unit.to_owned()));
        }
    }
    all
}

/// Each query of the dashboard finds both runs, those about GPUs one of them, with values that its unit allows.
fn assert_dashboard(port: u16) {
    for (query, unit) in dashboard_queries() {
        let found = queries(port, &query).unwrap_or_default();
        let runs: BTreeSet<_> = found.iter().filter_map(|found| found.run.as_deref()).collect();
        let expected: &[&str] = if query.contains("alexnet_gpu_") { &["gpu"] } else { &["cpu", "gpu"] };
        assert_eq!(runs, expected.iter().copied().collect(), "{query}");
        for Found { value, .. } in found {
            // Shares are of one thread's time; what was counted at a scrape's edge may be of the second before.
            let most = if unit == "percentunit" { 1.0 + TOLERANCE } else { f64::MAX };
            assert!((0.0..=most).contains(&value), "{query}: {value}");
        }
    }
}

/// Prometheus has read the rules, can evaluate them, and none fires in a run that is well but for its error.
fn assert_rules_are_quiet(port: u16) {
    let rules: serde_json::Value = serde_json::from_str(&get(port, "/api/v1/rules").unwrap()).unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), include_str!("../deploy/alerts.yml").matches("- alert:").count());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        for quiet in ["AlexnetLossNotFinite", "AlexnetNoStep", "AlexnetRunGone"] {
            assert!(rule["name"] != quiet || rule["state"] == "inactive", "{rule}");
        }
    }
}

/// Images trained by a moment, interpolated between the log's lines.
fn images_by(lines: &[Line], time: f64) -> f64 {
    let after = lines.iter().position(|line| line.time >= time).expect("a line after the moment");
    let (before, after) = (&lines[after - 1], &lines[after]);
    let share = (time - before.time) / (after.time - before.time);
    BATCH_SIZE * (before.step as f64 + share * (after.step - before.step) as f64)
}

/// A run on a device; the folder's name is the device's, and so is the label `run`.
fn start_training(folder: &Path, device: &str) -> (Reaped, u16) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command
        .args(["--recipe", "small", "--width", "0.05", "--epochs", "100000", "--batch-size", "4", "--log-every", "1"])
        .args(["--set", "augment.crop=64", "--set", "augment.canvas=67", "--metrics", "127.0.0.1:0", "--keep", "1"])
        .args(["--device", if device == "gpu" { "cuda" } else { device }])
        .arg("--shards")
        .arg(folder.join("shards"))
        .arg("--run")
        .arg(folder.join(device))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.env(FOLDERS_VARIABLE, simulated::folder()).env(CACHE_VARIABLE, folder.join("cache"));
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let child = Reaped(child);
    let place = lines.map(Result::unwrap).find(|line| line.starts_with("metrics")).unwrap();
    let port = place.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    (child, port)
}

fn start_prometheus(folder: &Path, targets: [u16; 2]) -> (Reaped, u16) {
    let config = include_str!("../deploy/prometheus.yml");
    let [one, other] = targets.map(|port| format!("\"127.0.0.1:{port}\""));
    let both = format!("{one}, {other}");
    let ours = config.replace("\"127.0.0.1:9464\"", &both).replace("5s", "1s");
    assert!(ours.contains(&both) && ours.contains("1s"), "{ours}");
    let path = folder.join("prometheus.yml");
    std::fs::write(&path, ours).unwrap();
    std::fs::write(folder.join("alerts.yml"), include_str!("../deploy/alerts.yml")).unwrap();
    let port = free_port();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus on the PATH: tools/test fetches it");
    (Reaped(child), port)
}

#[test]
#[ignore = "needs Prometheus: tools/test fetches it and runs this"]
fn prometheus_scrapes_the_rate_that_the_log_tells_and_promtool_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let shards = folder.path().join("shards");
    std::fs::create_dir(&shards).unwrap();
    coloured_dataset(&shards, 40, 4, 4, 1).unwrap();
    let (_on_cpu, cpu_port) = start_training(folder.path(), "cpu");
    let (_on_gpu, gpu_port) = start_training(folder.path(), "gpu");
    let (_prometheus, port) = start_prometheus(folder.path(), [cpu_port, gpu_port]);
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs_f64(2.0 * WINDOW_SECONDS));
    let rate = format!("rate(alexnet_images_total[{WINDOW_SECONDS}s])");
    let (rate, time) = loop {
        if let Some(found) = query(port, &rate) {
            break found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "Prometheus has no rate");
        std::thread::sleep(Duration::from_millis(200));
    };
    let metrics = [cpu_port, gpu_port].map(|port| get(port, "/metrics").unwrap());
    // The log has to have gone past the moment of the query.
    std::thread::sleep(Duration::from_secs(1));
    let lines: Vec<Line> = log::read(&folder.path().join("cpu")).unwrap();
    let steps: Vec<Line> = lines.into_iter().filter(|line| line.kind == Kind::Step).collect();
    let logged = (images_by(&steps, time) - images_by(&steps, time - WINDOW_SECONDS)) / WINDOW_SECONDS;
    assert!((rate / logged - 1.0).abs() < TOLERANCE, "Prometheus: {rate} images/s, log.jsonl: {logged}");
    assert!(queries(port, "up{job=\"alexnet\"} == 1").unwrap().len() == 2, "both runs answer");
    assert_dashboard(port);
    assert_rules_are_quiet(port);

    assert!(metrics[1].contains("alexnet_gpu_power_watts{run=\"gpu\"} 655.3\n"), "{}", metrics[1]);
    metrics.iter().for_each(|metrics| assert_promtool_is_silent(metrics));
}

fn assert_promtool_is_silent(metrics: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool: {said}");
}

#[test]
#[ignore = "needs promtool, which comes with Prometheus: tools/test fetches it and runs this"]
fn each_alert_is_silent_then_fires_then_stops() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for (command, file) in [(["check", "config"], "prometheus.yml"), (["test", "rules"], "alerts.test.yml")] {
        let output = Command::new("promtool").args(command).arg(deploy.join(file)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {command:?}: {said}");
    }
    // Each alert is named in the test three times at least: silent, firing, silent again.
    let (alerts, tests) = (include_str!("../deploy/alerts.yml"), include_str!("../deploy/alerts.test.yml"));
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.matches(&format!("alertname: {alert}")).count() >= 3, "{alert}");
    }
}
