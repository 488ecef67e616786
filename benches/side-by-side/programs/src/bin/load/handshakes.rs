//! A connection for each request, by clients that may come back with their session.

use std::{cell::RefCell, rc::Rc, time::Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::{Failure, carrier::Dialer, http1::Client, plan::Handshakes, report::Report};

pub(crate) async fn run(plan: Handshakes) -> Result<Value, Failure> {
    let report = Rc::new(RefCell::new(Report::new()));
    let script = plan.target.bytes()?;
    let request = Rc::new(script.into_iter().next().ok_or("no request")?);
    let each = plan.requests / plan.connections.max(1);
    let mut clients = JoinSet::new();
    for _ in 0..plan.connections {
        let dialer = Dialer::new(&plan.target, plan.resume)?;
        clients.spawn_local(come_again(
            dialer,
            Rc::clone(&report),
            Rc::clone(&request),
            each,
        ));
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let report = Rc::into_inner(report).ok_or("a client is still at work")?;
    Ok(report.into_inner().tell())
}

async fn come_again(
    dialer: Dialer,
    report: Rc<RefCell<Report>>,
    request: Rc<Vec<u8>>,
    times: usize,
) -> Result<(), Failure> {
    for _ in 0..times {
        let began = Instant::now();
        let connection = dialer.connect().await?;
        // The tickets of TLS 1.3 come with the answer.
        let status = Client::new(connection.carrier).exchange(&request).await?;
        let mut report = report.borrow_mut();
        report.shook_hands(connection.resumed);
        report.answered(status, began.elapsed());
    }
    Ok(())
}
