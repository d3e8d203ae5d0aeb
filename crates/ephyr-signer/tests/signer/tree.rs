//! The signer's dependency tree: what must never be in it.

use std::process::Command;

#[test]
fn the_signer_reaches_no_runtime_no_network_and_no_ssh_client() {
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
