//! Connections that have asked once and now stay, for measuring what they cost.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, stdin};

use crate::{Failure, carrier::Dialer, http1::Client, plan::Hold};

/// Opens them all, prints `{"open": …}`, and waits for the end of standard input.
pub(crate) async fn run(plan: Hold) -> Result<Value, Failure> {
    let dialer = Dialer::new(&plan.target, false)?;
    let script = plan.target.bytes()?;
    let request = script.first().ok_or("no request")?;
    let mut held = vec![];
    for _ in 0..plan.connections {
        let mut client = Client::new(dialer.connect().await?.carrier);
        let status = client.exchange(request).await?;
        if status != 200 {
            return Err(format!("expected 200, found {status}").into());
        }
        held.push(client);
    }
    println!("{}", json!({"open": held.len()}));
    stdin().read_to_end(&mut vec![]).await?;
    Ok(json!({"held": held.len()}))
}
