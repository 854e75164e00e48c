//! Configuration: one typed tree, merged from layers of which later ones win.
//!
//! The defaults come first and decide what exists: a key that they do not have is unknown and refused, and a value must
//! have the type of its default. Nothing is optional, therefore; "not set" is an empty text or a zero, as the field says.
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! # use aetherflow_runtime::config::Layers;
//! #[derive(Serialize, Deserialize)]
//! struct Tree { listen: String, limits: Limits }
//! #[derive(Serialize, Deserialize)]
//! struct Limits { frame_bytes: u32 }
//!
//! let defaults = Tree { listen: "127.0.0.1:7400".into(), limits: Limits { frame_bytes: 1 << 20 } };
//! let mut layers = Layers::new(&defaults)?;
//! layers.toml("limits.frame_bytes = 4096", "aetherflow.toml")?;
//! layers.environment("APP_", &[], [("APP_LIMITS__FRAME_BYTES".to_owned(), "8192".to_owned())])?;
//! layers.text("listen", "0.0.0.0:80", "--listen")?;
//! let tree: Tree = layers.build()?;
//! assert_eq!((tree.limits.frame_bytes, &*tree.listen), (8192, "0.0.0.0:80"));
//! # Ok::<_, aetherflow_runtime::config::ConfigError>(())
//! ```

mod differences;
mod invalid;

use std::{fs, io, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

pub use self::{differences::differences, invalid::Invalid};

/// Why there is no configuration. Each names the key, and where it came from.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{origin} is not TOML: {source}")]
    Syntax {
        /// The file.
        origin: String,
        /// What and where.
        source: Box<toml::de::Error>,
    },
    /// No such key.
    #[error("{origin}: there is no configuration key `{key}`{hint}")]
    Unknown {
        /// The key, with the tables around it.
        key: String,
        /// The file, variable or flag.
        origin: String,
        /// What there is instead.
        hint: String,
    },
    /// A value of another type than the key's.
    #[error("{origin}: `{key}` must be {expected}, and this is {found}")]
    Type {
        /// The key, with the tables around it.
        key: String,
        /// The file, variable or flag.
        origin: String,
        /// The type.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// A number that does not fit, or a text that is none of those allowed.
    #[error("the configuration is not acceptable: {0}")]
    Value(String),
    /// Keys whose values make no sense.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Layers being merged.
#[derive(Debug, Clone)]
pub struct Layers {
    tree: Table,
}

impl Layers {
    /// Starts with the defaults.
    ///
    /// # Errors
    /// When `defaults` is not a tree that TOML can express.
    pub fn new(defaults: &impl Serialize) -> Result<Self, ConfigError> {
        Table::try_from(defaults)
            .map(|tree| Self { tree })
            .map_err(|e| ConfigError::Value(e.to_string()))
    }

    /// Adds a TOML file.
    ///
    /// # Errors
    /// See [`ConfigError`]; the same for the other calls.
    pub fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let path_text = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => self.toml(&text, &path_text),
            Err(source) => Err(ConfigError::File {
                path: path_text,
                source,
            }),
        }
    }

    /// Adds TOML text that came from `origin`.
    pub fn toml(&mut self, text: &str, origin: &str) -> Result<(), ConfigError> {
        let overlay: Table = toml::from_str(text).map_err(|source| ConfigError::Syntax {
            origin: origin.to_owned(),
            source: Box::new(source),
        })?;
        merge(&mut self.tree, overlay, "", origin)
    }

    /// Adds environment variables: `PREFIX` and then the key in capitals, tables separated by two underscores. Names in
    /// `reserved` (without the prefix) mean something else; so do those that Kubernetes sets for every service it
    /// knows (`*_SERVICE_HOST`, `*_PORT_80_TCP` and the like), which would otherwise keep a service of this name from
    /// starting.
    pub fn environment(
        &mut self,
        prefix: &str,
        reserved: &[&str],
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let mut found: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| {
                name.strip_prefix(prefix)
                    .is_some_and(|name| !reserved.contains(&name) && !is_service_link(name))
            })
            .collect();
        found.sort();
        for (name, text) in found {
            let key = name[prefix.len()..].to_lowercase().replace("__", ".");
            self.text(&key, &text, &name)?;
        }
        Ok(())
    }

    /// Sets one key (`table.key`) from text, read as the type of the key's default; a list is separated by commas.
    pub fn text(&mut self, key: &str, text: &str, origin: &str) -> Result<(), ConfigError> {
        let (tables, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut self.tree;
        for name in tables.split('.').filter(|name| !name.is_empty()) {
            let known = known_keys(table);
            match table.get_mut(name) {
                Some(Value::Table(inner)) => table = inner,
                _ => return Err(unknown(key, origin, &known)),
            }
        }
        let known = known_keys(table);
        match table.get_mut(name) {
            Some(place) if !place.is_table() => {
                *place = parse(place, text).ok_or_else(|| ConfigError::Type {
                    key: key.to_owned(),
                    origin: origin.to_owned(),
                    expected: type_name(place),
                    found: format!("{text:?}"),
                })?;
                Ok(())
            }
            _ => Err(unknown(key, origin, &known)),
        }
    }

    /// The merged tree, typed.
    pub fn build<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        self.tree
            .try_into()
            .map_err(|e| ConfigError::Value(e.to_string().trim().replace('\n', " ")))
    }
}

/// The tree as TOML, with every value.
///
/// # Errors
/// When `tree` is not a tree that TOML can express.
pub fn dump(tree: &impl Serialize) -> Result<String, ConfigError> {
    toml::to_string_pretty(tree).map_err(|e| ConfigError::Value(e.to_string()))
}

fn merge(tree: &mut Table, overlay: Table, path: &str, origin: &str) -> Result<(), ConfigError> {
    for (name, value) in overlay {
        let key = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let known = known_keys(tree);
        let Some(place) = tree.get_mut(&name) else {
            return Err(unknown(&key, origin, &known));
        };
        match (place, value) {
            (Value::Table(inner), Value::Table(overlay)) => merge(inner, overlay, &key, origin)?,
            (Value::Float(place), Value::Integer(value)) => *place = value as f64,
            (place, value) if place.same_type(&value) => *place = value,
            (place, value) => {
                return Err(ConfigError::Type {
                    key,
                    origin: origin.to_owned(),
                    expected: type_name(place),
                    found: type_name(&value).to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn parse(default: &Value, text: &str) -> Option<Value> {
    match default {
        Value::String(_) => Some(Value::String(text.to_owned())),
        Value::Integer(_) => text.trim().replace('_', "").parse().ok().map(Value::Integer),
        Value::Float(_) => text.trim().parse().ok().map(Value::Float),
        Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
        Value::Array(_) => Some(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        )),
        Value::Table(_) | Value::Datetime(_) => None,
    }
}

fn is_service_link(name: &str) -> bool {
    name.starts_with("SERVICE_") || name == "PORT" || name.starts_with("PORT_")
}

fn known_keys(table: &Table) -> String {
    table.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn unknown(key: &str, origin: &str, known: &str) -> ConfigError {
    ConfigError::Unknown {
        key: key.to_owned(),
        origin: origin.to_owned(),
        hint: if known.is_empty() {
            String::new()
        } else {
            format!("; there are: {known}")
        },
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
