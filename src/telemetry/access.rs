//! The access log: one JSON line per request, written by a thread of its own.
//!
//! A line holds the path and never the query, no header, no body: nothing that could be a token, a
//! code or a cookie. A destination that does not keep up loses lines, which are counted; requests
//! never wait for it.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::seldom::SILENCE;

/// Lines that may wait for the writer.
const QUEUE: usize = 16 * 1024;
/// How long lines are collected: a writer that waited for each would be woken by each, which costs
/// the request more than its line does.
const COLLECT: Duration = Duration::from_millis(20);
/// The most bytes written at once.
const BATCH: usize = 256 * 1024;

/// What is known of one request when it ends.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When it arrived, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The id that the upstream got as `X-Request-Id`.
    pub request_id: &'a str,
    /// The client's address.
    pub client: std::net::IpAddr,
    /// The request's method.
    pub method: &'a str,
    /// The request's path, cut at 256 bytes; never its query.
    pub path: &'a str,
    /// The route that took it, as configured; empty when none did.
    pub route: &'a str,
    /// The status of the answer; 0 when the client left before there was one.
    pub status: u16,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Bytes of the request body.
    pub received: usize,
    /// Bytes of the response body.
    pub sent: usize,
    /// Who called: the object id of the user, else the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<&'a str>,
    /// The backend that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<&'a str>,
    /// Why it was refused or failed, one of a closed set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// Where lines go in.
#[derive(Clone, Debug)]
pub struct Log {
    writer: Option<Arc<Writer>>,
}

/// The thread that writes, which ends with the last [`Log`], everything written.
#[derive(Debug)]
struct Writer {
    /// Missing only while it ends.
    lines: Option<SyncSender<Vec<u8>>>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.lines.take());
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl Log {
    /// Starts the writer.
    #[must_use]
    pub fn to(destination: Box<dyn Write + Send>) -> Self {
        let (lines, queue) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(&queue, destination, &counted));
        match thread {
            Ok(thread) => Self {
                writer: Some(Arc::new(Writer {
                    lines: Some(lines),
                    lost,
                    thread: Some(thread),
                })),
            },
            Err(error) => {
                log::error!(error:%; "the access log cannot be written: no thread");
                Self::off()
            }
        }
    }

    /// Writes nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { writer: None }
    }

    /// Queues a line, or counts it as lost when the queue is full.
    pub fn record(&self, line: &Line<'_>) {
        let Some(writer) = self.writer.as_deref() else {
            return;
        };
        let Some(lines) = &writer.lines else { return };
        let mut text = Vec::with_capacity(384);
        // Writing numbers and strings to memory cannot fail.
        if serde_json::to_writer(&mut text, line).is_err() {
            return;
        }
        text.push(b'\n');
        if let Err(TrySendError::Full(_)) = lines.try_send(text) {
            writer.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(queue: &Receiver<Vec<u8>>, mut destination: Box<dyn Write + Send>, lost: &AtomicU64) {
    let mut told: Option<Instant> = None;
    while let Ok(line) = queue.recv() {
        thread::sleep(COLLECT);
        let mut batch = line;
        while let Ok(line) = queue.try_recv() {
            batch.extend_from_slice(&line);
            if batch.len() > BATCH {
                break;
            }
        }
        let written = destination
            .write_all(&batch)
            .and_then(|()| destination.flush());
        if let Err(error) = written {
            log::error!(error:%; "the access log cannot be written");
            return;
        }
        // A count of its own, which says more than how many messages were left out.
        if told.is_none_or(|at| at.elapsed() >= SILENCE) && report(lost) {
            told = Some(Instant::now());
        }
    }
    report(lost);
}

/// Says how many lines were lost since it was said last; false when none were.
fn report(lost: &AtomicU64) -> bool {
    let lost = lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        log::warn!(lost; "access lines were lost: the destination is too slow");
    }
    lost > 0
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    struct Capture(std::sync::mpsc::Sender<Vec<u8>>);

    impl Write for Capture {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const LINE: Line<'_> = Line {
        time: 1,
        request_id: "r",
        client: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        method: "GET",
        path: "/a\"b",
        route: "/a",
        status: 200,
        duration_us: 5,
        received: 0,
        sent: 2,
        user: None,
        backend: None,
        reason: None,
    };

    #[test]
    fn writes_one_json_object_per_line() {
        let (sender, written) = channel();
        let log = Log::to(Box::new(Capture(sender)));
        log.record(&LINE);
        let line = written.recv().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["path"], "/a\"b");
        assert!(value.get("user").is_none());
        assert!(line.ends_with(b"\n"));
    }

    #[test]
    fn writes_everything_before_it_ends() {
        let (sender, written) = channel();
        let log = Log::to(Box::new(Capture(sender)));
        for _ in 0..1000 {
            log.record(&LINE);
        }
        drop(log);
        let text: Vec<u8> = written.try_iter().flatten().collect();
        assert_eq!(String::from_utf8(text).unwrap().lines().count(), 1000);
    }
}
