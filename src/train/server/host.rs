//! Which names a request may call this machine by.
//!
//! A web page elsewhere can have its own name resolve to this machine (DNS rebinding), and then reads answers as if
//! they were its own. Its requests carry that name as their host, while a number, or localhost, belongs to no other
//! page.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Request, Version};

/// What the host of a request tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// An IP address or localhost.
    Accepted,
    /// Any other name.
    Refused,
    /// No host where there must be one, several, or no host's form.
    Malformed,
}

impl Host {
    pub fn of<B>(request: &Request<B>) -> Self {
        let mut headers = request.headers().get_all(HOST).iter();
        let header = match (headers.next(), headers.next()) {
            // Before HTTP/1.1 there was no such header; browsers send it always.
            (None, _) if request.version() == Version::HTTP_10 => Self::Accepted,
            (Some(host), None) => {
                let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
                authority.map_or(Self::Malformed, |authority| Self::named(&authority))
            }
            _ => Self::Malformed,
        };
        // A request to a proxy names the host in its first line too.
        let first_line = request.uri().authority().map_or(Self::Accepted, Self::named);
        if header == Self::Accepted { first_line } else { header }
    }

    fn named(authority: &Authority) -> Self {
        let host = authority.host();
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_number = match in_brackets {
            Some(host) => host.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok(),
        };
        if is_number || host.eq_ignore_ascii_case("localhost") { Self::Accepted } else { Self::Refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(uri: &str, version: Version, hosts: &[&str]) -> Host {
        let request = Request::builder().uri(uri).version(version);
        let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
        Host::of(&request.body(()).unwrap())
    }

    #[test]
    fn numbers_and_localhost_are_accepted_and_all_other_names_refused() {
        for accepted in ["127.0.0.1", "127.0.0.1:9464", "[::1]:9464", "[::1]", "localhost", "LocalHost:80", "10.0.0.7"]
        {
            assert_eq!(host("/", Version::HTTP_11, &[accepted]), Host::Accepted, "{accepted}");
        }
        for refused in ["example.org", "127.0.0.1.example.org", "localhost.example.org:9464", "127.1", "0x7f.1", "a"] {
            assert_eq!(host("/", Version::HTTP_11, &[refused]), Host::Refused, "{refused}");
        }
        for malformed in [&["[::1"] as &[_], &["a b"], &[""], &[], &["localhost", "localhost"]] {
            assert_eq!(host("/", Version::HTTP_11, malformed), Host::Malformed, "{malformed:?}");
        }
    }

    #[test]
    fn the_first_line_cannot_name_another_host() {
        assert_eq!(host("http://example.org/", Version::HTTP_11, &["localhost"]), Host::Refused);
        assert_eq!(host("http://127.0.0.1:9464/", Version::HTTP_11, &["localhost"]), Host::Accepted);
    }

    #[test]
    fn a_client_older_than_the_header_needs_none() {
        assert_eq!(host("/", Version::HTTP_10, &[]), Host::Accepted);
        assert_eq!(host("/", Version::HTTP_10, &["example.org"]), Host::Refused);
    }
}
