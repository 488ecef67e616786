//! While each attack runs, somebody else's health request is answered in time; afterwards
//! everything that the attackers took is given back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    gateway::{Gateway, alone},
    http2::{self, DATA, END_HEADERS, END_STREAM, HEADERS, Method, PING, RST_STREAM, frame},
    world::PATIENCE,
};

/// Times that attacks run into, short so that the test is.
const LIMITS: &str = "{ handshake_timeout: 2s, head_timeout: 2s, idle_timeout: 2s, write_timeout: 2s, body_grace: 2s, connections_per_address: 4096 }";
/// Long enough for all connections to be open at once, however slow the machine.
const PATIENT: &str = "{ head_timeout: 5m, idle_timeout: 5m, connections_per_address: 4096 }";
/// What a bystander waits at most, at the 95th percentile.
const SLOWEST: Duration = Duration::from_millis(100);
/// How much slower than without the attack that may be where the machine itself is slow.
const SLOWDOWN: u32 = 10;
/// How often an attack is measured before it counts as harmful: others use this machine, too.
const ATTEMPTS: usize = 3;
/// For how long clients come again where one is over at once.
const SUSTAINED: Duration = Duration::from_secs(3);
/// How long they wait in between: what the clients themselves take of the machine is missing to the
/// bystander, too.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the gateway may take to give everything back.
const GIVEN_BACK: Duration = Duration::from_secs(10);
/// Memory that may stay with the allocator after an attack, in KiB.
const KEPT: usize = 64 * 1024;
/// The same after many idle connections: how much goes back to the system is the allocator's to
/// say. It must serve the next ones.
const KEPT_IDLE: usize = 96 * 1024;
/// How much more may be kept when the same is done once more.
const KEPT_MORE: usize = 16 * 1024;
/// Descriptors that may stay: connections to the upstream that wait for work.
const KEPT_DESCRIPTORS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    Silence,
    SlowHeads,
    SlowBodies,
    SlowReaders,
    IdleTls,
    Resets,
    RapidResets,
    EmptyFrames,
    Pings,
    HeaderBombs,
    CompressedBombs,
}

impl Attack {
    const ALL: [Self; 11] = [
        Self::Silence,
        Self::SlowHeads,
        Self::SlowBodies,
        Self::SlowReaders,
        Self::IdleTls,
        Self::Resets,
        Self::RapidResets,
        Self::EmptyFrames,
        Self::Pings,
        Self::HeaderBombs,
        Self::CompressedBombs,
    ];

    const fn clients(self) -> usize {
        match self {
            Self::IdleTls => 2000,
            Self::Silence | Self::SlowHeads | Self::SlowBodies => 100,
            // Each fills the buffers of the kernel, or keeps a processor busy.
            _ => 20,
        }
    }

    const fn kept(self) -> usize {
        match self {
            Self::IdleTls => KEPT_IDLE,
            _ => KEPT,
        }
    }

