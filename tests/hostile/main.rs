//! Clients that mean harm: what they cost the gateway, and what they take from others.
//!
//! The gateway is a process of its own, so that its memory, descriptors and CPU time are its own.
//! One test at a time: each wants the machine to itself.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod costs;
#[cfg(test)]
mod files;
#[cfg(test)]
mod gateway;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod inputs;
#[cfg(test)]
#[path = "../ingress/world.rs"]
#[allow(
    dead_code,
    reason = "each test binary uses another part of the world it shares"
)]
mod world;
