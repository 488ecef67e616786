//! What gets past the first layer, and what does not: bytes sent raw to a running gateway, with a
//! judge behind it that keeps what arrives.

#[cfg(test)]
mod http2;
#[cfg(test)]
mod limits;
#[cfg(test)]
#[path = "../e2e/world/log.rs"]
mod log;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod proxy_protocol;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod table;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod world;
