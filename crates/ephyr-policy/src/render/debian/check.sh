#!/bin/sh
# Checks that sshd does for the accounts of roles what the policy says. Changes nothing. Run it after each change of
# sshd's configuration.
#
# usage: check.sh [--from ADDRESS]… [--config FILE] [--host-key FILE] [--snippet FILE]
#
# --from: where the appliance connects from, if the policy does not say; --config and --host-key: another configuration
# than that of the sshd that runs; --snippet: where the file that is made for sshd lies.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
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
say "sshd does for the accounts of $authority what the policy says"
