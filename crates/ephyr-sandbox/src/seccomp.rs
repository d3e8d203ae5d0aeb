//! System call filters (seccomp(2)), one per daemon.
//!
//! Up to two programs are loaded; the kernel applies the stricter result. The first kills the process for calls that no
//! daemon makes and only a hijacked one would: executing a program, tracing, mounting, loading kernel code, mapping
//! executable memory. The second, an allow-list for daemons with few calls, returns EPERM for all others: a library may
//! probe for a newer call, and it handles an error better than a kill.
//!
//! The whole process is killed, not only the thread, so that no daemon continues with threads missing. The kernel logs
//! the call's number (`type=1326`).

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::SandboxError;

/// A system call filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The signer: an allow-list for one thread with open sockets. Creating a socket, a thread or a process kills it.
    Signer,
    /// A daemon with network and threads: only the kill list. The unit's `SystemCallFilter=` is the allow-list.
    Network,
    /// As [`Network`](Self::Network), but `execve` is allowed, for a daemon that runs a system program.
    Launcher,
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

impl Filter {
    /// Applies the filter to all threads of this process, irrevocably.
    ///
    /// # Errors
    ///
    /// The kernel has no seccomp, a thread already has another filter, or the architecture is not supported.
    pub fn apply(self) -> Result<(), SandboxError> {
        for program in self.programs()? {
            seccompiler::apply_filter_all_threads(&program).map_err(failed)?;
        }
        Ok(())
    }

    /// Returns the programs in loading order. The kill list is first because it allows `seccomp`, with which the
    /// allow-list is loaded; the allow-list does not contain that call.
    fn programs(self) -> Result<Vec<BpfProgram>, SandboxError> {
        let kill_list = program(
            self.kill_rules()?,
            SeccompAction::KillProcess,
            SeccompAction::Allow,
        )?;
        Ok(match self {
            Self::Signer => vec![
                kill_list,
                program(signer_calls()?, SeccompAction::Allow, eperm())?,
            ],
            Self::Network | Self::Launcher => vec![kill_list],
        })
    }

    fn kill_rules(self) -> Result<Rules, SandboxError> {
        let mut rules: Rules = KILLED.iter().map(|call| (*call, Vec::new())).collect();
        if self == Self::Launcher {
            rules.remove(&libc::SYS_execve);
        }
        // Only the dynamic loader maps executable memory, and it has finished.
        if self == Self::Signer {
            rules.extend(SIGNER_KILLED.iter().map(|call| (*call, Vec::new())));
            let executable = masked(2, libc::PROT_EXEC.cast_unsigned().into())?;
            rules.insert(libc::SYS_mmap, vec![rule(vec![executable.clone()])?]);
            rules.insert(libc::SYS_mprotect, vec![rule(vec![executable])?]);
        } else {
            let raw = [
                libc::AF_PACKET,
                libc::AF_ALG,
                libc::AF_VSOCK,
                libc::AF_BLUETOOTH,
            ];
            let families = raw.map(|family| rule(vec![equal(0, family.cast_unsigned().into())?]));
            rules.insert(
                libc::SYS_socket,
                families.into_iter().collect::<Result<_, _>>()?,
            );
        }
        Ok(rules)
    }
}

/// Calls that kill any daemon.
const KILLED: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
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
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_memfd_secret,
    libc::SYS_personality,
];

/// Calls that also kill the signer.
const SIGNER_KILLED: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_clone,
    libc::SYS_clone3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_memfd_create,
];

/// Calls of the serving signer: sockets, journal, policy, clock, memory and exit.
const SIGNER_CALLS: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

fn signer_calls() -> Result<Rules, SandboxError> {
    let mut rules: Rules = SIGNER_CALLS
        .iter()
        .map(|call| (*call, Vec::new()))
        .collect();
    // abort(3) signals the calling process. Signals to other processes are denied.
    let own = equal(0, std::process::id().into())?;
    rules.insert(libc::SYS_tgkill, vec![rule(vec![own])?]);
    Ok(rules)
}

fn eperm() -> SeccompAction {
    SeccompAction::Errno(libc::EPERM.cast_unsigned())
}

fn equal(argument: u8, value: u64) -> Result<SeccompCondition, SandboxError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
        .map_err(failed)
}

fn masked(argument: u8, bits: u64) -> Result<SeccompCondition, SandboxError> {
    let op = SeccompCmpOp::MaskedEq(bits);
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, bits).map_err(failed)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, SandboxError> {
    SeccompRule::new(conditions).map_err(failed)
}

fn program(
    rules: Rules,
    listed: SeccompAction,
    others: SeccompAction,
) -> Result<BpfProgram, SandboxError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let filter = SeccompFilter::new(rules, others, listed, machine).map_err(failed)?;
    BpfProgram::try_from(filter).map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn failed(error: impl ToString) -> SandboxError {
    SandboxError::Seccomp(error.to_string())
}

#[cfg(test)]
mod tests;
