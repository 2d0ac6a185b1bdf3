//! The only unsafe code: what the kernel offers, made safe to call.
//!
//! Every `unsafe` block states why it is sound. What leaves this module can be called from safe code in any order
//! without undefined behaviour: memory the kernel may touch is owned here until the kernel is done with it.
#![allow(unsafe_code)]

pub mod accounting;
pub mod affinity;
mod cmsg;
pub mod datagram;
pub mod epoll;
pub mod local_time;
pub mod packet;
pub mod poll;
pub mod privileges;
pub mod process;
pub mod raw;
pub mod recv_meta;
pub mod rlimit;
pub mod send_buffer;
pub mod socket;
pub mod timer;
pub mod uring;
pub mod wait;

/// Where tests bind: a port of loopback over each version of IP that this machine has; prints which it has not.
#[cfg(test)]
pub(crate) fn loopbacks() -> Vec<&'static str> {
    let bound =
        |at: &&str| std::net::UdpSocket::bind(at).inspect_err(|error| println!("skipped for {at}: {error}")).is_ok();
    ["127.0.0.1:0", "[::1]:0"].into_iter().filter(bound).collect()
}
