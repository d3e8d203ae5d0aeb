//! Packets of an agent's processes are rejected for every destination; another user's arrive. Packets are counted at the
//! destination.

#![cfg(test)]

mod net;

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net::{
    METADATA, Machine, Net, OTHER, OUTSIDE, OUTSIDE6, PROVER, ROBOT, SCOUT, arrived, tcp, udp,
};

fn listen(machine: &Machine, address: &str) -> TcpListener {
    let address = address.to_owned();
    machine.within(move || TcpListener::bind(address).unwrap())
}

#[test]
fn agent_packets_are_rejected_for_every_destination() {
    let Some(net) = Net::new() else { return };
    net.apply();
    type Send = fn();
    let sends: [(&str, Send); 7] = [
        ("a target's sshd", || drop(tcp(OUTSIDE, 22))),
        ("a target's sshd over IPv6", || drop(tcp(OUTSIDE6, 22))),
        ("the metadata service", || drop(tcp(METADATA, 80))),
        ("DNS", || drop(udp(OUTSIDE, 53))),
        ("DNS over IPv6", || drop(udp(OUTSIDE6, 53))),
        ("DNS over TCP", || drop(tcp(OUTSIDE, 53))),
        ("QUIC", || drop(udp(OUTSIDE, 443))),
    ];
    for (what, send) in sends {
        let rejected = net.rejected("scout");
        assert_eq!(arrived(&net, SCOUT, send), 0, "{what} from an agent");
        assert!(net.rejected("scout") > rejected, "{what} is counted");
        assert!(arrived(&net, OTHER, send) > 0, "{what} from another user");
    }
}

#[test]
fn rejection_reaches_the_socket_immediately() {
    let Some(net) = Net::new() else { return };
    net.apply();
    let refused = net.appliance.as_user(SCOUT, || tcp(OUTSIDE, 22));
    let kind = refused.unwrap_err().kind();
    assert_eq!(kind, std::io::ErrorKind::ConnectionRefused);
    assert!(net.appliance.as_user(SCOUT, || udp(OUTSIDE, 53)).is_err());
    assert!(net.appliance.as_user(OTHER, || udp(OUTSIDE, 53)).is_ok());
    // A resolver's pending read also fails, instead of waiting for its timeout.
    let pending = net.appliance.as_user(SCOUT, || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket.connect((OUTSIDE, 53)).unwrap();
        let _ = socket.send(b"x");
        socket.recv(&mut [0; 8]).unwrap_err().kind()
    });
    assert_eq!(pending, std::io::ErrorKind::HostUnreachable);
}

#[test]
fn only_the_brokers_loopback_port_is_open_and_only_with_pop() {
    let Some(net) = Net::new() else { return };
    net.apply();
    let _broker = listen(&net.appliance, "127.0.0.1:8554");
    let _other = listen(&net.appliance, "127.0.0.1:5432");
    let _other6 = listen(&net.appliance, "[::1]:5432");
    let reach = |uid, to: &'static str, port| {
        let done = net.appliance.as_user(uid, move || tcp(to, port));
        done.is_ok()
    };
    assert!(reach(PROVER, "127.0.0.1", 8554));
    assert!(!reach(SCOUT, "127.0.0.1", 8554));
    for uid in [SCOUT, PROVER, ROBOT] {
        assert!(!reach(uid, "127.0.0.1", 5432));
        assert!(!reach(uid, "::1", 5432));
        assert!(!reach(uid, "192.0.2.1", 5432));
    }
    assert!(reach(OTHER, "127.0.0.1", 5432));
    assert!(reach(OTHER, "::1", 5432));
    // An agent cannot serve on loopback either: its replies are rejected.
    let _agents = net
        .appliance
        .as_user(SCOUT, || TcpListener::bind("127.0.0.1:6000").unwrap());
    assert!(!reach(OTHER, "127.0.0.1", 6000));
    let _others = net
        .appliance
        .as_user(OTHER, || TcpListener::bind("127.0.0.1:6001").unwrap());
    assert!(reach(OTHER, "127.0.0.1", 6001));
}

#[test]
fn egress_entry_opens_exactly_its_address_and_port() {
    let Some(net) = Net::new() else { return };
    net.apply();
    let _named = listen(&net.outside, "192.0.2.2:7001");
    let _next_port = listen(&net.outside, "192.0.2.2:7002");
    let _other_host = listen(&net.outside, "169.254.169.254:7001");
    let _ipv6 = listen(&net.outside, "[2001:db8:1::2]:7001");
    let _named6 = listen(&net.outside, "[2001:db8:1::2]:7006");
    let reach = |uid, to: &'static str, port| {
        let done = net.appliance.as_user(uid, move || tcp(to, port));
        done.is_ok()
    };
    assert!(reach(ROBOT, OUTSIDE, 7001) && reach(ROBOT, OUTSIDE6, 7006));
    for (to, port) in [(OUTSIDE, 7002), (METADATA, 7001), (OUTSIDE6, 7001)] {
        assert!(!reach(ROBOT, to, port), "{to} {port}");
        assert!(reach(OTHER, to, port), "{to} {port}");
    }
    assert!(!reach(SCOUT, OUTSIDE, 7001) && !reach(SCOUT, OUTSIDE6, 7006));
    let send = || drop(udp(OUTSIDE, 7001));
    assert_eq!(arrived(&net, ROBOT, send), 0, "the entry is for TCP");
    assert_eq!(arrived(&net, OTHER, send), 1);
}

