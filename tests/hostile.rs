//! Clients that mean harm, in a bounded form: while each of them is at work, somebody else's health
//! request is answered in time, and afterwards everything that they took is given back.
//!
//! One test, alone in its process: it counts the descriptors and the memory of all of it.

#[cfg(test)]
#[path = "ingress/world.rs"]
#[allow(
    dead_code,
    reason = "each test binary uses another part of the world it shares"
)]
mod world;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        time::{Duration, Instant},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinSet,
        time::{sleep, timeout},
    };

    use crate::world::{Edge, PATIENCE, ask, until};

    /// Times that attacks run into, short so that the test is.
    const LIMITS: &str = "limits: { handshake_timeout: 2s, head_timeout: 2s, idle_timeout: 2s, write_timeout: 2s, body_grace: 2s }";
    /// What a debug build on a busy machine can promise.
    const SLOWEST: Duration = Duration::from_millis(500);
    /// Memory that may stay with the allocator after an attack, in KiB.
    const KEPT: usize = 64 * 1024;

    const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    fn descriptors() -> usize {
        fs::read_dir("/proc/self/fd").unwrap().count()
    }

    /// Resident memory in KiB.
    fn memory() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Asks for health on new connections until the attack is over; returns the 95th percentile.
    async fn bystander(edge: &Edge, attack: JoinSet<()>) -> (Duration, usize) {
        let mut times = vec![];
        let mut attack = tokio::spawn(attack.join_all());
        let mut over = false;
        while !over || times.len() < 40 {
            let begun = Instant::now();
            let answer = edge.ask(HEALTH).await;
            assert_eq!(answer.status, Some(200));
            times.push(begun.elapsed());
            if over {
                continue;
            }
            if let Ok(ended) = timeout(Duration::from_millis(10), &mut attack).await {
                ended.unwrap();
                over = true;
            }
        }
        times.sort();
        (times[times.len() * 95 / 100], times.len())
    }

    /// Reads until the other side closes, and panics when it does not.
    async fn closed(stream: &mut TcpStream) {
        let mut rest = vec![];
        let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "the gateway should have closed");
    }

    async fn dribble(mut stream: TcpStream, start: &[u8]) {
        if stream.write_all(start).await.is_err() {
            return;
        }
        let (mut read, mut write) = stream.split();
        let mut rest = vec![];
        let drip = async {
            while write.write_all(b"a").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let end = async {
            tokio::select! {
                _ = read.read_to_end(&mut rest) => {}
                () = drip => {}
            }
        };
        timeout(PATIENCE, end).await.expect("cut in time");
    }

    /// The attacks by name, each as so many clients.
    async fn attack(name: &str, edge: &Edge) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        let count = match name {
            "idle over TLS" => 500,
            // Each fills the buffers of the kernel.
            "slow readers" | "resets" => 20,
            _ => 100,
        };
        for _ in 0..count {
            let mut stream = edge.connect().await;
            match name {
                "silence" => clients.spawn(async move { closed(&mut stream).await }),
                "slow heads" => clients.spawn(dribble(stream, b"GET / HTTP/1.1\r\nHost: a\r\nA: ")),
                "slow bodies" => clients.spawn(dribble(
                    stream,
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
                )),
                "slow readers" => clients.spawn(async move {
                    let get = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
                    stream.write_all(get).await.unwrap();
                    // Not a byte is taken for longer than the gateway waits.
                    sleep(Duration::from_secs(4)).await;
                    closed(&mut stream).await;
                }),
                "header bombs" => clients.spawn(async move {
                    let bomb = vec![b'a'; 1 << 20];
                    let _ = stream.write_all(b"GET / HTTP/1.1\r\nA: ").await;
                    let _ = stream.write_all(&bomb).await;
                    closed(&mut stream).await;
                }),
                "resets" => clients.spawn(async move {
                    let _ = stream
                        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
                        .await;
                    // Closing over an unread answer resets the connection.
                    let _ = stream.read(&mut [0; 1]).await;
                }),
                _ => {
                    let mut tls = edge.handshake(stream, "http/1.1").await.unwrap();
                    clients.spawn(async move {
                        let mut rest = vec![];
                        let read = timeout(PATIENCE, tls.read_to_end(&mut rest)).await;
                        assert!(read.is_ok(), "the gateway should have closed");
                    })
                }
            };
        }
        clients
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_can_take_the_gateway_from_the_others() {
        let plain = Edge::start("", LIMITS).await;
        let tls = Edge::start("TLS", LIMITS).await;
        // What is allocated once is allocated now.
        assert_eq!(plain.ask(HEALTH).await.status, Some(200));
        let mut stream = tls.connect_tls("http/1.1").await;
        assert_eq!(ask(&mut stream, HEALTH).await.status, Some(200));
        drop(stream);
        until("nobody is connected", || tls.connections() == 0).await;
        let (fds, before) = (descriptors(), memory());
        for name in [
            "silence",
            "slow heads",
            "slow bodies",
            "slow readers",
            "header bombs",
            "resets",
            "idle over TLS",
        ] {
            let edge = if name == "idle over TLS" {
                &tls
            } else {
                &plain
            };
            let clients = attack(name, edge).await;
            let count = clients.len();
            let (slow, asked) = bystander(&plain, clients).await;
            until("everybody is gone", || {
                plain.connections() + tls.connections() == 0 && descriptors() <= fds + 10
            })
            .await;
            let kept = memory().saturating_sub(before);
            println!("{name}: {count} clients, {asked} bystanders, p95 {slow:?}, {kept} KiB kept");
            assert!(slow < SLOWEST, "{name}: {slow:?}");
            assert!(kept < KEPT, "{name}: {kept} KiB kept");
        }
        assert!(plain.refusals("head_timeout") >= 100);
        assert_eq!(plain.refusals("head_too_large"), 100);
    }
}
