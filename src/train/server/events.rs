//! The page's events: what changed on the page, at most once a second, to each that listens.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::sync::Arc;

use http_body_util::channel::Sender;
use hyper::body::Bytes;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::train::live::page::Fragments;

pub(super) const CONTENT_TYPE: &str = "text/event-stream";
/// A browser whose connection was lost tries again after so many milliseconds.
const RETRY: &str = "retry: 2000\n\n";
/// Said when nothing has changed, so that a client that has gone is noticed.
const NOTHING: &str = ":\n\n";
const END: &str = "event: end\ndata:\n\n";

/// What all clients are told next.
#[derive(Clone, Debug)]
pub(super) struct Update {
    pub fragments: Arc<Fragments>,
    pub run: Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Goes,
    /// This update is the last.
    Ended,
}

/// Tells a client every update that it has time for, until it leaves or the run ends. Of the updates that come while
/// it reads it gets the newest alone.
pub(super) async fn tell(mut updates: watch::Receiver<Update>, mut client: Sender<Bytes>) {
    let mut told: Option<Arc<Fragments>> = None;
    let mut message = RETRY.to_owned();
    // An error is a client that has left.
    while client.send_data(Bytes::from(message)).await.is_ok() && updates.changed().await.is_ok() {
        let Update { fragments, run } = updates.borrow_and_update().clone();
        message = changes(told.as_deref(), &fragments);
        told = Some(fragments);
        if run == Run::Ended {
            message.push_str(END);
            let _ = client.send_data(Bytes::from(message)).await;
            return;
        }
    }
}

/// The message that takes a page from one update to the next.
fn changes(told: Option<&Fragments>, fragments: &Fragments) -> String {
    let known = |id: &str| told.and_then(|told| told.get(id));
    let changed: Map<String, Value> = fragments
        .iter()
        .filter(|(id, html)| known(id) != Some(html))
        .map(|(id, html)| ((*id).to_owned(), Value::from(html.as_str())))
        .collect();
    // JSON has no line breaks, which would end the message.
    if changed.is_empty() { NOTHING.into() } else { format!("data: {}\n\n", Value::Object(changed)) }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use http_body_util::channel::Channel;

    use super::*;

    fn update(run: Run, fragments: &[(&'static str, &str)]) -> Update {
        let fragments = fragments.iter().map(|(id, html)| (*id, (*html).to_owned()));
        Update { fragments: Arc::new(fragments.collect()), run }
    }

    #[tokio::test]
    async fn a_client_is_told_what_changed_and_the_end() {
        let (updates, receiver) = watch::channel(update(Run::Goes, &[]));
        let (client, mut body) = Channel::<Bytes>::new(1);
        let telling = tokio::spawn(tell(receiver, client));
        let mut next = async || {
            let frame = body.frame().await?.unwrap();
            Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
        };
        assert_eq!(next().await.unwrap(), "retry: 2000\n\n");
        for (run, fragments, expected) in [
            (Run::Goes, [("a", "1\n2"), ("b", "x")], "data: {\"a\":\"1\\n2\",\"b\":\"x\"}\n\n"),
            (Run::Goes, [("a", "3"), ("b", "x")], "data: {\"a\":\"3\"}\n\n"),
            (Run::Goes, [("a", "3"), ("b", "x")], ":\n\n"),
            (Run::Ended, [("a", "3"), ("b", "y")], "data: {\"b\":\"y\"}\n\nevent: end\ndata:\n\n"),
        ] {
            updates.send_replace(update(run, &fragments));
            assert_eq!(next().await.unwrap(), expected);
        }
        assert_eq!(next().await, None);
        telling.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_is_slow_gets_the_newest_alone() {
        let (updates, receiver) = watch::channel(update(Run::Goes, &[]));
        let (client, mut body) = Channel::<Bytes>::new(1);
        let telling = tokio::spawn(tell(receiver, client));
        for number in 0..100 {
            updates.send_replace(update(Run::Goes, &[("a", &number.to_string())]));
            tokio::task::yield_now().await;
        }
        drop(updates);
        let mut messages = Vec::new();
        while let Some(frame) = body.frame().await {
            messages.push(frame.unwrap().into_data().unwrap());
        }
        telling.await.unwrap();
        // One is under way and one is held; all others were overtaken.
        assert!(messages.len() <= 4, "{messages:?}");
        assert_eq!(messages.last().unwrap(), "data: {\"a\":\"99\"}\n\n");
    }
}
