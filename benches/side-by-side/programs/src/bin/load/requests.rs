//! Requests on connections that stay, taken in turn from the script.

use std::{cell::RefCell, rc::Rc, time::Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    Failure,
    carrier::Dialer,
    http1,
    http2::{self, Prepared},
    plan::{Loop, Protocol},
    report::Report,
};

/// What the connections share.
struct Run {
    requests: usize,
    taken: RefCell<usize>,
    report: RefCell<Report>,
}

impl Run {
    /// Takes the number of the next request, until all are taken.
    fn next(&self) -> Option<usize> {
        let mut taken = self.taken.borrow_mut();
        (*taken < self.requests).then(|| {
            *taken += 1;
            *taken - 1
        })
    }
}

pub(crate) async fn run(plan: Loop) -> Result<Value, Failure> {
    let run = Rc::new(Run {
        requests: plan.requests,
        taken: RefCell::new(0),
        report: RefCell::new(Report::new()),
    });
    let dialer = Dialer::new(&plan.target, false)?;
    let mut connections = JoinSet::new();
    if plan.target.protocol == Protocol::Https2 {
        let script: Result<Vec<Prepared>, Failure> =
            plan.target.script()?.iter().map(Prepared::new).collect();
        let script = Rc::new(script?);
        for _ in 0..plan.connections {
            let client = http2::Client::new(dialer.connect().await?.carrier).await?;
            connections.spawn_local(over_http2(client, Rc::clone(&run), Rc::clone(&script)));
        }
    } else {
        let script = Rc::new(plan.target.bytes()?);
        for _ in 0..plan.connections {
            let client = http1::Client::new(dialer.connect().await?.carrier);
            connections.spawn_local(over_http1(client, Rc::clone(&run), Rc::clone(&script)));
        }
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    let run = Rc::into_inner(run).ok_or("a connection is still at work")?;
    Ok(run.report.into_inner().tell())
}

async fn over_http1(
    mut client: http1::Client,
    run: Rc<Run>,
    script: Rc<Vec<Vec<u8>>>,
) -> Result<(), Failure> {
    while let Some(number) = run.next() {
        let request = script.get(number % script.len()).ok_or("no request")?;
        let sent = Instant::now();
        let status = client.exchange(request).await?;
        run.report.borrow_mut().answered(status, sent.elapsed());
        if number + 1 == run.requests {
            run.report.borrow_mut().show(client.last()?);
        }
    }
    Ok(())
}

async fn over_http2(
    mut client: http2::Client,
    run: Rc<Run>,
    script: Rc<Vec<Prepared>>,
) -> Result<(), Failure> {
    while let Some(number) = run.next() {
        let request = script.get(number % script.len()).ok_or("no request")?;
        let sent = Instant::now();
        let status = client.exchange(request).await?;
        run.report.borrow_mut().answered(status, sent.elapsed());
        if number + 1 == run.requests {
            run.report.borrow_mut().show(client.last()?);
        }
    }
    Ok(())
}
