//! The console's files, which the gateway serves and does not know.

/// One file, ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// What is sent.
    pub body: &'static [u8],
    /// How it is encoded, when it is.
    pub content_encoding: Option<&'static str>,
    /// The `Content-Type` header.
    pub content_type: &'static str,
    /// The `ETag` header.
    pub etag: &'static str,
    /// The `Cache-Control` header.
    pub cache_control: &'static str,
}

/// Where files come from.
pub trait Assets: Send + Sync + 'static {
    /// The file at an absolute path (`/` is the page itself), as a client with this `Accept-Encoding` wants it.
    fn asset(&self, path: &str, accept_encoding: Option<&str>) -> Option<Asset>;
}

/// No console.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAssets;

impl Assets for NoAssets {
    fn asset(&self, _: &str, _: Option<&str>) -> Option<Asset> {
        None
    }
}
