//! Brings what the server says to whom it is for.
//!
//! Answers go by the id that the proxy made, reports by the token that it made. What belongs to
//! nobody in particular goes to every standalone stream, or nowhere if it could be private.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::rpc::{Kind, Message};
use crate::net::lock;

/// Who asked.
pub(super) struct Waiter {
    pub(super) id: Option<Value>,
    pub(super) answer: oneshot::Sender<Message>,
}

/// Where reports go, and under which token.
pub(super) struct ProgressRoute {
    pub(super) token: Value,
    pub(super) to: mpsc::Sender<Message>,
}

/// The proxy's end of a standalone stream.
pub(super) struct OpenStream {
    pub(super) to: mpsc::Sender<Message>,
    pub(super) closed: CancellationToken,
}

/// Who waits for what.
#[derive(Default)]
pub(super) struct Routes {
    pub(super) waiters: Mutex<HashMap<String, Waiter>>,
    pub(super) progress: Mutex<HashMap<String, ProgressRoute>>,
    pub(super) streams: Mutex<HashMap<String, OpenStream>>,
}

/// Takes a waiter and its progress away when the request is over, however it ended.
pub(super) struct Pending {
    pub(super) routes: Arc<Routes>,
    pub(super) key: String,
    pub(super) token: Option<String>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        lock(&self.routes.waiters).remove(&self.key);
        if let Some(token) = &self.token {
            lock(&self.routes.progress).remove(token);
        }
    }
}

impl Routes {
    /// Brings a message of the server to whom it is for.
    pub(super) fn deliver(
        &self,
        mut message: Message,
        kind: Kind,
        answers: &mpsc::WeakSender<Vec<u8>>,
    ) {
        match kind {
            Kind::Response => {
                let key = message.id.as_ref().and_then(Value::as_str);
                let waiter = key.and_then(|key| lock(&self.waiters).remove(key));
                if let Some(waiter) = waiter {
                    message.id = waiter.id;
                    // Its client may be gone.
                    let _ = waiter.answer.send(message);
                }
            }
            Kind::Request => {
                let method = message.method.as_deref().unwrap_or_default();
                let text = format!(
                    "server-initiated {method} is not supported by the shared streamable proxy; \
                     requires a per-session backend deployment"
                );
                let refusal = Message::error(message.id, -32_601, &text);
                if let Some(answers) = answers.upgrade() {
                    let _ = answers.try_send(refusal.encode());
                }
            }
            Kind::Notification => self.notify(message),
        }
    }

    fn notify(&self, mut message: Message) {
        let method = message.method.clone().unwrap_or_default();
        if method == "notifications/progress" {
            let params = message.params_object();
            let token = params.get("progressToken").and_then(Value::as_str);
            let progress = lock(&self.progress);
            if let Some(route) = token.and_then(|token| progress.get(token)) {
                message.restore_progress_token(route.token.clone());
                let _ = route.to.try_send(message);
            }
        } else if method.ends_with("/list_changed") {
            for stream in lock(&self.streams).values() {
                let _ = stream.to.try_send(message.clone());
            }
        }
        // Everything else, log messages above all, could be somebody else's.
    }
}
