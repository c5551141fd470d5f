//! A backup of a server at work, the loss of its folder, and what phones bring back.
//!
//! The servers are processes of the real `endcap`, and so are the backups, restores and checks.
#![cfg(target_os = "linux")]

mod damage;
mod folders;
mod host;
mod story;
