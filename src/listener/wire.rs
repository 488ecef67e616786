//! A client connection that knows where each request ends.
//!
//! Heads are read from it into a buffer of its own; the bytes of the body then pass through to
//! whoever serves the request, and not one of the request after it. A body that is not framed
//! exactly makes reading fail before the doubtful bytes are seen by anyone. Of an HTTP/2 connection,
//! whose requests the h2 library tells apart, only the frames are counted.
//!
//! It travels through Pingora's HTTP session and comes back from it when the connection is kept.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    ingress::{BodyScan, FrameScan, Framing, Refused},
    io::{leave_to_io, poll_piece},
};

/// How much of the requests after this one is held before the client has to wait.
const AHEAD_LIMIT: usize = 16 * 1024;

/// How much TLS may hold of what was written and not taken; its own limit is 64 KiB.
const WRITE_LIMIT: usize = 16 * 1024;

/// A client connection, between two requests or within one.
#[derive(Debug)]
pub(super) struct Wire {
    io: Stream,
    /// What was read and belongs to no request yet.
    ahead: BytesMut,
    body: BodyScan,
    /// What TLS may still hold of what was written. Missing on a plain connection, which holds nothing.
    unflushed: Option<usize>,
    /// Present on an HTTP/2 connection, which has no heads and bodies of its own.
    frames: Option<FrameScan>,
    refused: Option<Refused>,
    refusals: IntCounterVec,
}

impl Wire {
    /// Starts before the first request. Bodies that are refused are counted in `refusals`.
    pub(super) fn new(io: Stream, refusals: IntCounterVec) -> Self {
        Self {
            unflushed: io.get_ssl_digest().is_some().then_some(0),
            io,
            ahead: BytesMut::new(),
            body: BodyScan::new(Framing::Length(0)),
            frames: None,
            refused: None,
            refusals,
        }
    }

    /// Starts an HTTP/2 connection: its frames pass, and are counted. What is read ahead of them
    /// passes first.
    pub(super) fn http2(io: Stream, refusals: IntCounterVec) -> Self {
        Self {
            frames: Some(FrameScan::new(Instant::now())),
            ..Self::new(io, refusals)
        }
    }

    /// Returns the wire that a session gives back, when a request can follow on it.
    pub(super) fn back(stream: Stream) -> Option<Box<Self>> {
        let wire = stream.into_any().downcast::<Self>().ok()?;
        (wire.body.is_done() && wire.refused.is_none()).then_some(wire)
    }

    /// What was read of the next head and perhaps beyond.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Reads more of the next head; 0 when the client is done.
    pub(super) async fn read_ahead(&mut self) -> io::Result<usize> {
        let Self { io, ahead, .. } = self;
        poll_fn(|cx| {
            poll_piece(io, cx, |read| {
                ahead.extend_from_slice(read);
                read.len()
            })
        })
        .await
    }

    /// Begins a request whose head has `length` bytes; returns the head and what was read of its
    /// body.
    pub(super) fn begin(&mut self, length: usize, framing: Framing) -> Result<BytesMut, Refused> {
        self.body = BodyScan::new(framing);
        let body = self
            .body
            .scan(self.ahead.get(length..).unwrap_or_default())?;
        if length + body >= self.ahead.len() {
            // Not split: Pingora shares less with a buffer that is one piece.
            return Ok(std::mem::take(&mut self.ahead));
        }
        Ok(self.ahead.split_to(length + body))
    }

    /// Reads and forgets up to `limit` bytes, until the client is done.
    pub(super) async fn discard(&mut self, limit: usize) -> io::Result<()> {
        let mut read = 0;
        while read < limit {
            match poll_fn(|cx| poll_piece(&mut self.io, cx, <[u8]>::len)).await? {
                0 => break,
                n => read += n,
            }
        }
        Ok(())
    }

    /// Refuses the rest of the body.
    fn refuse(&mut self, refused: Refused) -> io::Error {
        self.refusals.with_label_values(&[refused.reason]).inc();
        self.refused = Some(refused);
        io::Error::new(io::ErrorKind::InvalidData, refused)
    }

