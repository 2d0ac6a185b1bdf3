//! Networks that a test makes for itself: a chain of network namespaces, gone when dropped, also by a panic.
//!
//! Namespace i is 10.77.i.1 and fd77:i::1 on its way to the next one, and 10.77.(i-1).2 and fd77:(i-1)::2 on its way back.

use super::programs;
use super::server::{Ended, Process};
use super::wait_until;
use crate::skip::{are_installed, is_required, skip};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Namespaces in a row, each a router for those beyond.
pub struct Chain {
    names: Vec<String>,
}

impl Chain {
    /// `length` namespaces. `None`, with the reason printed, where none can be made.
    ///
    /// # Panics
    /// Where none can be made, and RINGMARK_REQUIRE_NET=1 says that they must.
    pub fn new(length: usize) -> Option<Chain> {
        static REASON: OnceLock<Option<String>> = OnceLock::new();
        if let Some(reason) = REASON.get_or_init(missing) {
            let required = is_required("RINGMARK_REQUIRE_NET");
            assert!(!required, "RINGMARK_REQUIRE_NET=1, but: {reason}");
            skip(reason);
            return None;
        }
        let mut chain = Chain { names: Vec::new() };
        (0..length).for_each(|_| chain.add());
        (0..length).for_each(|index| chain.configure(index));
        chain.wait_for_neighbours();
        Some(chain)
    }

    fn add(&mut self) {
        static CHAINS: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringmark-{}-{}", std::process::id(), CHAINS.fetch_add(1, Ordering::Relaxed));
        shell(&format!("ip netns add {name}"));
        self.names.push(name);
    }

    /// Its link to the next one and its routes.
    fn configure(&self, index: usize) {
        let (own, last) = (&self.names[index], self.names.len() - 1);
        // Routers answer as often as they are asked; addresses are usable at once.
        let mut script = String::from(
            "set -e; ip link set lo up; cd /proc/sys/net; echo 1 >ipv4/ip_forward; echo 1 >ipv6/conf/all/forwarding
             echo 0 >ipv6/conf/all/disable_ipv6; echo 0 >ipv6/conf/all/accept_dad; echo 0 >ipv6/conf/default/accept_dad
             echo 0 >ipv4/icmp_ratelimit; echo 1000000 >ipv4/icmp_msgs_per_sec; echo 0 >ipv6/icmp/ratelimit\n",
        );
        if index < last {
            let next = &self.names[index + 1];
            shell(&format!("ip link add next netns {own} type veth peer name back netns {next}"));
            script += &address("next", index, 1);
            script += &format!("ip route add default via 10.77.{index}.2\n");
            script += &format!("ip -6 route add default via fd77:{index}::2\n");
            self.run(index + 1, &address("back", index, 2));
        }
        for far in 0..index.saturating_sub(1) {
            let back = index - 1;
            script += &format!("ip route add 10.77.{far}.0/24 via 10.77.{back}.1\n");
            script += &format!("ip -6 route add fd77:{far}::/64 via fd77:{back}::1\n");
        }
        self.run(index, &script);
    }

    /// Until every link knows its two ends, which takes IPv6 a second now and then.
    fn wait_for_neighbours(&self) {
        let link = self.names.len() - 2;
        let [v4, v6] = [format!("10.77.{link}.2"), format!("fd77:{link}::2")];
        let words = ["ping", "-q", "-c", "1", "--timeout", "2s", &v4, &v6];
        let answers = || self.ringmark(0, &words).status.code();
        wait_until("the chain answers", || match answers() {
            Some(0) => true,
            Some(1) => false,
            code => panic!("ringmark {words:?} exits with {code:?}"),
        });
    }

    /// Runs a shell script in a namespace.
    #[track_caller]
    pub fn run(&self, index: usize, script: &str) {
        let output = self.command(index, "sh").args(["-c", script]).output().expect("ip runs");
        assert!(output.status.success(), "{script}: {output:?}");
    }

    /// Lets a namespace handle packets as this table of nftables says. `false` where it cannot, which is told.
    ///
    /// # Panics
    /// As [`are_installed`].
    #[track_caller]
    pub fn filter(&self, index: usize, table: &str) -> bool {
        let can = are_installed(&["nft"]);
        if can {
            self.run(index, &format!("nft -f - <<END\n{table}\nEND"));
        }
        can
    }

    /// A program in a namespace.
    pub fn command(&self, index: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[index], program]);
        command
    }

    /// `ringmark` with these words in a namespace, to its end.
    pub fn ringmark(&self, index: usize, words: &[&str]) -> Ended {
        let mut command = self.command(index, programs::ringmark());
        command.args(words);
        Process::start(command).end()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A copy of the program that everybody may run.
pub struct Unprivileged(tempfile::TempDir);

impl Unprivileged {
    pub fn install() -> Unprivileged {
        let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        fs::copy(programs::ringmark(), folder.path().join("ringmark")).unwrap();
        Unprivileged(folder)
    }

    /// Runs it in a namespace as nobody, without any rights.
    pub fn run(&self, chain: &Chain, index: usize, words: &[&str]) -> Ended {
        let mut command = chain.command(index, "setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
        command.arg(self.0.path().join("ringmark")).args(words);
        Process::start(command).end()
    }
}

fn address(device: &str, link: usize, end: usize) -> String {
    format!(
        "ip addr add 10.77.{link}.{end}/24 dev {device}; ip addr add fd77:{link}::{end}/64 dev {device} nodad
         ip link set {device} up\n"
    )
}

/// Why no namespace can be made here.
fn missing() -> Option<String> {
    let name = format!("ringmark-{}-trial", std::process::id());
    let tried = Command::new("ip").args(["netns", "add", &name]).output();
    let _ = Command::new("ip").args(["netns", "del", &name]).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Some(format!("network namespaces need root ({why})"))
        }
        Err(error) => Some(format!("ip, of iproute2, is not here ({error})")),
    }
}

fn shell(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().expect("sh runs");
    assert!(output.status.success(), "{script}: {output:?}");
}
