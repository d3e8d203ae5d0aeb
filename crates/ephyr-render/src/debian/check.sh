#!/bin/sh
# Checks that sshd treats the role accounts as the policy requires. Changes nothing. Run it after each change of sshd's
# configuration.
#
# usage: check.sh [--from ADDRESS]… [--config FILE] [--host-key FILE] [--snippet FILE]
#
# --from: an address or network of the appliance, if the policy names none; --config and --host-key: check this configuration
# instead of the running sshd's; --snippet: the path of the file rendered for sshd.
# Only builtins before lib.sh sets PATH: root must not run a program from the caller's directories.
case $0 in */*) here=${0%/*}/ ;; *) here=. ;; esac
here=$(CDPATH='' cd -- "$here" && pwd)
. "$here/lib.sh"
. "$here/sshd.sh"
. "$here/rules.sh"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
given=
arguments "$@"
find_sshd
check_sshd
each_account check_home
say "sshd treats the accounts of $authority as the policy requires"
