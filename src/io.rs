//! What a connection that wraps another one leaves to it.
//!
//! Pingora's `IO` is implemented for everything that has its parts, so a wrapper that has them
//! travels through Pingora's HTTP sessions and pools like any connection. All parts but reading are
//! here; how a wrapper reads, and perhaps how it writes, is what makes it one.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// How much is read at once: with the head of a chunk or frame before it, and encrypted, it fits into
/// 14 KiB, the largest size that jemalloc gives no more than was asked for.
pub(crate) const PIECE: usize = 14 * 1024 - 64;

/// Reads up to [`PIECE`] bytes, once there are some, and shows them to `take`; none at the end.
///
/// The room for them is on the stack: it is needed for no longer than the call, and whoever waits
/// holds none.
pub(crate) fn poll_piece<T>(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    let mut room = [MaybeUninit::uninit(); PIECE];
    let mut room = ReadBuf::uninit(&mut room);
    ready!(Pin::new(io).poll_read(cx, &mut room))?;
    Poll::Ready(Ok(take(room.filled())))
}

/// Implements `AsyncWrite` for a type whose field `io` is a `Stream`.
macro_rules! leave_writing_to_io {
    ($wrapper:ty) => {
        impl tokio::io::AsyncWrite for $wrapper {
            fn poll_write(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.io).poll_write(cx, buf)
            }

            fn poll_flush(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.io).poll_flush(cx)
            }

            fn poll_shutdown(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::pin::Pin::new(&mut self.io).poll_shutdown(cx)
            }

            fn poll_write_vectored(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                std::pin::Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                self.io.is_write_vectored()
            }
        }
    };
}

/// Implements what else Pingora's `IO` asks of a type whose field `io` is a `Stream`.
macro_rules! leave_to_io {
    ($wrapper:ty) => {
        #[async_trait::async_trait]
        impl pingora_core::protocols::Shutdown for $wrapper {
            async fn shutdown(&mut self) {
                pingora_core::protocols::Shutdown::shutdown(&mut *self.io).await;
            }
        }

        impl pingora_core::protocols::UniqueID for $wrapper {
            fn id(&self) -> pingora_core::protocols::UniqueIDType {
                self.io.id()
            }
        }

        impl pingora_core::protocols::Ssl for $wrapper {
            fn get_ssl(&self) -> Option<&pingora_core::protocols::tls::TlsRef> {
                self.io.get_ssl()
            }

            fn get_ssl_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora_core::protocols::tls::SslDigest>> {
                self.io.get_ssl_digest()
            }

            fn selected_alpn_proto(&self) -> Option<pingora_core::protocols::ALPN> {
                self.io.selected_alpn_proto()
            }
        }

        impl pingora_core::protocols::GetTimingDigest for $wrapper {
            fn get_timing_digest(&self) -> Vec<Option<pingora_core::protocols::TimingDigest>> {
                self.io.get_timing_digest()
            }

            fn get_read_pending_time(&self) -> std::time::Duration {
                self.io.get_read_pending_time()
            }

            fn get_write_pending_time(&self) -> std::time::Duration {
                self.io.get_write_pending_time()
            }
        }

        impl pingora_core::protocols::GetProxyDigest for $wrapper {
            fn get_proxy_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora_core::protocols::raw_connect::ProxyDigest>> {
                self.io.get_proxy_digest()
            }
        }

        impl pingora_core::protocols::GetSocketDigest for $wrapper {
            fn get_socket_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora_core::protocols::SocketDigest>> {
                self.io.get_socket_digest()
            }
        }

        impl pingora_core::protocols::Peek for $wrapper {}
    };
}

pub(crate) use {leave_to_io, leave_writing_to_io};
