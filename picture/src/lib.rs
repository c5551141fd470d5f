//! From a file to a picture, for the phone that sends it and the server that checks it: the same formats, the same
//! limits, the same hash. It reads no clock, no disk and no network; bytes from outside never make it panic.

mod camera;
mod exif;
mod file;
mod likeness;
mod look;
mod screen;

pub use camera::{Camera, Place, Taken};
pub use file::{Flaw, Format, PIXELS_MAX, Picture, Upright, also, decode, extent, format, pixels};
pub use likeness::{AGREEMENT_MIN, BANDS, Hash, NEAR_BITS, Sketch, TURNS, difference_hash};
pub use look::{Doubt, Look};
pub use screen::{SCREEN_MIN, screen};
