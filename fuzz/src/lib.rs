//! What the fuzz targets share: readers of their own, to hold the gateway's against.
//!
//! Nothing here is taken from the gateway. Where it reads cleverly, this reads simply, and twice
//! where once would do.

pub mod filters;
pub mod http1;
pub mod json;
pub mod pairs;
