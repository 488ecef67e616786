//! The access log: one structured line per request.
