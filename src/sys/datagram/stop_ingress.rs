//! Ends what a datagram socket takes in: what has arrived can still be received.

use socket2::{SockFilter, Socket};
use std::io;

/// Lets no more datagrams in, so that what has arrived comes to an end though others send on. The kernel drops them
/// (socket(7), SO_ATTACH_FILTER), and their senders are not notified.
pub fn stop_ingress(socket: &Socket) -> io::Result<()> {
    const KEEP_NOTHING: SockFilter = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
    socket.attach_filter(&[KEEP_NOTHING])
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, SockAddr, Type};
    use std::net::SocketAddr;

    /// What a socket of this kind takes in before and after its ingress was stopped.
    fn received(domain: Domain, at: &SockAddr) -> Vec<u8> {
        let [receiver, sender] = [(); 2].map(|()| Socket::new(domain, Type::DGRAM, None).unwrap());
        receiver.bind(at).unwrap();
        crate::sys::datagram::mark_answers(&receiver).unwrap();
        let to = receiver.local_addr().unwrap();
        sender.send_to(b"1", &to).unwrap();
        stop_ingress(&receiver).unwrap();
        sender.send_to(b"2", &to).unwrap();
        receiver.set_nonblocking(true).unwrap();
        let mut byte = [0];
        std::iter::from_fn(|| io::Read::read(&mut &receiver, &mut byte).ok().map(|_| byte[0])).collect()
    }

    #[test]
    fn what_had_arrived_stays_and_nothing_follows() {
        let [v4, v6] = ["127.0.0.1:0", "[::1]:0"].map(|text| text.parse::<SocketAddr>().unwrap());
        assert_eq!(received(Domain::IPV4, &v4.into()), b"1");
        assert_eq!(received(Domain::IPV6, &v6.into()), b"1");
        assert_eq!(received(Domain::UNIX, &SockAddr::unix("").unwrap()), b"1");
    }
}
