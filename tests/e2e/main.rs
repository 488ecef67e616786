//! The gateway as its users see it: real sockets, real tokens, stand-ins for Entra ID and ToolHive.
//!
//! Every test builds a [`world::World`] of its own on free ports, so that all run side by side.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod cimd;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod forwarding;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod hints;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod listeners;
#[cfg(test)]
mod oauth;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod rmcp;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod toolhive_api;
#[cfg(test)]
mod troubles;
#[cfg(test)]
mod upstream_tokens;
#[cfg(test)]
mod upstreams;
#[cfg(test)]
mod world;
