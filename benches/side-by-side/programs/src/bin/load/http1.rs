//! One HTTP/1.1 connection, one request at a time.

use side_by_side::{Answer, answer, extent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{Failure, carrier::Carrier};

/// A connection and what was read ahead of it.
pub(crate) struct Client {
    carrier: Box<dyn Carrier>,
    buffer: Vec<u8>,
    end: usize,
}

impl Client {
    pub(crate) fn new(carrier: Box<dyn Carrier>) -> Self {
        Self {
            carrier,
            buffer: Vec::with_capacity(16 * 1024),
            end: 0,
        }
    }

    /// Sends a request, reads its whole answer and returns the status.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<u16, Failure> {
        self.buffer.clear();
        self.carrier.write_all(request).await?;
        loop {
            self.read().await?;
            if let Some(found) = extent(&self.buffer)? {
                self.end = found.end;
                return Ok(found.status);
            }
        }
    }

    /// Returns the answer to the last [`Client::exchange`].
    pub(crate) fn last(&self) -> Result<Answer, Failure> {
        Ok(answer(self.buffer.get(..self.end).unwrap_or_default())?)
    }

    /// Sends a request and leaves the answer to [`Client::line`].
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.buffer.clear();
        Ok(self.carrier.write_all(request).await?)
    }

    /// Takes the next line out of what comes.
    pub(crate) async fn line(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(at + 1);
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), Failure> {
        if self.carrier.read_buf(&mut self.buffer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        Ok(())
    }
}
