//! Endcap on a phone.
//!
//! One object, [`Client`], over sync-core, an encrypted SQLite store and HTTP. Kotlin, Swift and Python
//! bindings are generated from it by UniFFI (`mobile-ffi/bindings.sh`).
//!
//! **What blocks.** Everything but [`Client::enrol`], [`Client::change_key`], [`Client::sync`] and [`Client::wait_for_news`] works on
//! the device alone, blocks for milliseconds, and when it returns what it did is on the disk: call it from a
//! background thread if the interface must not stutter. Those four are async (`suspend` in Kotlin, `async`
//! in Swift and Python) and need a network. Capturing works during a sync and never waits for one.
//!
//! **Meetings.** [`Client::meet`] exchanges with a colleague's device what neither has brought to the server, without
//! a network; the app brings the line.
//!
//! **Who is who.** One folder is for one person at one organisation. Open another folder for another
//! person; nothing is shared between folders.

mod client;
mod clock;
mod enrol;
mod meeting;
mod photo;
mod refusal;
mod replica;
mod shown;
mod store;
mod sync;
mod types;

pub use client::{Client, DeviceKey};
pub use clock::{Clock, SystemClock};
pub use meeting::Meeting;
pub use sync::{Cancel, Progress};
pub use types::*;

uniffi::setup_scaffolding!();
