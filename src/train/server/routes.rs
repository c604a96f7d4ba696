//! What each path gives.

use std::sync::{Arc, OnceLock};

use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::MAX_LISTENERS;
use super::events::{self, Run, Update};
use super::host::Host;
use crate::page::STYLE;
use crate::train::live::Live;
use crate::train::live::page::{self, Fragments};
use crate::train::metrics::{Metrics, openmetrics};

const PLAIN: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const WRONG_HOST: &str = "This server answers to IP addresses and to localhost only, so that no web page elsewhere can \
    read it through a browser: open http://127.0.0.1:PORT/, or from another machine http://ADDRESS:PORT/ with a \
    number as the address.\n";

/// On every answer: the browser loads nothing from elsewhere, no other page may frame or read what is here, and types
/// are as they are said to be. Charts take their colours by style attributes.
const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
         img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
];

pub(super) type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// What is served, and to whom updates go.
pub(super) struct Site {
    metrics: Arc<Metrics>,
    live: Arc<Live>,
    updates: watch::Sender<Update>,
    /// Places for pages that listen.
    pub listeners: Arc<Semaphore>,
}

impl Site {
    pub fn new(metrics: Arc<Metrics>, live: Arc<Live>) -> Self {
        let (updates, _) = watch::channel(Update { fragments: Arc::new(Fragments::default()), run: Run::Goes });
        Self { metrics, live, updates, listeners: Arc::new(Semaphore::new(MAX_LISTENERS)) }
    }

    pub fn upkeep(&self) {
        self.metrics.upkeep();
    }

    /// Tells those that listen what the run is now; nothing is drawn for nobody.
    pub fn update(&self) {
        self.say(Run::Goes);
    }

    /// Tells those that listen the last.
    pub fn end(&self) {
        self.say(Run::Ended);
    }

    fn say(&self, run: Run) {
        if self.updates.receiver_count() > 0 {
            self.live.refresh();
            self.updates.send_replace(Update { fragments: Arc::new(self.live.fragments()), run });
        }
    }

    /// The answer to a request, on a connection that `listens` afterwards if the request was for events.
    pub fn respond<B>(&self, request: &Request<B>, listens: &OnceLock<OwnedSemaphorePermit>) -> Response<Body> {
        match Host::of(request) {
            Host::Accepted => {}
            Host::Refused => return text(StatusCode::FORBIDDEN, WRONG_HOST),
            Host::Malformed => return text(StatusCode::BAD_REQUEST, "One Host header is expected.\n"),
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        }
        match request.uri().path() {
            "/" => self.page(),
            "/page.js" => answer("text/javascript; charset=utf-8", page::SCRIPT),
            "/page.css" => answer("text/css; charset=utf-8", [STYLE, page::STYLE].concat()),
            "/events" if request.method() == Method::HEAD => answer(events::CONTENT_TYPE, ""),
            "/events" => self.listen(listens),
            path @ ("/kernels.png" | "/batch.png") => self.picture(path, request.uri().query()),
            "/metrics" => self.metrics(request),
            _ => text(StatusCode::NOT_FOUND, "the page is at /, the metrics are at /metrics\n"),
        }
    }

    fn page(&self) -> Response<Body> {
        self.live.refresh();
        answer("text/html; charset=utf-8", page::html(&self.live.fragments()))
    }

    fn metrics<B>(&self, request: &Request<B>) -> Response<Body> {
        let mut accepted = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let text = self.metrics.render();
        if accepted.any(|value| value.contains(openmetrics::MEDIA_TYPE)) {
            answer(openmetrics::CONTENT_TYPE, openmetrics::from_text(&text))
        } else {
            answer(METRICS, text)
        }
    }

    /// A picture of the version that the query asks for, which the browser need not ask for again, or the newest. One
    /// that is no longer there is not found: the page keeps what it shows until the next update.
    fn picture(&self, path: &str, version: Option<&str>) -> Response<Body> {
        if version.is_none() {
            self.live.refresh();
        }
        let found = self.live.picture(path, version);
        let Some(png) = found else { return text(StatusCode::NOT_FOUND, "there is no such picture yet\n") };
        answer("image/png", png)
    }

    fn listen(&self, listens: &OnceLock<OwnedSemaphorePermit>) -> Response<Body> {
        let Ok(place) = Arc::clone(&self.listeners).try_acquire_owned() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "32 pages are open; close one\n");
        };
        listens.set(place).expect("events are the last that a connection is asked for");
        let (client, body) = Channel::new(1);
        tokio::spawn(events::tell(self.updates.subscribe(), client));
        let mut response = response(StatusCode::OK, events::CONTENT_TYPE, Either::Right(body));
        response.headers_mut().insert(CONNECTION, "close".parse().expect("a header"));
        response
    }
}

fn answer(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    response(StatusCode::OK, content_type, Either::Left(Full::new(body.into())))
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    response(status, PLAIN, Either::Left(Full::new(body.into())))
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, content_type);
    // Another run may answer at this address a minute later.
    let response = response.header(CACHE_CONTROL, "no-store");
    let response = HEADERS.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(body).expect("a well-formed response")
}
