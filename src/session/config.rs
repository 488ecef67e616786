//! Session sealing, as written in `gateway.yaml`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::secret::SecretSource;

/// The keys that seal session ids.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Keys of 32 bytes in base64; the first seals, all open. Replicas must share them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<SecretSource>,
    /// Where a key is created once when none is configured, mode 0600.
    pub state_directory: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: vec![],
            state_directory: PathBuf::from("/var/lib/mcp-gateway"),
        }
    }
}
