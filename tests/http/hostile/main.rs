//! Bad input: whatever a device sends, the answer has a type, nothing is half-written and nothing panics.
//!
//! [`forged`] builds one wrong change after another, each automerge hazard of the architecture among them;
//! [`limits`] sends as much as may be and more; [`mill`] mutates a valid push thousands of times; [`wire`] sends bad bodies to the real routes.

mod forged;
mod limits;
mod mill;
mod wire;
