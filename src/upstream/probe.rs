//! One look at the backends of an upstream, for whoever diagnoses.
//!
//! The judgement is that of the health checks; nothing is kept, ejected or counted.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use mcp_gateway_filters::Problem;
use pingora::upstreams::peer::HttpPeer;
use tokio::{net::lookup_host, time::timeout};

use super::{
    address::Address,
    check::Check,
    config::Config,
    pool::{self, Parsed},
    reason::Reason,
};

/// How long a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);

/// The backends of one upstream.
pub struct Probe {
    upstream: String,
    parsed: Parsed,
    check: Check,
}

/// What a backend answered to a request without a token.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: HeaderMap,
}

impl Probe {
    /// Prepares a look at the backends of `config`.
    ///
    /// # Errors
    /// Everything that is wrong with the section, at once.
    pub fn build(upstream: &str, config: &Config) -> Result<Self, Vec<Problem>> {
        Ok(Self {
            upstream: upstream.to_owned(),
            parsed: pool::parse(config)?,
            check: Check::new(config),
        })
    }

    /// Returns the addresses of the backends as configured.
    #[must_use]
    pub fn backends(&self) -> Vec<String> {
        let addresses = self.parsed.addresses.iter();
        addresses
            .map(|(address, _)| address.as_str().to_owned())
            .collect()
    }

    /// Asks a backend whether it is well, once.
    ///
    /// # Errors
    /// Why requests would not be sent there, as a sentence.
    pub async fn health(&self, backend: &str) -> Result<(), String> {
        let peers = self
            .peers(backend)
            .await
            .map_err(|why| self.say(why, backend))?;
        match self.check.run(backend, &peers).await {
            Ok(_) => Ok(()),
            Err(why) => Err(self.say(why, backend)),
        }
    }

    /// Posts JSON to a path of a backend, without a token.
    ///
    /// # Errors
    /// Why there is no answer, as a sentence.
    pub async fn post(&self, backend: &str, path: &str, body: Bytes) -> Result<Answered, String> {
        let peers = self
            .peers(backend)
            .await
            .map_err(|why| self.say(why, backend))?;
        match self.check.post(backend, &peers, path, &body).await {
            Ok((status, headers)) => Ok(Answered { status, headers }),
            Err(why) => Err(self.say(why, backend)),
        }
    }

    fn say(&self, reason: Reason, backend: &str) -> String {
        reason.describe(&self.upstream, backend).into_owned()
    }

    async fn peers(&self, backend: &str) -> Result<Vec<Arc<HttpPeer>>, Reason> {
        let address = Address::parse(backend).map_err(|_| Reason::Unresolved)?;
        let found: Vec<SocketAddr> = match (address.literal(), address.name()) {
            (Some(literal), _) => literal,
            (None, Some(name)) => match timeout(LOOKUP, lookup_host(name)).await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(_)) | Err(_) => return Err(Reason::Unresolved),
            },
            (None, None) => vec![],
        };
        Ok(found
            .into_iter()
            .map(|address| Arc::new(self.parsed.template.at(address)))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::fake::{Fake, HEALTHY, json},
        *,
    };

    fn probe(address: SocketAddr) -> Probe {
        let text = format!("{{backends: ['{address}'], health_check: {{timeout: 20s}}}}");
        Probe::build("github", &serde_yaml::from_str(&text).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn health_is_judged_as_the_gateway_does() {
        let fake = Fake::start(json(200, HEALTHY));
        let found = probe(fake.address);
        assert_eq!(found.backends(), [fake.address.to_string()]);
        assert_eq!(found.health(&found.backends()[0]).await, Ok(()));
        let fake = Fake::start(json(200, "{}"));
        let found = probe(fake.address);
        let why = found.health(&found.backends()[0]).await.unwrap_err();
        assert!(why.contains("ToolHive workload"), "{why}");
    }

    #[tokio::test]
    async fn a_request_without_a_token_is_answered_with_its_head() {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"x\"\r\n\
                       Content-Length: 0\r\n\r\n";
        let fake = Fake::start(refusal.to_owned());
        let found = probe(fake.address);
        let backend = fake.address.to_string();
        let answered = found
            .post(&backend, "/mcp", Bytes::from_static(b"{}"))
            .await
            .unwrap();
        assert_eq!(answered.status, 401);
        assert_eq!(answered.headers["www-authenticate"], "Bearer realm=\"x\"");
    }
}
