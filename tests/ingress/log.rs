//! Everything that is logged in this process, whichever test caused it.
//!
//! The gateway's own messages are kept at every level; Pingora's from `info` up, since its debug
//! output is bytes of the wire.

use std::{
    fmt::Write,
    sync::{Mutex, Once},
};

use log::{Level, LevelFilter, Log, Metadata, Record, kv};

static CAPTURE: Capture = Capture(Mutex::new(String::new()));

struct Capture(Mutex<String>);

/// Starts to keep what is logged.
pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&CAPTURE).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

/// Everything that was logged so far.
pub(crate) fn text() -> String {
    CAPTURE.0.lock().unwrap().clone()
}

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let (target, level) = (metadata.target(), metadata.level());
        target.starts_with("mcp_gateway") || target.starts_with("pingora") && level <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut text = self.0.lock().unwrap();
        write!(
            text,
            "{} {} {}",
            record.level(),
            record.target(),
            record.args()
        )
        .unwrap();
        record.key_values().visit(&mut Fields(&mut text)).unwrap();
        text.push('\n');
    }

    fn flush(&self) {}
}

struct Fields<'a>(&'a mut String);

impl<'kvs> kv::VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        write!(self.0, " {key}={value}").map_err(kv::Error::from)
    }
}
