//! Why a backend is not asked: a closed set, each with a sentence for the operator.

use std::borrow::Cow;

/// Why a backend takes no new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its name was not looked up yet; only right after the start.
    NotLookedUp,
    /// No health check has succeeded yet, nor have enough failed; only right after the start.
    NotChecked,
    /// Its name has no address.
    Unresolved,
    /// Nothing listens there.
    Refused,
    /// The connection could not be made for another cause.
    Unreachable,
    /// The connection was not made in time.
    ConnectTimeout,
    /// A request found that no connection can be made.
    Traffic,
    /// The certificate or the handshake is wrong.
    Tls,
    /// A connection, but no answer in time.
    NoAnswer,
    /// The answer is not HTTP, or broke off.
    Broken,
    /// An answer beyond the limit.
    TooLong,
    /// A status that is not expected.
    Status(u16),
    /// The management API where a workload is expected.
    ManagementApi,
    /// Not the JSON of a ToolHive workload.
    NotToolhive,
    /// The workload proxy lives, the MCP server behind it does not answer.
    Degraded,
    /// The workload says that it is not well.
    Unhealthy,
}

impl Reason {
    /// Says whether only connecting failed. Trying such a backend once more can do no harm when
    /// there is no better one: either something listens again, or nothing is sent.
    pub(super) const fn is_connecting(self) -> bool {
        matches!(
            self,
            Self::Refused | Self::Unreachable | Self::ConnectTimeout | Self::Traffic
        )
    }

    /// Says whether once is enough: no second check can turn this into a workload.
    pub(super) const fn is_certain(self) -> bool {
        matches!(self, Self::ManagementApi)
    }

    /// Returns the sentence for logs and the status page.
    pub(super) fn describe(self, upstream: &str, backend: &str) -> Cow<'static, str> {
        match self {
            Self::NotLookedUp => "its name is being looked up".into(),
            Self::NotChecked => "unchecked: no health check has succeeded yet".into(),
            Self::Unresolved => "its name has no address".into(),
            Self::Refused => "the connection is refused: nothing listens there".into(),
            Self::Unreachable => "no connection can be made".into(),
            Self::ConnectTimeout => "no connection is made in time".into(),
            Self::Traffic => "a request found that no connection can be made".into(),
            Self::Tls => {
                "the TLS handshake fails: its certificate must carry `tls.sni` and be trusted"
                    .into()
            }
            Self::NoAnswer => "the health check is not answered in time".into(),
            Self::Broken => "the answer to the health check is not whole HTTP".into(),
            Self::TooLong => "the answer to the health check is longer than 64 KiB".into(),
            Self::Status(status) => format!(
                "the health check is answered with status {status}; `health_check.path` and \
                 `health_check.expect` say what is asked and expected"
            )
            .into(),
            Self::ManagementApi => format!(
                "`{backend}` is ToolHive's management API, not a workload: point \
                 `upstreams.{upstream}.backends` at the workload's proxy port (9100 and up)"
            )
            .into(),
            Self::NotToolhive => {
                "the health check is not answered like a ToolHive workload does: expected JSON \
                 with `status`; for other servers set `health_check.expect: success`"
                    .into()
            }
            Self::Degraded => "the workload says `degraded`: its MCP server does not answer".into(),
            Self::Unhealthy => "the workload says that it is not healthy".into(),
        }
    }
}
