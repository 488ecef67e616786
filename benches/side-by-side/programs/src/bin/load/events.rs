//! Event streams: what they cost while open, and how long an event is on its way.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, stdin},
    task::JoinSet,
};

use crate::{Failure, carrier::Dialer, http1::Client, plan::Streams, report::Report};

/// What the streams share.
#[derive(Default)]
struct Shared {
    open: Cell<usize>,
    measuring: Cell<bool>,
}

/// Opens the streams, prints `{"open": …}` when each has had an event, and measures from the next
/// line of standard input on.
pub(crate) async fn run(plan: Streams) -> Result<Value, Failure> {
    let dialer = Dialer::new(&plan.target, false)?;
    let script = plan.target.bytes()?;
    let request = script.first().ok_or("no request")?;
    let shared = Rc::new(Shared::default());
    let report = Rc::new(RefCell::new(Report::new()));
    let mut streams = JoinSet::new();
    for _ in 0..plan.connections {
        let mut client = Client::new(dialer.connect().await?.carrier);
        client.send(request).await?;
        let status = client.line().await?;
        if !status.starts_with(b"HTTP/1.1 200") {
            let status = String::from_utf8_lossy(&status);
            return Err(format!("expected 200, found `{}`", status.trim_end()).into());
        }
        let (shared, report) = (Rc::clone(&shared), Rc::clone(&report));
        streams.spawn_local(stream(client, shared, report, plan.events));
    }
    while shared.open.get() < plan.connections {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("{}", json!({"open": plan.connections}));
    BufReader::new(stdin())
        .read_line(&mut String::new())
        .await?;
    *report.borrow_mut() = Report::new();
    shared.measuring.set(true);
    while let Some(ended) = streams.join_next().await {
        ended??;
    }
    let report = Rc::into_inner(report).ok_or("a stream is still at work")?;
    Ok(report.into_inner().tell())
}

async fn stream(
    mut client: Client,
    shared: Rc<Shared>,
    report: Rc<RefCell<Report>>,
    events: usize,
) -> Result<(), Failure> {
    let mut measured = 0;
    let mut opened = false;
    while measured < events {
        let Some(sent) = sent_at(&client.line().await?) else {
            continue;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        if !opened {
            opened = true;
            shared.open.set(shared.open.get() + 1);
        }
        if shared.measuring.get() {
            measured += 1;
            report.borrow_mut().answered(200, now.saturating_sub(sent));
        }
    }
    Ok(())
}

/// Reads when an event was sent, out of its line.
fn sent_at(line: &[u8]) -> Option<Duration> {
    let line = std::str::from_utf8(line).ok()?;
    let (_, rest) = line.split_once("\"at\":")?;
    let (digits, _) = rest.split_once('}')?;
    digits.parse().ok().map(Duration::from_nanos)
}
