//! Sockets that clients connect to: TLS, and what is served on each.

mod admission;
mod app;
mod certificates;
mod config;
mod connection;
mod head;
mod preface;
mod tls;
mod wire;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::IntoRawFd,
    sync::Arc,
};

use ipnet::IpNet;
use mcp_gateway_filters::Problem;
use parking_lot::Mutex;
use pingora_core::{
    listeners::ListenerConfig,
    protocols::l4::stream::L4BufferSettings,
    server::{Fds, ShutdownWatch},
    services::{Service as _, listening::Service},
};
use rustls::crypto::CryptoProvider;

use crate::{ingress::Limits, telemetry::metrics::Metrics};

pub use admission::{Admission, RESERVE};
pub use app::App;
pub use config::{CertificateConfig, Config, ProxyProtocol, Serve, TlsConfig};

use app::Http2;
use connection::Connections;
use tls::Tls;

/// A listener whose certificates are good and whose socket is not bound yet.
pub struct Listener {
    address: SocketAddr,
    tls: Option<Tls>,
    balancers: Vec<IpNet>,
}

impl Listener {
    /// The address as configured.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the certificates. `now` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// Everything that is wrong with them, at `tls.certificates[N]…`.
    pub fn build(
        config: &Config,
        provider: &Arc<CryptoProvider>,
        now: i64,
    ) -> Result<Self, Vec<Problem>> {
        let tls = config
            .tls
            .as_ref()
            .map(|tls| Tls::build(tls, provider, now))
            .transpose()?;
        Ok(Self {
            address: config.address,
            tls,
            balancers: config
                .proxy_protocol
                .as_ref()
                .map(|proxy| proxy.from.clone())
                .unwrap_or_default(),
        })
    }

    /// Takes the socket that is bound to the address.
    ///
    /// # Errors
    /// When the system refuses to make it non-blocking.
    pub fn bound(self, socket: TcpListener) -> io::Result<Bound> {
        socket.set_nonblocking(true)?;
        Ok(Bound {
            address: socket.local_addr()?,
            socket,
            tls: self.tls,
            balancers: self.balancers,
        })
    }
}

/// What clients of a listener may take. Listeners that share an admission share its limits.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Of each connection.
    pub limits: Arc<Limits>,
    /// Of all connections together.
    pub admission: Arc<Admission>,
}

/// A listener whose socket is bound: clients can connect, and wait until it is served.
pub struct Bound {
    address: SocketAddr,
    socket: TcpListener,
    tls: Option<Tls>,
    balancers: Vec<IpNet>,
}

impl Bound {
    /// The address with its real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the connections that `gate` admits until `shutdown` turns true; open ones live on.
    pub async fn serve<A>(self, app: Arc<A>, gate: Gate, metrics: &Metrics, shutdown: ShutdownWatch)
    where
        A: App,
    {
        let label = self.address.to_string();
        if let Some(tls) = &self.tls {
            for (name, not_after) in &tls.expiries {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "seconds fit until year 285 million"
                )]
                metrics
                    .certificate_not_after
                    .with_label_values(&[name])
                    .set(*not_after as f64);
            }
        }
        let connections = Connections {
            http2: Arc::new(Http2(Arc::clone(&app))),
            app,
            tls: self.tls,
            balancers: self.balancers,
            limits: gate.limits,
            admission: gate.admission,
            active: metrics.connections_active.with_label_values(&[&label]),
            refusals: metrics.ingress_refusals.clone(),
        };
        let mut fds = Fds::new();
        fds.add(label.clone(), self.socket.into_raw_fd());
        let mut service = Service::new(label.clone(), connections);
        // 64 KiB of read buffer for every idle connection would be the largest part of its cost.
        service.add_listener(
            ListenerConfig::tcp(label).l4_buffer(L4BufferSettings::default().read(0)),
        );
        service
            .start_service(Some(Arc::new(Mutex::new(fds))), shutdown, 1)
            .await;
    }
}
