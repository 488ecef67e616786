//! The client of a run: sends what it is told, and prints what came back as one line of JSON.
//!
//! `load PLAN`, where the plan is JSON, see [`plan::Plan`]. One thread. It works in a closed loop:
//! a connection sends its next request when the answer to the last one is complete. Anything
//! unexpected, such as a connection that ends, fails the whole run rather than a part of it.

use std::{error::Error, process::ExitCode};

use tokio::task::LocalSet;

mod carrier;
mod events;
mod handshakes;
mod hold;
mod http1;
mod http2;
mod plan;
mod report;
mod requests;

use plan::Plan;

/// What ends a run.
type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    match run() {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<serde_json::Value, Failure> {
    let text = std::env::args().nth(1).ok_or("expected a plan")?;
    let plan: Plan = serde_json::from_str(&text)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        match plan {
            Plan::Requests(plan) => requests::run(plan).await,
            Plan::Handshakes(plan) => handshakes::run(plan).await,
            Plan::Hold(plan) => hold::run(plan).await,
            Plan::Events(plan) => events::run(plan).await,
        }
    })
}
