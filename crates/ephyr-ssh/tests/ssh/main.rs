//! Tests the SSH client against OpenSSH's sshd and against hostile servers.

#[cfg(test)]
mod asked;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod exec;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod login;
mod support;
