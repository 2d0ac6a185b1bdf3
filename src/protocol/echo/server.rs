//! Echo, the server: every byte and every datagram comes back, out of the buffer it was received into.

use super::Echo;
use crate::protocol::Protocol;
use crate::protocol::server::{Answer, Cx, Out, Peer, Session};

impl Protocol for Echo {
    const NAME: &'static str = "echo";
    const HELP: &'static str = "Echo here, over TCP and UDP: IP:PORT, [v6]:PORT or IP%DEVICE:PORT; may be repeated [default: \
        127.0.0.1:7007]\n\n\
        tcp://IP:PORT or udp://IP:PORT restricts it to one of them; unix:PATH is a unix stream socket, unixgram:PATH a unix \
        datagram socket. Port 0 lets the kernel choose; the ready lines tell which. %DEVICE binds to a network device. Every \
        core has a UDP socket of its own (SO_REUSEPORT). A UDP echo that others can reach is a known weapon: there it answers \
        neither ports below 1024 nor those of this server, and nowhere what another ringmark server has answered.";
    const DATAGRAMS: bool = true;
    type Session = Echo;

    fn open(&mut self, _peer: Peer, _cx: &mut Cx) -> Echo {
        Echo
    }

    #[inline]
    fn datagram(&mut self, input: &[u8], answer: &mut Answer<'_>, _cx: &mut Cx) {
        answer.input(0..input.len());
    }
}

impl Session for Echo {
    #[inline]
    fn received(&mut self, input: &[u8], out: &mut Out, _cx: &mut Cx) -> usize {
        out.input(0..input.len());
        input.len()
    }
}
