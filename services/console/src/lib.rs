//! The console, as static files inside the binary.
//!
//! The page itself is TypeScript (`web/`), built by `npm run build` into `dist/`; `build.rs` makes the table below of
//! what it finds there. This crate knows files, not HTTP: the server that owns the listener turns an [`Asset`] into a
//! response.

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// One embedded file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    pub bytes: &'static [u8],
    /// The same bytes, gzip-compressed, when that is worth it. Choose with [`Asset::representation`].
    pub gzip: Option<&'static [u8]>,
    pub content_type: &'static str,
    /// The value of the `ETag` header. Weak, because it names the content and not one of its encodings.
    pub etag: &'static str,
    /// The file name contains a hash of the content, so the response may be cached for ever.
    pub immutable: bool,
}

impl Asset {
    /// The value of the `Cache-Control` header.
    #[must_use]
    pub const fn cache_control(&self) -> &'static str {
        if self.immutable {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        }
    }

    /// The body for a request with this `Accept-Encoding`, and the `Content-Encoding` it needs.
    /// The response must say `Vary: Accept-Encoding`.
    #[must_use]
    pub fn representation(&self, accept_encoding: Option<&str>) -> (&'static [u8], Option<&'static str>) {
        match self.gzip {
            Some(gzip) if accept_encoding.is_some_and(accepts_gzip) => (gzip, Some("gzip")),
            _ => (self.bytes, None),
        }
    }
}

/// The file behind a request path, with or without the leading slash; `/` is the page itself.
#[must_use]
pub fn asset(path: &str) -> Option<Asset> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = if path.is_empty() { "index.html" } else { path };
    let at = ASSETS.binary_search_by_key(&path, |(name, _)| name).ok()?;
    Some(ASSETS[at].1)
}

/// Whether the real console is embedded, or only the page that says how to build it.
#[must_use]
pub const fn is_built() -> bool {
    BUILT
}

/// RFC 9110 section 12.5.3, as far as one coding goes: named (or covered by `*`) and not refused by `q=0`.
fn accepts_gzip(accept_encoding: &str) -> bool {
    let weight = |wanted: &str| {
        accept_encoding.split(',').find_map(|item| {
            let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
            let q = parameters
                .trim()
                .strip_prefix("q=")
                .map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
            coding.trim().eq_ignore_ascii_case(wanted).then(|| q.unwrap_or(0.0))
        })
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|q| q > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_page() {
        let page = asset("/").unwrap();
        assert_eq!(asset("index.html"), Some(page));
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert!(
            !page.immutable,
            "the page names the hashed files, so it must be asked for again"
        );
        assert_eq!(page.cache_control(), "no-cache");
        assert!(page.bytes.starts_with(b"<!doctype html>"));
    }

    #[test]
    fn unknown_paths_are_nothing() {
        for path in [
            "/nothing",
            "/index.html/",
            "//",
            "../Cargo.toml",
            "/assets/../index.html",
            "/index.html.gz",
        ] {
            assert_eq!(asset(path), None, "{path}");
        }
    }

    #[test]
    fn every_file_is_found_and_well_described() {
        assert!(ASSETS.is_sorted_by_key(|(path, _)| path));
        for (path, expected) in ASSETS {
            assert_eq!(asset(&format!("/{path}")), Some(*expected));
            assert!(
                expected.etag.starts_with("W/\"") && expected.etag.ends_with('"'),
                "{path}: {}",
                expected.etag
            );
            assert_ne!(
                expected.content_type, "application/octet-stream",
                "{path} has no content type"
            );
            assert!(
                expected.gzip.is_none_or(|gzip| gzip.starts_with(&[0x1f, 0x8b])),
                "{path}: not gzip"
            );
        }
    }

    #[test]
    fn the_page_names_only_files_that_are_here() {
        let page = std::str::from_utf8(asset("/").unwrap().bytes).unwrap();
        for attribute in ["src=\"./", "href=\"./"] {
            for rest in page.split(attribute).skip(1) {
                let path = rest.split('"').next().unwrap();
                assert!(asset(path).is_some(), "{path} is missing");
            }
        }
    }

    #[test]
    fn encodings_are_negotiated() {
        let both = Asset {
            bytes: b"plain",
            gzip: Some(b"packed"),
            content_type: "",
            etag: "",
            immutable: true,
        };
        for accepted in ["gzip", "deflate, GZIP;q=0.5", "br, *", "*;q=0, gzip"] {
            assert_eq!(
                both.representation(Some(accepted)),
                (b"packed".as_slice(), Some("gzip")),
                "{accepted}"
            );
        }
        for refused in ["", "br", "gzip;q=0", "gzip; q=0.0, *", "gzip;q=many"] {
            assert_eq!(
                both.representation(Some(refused)),
                (b"plain".as_slice(), None),
                "{refused}"
            );
        }
        assert_eq!(both.representation(None), (b"plain".as_slice(), None));
        assert_eq!(
            Asset { gzip: None, ..both }.representation(Some("gzip")),
            (b"plain".as_slice(), None)
        );
    }
}
