#!/bin/sh
# Takes away what install.sh made on this host for this appliance: configuration, accounts, what they left behind.
# Only builtins before lib.sh sets PATH: root must not run a program from the caller's directories.
case $0 in */*) here=${0%/*}/ ;; *) here=. ;; esac
here=$(CDPATH='' cd -- "$here" && pwd)
. "$here/lib.sh"
as_root

# First the door, then the rooms.
rm -f "$snippet" "$sudoers"
rm -rf -- "${own:?}"
rmdir /etc/ssh/ephyr 2> /dev/null || true
sshd -t || die "sshd's configuration is not valid; mend it and run this again"
reload
for name in $(our_accounts); do
    undeny /etc/cron.deny "$name"
    undeny /etc/at.deny "$name"
    remove_account "$name"
done
# An empty list says the same to cron as none.
[ -s /etc/cron.deny ] || rm -f /etc/cron.deny
rm -f "$revoked"
rmdir "$state" 2> /dev/null || true
say "this host is no target of $authority any more"
