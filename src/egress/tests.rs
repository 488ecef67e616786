//! Whole exchanges over sockets.
