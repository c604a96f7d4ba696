//! Chromium opens the live page of a training run.
//!
//! Needs `chromium` in PATH (Debian's package); `tools/test` runs this where it is, a plain `cargo test` shows it as
//! ignored. `docs/images/take_screenshots` takes pictures of the page.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use alexnet::synthetic::dataset::coloured_dataset;
use serde_json::{Value, json};

/// A child that does not outlive the test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A run, and the address of its page.
fn start_training(folder: &Path) -> (Reaped, String) {
    let shards = folder.join("shards");
    std::fs::create_dir(&shards).unwrap();
    coloured_dataset(&shards, 40, 8, 4, 1).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_train"))
        .args(["--recipe", "small", "--width", "0.05", "--epochs", "100000", "--batch-size", "4"])
        .args(["--set", "augment.crop=64", "--set", "augment.canvas=67", "--metrics", "127.0.0.1:0", "--keep", "1"])
        .arg("--shards")
        .arg(shards)
        .arg("--run")
        .arg(folder.join("run"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let child = Reaped(child);
    let page = lines.find_map(|line| line.strip_prefix("page       ").map(str::to_owned)).unwrap();
    (child, page)
}

/// A Chromium with one page, spoken to in its DevTools protocol: JSON, each message ended by a zero byte.
struct Browser {
    _child: Reaped,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    number: u64,
    /// What the console got: refusals of the content security policy, failed scripts, paths that are not found.
    complaints: Vec<Value>,
}

impl Browser {
    fn start(folder: &Path) -> Self {
        // The protocol has its pipes at 3 and 4.
        let command = "exec chromium --headless --no-sandbox --disable-gpu --remote-debugging-pipe \
                       \"--user-data-dir=$0\" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", command])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let child = Reaped(child);
        let mut browser = Self { _child: child, to, from, session: None, number: 0, complaints: Vec::new() };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        browser.call("Log.enable", json!({}));
        browser.call("Runtime.enable", json!({}));
        browser
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        write!(self.to, "{message}\0").unwrap();
        loop {
            let mut text = Vec::new();
            self.from.read_until(0, &mut text).unwrap();
            assert_eq!(text.pop(), Some(0), "chromium on the PATH: apt-get install chromium");
            let mut answer: Value = serde_json::from_slice(&text).unwrap();
            if answer["id"] == self.number {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            if matches!(answer["method"].as_str(), Some("Log.entryAdded" | "Runtime.exceptionThrown")) {
                self.complaints.push(answer);
            }
        }
    }

    fn open(&mut self, page: &str, [width, height]: [u32; 2], scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", scheme);
        self.call("Page.navigate", json!({"url": page}));
        self.wait_for("document.readyState === 'complete' && location.protocol === 'http:'");
    }

    fn value(&mut self, script: &str) -> Value {
        self.call("Runtime.evaluate", json!({"expression": script, "returnByValue": true}))["result"]["value"].take()
    }

    fn wait_for(&mut self, script: &str) {
        let begun = Instant::now();
        while self.value(script) != true {
            let page = self.value("document.body.innerText");
            assert!(begun.elapsed() < Duration::from_secs(60), "never {script}: {page}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn press(&mut self, key: &str, text: Option<&str>) {
        for kind in ["keyDown", "keyUp"] {
            let mut parameters = json!({"type": kind, "key": key, "code": key});
            parameters["windowsVirtualKeyCode"] = json!(if key == "Tab" { 9 } else { 13 });
            if let Some(text) = text.filter(|_| kind == "keyDown") {
                parameters["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", parameters);
        }
    }
}

const STEP: &str =
    "Number(/step ([\\d,]+)/.exec(document.getElementById('progress').textContent)[1].replace(/,/g, ''))";

#[test]
#[ignore = "needs chromium: tools/test runs this where it is installed"]
fn a_browser_shows_what_the_run_tells_it_and_loads_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (training, page) = start_training(folder.path());
    let mut browser = Browser::start(&folder.path().join("chromium"));
    for (size, scheme) in [([390, 844], "dark"), ([1280, 900], "light")] {
        browser.open(&page, size, scheme);
        let first = browser.value(STEP).as_u64().unwrap();
        // The events bring later steps, and pictures that have been loaded.
        browser.wait_for(&format!("{STEP} > {first}"));
        for picture in ["batch", "kernels"] {
            browser.wait_for(&format!("(document.querySelector('#{picture} img') ?? {{}}).naturalWidth > 0"));
        }
        assert_eq!(browser.value("document.querySelectorAll('svg.chart').length"), 4);
        assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth"), true, "{size:?}");
        let is_dark = "getComputedStyle(document.body).backgroundColor === 'rgb(19, 20, 24)'";
        assert_eq!(browser.value(is_dark), scheme == "dark");
        let is_elsewhere =
            "performance.getEntriesByType('resource').some((one) => !one.name.startsWith(location.origin))";
        assert_eq!(browser.value(is_elsewhere), false);
    }

    // By keyboard: the first thing to reach is the button that keeps the page still.
    browser.press("Tab", None);
    browser.press("Enter", Some("\r"));
    browser.wait_for("document.activeElement.getAttribute('aria-pressed') === 'true'");
    let still = browser.value(STEP);
    let told = browser.value("document.getElementById('updated').textContent");
    browser.wait_for(&format!("document.getElementById('updated').textContent !== {told}"));
    assert_eq!(browser.value(STEP), still);

    // Once the run has ended nothing answers, of which a browser may complain.
    assert_eq!(browser.complaints, Vec::<Value>::new());
    let pid = training.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    browser.wait_for("document.getElementById('notice').textContent.startsWith('The run has ended')");
    browser.wait_for("document.getElementById('progress').textContent.includes('stopped; --resume continues')");
}
