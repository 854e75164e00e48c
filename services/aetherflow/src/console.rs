//! The console's files, as the gateway wants them.

use aetherflow_gateway::assets::{Asset, Assets};

/// The console that is embedded in this binary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console;

impl Assets for Console {
    fn asset(&self, path: &str, accept_encoding: Option<&str>) -> Option<Asset> {
        let asset = aetherflow_console::asset(path)?;
        let (body, content_encoding) = asset.representation(accept_encoding);
        Some(Asset {
            body,
            content_encoding,
            content_type: asset.content_type,
            etag: asset.etag,
            cache_control: asset.cache_control(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_there_and_other_things_are_not() {
        let page = Console.asset("/", None).unwrap();
        assert!(page.content_type.starts_with("text/html") && page.content_encoding.is_none());
        assert_eq!(Console.asset("/../Cargo.toml", None), None);
    }
}
