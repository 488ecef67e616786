//! What people reported about MCP clients and Entra ID: each shown against Entra alone, then cured.
//!
//! The number in a test's name is that of the trouble in the table of the documentation; its doc
//! comment names the setting that cures it.

mod redirects;
