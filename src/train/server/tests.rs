use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use super::*;
use crate::input::Frame;
use crate::model::Network;
use crate::model::init::initial_parameters;
use crate::recipe::settings::ModelSettings;
use crate::train::live::About;
use crate::train::metrics::{BuildInfo, openmetrics};

const PATHS: [(&str, &str); 6] = [
    ("/", "text/html; charset=utf-8"),
    ("/page.js", "text/javascript; charset=utf-8"),
    ("/page.css", "text/css; charset=utf-8"),
    ("/kernels.png", "image/png"),
    ("/events", "text/event-stream"),
    ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
];

fn about() -> About {
    About {
        run: "a-1".into(),
        recipe: "small".into(),
        device: "cpu".into(),
        precision: "f32".into(),
        classes: vec!["cat".into(), "dog <&> \"fox\"".into()],
        frame: Frame { crop: 16, canvas: 16, scale: 1.0 },
        batch_size: 4,
        num_buffers: 6,
        first_step: 0,
        last_step: 100,
        steps_per_epoch: 10,
    }
}

fn server() -> Server {
    patient(PATIENCE)
}

fn patient(patience: Patience) -> Server {
    let build = BuildInfo { device: "cpu".into(), precision: "f32".into(), recipe: "alexnet".into() };
    let metrics = Arc::new(Metrics::new(&build, Path::new("runs/a-1"), 0, 1));
    let live = Arc::new(Live::new(about()));
    let network = Network::new(&ModelSettings { width: 0.05, ..ModelSettings::default() }, 67, 2).unwrap();
    live.weights(0, &initial_parameters(&network, 0));
    let address = Address::Named(SocketAddr::from(([127, 0, 0, 1], 0)));
    Server::patient(patience, address, Site::new(metrics, live)).unwrap().unwrap()
}

