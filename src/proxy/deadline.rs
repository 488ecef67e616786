//! Deadlines that cost nothing where they do not matter: what is done at once is not timed.
//!
//! Most writes fit into the buffer of their socket, and most bodies came with their heads. A clock and
//! a timer are asked only for what has to wait.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::{Instant, error::Elapsed, timeout_at};

/// Waits for `work`, but for no longer than `limit` from its first wait on.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    until(|| Instant::now() + limit, work).await
}

/// Waits for `work` until a deadline, which is asked for when there is something to wait for.
pub(super) async fn until<T>(
    deadline: impl FnOnce() -> Instant,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    match poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout_at(deadline(), work).await,
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn what_is_done_at_once_is_not_timed() {
        let never = || unreachable!("nothing waits");
        assert_eq!(until(never, ready(1)).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_waits_is_done_or_out_of_time() {
        let soon = async {
            yield_now().await;
            1
        };
        assert_eq!(within(Duration::from_secs(60), soon).await.unwrap(), 1);
        let late = within(Duration::from_millis(1), pending::<()>()).await;
        assert!(late.is_err());
    }
}
