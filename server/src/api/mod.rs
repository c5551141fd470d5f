//! What devices speak with: sync, live pokes, enrolment and uploads.

pub mod sync;
