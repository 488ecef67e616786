//! Stand-ins for Entra ID and ToolHive, as exacting as the real ones.
