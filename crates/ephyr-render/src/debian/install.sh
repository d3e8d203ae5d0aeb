#!/bin/sh
# Makes this host a target of an Ephyr appliance, or brings it up to date. Run as root, as often as you like.
# Nothing changes for other accounts; if sshd or sudo would not accept the result, all is put back.
#
# usage: install.sh [--from ADDRESS]…
#
# --from: an address or network that the appliance connects from, as this host sees it. It overrides the target's
# source_address in the policy.
# Only builtins before lib.sh sets PATH: root must not run a program from the caller's directories.
case $0 in */*) here=${0%/*}/ ;; *) here=. ;; esac
here=$(CDPATH='' cd -- "$here" && pwd)
. "$here/lib.sh"
. "$here/sshd.sh"
. "$here/rules.sh"
as_root

new_accounts=
done=
saved=$(mktemp -d)
trap 'rm -rf -- "$saved"' EXIT
work=$saved/work given=
mkdir "$work"

main() {
    arguments "$@"
    find_sshd
    look_first
    effective_of_others > "$saved/before"
    each_of_ours save
    trap 'undo; exit 1' HUP INT TERM
    trap undo EXIT
    each_account make_account
    place_files
    each_account no_timers
    check
    done=yes
    for name in $(our_accounts); do
        wanted "$name" || forget "$name"
    done
    reload
    say "this host is target $target of $authority"
}

# `$1 name system shell home` for each account that is ours to make.
each_account() {
    while read -r name system home shell; do
        "$1" "$name" "$system" "$home" "$shell"
    done < "$here/accounts"
}

wanted() { grep -q "^$1 " "$here/accounts"; }

# Everything that can be known before anything changes.
look_first() {
    each_account look_at
    if [ -e "$here/files$sudoers" ]; then
        command -v visudo > /dev/null || die "a role has sudo rules, and there is no sudo here: install the package sudo"
        visudo -cqf "$here/files$sudoers" || die "sudo does not accept its rules; nothing was changed"
    fi
    is_valid || die "sshd's present configuration is not valid: $(cat "$work/error"); nothing was changed"
}

look_at() {
    if getent passwd "$1" > /dev/null; then
        is_ours "$1" || die "there is an account $1 that Ephyr did not make for $authority (its comment is" \
            "\"$(comment_of "$1")\"); remove it, or give the role another principal; nothing was changed"
    elif getent group "$1" > /dev/null; then
        die "there is a group $1; remove it, or give the role another principal; nothing was changed"
    fi
    [ -x "$4" ] || die "the shell of $1, $4, is not here; nothing was changed"
    # A link's target runs under the link's name: `ash` and `sh` may be busybox.
    real=$(readlink -f "$4")
    case " $shells busybox mksh-static " in
        *" ${real##*/} "*) ;;
        *) die "the shell of $1, $4, is $real, which is not known to run sealed commands; give the role one of:" \
            "$shells; nothing was changed" ;;
    esac
}

make_account() {
    if getent passwd "$1" > /dev/null; then
        echo "$1 $(shell_of "$1")" >> "$saved/shells"
        set_shell "$1" "$4"
    else
        new_accounts="$new_accounts $1"
        if [ "$2" = true ]; then kind=--system; else kind=--user-group; fi
        useradd "$kind" --user-group --no-create-home --home-dir "$3" --shell "$4" --comment "$marker" \
            --key SUB_UID_COUNT=0 --key SUB_GID_COUNT=0 "$1" 2> "$saved/useradd" || die "$(cat "$saved/useradd")"
        say "made account $1"
    fi
    # No password opens it, and none ever expires: `!` would mean locked to sshd, and so would an old `*`.
    [ "$(getent shadow "$1" | cut -d : -f 2,8)" = '*:' ] || usermod --password '*' --expiredate '' "$1"
    chage --mindays -1 --maxdays -1 --inactive -1 --warndays -1 "$1"
    mkdir -p "$3"
    chown root:root "$state" "$3"
    chmod 755 "$state" "$3"
}

# Of nothing that others start for a user: only sshd lets it in.
no_timers() {
    # On Debian everybody may use cron unless told otherwise, and nobody at unless there is a list.
    if [ ! -e /etc/cron.allow ]; then deny /etc/cron.deny "$1"; fi
    if [ -e /etc/at.deny ]; then deny /etc/at.deny "$1"; fi
    rm -f "/var/lib/systemd/linger/$1"
}

place_files() {
    (cd "$here/files" && find . -type f) | sed 's/^\.//' | while read -r path; do
        mode=644
        case $path in
            "$sudoers") mode=440 ;;
            # It has grown since.
            "$revoked") [ ! -e "$revoked" ] || continue ;;
        esac
        mkdir -p "$(dirname "$path")"
        cmp -s "$here/files$path" "$path" || put "$path" "$mode" < "$here/files$path"
        chown root:root "$path"
        chmod "$mode" "$path"
    done
    chmod 755 /etc/ssh/ephyr "$own" "$own/principals"
    for path in "$own"/principals/*; do
        [ -e "$here/files$path" ] || rm -f "$path"
    done
    [ -e "$here/files$sudoers" ] || rm -f "$sudoers"
}

# Queries sshd for its effective configuration.
check() {
    is_valid || die "sshd does not accept the new configuration: $(cat "$work/error")"
    each_account check_home
    check_sshd
    choose_first
    effective_of_others > "$saved/after"
    cmp -s "$saved/before" "$saved/after" || die "sshd would treat other accounts differently:" \
        "$(diff "$saved/before" "$saved/after" | head -n 5)"
}

forget() {
    undeny /etc/cron.deny "$1"
    undeny /etc/at.deny "$1"
    remove_account "$1"
}

each_of_ours() {
    for path in "$own" "$snippet" "$sudoers" "$revoked" /etc/cron.deny /etc/at.deny; do "$1" "$path"; done
}

save() {
    [ -e "$1" ] || return 0
    mkdir -p "$saved/files$(dirname "$1")"
    cp -a "$1" "$saved/files$1"
}

restore() {
    rm -rf -- "$1"
    [ ! -e "$saved/files$1" ] || cp -a "$saved/files$1" "$1"
}

undo() {
    trap - EXIT
    if [ -z "$done" ]; then
        set +e
        each_of_ours restore
        rmdir /etc/ssh/ephyr 2> /dev/null
        if [ -e "$saved/shells" ]; then
            while read -r name shell; do set_shell "$name" "$shell"; done < "$saved/shells"
        fi
        for name in $new_accounts; do
            if getent passwd "$name" > /dev/null; then remove_account "$name"; fi
        done
        rmdir "$state" 2> /dev/null
        echo "ephyr: all was put back as it was" >&2
    fi
    rm -rf -- "$saved"
    [ -n "$done" ] || exit 1
}

main "$@"
