//! ringmark: what would io_uring buy this server on this machine, what does it cost, and which settings get it?
#![deny(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod engine;
pub mod load;
pub mod report;
pub mod server;
pub mod service;
pub mod stats;
pub mod sys;
pub mod trial;
pub mod units;
