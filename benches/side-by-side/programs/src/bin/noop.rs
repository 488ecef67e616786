//! A plain Pingora proxy that does nothing: the floor that the gateway is measured against.
//!
//! It forwards every request to one upstream through Pingora's `HttpProxy`, with Pingora's
//! defaults and one worker, and answers `/.well-known/` from memory with the bytes that it was
//! given. It verifies nothing, rewrites nothing, counts nothing and logs nothing.
//!
//! `noop PLAIN-ADDRESS TLS-ADDRESS CERTIFICATE KEY UPSTREAM ANSWER-FILE`, where the file holds
//! header fields, an empty line, and the body.

use std::{error::Error, fs, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::{
    http::ResponseHeader,
    listeners::tls::TlsSettings,
    prelude::{HttpPeer, ProxyHttp, Server, Session, http_proxy_service},
    server::configuration::ServerConf,
};

struct Noop {
    upstream: SocketAddr,
    head: ResponseHeader,
    body: Bytes,
}

#[async_trait]
impl ProxyHttp for Noop {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        _context: &mut (),
    ) -> pingora::Result<bool> {
        if !session.req_header().uri.path().starts_with("/.well-known/") {
            return Ok(false);
        }
        session
            .write_response_header(Box::new(self.head.clone()), false)
            .await?;
        session
            .write_response_body(Some(self.body.clone()), true)
            .await?;
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _context: &mut (),
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn answer(text: &str) -> Result<(ResponseHeader, Bytes), Box<dyn Error>> {
    let (fields, body) = text.split_once("\n\n").ok_or("no empty line")?;
    let mut head = ResponseHeader::build(200, None)?;
    for line in fields.lines() {
        let (name, value) = line.split_once(": ").ok_or("expected `name: value`")?;
        head.append_header(name.to_owned(), value)?;
    }
    head.insert_header("content-length", body.len())?;
    Ok((head, Bytes::from(body.to_owned())))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [plain, tls, certificate, key, upstream, file] = arguments.as_slice() else {
        return Err("expected PLAIN TLS CERTIFICATE KEY UPSTREAM ANSWER-FILE".into());
    };
    let (head, body) = answer(&fs::read_to_string(file)?)?;
    let noop = Noop {
        upstream: upstream.parse()?,
        head,
        body,
    };
    // A program that links two providers has to name one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), noop);
    service.add_tcp(plain);
    let mut settings = TlsSettings::intermediate(certificate, key)?;
    settings.enable_h2();
    service.add_tls_with_settings(tls, None, settings);
    server.add_service(service);
    server.run_forever();
}
