//! Every rule of Endcap, and no I/O.
//!
//! This crate runs unchanged in the server, in the mobile library and in a browser. It knows no clock, no
//! randomness, no file and no socket: time and entropy are arguments, and what should happen outside
//! leaves as data. So a whole world of servers and phones can be replayed from one seed.
//!
//! Read it in this order: [`id`], [`cbor`] and [`model`] (the words), [`document`] (what is written and how it is
//! named), [`admit`] (who may write what), [`visit`] (what a document says), [`contest`] (what is held against it),
//! [`projection`] and [`kpi`] (what it counts for), [`evidence`] (signatures and the log), [`wire`] (messages),
//! [`client`], [`command`], [`session`] and [`upkeep`] (what a device does: with the server, for its person, in one
//! sync, and when something has happened), [`mod@print`] and [`repair`] (how two sides know that they hold the same),
//! [`cargo`] and [`relay`] (what a device carries for another), [`tlog`], [`receipt`] and [`witness`] (the log as others
//! read and sign it, and what a device keeps of it), [`proof`] and [`zip`] (the proof of a visit).

pub mod admit;
pub mod cargo;
pub mod cbor;
pub mod client;
pub mod command;
pub mod contest;
pub mod document;
pub mod evidence;
pub mod id;
mod kept;
pub mod kpi;
pub mod model;
pub mod print;
pub mod projection;
pub mod proof;
pub mod receipt;
pub mod relay;
pub mod repair;
pub mod session;
pub mod tlog;
pub mod upkeep;
pub mod visit;
pub mod wire;
pub mod witness;
pub mod zip;
