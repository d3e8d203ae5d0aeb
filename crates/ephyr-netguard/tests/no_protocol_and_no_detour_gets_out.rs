//! An agent's packets are rejected for every protocol, for services on this machine, and when NAT redirects them. In
//! each test another user's packets arrive.

#![cfg(test)]

mod net;

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use net::{Net, OTHER, OUTSIDE, OUTSIDE6, ROBOT, SCOUT, arrived, tcp, udp};
use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, connect, ipproto, sendto,
    socket_with, sockopt,
};

/// How long to wait for packets that must not arrive.
const NO_PACKET: Duration = Duration::from_millis(300);

fn socket(to: &SocketAddr, kind: SocketType, protocol: Protocol) -> OwnedFd {
    let family = if to.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)).unwrap()
}

fn address(to: &str, port: u16) -> SocketAddr {
    SocketAddr::new(to.parse().unwrap(), port)
}

/// Sends an echo request, as an unprivileged `ping` does.
fn ping(to: &str) {
    let to = address(to, 0);
    let (kind, protocol) = match to.is_ipv4() {
        true => (8, ipproto::ICMP),
        false => (128, ipproto::ICMPV6),
    };
    let socket = socket(&to, SocketType::DGRAM, protocol);
    let _ = sendto(
        &socket,
        &[kind, 0, 0, 0, 0, 1, 0, 1],
        SendFlags::empty(),
        &to,
    );
}

/// Opens a Multipath TCP connection, whose subflow sockets are created by the kernel.
fn multipath(to: &str) {
    let to = address(to, 22);
    let socket = socket(&to, SocketType::STREAM, ipproto::MPTCP);
    sockopt::set_socket_timeout(
        &socket,
        sockopt::Timeout::Send,
        Some(Duration::from_secs(2)),
    )
    .unwrap();
    let _ = connect(&socket, &to);
}

/// Sends a broadcast packet.
fn broadcast() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_broadcast(true).unwrap();
    let _ = socket.send_to(b"x", "192.0.2.255:9999");
}

type Sends = &'static [(&'static str, fn())];

fn assert_none_leaves(net: &Net, sends: Sends) {
    for (what, send) in sends {
        let rejected = net.rejected("scout");
        assert_eq!(arrived(net, SCOUT, send), 0, "{what} from an agent");
        assert!(net.rejected("scout") > rejected, "{what} is counted");
        assert!(arrived(net, OTHER, send) > 0, "{what} from another user");
    }
}

#[test]
fn icmp_echo_broadcast_and_multicast_are_rejected() {
    let Some(net) = Net::new() else { return };
    net.apply();
    net.appliance
        .run("echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range");
    assert_none_leaves(
        &net,
        &[
            ("an echo request", || ping(OUTSIDE)),
            ("an echo request over IPv6", || ping(OUTSIDE6)),
            ("a broadcast", broadcast),
            ("a multicast", || drop(udp("239.1.2.3", 9999))),
            ("a multicast over IPv6", || drop(udp("ff0e::1234", 9999))),
        ],
    );
}

#[test]
fn multipath_tcp_is_rejected() {
    let Some(net) = Net::new() else { return };
    let enabled = net.appliance.try_run("cat /proc/sys/net/mptcp/enabled");
    if enabled.stdout.trim_ascii() != b"1" {
        ephyr_testkit::skip("this kernel has no Multipath TCP");
        return;
    }
    net.apply();
    assert_none_leaves(
        &net,
        &[
            ("Multipath TCP", || multipath(OUTSIDE)),
            ("Multipath TCP over IPv6", || multipath(OUTSIDE6)),
        ],
    );
}

#[test]
fn udp_to_services_on_this_machine_is_rejected() {
    let Some(net) = Net::new() else { return };
    net.apply();
    // The address of a local resolver, one for IPv6, and an external address of this machine.
    for (to, port) in [("127.0.0.53", 53), ("::1", 53), ("192.0.2.1", 5353)] {
        let service = net
            .appliance
            .within(|| UdpSocket::bind(address(to, port)).unwrap());
        service.set_read_timeout(Some(NO_PACKET)).unwrap();
        let receives = |uid| {
            net.appliance.as_user(uid, || drop(udp(to, port)));
            service.recv(&mut [0; 8]).is_ok()
        };
        assert!(!receives(SCOUT), "{to}");
        assert!(receives(OTHER), "{to}");
    }
}

#[test]
fn existing_local_connection_is_cut() {
    let Some(net) = Net::new() else { return };
    for to in ["127.0.0.1", "::1"] {
        net.appliance.try_run("nft delete table inet ephyr");
        let service = net
            .appliance
            .within(|| TcpListener::bind(address(to, 5432)).unwrap());
        let connect = |uid| {
            let client = net.appliance.as_user(uid, || tcp(to, 5432).unwrap());
            let (served, _) = service.accept().unwrap();
            served.set_read_timeout(Some(NO_PACKET)).unwrap();
            (client, served)
        };
        let read = |mut stream: &TcpStream| stream.read(&mut [0; 8]).unwrap_or(0);
        let (agent, served_agent) = connect(SCOUT);
        let (other, served_other) = connect(OTHER);
        net::write(&agent, "one").unwrap();
        assert_eq!(read(&served_agent), 3, "{to}");

        net.apply();
        let _ = net::write(&agent, "two");
        assert_eq!(read(&served_agent), 0, "{to}");
        net::write(&other, "two").unwrap();
        assert_eq!(read(&served_other), 3, "{to}");
    }
}

#[test]
fn egress_entry_applies_to_the_address_after_nat() {
    let Some(net) = Net::new() else { return };
    net.apply();
    let listen = |to: &'static str| net.outside.within(move || TcpListener::bind(to).unwrap());
    let _named = listen("192.0.2.2:7001");
    let elsewhere = listen("192.0.2.2:7002");
    elsewhere.set_nonblocking(true).unwrap();
    let reach = |uid| net.appliance.as_user(uid, || tcp(OUTSIDE, 7001)).is_ok();
    assert!(reach(ROBOT));

    // NAT redirects the entry's port to another one.
    let rules = "table inet operators {\n chain output {\n type nat hook output priority -100;\n \
                 ip daddr 192.0.2.2 tcp dport 7001 dnat ip to 192.0.2.2:7002\n }\n}\n";
    let file = net.dir.path().join("nat.nft");
    std::fs::write(&file, rules).unwrap();
    net.appliance.run(&format!("nft -f {}", file.display()));
    assert!(!reach(ROBOT));
    assert!(elsewhere.accept().is_err());
    assert!(reach(OTHER));
    assert!(elsewhere.accept().is_ok());
}
