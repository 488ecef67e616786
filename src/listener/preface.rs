//! The PROXY protocol before the first byte of a client, for those who may speak it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd,
};

use pingora_core::protocols::{
    GetSocketDigest, SocketDigest,
    l4::{socket::SocketAddr as PeerAddr, stream::Stream as TcpStream},
};
use tokio::io::AsyncReadExt;

use crate::ingress::{NoPreface, Preface, parse_preface};

/// The address of whoever has connected.
pub(super) fn peer(tcp: &TcpStream) -> IpAddr {
    tcp.get_socket_digest()
        .and_then(|digest| Some(digest.peer_addr()?.as_inet()?.ip()))
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ip| ip.to_canonical())
}

/// Reads the header and makes the address in it the connection's own. Nothing beyond it is read.
pub(super) async fn read(tcp: &mut TcpStream) -> Result<(), NoPreface> {
    let mut bytes = Vec::with_capacity(128);
    let mut need = 1;
    loop {
        let had = bytes.len();
        bytes.resize(had + need, 0);
        let fresh = bytes.get_mut(had..).ok_or(NoPreface)?;
        // A client that leaves in between has sent no header.
        tcp.read_exact(fresh).await.map_err(|_| NoPreface)?;
        match parse_preface(&bytes)? {
            Preface::Need(more) => need = more,
            Preface::Of(None) => return Ok(()),
            Preface::Of(Some(client)) => {
                set_peer(tcp, client);
                return Ok(());
            }
        }
    }
}

fn set_peer(tcp: &mut TcpStream, client: SocketAddr) {
    let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
    // Just made: its address is not known yet.
    let _ = digest.peer_addr.set(Some(PeerAddr::Inet(client)));
    tcp.set_socket_digest(digest);
}
