//! When the system's files run out.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::gateway::{Gateway, alone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_without_files_waits_and_serves_again() {
    let _alone = alone().await;
    // More connections than files, which the operator was told.
    let limits = "{ connections: 4096, connections_per_address: 4096, head_timeout: 5m }";
    let gateway = Gateway::with_files(200, limits).await;
    gateway.health();
    let mut open = vec![];
    for _ in 0..400 {
        open.push(gateway.connect().await);
    }
    while gateway.descriptors() < 200 {
        sleep(Duration::from_millis(10)).await;
    }
    // Accepting fails now, and would fail again at once.
    let (begun, cpu) = (Instant::now(), gateway.cpu());
    sleep(Duration::from_secs(3)).await;
    let (spent, elapsed) = (gateway.cpu_since(cpu), begun.elapsed());
    println!("out of files: {spent:?} of CPU time in {elapsed:?}");
    assert!(spent < elapsed / 4, "{spent:?} in {elapsed:?}");
    drop(open);
    assert!(gateway.health() < Duration::from_secs(10));
}
