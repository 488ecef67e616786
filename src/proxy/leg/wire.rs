//! An upstream connection that knows how many bytes it brought.
//!
//! It travels through Pingora's HTTP session and through its pool like any connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::io::{leave_to_io, leave_writing_to_io};

/// A connection and the bytes read from it so far.
#[derive(Debug)]
pub(super) struct Wire {
    io: Stream,
    received: u64,
}

impl Wire {
    /// Starts counting.
    pub(super) fn new(io: Stream) -> Self {
        Self { io, received: 0 }
    }

    /// Returns how many bytes a stream brought; 0 when it is no `Wire`.
    pub(super) fn received(stream: &Stream) -> u64 {
        stream
            .as_any()
            .downcast_ref::<Self>()
            .map_or(0, |wire| wire.received)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.received += (buf.filled().len() - before) as u64;
        polled
    }
}

leave_writing_to_io!(Wire);
leave_to_io!(Wire);
