# Shared by install.sh, uninstall.sh and check.sh. target.sh, rendered from the policy, has the values.
set -eu
umask 022
# For root these are the only directories of programs. A build of a NixOS system has its programs on its own PATH, and does
# not run as root. Without /proc this counts as root.
callers_path=${PATH:-}
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
while read -r key _ effective_user _; do
    case $key,$effective_user in
        Uid:,0) break ;;
        Uid:,*) PATH=$PATH${callers_path:+:$callers_path} ;;
    esac
done 2> /dev/null < /proc/self/status || true
newline='
'

# shellcheck source=/dev/null
. "$here/target.sh"
own=/etc/ssh/ephyr/$authority
snippet=/etc/ssh/sshd_config.d/50-ephyr-$authority.conf
sudoers=/etc/sudoers.d/ephyr-$authority
revoked=$state/$authority.revoked_keys
# In the comment field of an account it says whose the account is.
marker="Ephyr role ($authority)"

# Not `echo`, which expands backslashes in dash.
say() { printf '%s\n' "ephyr: $*"; }
die() { printf '%s\n' "ephyr: $*" >&2; exit 1; }

as_root() {
    [ "$(id -u)" = 0 ] || die "run this as root"
    for tool in sshd useradd usermod userdel chage getent; do
        command -v "$tool" > /dev/null || die "$tool is missing; install openssh-server and passwd"
    done
}

# Parses the options of the scripts that check sshd. `--from` overrides the policy's addresses.
arguments() {
    from=
    while [ $# -gt 0 ]; do
        [ $# -gt 1 ] || die "$1 needs a value"
        case $2 in *"$newline"*) die "the value of $1 contains a line break" ;; esac
        case $1 in
            --from)
                case $2 in '' | *[!0-9a-fA-F.:/]*) die "--from $2: not an IP address or network" ;; esac
                from="$from $2"
                ;;
            --config | --host-key | --snippet)
                [ "${0##*/}" = check.sh ] || die "unknown option $1"
                case $1 in
                    --config) printf '%s\n' "-f$2" >> "$work/given" ;;
                    --host-key) printf '%s\n' "-h$2" >> "$work/given" ;;
                    --snippet) snippet=$2 ;;
                esac
                ;;
            *) die "unknown option $1" ;;
        esac
        shift 2
    done
    if [ -e "$work/given" ]; then given=$work/given; fi
    sources=${from:-$sources}
}

# Runs `$1 name system home shell` for each account that Ephyr creates.
each_account() {
    while read -r name system home shell; do
        "$1" "$name" "$system" "$home" "$shell"
    done < "$here/accounts"
}

comment_of() { getent passwd "$1" | cut -d : -f 5; }
# usermod prints a message if nothing changes.
set_shell() { [ "$(shell_of "$1")" = "$2" ] || usermod --shell "$2" "$1"; }
shell_of() { getent passwd "$1" | cut -d : -f 7; }
is_ours() { [ "$(comment_of "$1")" = "$marker" ]; }

# Our accounts, those of earlier policies too.
our_accounts() { awk -F : -v marker="$marker" '$5 == marker { print $1 }' /etc/passwd; }

# sshd needs it even to check its configuration; its service makes it while it runs.
if [ "$(id -u)" = 0 ]; then mkdir -p /run/sshd; fi

# People's accounts and root: all that can log in and are not ours.
others() {
    while IFS=: read -r name _ _ _ comment _ shell; do
        case $comment in "Ephyr role ("*) continue ;; esac
        case $shell in */nologin | */false | */sync | "") continue ;; esac
        case " $shared " in *" $name "*) continue ;; esac
        echo "$name"
    done < /etc/passwd
}
effective_of_others() {
    others | while read -r name; do
        echo "account $name"
        effective "$name"
    done
}

reload() {
    if [ -d /run/systemd/system ]; then
        for unit in ssh.service sshd.service; do
            if systemctl --quiet is-active "$unit"; then
                systemctl reload "$unit" || die "sshd does not reload: see journalctl -u $unit"
                say "sshd reloaded"
                return
            fi
        done
    elif [ -s /run/sshd.pid ] && kill -HUP "$(cat /run/sshd.pid)" 2> /dev/null; then
        say "sshd reloaded"
        return
    fi
    say "sshd does not run as a service here; what it reads is ready for its next start"
}

# Takes an account of ours away, with all that its user could have made.
remove_account() {
    is_ours "$1" || die "$1 is not an account of $authority"
    uid=$(id -u "$1")
    set_shell "$1" /usr/sbin/nologin
    if command -v loginctl > /dev/null && [ -d /run/systemd/system ]; then
        loginctl disable-linger "$1" 2> /dev/null || true
        loginctl terminate-user "$1" 2> /dev/null || true
    fi
    tries=0
    while end_processes "$uid"; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || die "processes of $1 do not end; end them and run this again"
        sleep 0.1
    done
    rm -f "/var/lib/systemd/linger/$1" "/var/spool/cron/crontabs/$1" "/var/mail/$1"
    for directory in /tmp /var/tmp /dev/shm /var/spool/cron/atjobs; do
        [ ! -d "$directory" ] || find "$directory" -xdev -mindepth 1 -uid "$uid" -depth -delete 2> /dev/null || true
    done
    userdel "$1"
    if getent group "$1" > /dev/null; then groupdel "$1"; fi
    [ ! -d "$state/$1" ] || rm -rf -- "${state:?}/$1"
    say "removed account $1"
}

# Succeeds while there is something to end.
end_processes() {
    found=1
    for status in /proc/[0-9]*/status; do
        state_of='' user='' effective_user=''
        # It may have ended while we look.
        while read -r key first second _; do
            case $key in
                State:) state_of=$first ;;
                Uid:) user=$first effective_user=$second ;;
            esac
        done 2> /dev/null < "$status" || continue
        [ "$state_of" != Z ] || continue
        if [ "$user" = "$1" ] || [ "$effective_user" = "$1" ]; then
            pid=${status#/proc/}
            kill -KILL "${pid%/status}" 2> /dev/null || true
            found=0
        fi
    done
    return "$found"
}

# Writes standard input to a file in one step.
put() {
    cat > "$1.ephyr-new"
    chmod "$2" "$1.ephyr-new"
    mv -f "$1.ephyr-new" "$1"
}

# A line in a list of accounts that may not, or no longer. Owner and mode of the list stay.
deny() {
    if [ -e "$1" ] && grep -qxF -- "$2" "$1"; then return; fi
    if [ -s "$1" ] && [ -n "$(tail -c 1 "$1")" ]; then echo >> "$1"; fi
    echo "$2" >> "$1"
}
undeny() {
    [ -e "$1" ] && grep -qxF -- "$2" "$1" || return 0
    grep -vxF -- "$2" "$1" > "$1.ephyr-new" || true
    cat "$1.ephyr-new" > "$1"
    rm -f "$1.ephyr-new"
}
