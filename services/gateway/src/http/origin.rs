//! Which pages may use this server from a browser.
//!
//! **Inputs**: the `Origin` that a browser names, which a page cannot forge, and `http.allowed_origins`. **Invariant**: what
//! names no origin is no page of another site, and is not asked about; a page of the server's own host may do everything;
//! others nothing but what the configuration says. Who the client is, is another question (`caller`).

use axum::response::{IntoResponse, Response};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderValue,
        ORIGIN, VARY,
    },
};

use super::problem::Problem;
use crate::options::HttpOptions;

/// At the end of an allowed origin: on any port.
const ANY_PORT: &str = ":*";

/// From where a request comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From no page, or from one of this server's own.
    Own,
    /// From a page of an origin that is allowed, which is to be repeated to the browser.
    Allowed(HeaderValue),
    /// From any other page.
    Foreign,
}

impl Origin {
    /// Reads the headers. Behind a proxy the server's host is what the proxy says was asked for; what a browser lets a
    /// foreign page send without asking first cannot carry a forged `X-Forwarded-Host`.
    pub(crate) fn of(headers: &HeaderMap, allowed: &[String]) -> Self {
        let Some(origin) = headers.get(ORIGIN) else {
            return Self::Own;
        };
        let Ok(text) = origin.to_str() else {
            return Self::Foreign;
        };
        let authority = text.split_once("://").map(|(_, authority)| authority);
        let own = |name: &str| {
            let host = headers.get(name).and_then(|host| host.to_str().ok());
            host.zip(authority)
                .is_some_and(|(host, authority)| host.eq_ignore_ascii_case(authority))
        };
        if own(HOST.as_str()) || own("x-forwarded-host") {
            Self::Own
        } else if allowed.iter().any(|allowed| covers(allowed, text)) {
            Self::Allowed(origin.clone())
        } else {
            Self::Foreign
        }
    }

    /// Refuses what comes from elsewhere.
    pub(crate) fn demand(&self) -> Result<(), Problem> {
        if *self == Self::Foreign {
            let detail = "pages of other origins may not do this; `http.allowed_origins` says which may";
            return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin").detail(detail));
        }
        Ok(())
    }

    /// The answer to a browser that asks whether a page of an allowed origin may send a request.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let asks = method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || !matches!(self, Self::Allowed(_)) {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        let mut say = |name, value| headers.insert(name, HeaderValue::from_static(value));
        say(ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, DELETE");
        say(
            ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, If-None-Match",
        );
        say(ACCESS_CONTROL_MAX_AGE, "600");
        Some(response)
    }

    /// Tells the browser whether the page may see the answer.
    pub(super) fn share(&self, options: &HttpOptions, reads: bool, headers: &mut HeaderMap) {
        let origin = match self {
            Self::Allowed(origin) => origin.clone(),
            Self::Own | Self::Foreign if reads && options.cross_origin_reads => HeaderValue::from_static("*"),
            // Whether an answer may be shown to a page depends on the page, also for those that keep answers.
            Self::Own | Self::Foreign => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                return;
            }
        };
        if matches!(self, Self::Allowed(_)) {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("ETag, Location, Retry-After"),
        );
    }
}

/// Whether an allowed origin covers the one that a browser names.
fn covers(allowed: &str, origin: &str) -> bool {
    let Some(stem) = allowed.strip_suffix(ANY_PORT) else {
        return allowed.eq_ignore_ascii_case(origin);
    };
    let (Some(start), Some(rest)) = (origin.get(..stem.len()), origin.get(stem.len()..)) else {
        return false;
    };
    let port = rest.strip_prefix(':');
    start.eq_ignore_ascii_case(stem)
        && (rest.is_empty()
            || port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())))
}

/// Whether this is an origin as browsers name them, or one on any port.
pub(crate) fn is_well_formed(allowed: &str) -> bool {
    let stem = allowed.strip_suffix(ANY_PORT).unwrap_or(allowed);
    stem.split_once("://").is_some_and(|(scheme, authority)| {
        matches!(scheme, "http" | "https")
            && !authority.is_empty()
            && !authority
                .bytes()
                .any(|byte| matches!(byte, b'/' | b'?' | b'#' | b'*' | b'@') || byte.is_ascii_whitespace())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)], allowed: &[&str]) -> Origin {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect();
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        Origin::of(&headers, &allowed)
    }

    #[test]
    fn what_names_no_origin_or_the_servers_own_is_from_here() {
        for own in [
            &[("host", "af.example")][..],
            &[("host", "af.example:7400"), ("origin", "http://AF.example:7400")],
            &[
                ("host", "10.0.0.1"),
                ("x-forwarded-host", "af.example"),
                ("origin", "https://af.example"),
            ],
        ] {
            assert_eq!(of(own, &[]), Origin::Own, "{own:?}");
        }
    }

    #[test]
    fn all_other_pages_are_from_elsewhere_unless_their_origin_is_allowed() {
        for origin in [
            "http://evil.example",
            "http://127.0.0.1:5173",
            "null",
            "http://af.example:7400.evil.example",
            "",
        ] {
            let headers = [("host", "127.0.0.1:7400"), ("origin", origin)];
            assert_eq!(of(&headers, &["https://app.example"]), Origin::Foreign, "{origin}");
        }
        assert_eq!(of(&[("origin", "http://evil.example")], &[]), Origin::Foreign);
        let headers = [("host", "127.0.0.1:7400"), ("origin", "https://app.example")];
        let allowed = Origin::Allowed(HeaderValue::from_static("https://app.example"));
        assert_eq!(of(&headers, &["https://APP.example"]), allowed);
    }

    #[test]
    fn any_port_means_a_port_and_nothing_else() {
        for good in ["http://localhost", "http://localhost:5173", "http://LOCALHOST:1"] {
            assert!(covers("http://localhost:*", good), "{good}");
        }
        for bad in [
            "http://localhost:",
            "http://localhost.evil.example",
            "http://localhost:1.evil.example",
            "https://localhost:1",
            "http://local",
            "http://localhosté",
        ] {
            assert!(!covers("http://localhost:*", bad), "{bad}");
        }
    }

    #[test]
    fn what_is_no_origin_is_noticed() {
        for good in ["https://app.example", "http://[::1]:*", "http://localhost:5173"] {
            assert!(is_well_formed(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "app.example",
            "https://",
            "https://app.example/",
            "https://*.example",
            "ftp://a",
        ] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
