//! For tests only: a real sshd, daemons in a sandbox of accounts, hostile peers.