    const fn limits(self) -> &'static str {
        match self {
            Self::IdleTls => PATIENT,
            _ => LIMITS,
        }
    }

    /// Whether one client is over at once, and comes again.
    const fn is_short(self) -> bool {
        matches!(
            self,
            Self::Resets
                | Self::RapidResets
                | Self::EmptyFrames
                | Self::Pings
                | Self::HeaderBombs
                | Self::CompressedBombs
        )
    }

    /// What the gateway counts, once for each client; some it only closes, and of HTTP/2 the
    /// library below it may be first.
    const fn refused(self) -> Option<&'static str> {
        match self {
            Self::SlowHeads => Some("head_timeout"),
            Self::HeaderBombs => Some("head_too_large"),
            Self::Pings => Some("http2_frames"),
            _ => None,
        }
    }

    /// Plays one client to its end; panics when the gateway does not end it.
    async fn client(self, gateway: Arc<Gateway>) {
        match self {
            Self::Silence => closed(gateway.connect().await).await,
            Self::SlowHeads => {
                dribble(&gateway, b"GET / HTTP/1.1\r\nHost: a\r\nA: ").await;
            }
            Self::SlowBodies => {
                let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
                dribble(&gateway, head).await;
            }
            Self::SlowReaders => {
                let mut stream = gateway.connect().await;
                let get = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
                stream.write_all(get).await.unwrap();
                // Not a byte is taken for longer than the gateway waits.
                sleep(Duration::from_secs(4)).await;
                closed(stream).await;
            }
            Self::Resets => {
                let mut stream = gateway.connect().await;
                let get = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
                stream.write_all(get).await.unwrap();
                // Closing over an unread answer resets the connection.
                let _ = stream.read(&mut [0; 1]).await;
            }
            Self::HeaderBombs => {
                let mut bomb = b"GET / HTTP/1.1\r\nA: ".to_vec();
                bomb.resize(1 << 20, b'a');
                flood(gateway.connect().await, bomb).await;
            }
            Self::IdleTls => unreachable!("they are held open together"),
            Self::RapidResets | Self::EmptyFrames | Self::Pings | Self::CompressedBombs => {
                flood(gateway.connect_tls("h2").await, self.frames()).await;
            }
        }
    }

    fn frames(self) -> Vec<u8> {
        let mut bytes = http2::preface();
        let get = http2::request(Method::Get, "/never");
        match self {
            Self::RapidResets => {
                for stream in (1..20_000).step_by(2) {
                    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &get));
                    // CANCEL.
                    bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
                }
            }
            Self::EmptyFrames => {
                let post = http2::request(Method::Post, "/never");
                bytes.extend(frame(HEADERS, END_HEADERS, 1, &post));
                bytes.extend(frame(DATA, 0, 1, &[]).repeat(20_000));
            }
            Self::Pings => bytes.extend(frame(PING, 0, 0, &[0; 8]).repeat(20_000)),
            _ => {
                let bomb = http2::bomb();
                for stream in (1..200).step_by(2) {
                    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &bomb));
                }
            }
        }
        bytes
    }
}

/// Reads until the other side closes, and panics when it does not.
async fn closed(mut stream: impl AsyncRead + Unpin) {
    let mut nowhere = tokio::io::sink();
    let read = tokio::io::copy(&mut stream, &mut nowhere);
    let ended = timeout(PATIENCE, read).await;
    assert!(ended.is_ok(), "the gateway should have closed");
}

/// Sends everything that the gateway takes, and reads what it says meanwhile.
async fn flood(stream: impl AsyncRead + AsyncWrite + Unpin, bytes: Vec<u8>) {
    let (read, mut write) = tokio::io::split(stream);
    let write = async {
        // It may have had enough before.
        let _ = write.write_all(&bytes).await;
        let _ = write.flush().await;
    };
    tokio::join!(write, closed(read));
}

async fn dribble(gateway: &Gateway, start: &[u8]) {
    let mut stream = gateway.connect().await;
    if stream.write_all(start).await.is_err() {
        return;
    }
    let (read, mut write) = stream.split();
    let drip = async {
        while write.write_all(b"a").await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = closed(read) => {}
        () = drip => {}
    }
}

/// Holds connections open, all at once, for as long as bystanders take to be measured.
async fn hold_idle(gateway: &Arc<Gateway>, count: usize) {
    const AT_ONCE: usize = 4;
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let gateway = Arc::clone(gateway);
        tasks.spawn(async move {
            let mut open = vec![];
            for _ in 0..count / AT_ONCE {
                open.push(gateway.connect_tls("http/1.1").await);
            }
            open
        });
    }
    let open: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(open.len(), count);
    assert!(gateway.connections() >= count);
    sleep(Duration::from_secs(2)).await;
}

/// Asks for health until told to stop, at least 40 times; returns the 95th percentile and how many
/// were asked. A thread of its own, which the clients' runtime cannot keep waiting.
fn bystander(gateway: &Gateway, stop: &AtomicBool) -> (Duration, usize) {
    let mut times = vec![];
    while times.len() < 40 || !stop.load(Ordering::Relaxed) {
        times.push(gateway.health());
        thread::sleep(Duration::from_millis(10));
    }
    times.sort();
    (times[times.len() * 95 / 100], times.len())
}

