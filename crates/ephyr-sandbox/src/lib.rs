//! What the daemons ask of the kernel and of systemd: Landlock, seccomp, peer credentials, sockets, notifications.
