//! Where connections go: an address turned into what the kernel wants, and sockets prepared for it.
//!
//! Both engines get their sockets here, so that none has other options than the other.

use crate::load::engine::EngineError;
use crate::units::{Address, SocketLocation};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// A place to connect to.
#[derive(Clone, Debug)]
pub struct Target {
    address: SockAddr,
    device: Option<String>,
}

impl Target {
    /// Fails only for a unix path that is too long, which [`Address`] does not let through.
    pub fn new(address: &Address) -> Result<Target, EngineError> {
        let unix = |path| SockAddr::unix(path).map_err(|error| EngineError::Target(address.clone(), error));
        Ok(match &address.location {
            SocketLocation::Ip { ip, port, device } => {
                Target { address: SocketAddr::new(*ip, *port).into(), device: device.clone() }
            }
            SocketLocation::Unix(path) => Target { address: unix(path)?, device: None },
        })
    }

    pub fn address(&self) -> &SockAddr {
        &self.address
    }

    /// A blocking, close-on-exec stream socket, not yet connected; without Nagle's delay.
    pub fn socket(&self) -> io::Result<Socket> {
        let domain = self.address.domain();
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if domain != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(device) = &self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        Ok(socket)
    }
}
