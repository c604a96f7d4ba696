//! The HTTP server of a run, on a thread of its own: the live page at `/`, what changes on it, and `/metrics`.
//!
//! In: the run's [`Metrics`] and [`Live`]. Out: text and pictures. Nothing but the listed paths is served, nothing is
//! written, and no client can hold more than a connection's buffers: a slow one is dropped, one too many refused.

mod address;
mod events;
mod host;
mod routes;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_io_timeout::TimeoutStream;

pub use self::address::{Address, DEFAULT_ADDRESS};
use self::routes::Site;
use super::live::Live;
use super::metrics::Metrics;
use crate::error::{Error, IoContext, Result};

/// Connections at a time; one more is told so and closed.
const MAX_CONNECTIONS: usize = 64;
/// Connections at a time beyond those that are told so; further ones are closed without a word.
const MAX_REFUSALS: usize = 16;
/// Connections at a time that a page may listen on, so that there is always one for Prometheus.
const MAX_LISTENERS: usize = 32;
/// Bytes of a request's head, and of what is read ahead.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// The time between two calls of [`Metrics::upkeep`].
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// The time between two updates of the page.
const UPDATE_EVERY: Duration = Duration::from_secs(1);
/// How long the end of a run waits for pages to hear of it, and a refused client may take.
const FAREWELL: Duration = Duration::from_secs(1);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 48\r\nretry-after: 5\r\nconnection: close\r\n\r\n64 connections are open; close a page, or wait.\n";

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// To send a request's head, counted from the connection's begin or the end of the answer before.
    head: Duration,
    /// To take some bytes of an answer.
    answer: Duration,
}

const PATIENCE: Patience = Patience { head: Duration::from_secs(5), answer: Duration::from_secs(10) };

/// A running server; dropping it tells the pages that the run is over, and ends it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    moved: Option<SocketAddr>,
    /// Dropped first.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to serve, or does nothing for [`Address::Off`].
    pub fn start(address: Address, metrics: Arc<Metrics>, live: Arc<Live>) -> Result<Option<Self>> {
        Self::patient(PATIENCE, address, Site::new(metrics, live))
    }

    fn patient(patience: Patience, address: Address, site: Site) -> Result<Option<Self>> {
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
            .at("start the server on", address.to_string())?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("server".into())
            .spawn(move || runtime.block_on(serve(listener, Arc::new(site), patience, stopped)))
            .at("start the server on", address.to_string())?;
        Ok(Some(Self { address, moved, stop: Some(stop), thread: Some(thread) }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The page's address, for the first lines of a run.
    pub fn page(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The address of the metrics, for the first lines of a run.
    pub fn metrics(&self) -> String {
        match self.moved {
            None => format!("http://{}/metrics", self.address),
            Some(taken) => format!("http://{}/metrics ({taken} is taken)", self.address),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of that thread was printed, and costs the run nothing.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn serve(listener: TcpListener, site: Arc<Site>, patience: Patience, mut stopped: oneshot::Receiver<()>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime that drives sockets");
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    let mut update = tokio::time::interval(UPDATE_EVERY);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            _ = upkeep.tick() => site.upkeep(),
            _ = update.tick() => site.update(),
            accepted = listener.accept() => {
                // A connection that fails before it is accepted is the client's loss; the run continues.
                let Ok((stream, _)) = accepted else { continue };
                if let Ok(place) = Arc::clone(&connections).try_acquire_owned() {
                    tokio::spawn(attend(stream, Arc::clone(&site), patience, place));
                } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                    tokio::spawn(refuse(stream, place));
                }
            }
        }
    }
    site.end();
    // The pages that are open hear of the end, unless they are slow.
    let _ = tokio::time::timeout(FAREWELL, site.listeners.acquire_many(MAX_LISTENERS as u32)).await;
}

/// Answers a client until it leaves. Its place is free again when this returns.
async fn attend(stream: TcpStream, site: Arc<Site>, patience: Patience, _place: OwnedSemaphorePermit) {
    // A page that listens keeps its place among the listeners as long as its connection.
    let listens = OnceLock::new();
    let service = service_fn(|request| {
        let response = site.respond(&request, &listens);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience.answer));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(MAX_HEAD_BYTES);
    // A client that hangs up in the middle hears nothing more.
    let _ = http.serve_connection(TokioIo::new(Box::pin(stream)), service).await;
}

/// Says that there are too many, and takes the request in: closing before it was read would reset the connection, and
/// the client would not hear why.
async fn refuse(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    let told = async {
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_HEAD_BYTES as u64), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(FAREWELL, told).await;
}

#[cfg(test)]
mod tests;
