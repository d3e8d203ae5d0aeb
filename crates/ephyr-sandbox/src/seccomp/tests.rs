//! Tests every call of the filters by interpreting the compiled BPF programs that the kernel gets.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Killed,
    Refused,
    Allowed,
}

/// Runs a classic BPF program for a call and returns its result (bpf(4), seccomp(2)). Only the instructions that
/// `seccompiler` emits are implemented.
fn run(program: &BpfProgram, call: c_long, arguments: [u64; 3]) -> u32 {
    let machine: u32 = match std::env::consts::ARCH {
        "x86_64" => 0xc000_003e,
        "aarch64" => 0xc000_00b7,
        other => panic!("{other}"),
    };
    // struct seccomp_data, as 32-bit words: number, machine, instruction pointer, arguments.
    let mut data = vec![u32::try_from(call).unwrap(), machine, 0, 0];
    for argument in arguments {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap();
        data.extend([half(argument), half(argument >> 32)]);
    }
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let one = &program[at];
        at += 1;
        let mut jump = |taken: bool| at += usize::from(if taken { one.jt } else { one.jf });
        match one.code {
            0x20 => accumulator = data[one.k as usize / 4],
            0x54 => accumulator &= one.k,
            0x15 => jump(accumulator == one.k),
            0x25 => jump(accumulator > one.k),
            0x35 => jump(accumulator >= one.k),
            0x05 => at += one.k as usize,
            0x06 => return one.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// Returns the kernel's verdict: the strictest result of all programs.
fn verdict(filter: Filter, call: c_long, arguments: [u64; 3]) -> Verdict {
    let eperm = 0x0005_0000 | libc::EPERM.cast_unsigned();
    let programs = filter.programs().unwrap();
    let results = programs
        .iter()
        .map(|program| match run(program, call, arguments) {
            0x8000_0000 => Verdict::Killed,
            0x7fff_0000 => Verdict::Allowed,
            refused if refused == eperm => Verdict::Refused,
            other => panic!("{other:#x}"),
        });
    results.min().unwrap()
}

fn verdicts(filter: Filter, calls: &[c_long]) -> Vec<Verdict> {
    calls
        .iter()
        .map(|call| verdict(filter, *call, [0; 3]))
        .collect()
}

const ALL: [Filter; 3] = [Filter::Signer, Filter::Network, Filter::Launcher];

#[test]
fn calls_on_the_kill_list_kill_every_daemon() {
    for (group, calls) in [
        ("execution by descriptor", &[libc::SYS_execveat][..]),
        (
            "memory and descriptors of other processes",
            &[
                libc::SYS_ptrace,
                libc::SYS_process_vm_readv,
                libc::SYS_process_vm_writev,
                libc::SYS_kcmp,
                libc::SYS_pidfd_getfd,
            ],
        ),
        (
            "mounts",
            &[
                libc::SYS_mount,
                libc::SYS_umount2,
                libc::SYS_pivot_root,
                libc::SYS_chroot,
                libc::SYS_move_mount,
                libc::SYS_open_tree,
                libc::SYS_fsopen,
                libc::SYS_fsconfig,
                libc::SYS_fsmount,
                libc::SYS_mount_setattr,
            ],
        ),
        ("namespaces", &[libc::SYS_unshare, libc::SYS_setns]),
        (
            "kernel interfaces with many past vulnerabilities",
            &[
                libc::SYS_bpf,
                libc::SYS_perf_event_open,
                libc::SYS_userfaultfd,
                libc::SYS_io_uring_setup,
            ],
        ),
        (
            "kernel modules, kexec, reboot and swap",
            &[
                libc::SYS_init_module,
                libc::SYS_finit_module,
                libc::SYS_delete_module,
                libc::SYS_kexec_load,
                libc::SYS_kexec_file_load,
                libc::SYS_reboot,
                libc::SYS_swapon,
                libc::SYS_swapoff,
            ],
        ),
        (
            "key rings",
            &[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl],
        ),
        ("files by handle", &[libc::SYS_open_by_handle_at]),
        (
            "users, groups and capabilities",
            &[
                libc::SYS_setuid,
                libc::SYS_setgid,
                libc::SYS_setreuid,
                libc::SYS_setregid,
                libc::SYS_setresuid,
                libc::SYS_setresgid,
                libc::SYS_setgroups,
                libc::SYS_capset,
            ],
        ),
        (
            "secret memory and personality",
            &[libc::SYS_memfd_secret, libc::SYS_personality],
        ),
    ] {
        for filter in ALL {
            let killed = vec![Verdict::Killed; calls.len()];
            assert_eq!(verdicts(filter, calls), killed, "{filter:?}: {group}");
        }
    }
}

#[test]
fn only_the_launcher_may_execute_programs() {
    let execve = ALL.map(|filter| verdict(filter, libc::SYS_execve, [0; 3]));
    assert_eq!(execve, [Verdict::Killed, Verdict::Killed, Verdict::Allowed]);
}

#[test]
fn signer_cannot_create_sockets_processes_or_executable_memory() {
    let calls = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_memfd_create,
    ];
    assert_eq!(verdicts(Filter::Signer, &calls), [Verdict::Killed; 8]);
    assert_eq!(verdicts(Filter::Network, &calls), [Verdict::Allowed; 8]);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let memory = |protection: i32| {
            let protection = u64::from(protection.cast_unsigned());
            verdict(Filter::Signer, call, [0, 0, protection])
        };
        let data = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(memory(data), Verdict::Allowed);
        assert_eq!(memory(data | libc::PROT_EXEC), Verdict::Killed);
    }
    #[cfg(target_arch = "x86_64")]
    assert_eq!(
        verdicts(Filter::Signer, &[libc::SYS_fork, libc::SYS_vfork]),
        [Verdict::Killed; 2]
    );
}

#[test]
fn signer_may_make_only_the_calls_on_its_allow_list() {
    let needed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_openat,
        libc::SYS_fdatasync,
        libc::SYS_accept4,
        libc::SYS_getrandom,
        libc::SYS_exit_group,
    ];
    assert_eq!(verdicts(Filter::Signer, &needed), [Verdict::Allowed; 7]);
    let other = [
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_fchmod,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_ioctl,
        libc::SYS_prlimit64,
        libc::SYS_prctl,
        libc::SYS_seccomp,
        // Not assigned to any call.
        1000,
    ];
    assert_eq!(verdicts(Filter::Signer, &other), [Verdict::Refused; 10]);
    let (own, another) = (u64::from(std::process::id()), 1);
    let signal = |process| verdict(Filter::Signer, libc::SYS_tgkill, [process, 0, 0]);
    assert_eq!(signal(own), Verdict::Allowed);
    assert_eq!(signal(another), Verdict::Refused);
}

#[test]
fn network_daemons_may_use_only_some_socket_families() {
    let socket = |filter, family: i32| {
        let family = u64::from(family.cast_unsigned());
        verdict(filter, libc::SYS_socket, [family, 0, 0])
    };
    for filter in [Filter::Network, Filter::Launcher] {
        for family in [
            libc::AF_PACKET,
            libc::AF_ALG,
            libc::AF_VSOCK,
            libc::AF_BLUETOOTH,
        ] {
            assert_eq!(socket(filter, family), Verdict::Killed, "{family}");
        }
        for family in [
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
        ] {
            assert_eq!(socket(filter, family), Verdict::Allowed, "{family}");
        }
    }
}
