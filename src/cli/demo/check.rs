//! `demo --check`.

use super::system::System;

pub(super) async fn run(_system: &System) -> Result<(), String> {
    Ok(())
}