/// What comes back for a request: to the end of the connection.
fn send(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

fn get(server: &Server, path: &str, headers: &str) -> String {
    send(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"))
}

/// A page that listens, up to the head of its answer.
fn listen(server: &Server) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    (head, reader)
}

#[test]
fn each_path_has_its_type_and_headers_that_keep_other_pages_out() {
    let server = server();
    for (path, content_type) in PATHS {
        let response = send(&server, &format!("HEAD {path} HTTP/1.1\r\nHost: [::1]:1\r\nConnection: close\r\n\r\n"));
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\n"), "{path}: {response}");
        for header in [
            format!("content-type: {content_type}"),
            "content-security-policy: default-src 'none'; ".into(),
            "x-content-type-options: nosniff".into(),
            "cache-control: no-store".into(),
        ] {
            assert!(response.contains(&format!("\r\n{header}")), "{path}: {header} in {response}");
        }
        assert!(!response.to_lowercase().contains("access-control"), "{path}: {response}");
    }
    assert!(get(&server, "/kernels.png", "").contains("PNG"));
    assert!(get(&server, "/kernels.png?another", "").starts_with("HTTP/1.1 404"));
    for path in ["/batch.png", "/favicon.ico", "/../etc/passwd", "/log.jsonl"] {
        assert!(get(&server, path, "").starts_with("HTTP/1.1 404"), "{path}");
    }
    let post = send(&server, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
}

#[test]
fn nothing_on_the_page_is_from_elsewhere() {
    let server = server();
    for path in ["/", "/page.js", "/page.css"] {
        let response = get(&server, path, "");
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(body.len() > 500 && !body.contains("http:") && !body.contains("https:"), "{path}: {body}");
        assert!(!body.contains("\"//") && !body.contains("url(") && !body.contains("{{"), "{path}: {body}");
    }
}

#[test]
fn a_request_under_another_name_is_refused_on_every_path() {
    let server = server();
    for (path, _) in PATHS {
        let request = |host: &str| format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        let response = send(&server, &request("Host: example.org:9464\r\n"));
        assert!(
            response.starts_with("HTTP/1.1 403") && response.contains("IP addresses and to localhost"),
            "{response}"
        );
        assert!(send(&server, &request("")).starts_with("HTTP/1.1 400"), "{path}");
    }
}

#[test]
fn openmetrics_is_given_to_those_who_accept_it_and_text_to_all_others() {
    let server = server();
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n";
    let open = get(&server, "/metrics", accept);
    assert!(open.contains(openmetrics::CONTENT_TYPE) && open.ends_with("\n# EOF\n"), "{open}");
    for accept in ["", "Accept: text/plain\r\n", "Accept: */*\r\n"] {
        let text = get(&server, "/metrics", accept);
        assert!(text.contains("version=0.0.4") && !text.contains("# EOF"), "{accept}: {text}");
    }
    // As Prometheus of old, and netcat, ask.
    assert!(send(&server, "GET /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"));
}

#[test]
fn slow_clients_keep_nobody_waiting_and_those_that_say_nothing_are_disconnected() {
    let server = patient(Patience { head: Duration::from_secs(1), ..PATIENCE });
    let mut half_a_request = TcpStream::connect(server.address()).unwrap();
    half_a_request.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    let mut says_nothing = TcpStream::connect(server.address()).unwrap();
    let mut idle = TcpStream::connect(server.address()).unwrap();
    idle.write_all(b"GET /page.css HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(get(&server, "/metrics", "").contains("200 OK"));
    for stream in [&mut half_a_request, &mut says_nothing, &mut idle] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    let server = patient(Patience { answer: Duration::from_millis(200), ..PATIENCE });
    let mut stream = TcpStream::connect(server.address()).unwrap();
    // Far more than the sockets' buffers hold.
    let num_requests = 20_000;
    let request = "GET /kernels.png HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // The server stops reading as well, and then hangs up.
    let _ = stream.write_all(request.repeat(num_requests).as_bytes());
    std::thread::sleep(Duration::from_secs(2));
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    let num_answers = answers.windows(8).filter(|bytes| *bytes == b"HTTP/1.1").count();
    assert!(num_answers < num_requests, "{num_answers} answers, {} bytes", answers.len());
    assert!(get(&server, "/metrics", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let response = get(&server(), "/", &format!("X: {}\r\n", "x".repeat(2 * MAX_HEAD_BYTES)));
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}

#[test]
fn one_connection_too_many_is_told_so() {
    let server = server();
    let mut open: Vec<_> = (0..MAX_CONNECTIONS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let mut refused = String::new();
    TcpStream::connect(server.address()).unwrap().read_to_string(&mut refused).unwrap();
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}: {} bytes", body.len());
    assert!(body.starts_with(&format!("{MAX_CONNECTIONS} connections")), "{body}");
    // A place becomes free when a client leaves.
    open.truncate(1);
    while !get(&server, "/metrics", "").starts_with("HTTP/1.1 200") {}
}

#[test]
fn so_many_pages_may_listen_that_others_are_still_answered() {
    let server = server();
    let open: Vec<_> = (0..MAX_LISTENERS).map(|_| listen(&server)).collect();
    assert!(open.iter().all(|(head, _)| head.starts_with("HTTP/1.1 200")));
    let one_more = get(&server, "/events", "");
    assert!(one_more.starts_with("HTTP/1.1 503") && one_more.contains(&MAX_LISTENERS.to_string()), "{one_more}");
    assert!(get(&server, "/metrics", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_page_that_listens_is_told_everything_once_and_the_end() {
    let server = server();
    let (_, mut reader) = listen(&server);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        reader.read_line(&mut line).unwrap();
        // The length of a chunk, or the beginning of the stream.
    }
    let fragments: serde_json::Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
    let page = get(&server, "/", "");
    for (id, html) in fragments.as_object().unwrap() {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id} in {page}");
        // Time passes between the two.
        assert!(id == "progress" || page.contains(html.as_str().unwrap()), "{id}: {html}");
    }
    drop(server);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: end\ndata:\n\n"), "{rest}");
}