/// Opens a TCP connection with an IP option, as a user with CAP_NET_RAW, which Linux requires for these options and no
/// agent has.
fn with_option(uid: u32, family: &str, option: &str, address: &str) {
    let script = format!(
        "socket(S, {family}, SOCK_STREAM, 0) or exit 3; setsockopt(S, {option}) or exit 4; \
         alarm 2; connect(S, {address});"
    );
    let done = Command::new("setpriv")
        .args(["--reuid", &uid.to_string(), "--clear-groups"])
        .args(["--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw"])
        .args(["perl", "-MSocket=:all", "-e", &script])
        .output()
        .unwrap();
    // It exits, or the alarm kills it while connecting.
    let code = done.status.code();
    assert!(
        matches!(code, None | Some(0)),
        "{code:?}: {}",
        net::stderr(&done)
    );
}

#[test]
fn no_ip_option_widens_an_egress_entry() {
    if Command::new("perl").arg("-v").output().is_err() {
        ephyr_testkit::skip("there is no perl to set an IP option with");
        return;
    }
    let Some(net) = Net::new() else { return };
    net.apply();
    // Loose source routing to another address by way of the allowed one.
    let routed = |uid| {
        let option = "0, 4, pack('C8', 131, 7, 4, 192, 0, 2, 2, 0)";
        with_option(
            uid,
            "PF_INET",
            option,
            "pack_sockaddr_in(7001, inet_aton('198.51.100.9'))",
        );
    };
    // A destination option of padding; a routing header would be in the same place.
    let extended = |uid| {
        let option = "41, 59, pack('C8', 0, 0, 1, 4, 0, 0, 0, 0)";
        let address = "pack_sockaddr_in6(7006, inet_pton(AF_INET6, '2001:db8:1::2'))";
        with_option(uid, "PF_INET6", option, address);
    };
    let sent = |uid, send: &(dyn Fn(u32) + Sync)| {
        let before = net.seen();
        net.appliance.within(|| send(uid));
        net.appliance.within(|| udp(OUTSIDE, 9).unwrap());
        net::wait_for("the marker", || net.seen() > before);
        net.seen() - before - 1
    };
    assert_eq!(sent(ROBOT, &routed), 0);
    assert!(sent(OTHER, &routed) > 0);
    assert_eq!(sent(ROBOT, &extended), 0);
    assert!(sent(OTHER, &extended) > 0);
}

#[test]
fn existing_connection_of_an_agent_is_cut() {
    let Some(net) = Net::new() else { return };
    let listener = listen(&net.outside, "192.0.2.2:7005");
    let connect = |uid| {
        let client = net.appliance.as_user(uid, || tcp(OUTSIDE, 7005).unwrap());
        let (served, _) = listener.accept().unwrap();
        served
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        (client, served)
    };
    let read = |mut stream: &TcpStream| {
        let mut buffer = [0; 64];
        stream.read(&mut buffer).unwrap_or(0)
    };
    let (agent, served_agent) = connect(SCOUT);
    let (other, served_other) = connect(OTHER);
    let (closing, served_closing) = connect(SCOUT);
    net::write(&agent, "before").unwrap();
    assert_eq!(read(&served_agent), 6);

    net.apply();
    let _ = net::write(&agent, "after");
    assert_eq!(read(&served_agent), 0);
    assert!(
        net::write(&agent, "again").is_err(),
        "its own end is closed"
    );
    // Written and closed at once: the kernel must not send the data later, when the socket has no owner.
    let _ = net::write(&closing, "last");
    drop(closing);
    assert_eq!(read(&served_closing), 0);
    net::write(&other, "after").unwrap();
    assert_eq!(read(&served_other), 5);
}

#[test]
fn no_packet_passes_while_the_table_is_replaced() {
    let Some(net) = Net::new() else { return };
    net.apply();
    let done = AtomicBool::new(false);
    let before = net.seen();
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            net.appliance.as_user(SCOUT, || {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
                let mut sent = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    let _ = socket.send_to(b"x", (OUTSIDE, 53));
                    sent += 1;
                }
                sent
            })
        });
        // The counter keeps its value across replacements.
        let mut counted = 0;
        for round in 0..20 {
            net.write_policy(&net::policy(if round % 2 == 0 {
                &[SCOUT]
            } else {
                &[SCOUT, ROBOT]
            }));
            net.apply();
            let rejected = net.rejected("scout");
            assert!(rejected >= counted, "{rejected} after {counted}");
            counted = rejected;
        }
        done.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    assert!(sent > 1000, "only {sent} packets were sent");
    assert_eq!(net.seen(), before);
    assert!(net.rejected("scout") > 0);
}

#[test]
fn policy_without_agents_rejects_nothing() {
    let Some(net) = Net::new() else { return };
    net.write_policy(&net::policy(&[]));
    net.apply();
    assert!(net.guard("check").status.success());
    assert!(arrived(&net, SCOUT, || drop(udp(OUTSIDE, 53))) > 0);
    net.write_policy(&net::policy(&[SCOUT]));
    net.apply();
    assert_eq!(arrived(&net, SCOUT, || drop(udp(OUTSIDE, 53))), 0);
}
