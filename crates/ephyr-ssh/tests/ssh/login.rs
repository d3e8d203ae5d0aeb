//! Certificate logins and host key checks.

use ephyr_ssh::{ExecOptions, Exit, Fault, KeyPair, Options, SshError};
use ssh_key::{HashAlg, PublicKey};

use crate::support::{self, Lab, Pin, Setup, Spec, connect, login_by, permit, run_plainly};

#[tokio::test]
async fn certificate_for_the_role_opens_the_account() {
    let lab = Lab::start();
    let done = run_plainly(&lab, "id -un").await;
    assert_eq!(done.stdout, format!("{}\n", lab.account).into_bytes());
}

#[tokio::test]
async fn certificate_for_another_principal_is_refused() {
    let lab = Lab::start();
    let spec = Spec {
        principal: "db/op",
        ..Spec::default()
    };
    assert_refused(login_by(&lab, "id", &spec).await.err(), &lab);
}

#[tokio::test]
async fn expired_or_future_certificate_is_refused() {
    let lab = Lab::start();
    for valid in [(-120, -60), (3600, 7200)] {
        let spec = Spec {
            valid,
            ..Spec::default()
        };
        let error = login_by(&lab, "id", &spec).await.err();
        let text = error.as_ref().map(ToString::to_string).unwrap_or_default();
        assert_refused(error, &lab);
        let clock = text.find("`date -u` on the target must show");
        assert!(clock < text.find("TrustedUserCAKeys"), "{text}");
        assert!(clock.is_some(), "{text}");
    }
}

#[tokio::test]
async fn certificate_of_another_ca_is_refused() {
    let lab = Lab::start();
    let permit = permit(lab.port, &lab.account, &lab.pin(), "id");
    let connection = connect(&permit, &Options::default()).await.unwrap();
    let keys = KeyPair::generate().unwrap();
    let certificate = support::Ca::new(2).certify(keys.public_openssh(), "id", &Spec::default());
    let login = connection
        .authenticate(keys.identity(&certificate).unwrap())
        .await;
    assert_refused(login.err(), &lab);
}

fn assert_refused(error: Option<SshError>, lab: &Lab) {
    let error = error.expect("the login succeeded");
    assert!(
        matches!(&error, SshError::CertificateRefused { account, further: false, .. }
            if account.as_str() == lab.account),
        "{error}\n{}",
        lab.log()
    );
    assert_eq!(error.fault(), Fault::Operator);
    assert!(error.to_string().contains("AuthorizedPrincipalsFile"));
}

#[tokio::test]
async fn certificate_for_another_key_is_refused_locally() {
    let lab = Lab::start();
    let (ours, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let certificate = lab
        .ca
        .certify(other.public_openssh(), "id", &Spec::default());
    let refused = ours.identity(&certificate).err().unwrap();
    assert_eq!(refused.code(), "certificate_unusable");
    assert!(other.identity(&certificate).is_ok());
}

#[tokio::test]
async fn changed_host_key_is_refused_with_both_fingerprints() {
    let lab = Lab::start();
    let other = Lab::start();
    let permit = permit(lab.port, &lab.account, &other.pin(), "id");
    let error = connect(&permit, &Options::default()).await.err().unwrap();
    let expected = SshError::HostKeyChanged {
        target: "web".parse().unwrap(),
        expected: vec![fingerprint(&other.host_keys[0])],
        seen: fingerprint(&lab.host_keys[0]),
    };
    assert_eq!(error, expected);
    assert_eq!(error.fault(), Fault::Target);
}

#[tokio::test]
async fn changed_host_key_is_refused_without_strict_host_keys() {
    let lab = Lab::start();
    let other = Lab::start();
    let permit = permit(lab.port, &lab.account, &other.pin(), "id");
    let lax = Options {
        strict_host_keys: false,
        ..Options::default()
    };
    let error = connect(&permit, &lax).await.err().unwrap();
    assert_eq!(error.code(), "host_key_changed");
}

#[tokio::test]
async fn unpinned_target_needs_strict_host_keys_off() {
    let lab = Lab::start();
    let permit = permit(lab.port, &lab.account, &Pin::None, "id");
    let error = connect(&permit, &Options::default()).await.err().unwrap();
    let seen = fingerprint(&lab.host_keys[0]);
    let target = "web".parse().unwrap();
    assert_eq!(
        error,
        SshError::HostKeyUnpinned {
            target,
            seen: seen.clone()
        }
    );

    let lax = Options {
        strict_host_keys: false,
        ..Options::default()
    };
    let connection = connect(&permit, &lax).await.unwrap();
    assert!(!connection.host_key().pinned);
    assert_eq!(connection.host_key().fingerprint, seen);
}

#[tokio::test]
async fn pinned_host_key_is_requested_of_several() {
    let lab = Lab::with(&Setup {
        host_keys: &["ed25519", "ecdsa"],
        ..Setup::default()
    });
    let [ed25519, ecdsa] = &lab.host_keys[..] else {
        panic!("two host keys");
    };
    let pins = [
        (Pin::Key(ed25519.clone()), ed25519),
        (Pin::Fingerprint(fingerprint(ed25519)), ed25519),
        (Pin::Fingerprint(fingerprint(ecdsa)), ecdsa),
    ];
    for (pin, key) in pins {
        let permit = permit(lab.port, &lab.account, &pin, "id");
        let connection = connect(&permit, &Options::default()).await.unwrap();
        assert_eq!(connection.host_key().fingerprint, fingerprint(key));
        assert!(connection.host_key().pinned);
    }
}

#[tokio::test]
async fn fingerprint_of_no_host_key_is_refused() {
    let lab = Lab::with(&Setup {
        host_keys: &["ed25519", "ecdsa"],
        ..Setup::default()
    });
    let wrong = fingerprint(&support::Ca::new(9).public());
    let permit = permit(
        lab.port,
        &lab.account,
        &Pin::Fingerprint(wrong.clone()),
        "id",
    );
    let error = connect(&permit, &Options::default()).await.err().unwrap();
    let expected = SshError::HostKeyChanged {
        target: "web".parse().unwrap(),
        expected: vec![wrong],
        seen: fingerprint(&lab.host_keys[0]),
    };
    assert_eq!(error, expected);
}

#[tokio::test]
async fn closed_port_is_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let permit = permit(
        port,
        "nobody",
        &Pin::Key(support::Ca::new(1).public()),
        "id",
    );
    let error = connect(&permit, &Options::default()).await.err().unwrap();
    assert_eq!(error.code(), "target_unreachable");
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}")),
        "{error}"
    );
}

#[tokio::test]
async fn connect_runs_concurrently_with_certification() {
    let lab = Lab::start();
    let permit = permit(lab.port, &lab.account, &lab.pin(), "echo joined");
    let identity = async {
        let keys = KeyPair::generate()?;
        let certificate = lab
            .ca
            .certify(keys.public_openssh(), "echo joined", &Spec::default());
        keys.identity(&certificate)
    };
    let (connection, identity) =
        tokio::try_join!(connect(&permit, &Options::default()), identity).unwrap();
    let login = connection.authenticate(identity).await.unwrap();
    let done = login.exec(ExecOptions::default()).await.unwrap();
    assert_eq!(
        (done.stdout, done.exit),
        (b"joined\n".to_vec(), Exit::Code(0))
    );
}

fn fingerprint(line: &str) -> String {
    let key = PublicKey::from_openssh(line).unwrap();
    key.fingerprint(HashAlg::Sha256).to_string()
}
