//! The HTTP endpoint `/metrics`, on a thread of its own.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;

use super::{Metrics, openmetrics};
use crate::error::{Error, IoContext, Result};

/// Where the endpoint listens unless told otherwise.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
/// A client that takes longer to send its request is disconnected.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two calls of [`Metrics::upkeep`].
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Where the endpoint should listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// [`DEFAULT_ADDRESS`], or a free port when that one is taken.
    Default,
    /// This address; it is an error if it is taken.
    Named(SocketAddr),
    /// No endpoint at all.
    Off,
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::Named).map_err(|_| {
                format!("expected an address and a port, such as {DEFAULT_ADDRESS} or [::1]:9464, or off")
            }),
        }
    }
}

/// A running endpoint; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    moved: Option<SocketAddr>,
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Begins to serve, or does nothing for [`Address::Off`].
    pub fn start(address: Address, metrics: Arc<Metrics>) -> Result<Option<Self>> {
        let (listener, moved) = match address {
            Address::Off => return Ok(None),
            Address::Named(address) => {
                let listener = TcpListener::bind(address).map_err(|error| {
                    Error::usage(format!("--metrics {address}: {error}; name another port, or off"))
                })?;
                (listener, None)
            }
            Address::Default => match TcpListener::bind(DEFAULT_ADDRESS) {
                Ok(listener) => (listener, None),
                Err(_) => {
                    let free = SocketAddr::new(DEFAULT_ADDRESS.ip(), 0);
                    (TcpListener::bind(free).at("listen on", free.to_string())?, Some(DEFAULT_ADDRESS))
                }
            },
        };
        let address = listener.local_addr().at("listen on", "the metrics port")?;
        listener.set_nonblocking(true).at("listen on", address.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .at("start the metrics server on", address.to_string())?;
        let (stop, stopped) = oneshot::channel();
        std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || runtime.block_on(serve(listener, metrics, stopped)))
            .at("start the metrics server on", address.to_string())?;
        Ok(Some(Self { address, moved, _stop: stop }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address, for the first lines of a run.
    pub fn describe(&self) -> String {
        match self.moved {
            None => format!("http://{}/metrics", self.address),
            Some(taken) => format!("http://{}/metrics ({taken} is taken)", self.address),
        }
    }
}

async fn serve(listener: TcpListener, metrics: Arc<Metrics>, mut stopped: oneshot::Receiver<()>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime that drives sockets");
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            _ = upkeep.tick() => metrics.upkeep(),
            accepted = listener.accept() => {
                // A connection that fails before it is accepted is the client's loss; the run continues.
                let Ok((stream, _)) = accepted else { continue };
                let metrics = Arc::clone(&metrics);
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let response = respond(&request, &metrics);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT);
                    // A client that hangs up in the middle hears nothing more.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }
    }
}

fn respond(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let accept = request.headers().get_all(ACCEPT);
    let opens = accept.iter().any(|value| value.to_str().is_ok_and(|value| value.contains(openmetrics::MEDIA_TYPE)));
    let plain = "text/plain; version=0.0.4; charset=utf-8";
    let (status, format, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") if opens => {
            (StatusCode::OK, openmetrics::CONTENT_TYPE, openmetrics::from_text(&metrics.render()))
        }
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, plain, metrics.render()),
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, plain, "the metrics are at /metrics\n".into()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, plain, "GET /metrics\n".into()),
    };
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, format)
        .body(Full::new(Bytes::from(body)))
        .expect("a well-formed response")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::path::Path;

    use super::*;
    use crate::train::metrics::BuildInfo;

    #[test]
    fn openmetrics_is_given_to_those_who_accept_it_and_text_to_all_others() {
        let build = BuildInfo { device: "cpu".into(), precision: "f32".into(), recipe: "alexnet".into() };
        let metrics = Arc::new(Metrics::new(&build, Path::new("runs/a-1"), 0, 1));
        let address = Address::Named(SocketAddr::from(([127, 0, 0, 1], 0)));
        let server = Server::start(address, metrics).unwrap().unwrap();
        let get = |accept: &str| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            write!(stream, "GET /metrics HTTP/1.0\r\n{accept}\r\n").unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).unwrap();
            response
        };
        let open = get("Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n");
        assert!(open.contains(openmetrics::CONTENT_TYPE) && open.ends_with("\n# EOF\n"), "{open}");
        for accept in ["", "Accept: text/plain\r\n", "Accept: */*\r\n"] {
            let text = get(accept);
            assert!(text.contains("version=0.0.4") && !text.contains("# EOF"), "{accept}: {text}");
        }
    }
}