/// Waits until a condition holds; returns how long that took, or `None` when it does not in time.
async fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > limit {
            return None;
        }
        sleep(Duration::from_millis(50)).await;
    }
    Some(begun.elapsed())
}

/// Runs an attack once on a gateway of its own. Returns what was too slow for a bystander; everything
/// else that is wrong is a panic, since no other program on the machine can be its cause.
async fn measure(attack: Attack) -> Result<(), String> {
    let gateway = Arc::new(Gateway::start(attack.limits()).await);
    // What is allocated once is allocated now.
    let _ = gateway.connect_tls("http/1.1").await;
    let (usual, _) = bystander(&gateway, &AtomicBool::new(true));
    within(PATIENCE, || gateway.connections() == 0)
        .await
        .expect("nobody is connected");
    let (files, memory) = (gateway.descriptors(), gateway.memory());

    let over = Arc::new(AtomicBool::new(false));
    let watch = {
        let (gateway, over) = (Arc::clone(&gateway), Arc::clone(&over));
        thread::spawn(move || bystander(&gateway, &over))
    };
    let mut peak = (0, 0);
    let mut played = attack.clients();
    let clients = async {
        if attack == Attack::IdleTls {
            hold_idle(&gateway, attack.clients()).await;
            return;
        }
        let mut clients = JoinSet::new();
        for _ in 0..attack.clients() {
            let gateway = Arc::clone(&gateway);
            clients.spawn(async move {
                let begun = Instant::now();
                let mut times = 0;
                while times == 0 || attack.is_short() && begun.elapsed() < SUSTAINED {
                    attack.client(Arc::clone(&gateway)).await;
                    times += 1;
                    sleep(PAUSE).await;
                }
                times
            });
        }
        played = clients.join_all().await.into_iter().sum();
    };
    let mut clients = Box::pin(clients);
    while timeout(Duration::from_millis(50), &mut clients)
        .await
        .is_err()
    {
        peak.0 = peak.0.max(gateway.memory());
        peak.1 = peak.1.max(gateway.descriptors());
    }
    drop(clients);
    over.store(true, Ordering::Relaxed);
    let (slow, asked) = tokio::task::spawn_blocking(|| watch.join().unwrap())
        .await
        .unwrap();

    let back = within(GIVEN_BACK, || {
        gateway.connections() == 0
            && gateway.descriptors() <= files + KEPT_DESCRIPTORS
            && gateway.memory() <= memory + attack.kept()
    })
    .await;
    println!(
        "{attack:?}: {} clients, {played} times; {asked} bystanders, p95 {slow:?} ({usual:?} without); memory {memory} KiB, at most {}, then {}; descriptors {files}, at most {}, then {}; given back after {back:?}",
        attack.clients(),
        peak.0,
        gateway.memory(),
        peak.1,
        gateway.descriptors(),
    );
    assert!(back.is_some(), "{attack:?}: not given back in time");
    if attack == Attack::IdleTls {
        let kept = gateway.memory();
        hold_idle(&gateway, attack.clients()).await;
        let more = gateway.memory().saturating_sub(kept);
        println!("{attack:?}: once more takes {more} KiB more");
        assert!(more <= KEPT_MORE, "{attack:?}: {more} KiB");
    }
    if let Some(reason) = attack.refused() {
        assert_eq!(gateway.refusals(reason), played, "{attack:?}");
    }
    if slow < SLOWEST.max(usual * SLOWDOWN) {
        Ok(())
    } else {
        Err(format!("{attack:?}: p95 {slow:?}, {usual:?} without"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_can_take_the_gateway_from_the_others() {
    let _alone = alone().await;
    for attack in Attack::ALL {
        let mut slow = vec![];
        while slow.len() < ATTEMPTS {
            match measure(attack).await {
                Ok(()) => break,
                Err(what) => slow.push(what),
            }
        }
        assert!(slow.len() < ATTEMPTS, "{slow:?}");
    }
}
