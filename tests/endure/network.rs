//! Hosts with addresses of their own: network namespaces on a bridge, each behind a link that can be
//! cut, made slow, or made to lose packets. Needs root, in a network namespace that it may fill
//! (`unshare --net --mount`): all of it is gone with the last process in there.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::program::Host;

/// The network; this machine is its first address.
pub struct Network {
    hosts: u8,
    /// Whether this kernel can delay packets.
    pub has_delay: bool,
}

/// What is wrong with a link.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// Nothing goes through, to other hosts; clients, which are on this machine, still reach it.
    CutOff,
    /// Nothing goes through at all.
    Gone,
    /// The host is heard, and hears nobody.
    Deaf,
    /// Three packets of ten are lost, in each direction.
    Lossy,
    /// A tenth of a second later and half a megabit a second.
    Slow,
}

const BRIDGE: &str = "endure";
const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

impl Network {
    pub fn new() -> Self {
        // The mounts of `ip netns` are nobody else's.
        run("mount", "--make-rprivate /");
        run("mkdir", "-p /run/netns");
        run("mount", "-t tmpfs none /run/netns");
        run("ip", "link set lo up");
        run("ip", &format!("link add {BRIDGE} type bridge"));
        run("ip", &format!("addr add {HERE}/24 dev {BRIDGE}"));
        run("ip", &format!("link set {BRIDGE} up"));
        let delay = format!("qdisc add dev {BRIDGE} root netem delay 1ms");
        let has_delay = try_run("tc", &delay);
        if has_delay {
            run("tc", &format!("qdisc del dev {BRIDGE} root"));
        }
        Self {
            hosts: 10,
            has_delay,
        }
    }

    /// This machine: where clients are, and the upstream.
    pub fn here(&self) -> Ipv4Addr {
        HERE
    }

    /// One more host.
    pub fn host(&mut self, name: &str) -> Host {
        self.hosts += 1;
        let address = Ipv4Addr::new(10, 77, 0, self.hosts);
        let (near, far) = (format!("near{}", self.hosts), format!("far{}", self.hosts));
        run("ip", &format!("netns add {name}"));
        run("ip", &format!("link add {near} type veth peer name {far}"));
        run("ip", &format!("link set {near} master {BRIDGE} up"));
        run("ip", &format!("link set {far} netns {name} name eth0"));
        run("ip", &format!("-n {name} addr add {address}/24 dev eth0"));
        run("ip", &format!("-n {name} link set eth0 up"));
        run("ip", &format!("-n {name} link set lo up"));
        Host {
            name: name.to_owned(),
            address,
            namespace: Some(name.to_owned()),
        }
    }

    /// From now on, until it is healed.
    pub fn break_link(&self, host: &Host, trouble: Trouble) {
        let rule = |words: &str| inside(host, "iptables", words);
        let chance = "-m statistic --mode random --probability 0.3";
        match trouble {
            Trouble::CutOff => {
                rule(&format!("-A INPUT -i eth0 ! -s {HERE} -j DROP"));
                rule(&format!("-A OUTPUT -o eth0 ! -d {HERE} -j DROP"));
            }
            Trouble::Gone => {
                rule("-A INPUT -i eth0 -j DROP");
                rule("-A OUTPUT -o eth0 -j DROP");
            }
            Trouble::Deaf => rule("-A INPUT -i eth0 -j DROP"),
            Trouble::Lossy => {
                rule(&format!("-A INPUT -i eth0 {chance} -j DROP"));
                rule(&format!("-A OUTPUT -o eth0 {chance} -j DROP"));
            }
            Trouble::Slow if self.has_delay => {
                let words = "qdisc replace dev eth0 root netem delay 100ms 20ms rate 500kbit";
                inside(host, "tc", words);
            }
            Trouble::Slow => {
                // A queue that fills up delays as well, though only what is sent in plenty.
                let words = "qdisc replace dev eth0 root tbf rate 500kbit burst 4k latency 400ms";
                inside(host, "tc", words);
            }
        }
    }

    /// As it was.
    pub fn heal(&self, host: &Host) {
        inside(host, "iptables", "-F");
        let namespace = host.namespace.as_deref().unwrap_or_default();
        try_run(
            "ip",
            &format!("netns exec {namespace} tc qdisc del dev eth0 root"),
        );
    }
}

fn inside(host: &Host, program: &str, words: &str) {
    let namespace = host.namespace.as_deref().unwrap_or_default();
    run("ip", &format!("netns exec {namespace} {program} {words}"));
}

/// Runs a program to a success.
pub fn run(program: &str, words: &str) {
    assert!(try_run(program, words), "{program} {words}");
}

fn try_run(program: &str, words: &str) -> bool {
    let status = Command::new(program)
        .args(words.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
