//! Endcap.

pub mod photo;
pub mod store;