    /// Waits for the client to leave while its request is worked on. What it sends meanwhile is
    /// kept, as far as there is room; then it is not read, and leaving is not noticed.
    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [MaybeUninit::uninit(); 1024];
        while self.ahead.len() < AHEAD_LIMIT {
            let mut buf = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(buf.filled());
        }
        Poll::Pending
    }

    /// Waits until TLS holds nothing, unless there is room for `length` more bytes beside what it
    /// holds; returns how many may be written.
    fn poll_room(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        match self.unflushed {
            None => return Poll::Ready(Ok(usize::MAX)),
            Some(unflushed) if unflushed == 0 || unflushed + length <= WRITE_LIMIT => {}
            Some(_) => ready!(Pin::new(&mut *self).poll_flush(cx))?,
        }
        Poll::Ready(Ok(WRITE_LIMIT))
    }

    fn wrote(&mut self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let (Some(unflushed), Ok(written)) = (&mut self.unflushed, &written) {
            *unflushed += written;
        }
        Poll::Ready(written)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(cx, buf.len()))?;
        let buf = buf.get(..room).unwrap_or(buf);
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf));
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        let room = ready!(self.poll_room(cx, all))?;
        // Twice, so that the head of a frame or chunk leaves with what it is about.
        let written = if all <= room.saturating_mul(2) {
            ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))
        } else {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            let first = first.map(|buf| buf.get(..room).unwrap_or(buf));
            ready!(Pin::new(&mut self.io).poll_write(cx, first.unwrap_or_default()))
        };
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        if let Some(unflushed) = &mut self.unflushed {
            *unflushed = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(refused) = self.refused {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refused)));
        }
        if self.frames.is_none() && self.body.is_done() {
            return self.poll_leaving(cx);
        }
        let before = buf.filled().len();
        if self.frames.is_some() && !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(length));
        } else {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        }
        let read = buf.filled().get(before..).unwrap_or_default();
        if let Some(frames) = &mut self.frames {
            return Poll::Ready(frames.scan(read, Instant::now()).map_err(|refused| {
                buf.set_filled(before);
                self.refuse(refused)
            }));
        }
        match self.body.scan(read) {
            Ok(body) => {
                if let Some(next) = read.get(body..)
                    && !next.is_empty()
                {
                    self.ahead.extend_from_slice(next);
                    buf.set_filled(before + body);
                }
                Poll::Ready(Ok(()))
            }
            Err(refused) => {
                buf.set_filled(before);
                Poll::Ready(Err(self.refuse(refused)))
            }
        }
    }
}

leave_to_io!(Wire);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn wire() -> (Wire, DuplexStream) {
        let (client, server) = duplex(64 * 1024);
        let refusals = Metrics::new().ingress_refusals;
        (Wire::new(Box::new(server), refusals), client)
    }

    /// Sends a head of 4 bytes and what follows; returns what a session would see of the body.
    async fn check(framing: Framing, pieces: &[&str], body: Result<&str, &str>, ahead: &str) {
        let (mut wire, mut client) = wire();
        client.write_all(b"head").await.unwrap();
        client.write_all(pieces[0].as_bytes()).await.unwrap();
        wire.read_ahead().await.unwrap();
        let begun = wire.begin(4, framing).map_err(|refused| refused.reason);
        let mut seen = match begun {
            Ok(prefix) => prefix[4..].to_vec(),
            Err(reason) => return assert_eq!(Err(reason), body),
        };
        for piece in &pieces[1..] {
            client.write_all(piece.as_bytes()).await.unwrap();
            while !wire.body.is_done() {
                let read = wire.read_buf(&mut seen).await;
                if let Err(error) = read {
                    let refused: &Refused = error.get_ref().unwrap().downcast_ref().unwrap();
                    assert_eq!(Err(refused.reason), body);
                    assert!(wire.read_buf(&mut seen).await.is_err(), "stays refused");
                    return;
                }
            }
        }
        assert_eq!(Ok(String::from_utf8(seen).unwrap().as_str()), body);
        assert_eq!(wire.ahead().escape_ascii().to_string(), ahead);
    }

    #[tokio::test]
    async fn passes_exactly_the_body() {
        check(Framing::Length(5), &["hello"], Ok("hello"), "").await;
        check(Framing::Length(5), &["helloGET"], Ok("hello"), "GET").await;
        check(Framing::Length(5), &["he", "lloGET"], Ok("hello"), "GET").await;
        check(Framing::Length(0), &["GET"], Ok(""), "GET").await;
        let whole = "1\r\nx\r\n0\r\n\r\n";
        check(Framing::Chunked, &[whole], Ok(whole), "").await;
        check(
            Framing::Chunked,
            &["1\r\n", "x\r\n0\r\n\r\nGET"],
            Ok(whole),
            "GET",
        )
        .await;
    }

    #[tokio::test]
    async fn fails_before_doubtful_bytes_pass() {
        check(Framing::Chunked, &["\r\n"], Err("chunk_size"), "").await;
        check(
            Framing::Chunked,
            &["1\r\nx\r\n", "\r\n\r\n"],
            Err("chunk_size"),
            "",
        )
        .await;
    }

    #[tokio::test]
    async fn keeps_a_request_that_comes_early_and_notices_a_client_that_leaves() {
        let (mut wire, mut client) = wire();
        client.write_all(b"headGET").await.unwrap();
        wire.read_ahead().await.unwrap();
        wire.begin(4, Framing::Length(0)).unwrap();
        client.write_all(b" / HTTP/1.1").await.unwrap();
        drop(client);
        assert_eq!(wire.read(&mut [0; 16]).await.unwrap(), 0);
        assert_eq!(wire.ahead(), b"GET / HTTP/1.1");
    }
}
