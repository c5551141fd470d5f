//! The harness of the suites: a world of one server and a few phones that is replayed from a seed.
//!
//! A [`world::World`] has a [`backend::Server`] (the real ingest over the real log), [`device::Device`]s
//! (the real client over a disk of maps) and a [`network::Network`] that carries real messages badly. It
//! is single-threaded and reads no clock. The [`oracle::Oracle`] writes down what phones and server said;
//! whatever was said must hold when the world has come to rest.

pub mod backend;
pub mod brand;
pub mod chance;
pub mod device;
pub mod fuzz;
pub mod host;
pub mod hostile;
pub mod link;
pub mod live;
pub mod network;
pub mod oracle;
pub mod python;
pub mod rights;
pub mod world;
