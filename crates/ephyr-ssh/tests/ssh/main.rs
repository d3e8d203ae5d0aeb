//! The SSH client against real sshds and against servers that are none.

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
