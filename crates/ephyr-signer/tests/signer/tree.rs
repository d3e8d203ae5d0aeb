//! Tests that certain crates are not among the signer's dependencies.

use std::process::Command;

#[test]
fn signer_depends_on_no_runtime_network_or_ssh_client() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "ephyr-signer",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"ephyr-policy"), "{text}");
    for banned in [
        "tokio",
        "mio",
        "hyper",
        "hyper-util",
        "russh",
        "axum",
        "rustls",
        "reqwest",
        "clap",
        "schemars",
        "socket2",
        "libloading",
        "ephyr-audit",
        "ephyr-render",
    ] {
        assert!(
            !names.contains(&banned),
            "{banned} is in the signer's tree:\n{text}"
        );
    }
}
