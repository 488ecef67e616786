//! One HTTP/2 connection, one request at a time.

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use side_by_side::Answer;

use crate::{Failure, carrier::Carrier, plan::Request};

/// A request that can be sent many times.
#[derive(Clone)]
pub(crate) struct Prepared {
    head: http::Request<()>,
    body: Bytes,
}

impl Prepared {
    pub(crate) fn new(request: &Request) -> Result<Self, Failure> {
        let mut head = http::Request::builder()
            .method(request.method.as_str())
            .uri(format!("https://localhost{}", request.path));
        for (name, value) in &request.fields {
            head = head.header(name, value);
        }
        if !request.body.is_empty() {
            head = head.header("content-length", request.body.len());
        }
        Ok(Self {
            head: head.body(())?,
            body: Bytes::from(request.body.clone()),
        })
    }
}

/// A connection; its frames are moved by a task of its own.
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    last: Option<(http::response::Parts, Vec<u8>)>,
}

impl Client {
    pub(crate) async fn new(carrier: Box<dyn Carrier>) -> Result<Self, Failure> {
        let (send, connection) = handshake(carrier).await?;
        // Its failures come out of the requests as well.
        tokio::task::spawn_local(async move { connection.await.ok() });
        Ok(Self { send, last: None })
    }

    /// Sends a request, reads its whole answer and returns the status.
    pub(crate) async fn exchange(&mut self, request: &Prepared) -> Result<u16, Failure> {
        self.send = self.send.clone().ready().await?;
        let empty = request.body.is_empty();
        let (answer, mut body) = self.send.send_request(request.head.clone(), empty)?;
        if !empty {
            body.send_data(request.body.clone(), true)?;
        }
        let (head, mut body) = answer.await?.into_parts();
        let mut whole = vec![];
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            whole.extend_from_slice(&data);
        }
        let status = head.status.as_u16();
        self.last = Some((head, whole));
        Ok(status)
    }

    /// Returns the answer to the last request.
    pub(crate) fn last(&self) -> Result<Answer, Failure> {
        let (head, body) = self.last.as_ref().ok_or("nothing was answered")?;
        Ok(Answer {
            status: head.status.as_u16(),
            fields: head
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.to_string(), value)
                })
                .collect(),
            body: body.clone(),
        })
    }
}
