//! Whatever protocol an agent's processes speak, whatever is on this machine, and wherever someone's NAT
//! sends their packets: rejected. Each with another user, whose packets arrive.

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

/// How long to wait for what must not come.
const A_WHILE: Duration = Duration::from_millis(300);

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

/// Asks for an echo, as `ping` does without privilege.
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

/// Begins a connection of Multipath TCP, whose subflows are sockets that the kernel makes.
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

/// Sends to everyone on the wire.
fn broadcast() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_broadcast(true).unwrap();
    let _ = socket.send_to(b"x", "192.0.2.255:9999");
}

type Sends = &'static [(&'static str, fn())];

fn none_leaves(net: &Net, sends: Sends) {
    for (what, send) in sends {
        let rejected = net.rejected("scout");
        assert_eq!(arrived(net, SCOUT, send), 0, "{what}, of an agent");
        assert!(net.rejected("scout") > rejected, "{what} is counted");
        assert!(arrived(net, OTHER, send) > 0, "{what}, of another user");
    }
}

#[test]
fn neither_echo_requests_nor_what_goes_to_many_leave() {
    let Some(net) = Net::new() else { return };
    net.apply();
    net.appliance
        .run("echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range");
    none_leaves(
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
fn no_connection_of_multipath_tcp_leaves() {
    let Some(net) = Net::new() else { return };
    let enabled = net.appliance.try_run("cat /proc/sys/net/mptcp/enabled");
    if enabled.stdout.trim_ascii() != b"1" {
        ephyr_testkit::skip("this kernel has no Multipath TCP");
        return;
    }
    net.apply();
    none_leaves(
        &net,
        &[
            ("Multipath TCP", || multipath(OUTSIDE)),
            ("Multipath TCP over IPv6", || multipath(OUTSIDE6)),
        ],
    );
}

#[test]
fn no_service_of_this_machine_hears_an_agent_over_udp() {
    let Some(net) = Net::new() else { return };
    net.apply();
    // Where a resolver listens, and where one could over IPv6.
    for (to, port) in [("127.0.0.53", 53), ("::1", 53), ("192.0.2.1", 5353)] {
        let service = net
            .appliance
            .within(|| UdpSocket::bind(address(to, port)).unwrap());
        service.set_read_timeout(Some(A_WHILE)).unwrap();
        let hears = |uid| {
            net.appliance.as_user(uid, || drop(udp(to, port)));
            service.recv(&mut [0; 8]).is_ok()
        };
        assert!(!hears(SCOUT), "{to}");
        assert!(hears(OTHER), "{to}");
    }
}

#[test]
fn a_connection_within_this_machine_from_before_is_cut_as_well() {
    let Some(net) = Net::new() else { return };
    for to in ["127.0.0.1", "::1"] {
        net.appliance.try_run("nft delete table inet ephyr");
        let service = net
            .appliance
            .within(|| TcpListener::bind(address(to, 5432)).unwrap());
        let connect = |uid| {
            let client = net.appliance.as_user(uid, || tcp(to, 5432).unwrap());
            let (served, _) = service.accept().unwrap();
            served.set_read_timeout(Some(A_WHILE)).unwrap();
            (client, served)
        };
        let read = |mut stream: &TcpStream| stream.read(&mut [0; 8]).unwrap_or(0);
        let (agents, to_agent) = connect(SCOUT);
        let (others, to_other) = connect(OTHER);
        net::write(&agents, "one").unwrap();
        assert_eq!(read(&to_agent), 3, "{to}");

        net.apply();
        let _ = net::write(&agents, "two");
        assert_eq!(read(&to_agent), 0, "{to}");
        net::write(&others, "two").unwrap();
        assert_eq!(read(&to_other), 3, "{to}");
    }
}

#[test]
fn an_egress_entry_is_where_packets_go_whatever_nat_makes_of_them() {
    let Some(net) = Net::new() else { return };
    net.apply();
    let listen = |to: &'static str| net.outside.within(move || TcpListener::bind(to).unwrap());
    let _named = listen("192.0.2.2:7001");
    let elsewhere = listen("192.0.2.2:7002");
    elsewhere.set_nonblocking(true).unwrap();
    let reach = |uid| net.appliance.as_user(uid, || tcp(OUTSIDE, 7001)).is_ok();
    assert!(reach(ROBOT));

    // The operator sends what is meant for the entry's port to another one.
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
