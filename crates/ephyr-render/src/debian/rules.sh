# Checks that sshd treats the role accounts as the policy requires. Shared by install.sh and check.sh; sshd.sh queries sshd.

# Keywords whose lists sshd merges from all matching blocks, so a block after ours counts too.
lists=' acceptenv allowusers denyusers allowgroups denygroups '
# Keywords that our block does not set and that can refuse a role's login.
limits=' maxsessions maxauthtries refuseconnection '
# Keywords checked for an account that a role shares with the operator. They can replace a sealed command or refuse logins.
of_shared="trustedusercakeys authorizedprincipalsfile revokedkeys forcecommand chrootdirectory permitrootlogin \
pubkeyauthentication casignaturealgorithms pubkeyacceptedalgorithms authenticationmethods setenv \
authorizedprincipalscommand permituserenvironment"

# Prints one address of each network that the appliance connects from, and of each network inside it in the configuration.
samples() {
    for source in $sources; do
        echo "${source%/*}"
        if is_single "$source"; then continue; fi
        for inside in $(cut -d "$us" -f 3,7 "$work/rows" | tr "$us,@ \"!" '\n' |
            grep -E '^[0-9a-fA-F.:]+(/[0-9]+)?$' | grep '[.:]' | sort -u); do
            if matches "Address $source" root "${inside%/*}"; then echo "${inside%/*}"; fi
        done
    done | sort -u
}
is_single() { case $1 in *:*/128 | *.*/32) ;; */*) return 1 ;; esac; }

# Sorts the criteria of a Match into those about the account, `$about`, and those about the connection that the queried
# addresses do not decide, `$undecided`.
sort_criteria() { # CRITERIA
    about='' undecided=''
    set -f
    # shellcheck disable=SC2046
    set -- $(printf '%s' "$1" | tr '=' ' ')
    set +f
    while [ $# -gt 0 ]; do
        criterion=$(lower "$1")
        case $criterion in
            all) ;;
            invalid-user) about="$about $1" ;;
            user | group) about="$about $1 ${2:-}" ;;
            address)
                case $exact,${2:-} in
                    single,*) ;;
                    networks,*[!0-9a-fA-F.:/,]*) undecided="$undecided $1" ;;
                    networks,*) ;;
                    *) undecided="$undecided $1" ;;
                esac
                ;;
            host) [ "$exact,$usedns" = single,no ] || undecided="$undecided $1" ;;
            *) undecided="$undecided $1" ;;
        esac
        shift
        case $criterion in all | invalid-user) ;; *) [ $# -eq 0 ] || shift ;; esac
    done
}

# Prints the place of the line that sets a keyword for an account from an address: a line of a block, or with `all` any line
# or option of the command line.
decides() { # KEYWORD ACCOUNT ADDRESS [all]
    while IFS=$us read -r file number criteria place keyword written words; do
        if [ "$keyword" != "$1" ] || [ "$file" = "$snippet" ] || [ -z "$criteria" ]; then continue; fi
        if matches "$criteria" "$2" "$3"; then
            echo "$file:$number: $written $words (below \`Match $criteria\`, $place)"
            return
        fi
    done < "$work/rows"
    [ "${4:-}" = all ] || return 0
    # sshd reads these before its files.
    option=$(option_for "$1")
    if [ -n "$option" ]; then
        printf '%s\n' "option $option of its command line"
        return
    fi
    awk -F "$us" -v keyword="$1" '$5 == keyword && $3 == "" { print $1 ":" $2 ": " $6 " " $7; exit }' "$work/rows"
}

advice() { # KEYWORD ACCOUNT
    if has "$lists$limits" "$1"; then
        echo "Exclude the role's account from that block (\`Match … User \"*,!$2\"\`)"
    else
        echo "Move that block to a file that is read after $snippet, such as /etc/ssh/sshd_config.d/60-local.conf, or" \
            "exclude the role's account from it (\`Match … User \"*,!$2\"\`)"
    fi
}

# Prints the lines of sshd's answer about these keywords, sorted.
about_keywords() { # KEYWORDS FILE
    awk -v keywords="$1" 'BEGIN { n = split(keywords, list, " "); for (i = 1; i <= n; i++) of[list[i]] } $1 in of' "$2" | sort
}

# Dies if a line of our block is not in force for an account from an address. Leaves sshd's answer in `$work/now`.
check_block() { # ACCOUNT ADDRESS KEYWORDS
    effective "$1" "$2" > "$work/now"
    effective_by "$snippet" "$1" "$2" > "$work/wanted" || die "sshd does not accept $snippet: $(cat "$work/error")"
    about_keywords "$3" "$work/now" > "$work/found"
    about_keywords "$3" "$work/wanted" > "$work/all-wanted"
    if cmp -s "$work/found" "$work/all-wanted"; then return; fi
    for checked in $3; do
        wanted_lines=$(about_keywords "$checked" "$work/wanted" | tr '\n' ' ')
        found_lines=$(about_keywords "$checked" "$work/now" | tr '\n' ' ')
        [ "$wanted_lines" != "$found_lines" ] || continue
        place=$(decides "$checked" "$1" "$2")
        option=$(option_for "$checked")
        if [ -z "$place" ] && [ -n "$option" ] && grep -qF -- "$snippet$us" "$work/rows"; then
            die "the option $option of its command line overrides the policy in $which for $1 from $2:" \
                "\"${found_lines% }\" instead of \"${wanted_lines% }\". Start sshd without it (SSHD_OPTS in /etc/default/ssh, or" \
                "the unit)"
        fi
        [ -n "$place" ] || die "$which does not use $snippet for $1: its value is \"${found_lines% }\". Check that" \
            "\`Include /etc/ssh/sshd_config.d/*.conf\` is at the top of $config and in no Match block"
        die "$place overrides the policy in $which for $1 from $2: \"${found_lines% }\" instead of \"${wanted_lines% }\"." \
            "$(advice "$checked" "$1")"
    done
}

# Dies if a limit refuses an account's login. Reads `$work/now`.
check_limits() { # ACCOUNT ADDRESS
    for wrong in 'maxsessions 0' 'maxauthtries 0' 'refuseconnection yes'; do
        if grep -qx "$wrong" "$work/now"; then
            die "$1 cannot log in from $2: sshd has \"$wrong\" for it ($(decides "${wrong% *}" "$1" "$2" all))"
        fi
    done
}

# Whether a pattern of sshd, with * and ?, matches a text.
fits() { # PATTERN TEXT
    glob=$(printf '%s' "$1" | sed 's/[][\\]/\\&/g')
    # shellcheck disable=SC2254
    case $2 in $glob) return 0 ;; esac
    return 1
}

# Whether a pattern of AllowUsers or DenyUsers matches the account from the address. Without an address, a host part other
# than `*` may or may not match: then it does not refuse the account, and a note says so.
is_about() { # PATTERN ACCOUNT ADDRESS GATE
    fits "${1%%@*}" "$2" || return 1
    case $1 in *@*) ;; *) return 0 ;; esac
    if [ -n "$3" ]; then
        matches "Address ${1#*@}" "$2" "$3"
        return
    fi
    case ${1#*@} in *[!*]*) ;; *) return 0 ;; esac
    say "note: $4 $1 decides about $2 by the appliance's address, which is not known here: name it (source_address of the" \
        "target in the policy, or --from ADDRESS)"
    [ "$4" = allowusers ]
}

# Dies if AllowUsers, AllowGroups, DenyUsers or DenyGroups refuses an account. Reads `$work/now`.
check_gates() { # ACCOUNT ADDRESS-OR-NOTHING
    for gate in denyusers allowusers denygroups allowgroups; do
        sed -n "s/^$gate //p" "$work/now" > "$work/gate"
        [ -s "$work/gate" ] || continue
        named=no
        while read -r pattern; do
            case $gate in
                *users)
                    if is_about "$pattern" "$1" "$2" "$gate"; then named=yes; fi
                    ;;
                *)
                    if ! id "$1" > /dev/null 2>&1; then
                        say "note: $gate is not checked for $1: the account does not exist here"
                        continue 2
                    fi
                    for group in $(id -Gn "$1"); do
                        if fits "$pattern" "$group"; then named=yes; fi
                    done
                    ;;
            esac
        done < "$work/gate"
        case $gate,$named in
            deny*,yes) die "$1 cannot log in${2:+ from $2}: $gate names it ($(decides "$gate" "$1" "${2:-127.0.0.1}" all))" ;;
            allow*,no)
                die "$1 cannot log in${2:+ from $2}: $gate does not name it ($(decides "$gate" "$1" \
                    "${2:-127.0.0.1}" all)); add \"$1\" to that list and reload sshd"
                ;;
        esac
    done
}

# Dies if an account that a role shares with the operator would not run its sealed command, or could not log in.
check_shared() { # ACCOUNT ADDRESS
    check_block "$1" "$2" 'trustedusercakeys authorizedprincipalsfile revokedkeys'
    refused='' keyword=''
    value() { sed -n "s/^$1 //p" "$work/now" | tr '\n' ' '; }
    for keyword in forcecommand chrootdirectory authorizedprincipalscommand; do
        [ "$(value "$keyword")" = 'none ' ] || refused=$keyword
    done
    [ "$(value permituserenvironment)" = 'no ' ] || refused=permituserenvironment
    [ "$(value permitrootlogin)" != 'no ' ] || refused=permitrootlogin
    [ "$(value pubkeyauthentication)" = 'yes ' ] || refused=pubkeyauthentication
    has "$(value casignaturealgorithms | tr ',' ' ')" ssh-ed25519 || refused=casignaturealgorithms
    has "$(value pubkeyacceptedalgorithms | tr ',' ' ')" ssh-ed25519-cert-v01@openssh.com || refused=pubkeyacceptedalgorithms
    case " $(value authenticationmethods)" in *' any '* | *' publickey '*) ;; *) refused=authenticationmethods ;; esac
    set -f
    for keyword in acceptenv setenv; do
        # A value of SetEnv may contain spaces: only its name counts.
        for pattern in $(sed -n "s/^$keyword //p" "$work/now" | sed 's/[= ].*//'); do
            case $pattern in LANG | LANGUAGE | LC_* | COLORTERM | NO_COLOR | EPHYR_NONE) ;; *) refused=$keyword ;; esac
        done
    done
    set +f
    [ -z "$refused" ] || die "a role uses the account $1, and $which has \"$refused $(value "$refused")\" for it from $2" \
        "($(decides "$refused" "$1" "$2" all)): sealed commands would not run, or would run differently." \
        "Change that for $1, or give the role an account of its own"
}

# Dies if a block could override ours for connections other than the queried ones.
check_unseen() { # ACCOUNT KEYWORDS before|anywhere
    where=$3
    effective "$1" > "$work/now"
    while IFS=$us read -r file number criteria place keyword written words; do
        if [ "$file" = "$snippet" ]; then
            [ "$where" = anywhere ] || where=after
            continue
        fi
        [ -n "$criteria" ] || continue
        if has "$lists$limits" "$keyword"; then
            case $keyword in
                max*) [ "$words" = 0 ] || continue ;;
                refuseconnection) [ "$(lower "$words")" != no ] || continue ;;
            esac
        elif [ "$where" = after ] || ! has "$2" "$keyword"; then
            continue
        elif grep -qixF -- "$keyword $(printf '%s' "$words" | tr -d '"')" "$work/now"; then
            # It has the same value as our block, or as the one in force.
            continue
        fi
        sort_criteria "$criteria"
        [ -n "$undecided" ] || continue
        if [ -n "$about" ]; then
            matches "$about" "$1" 127.0.0.1 || [ $? -eq 2 ] || continue
        fi
        die "$file:$number: $written $words (below \`Match $criteria\`, $place) would apply to $1 on some connections" \
            "from the appliance. $(advice "$keyword" "$1"). If the appliance never connects that way, name its addresses:" \
            "source_address of the target in the policy, or --from ADDRESS"
    done < "$work/rows"
}

# Dies unless each sshd on this host treats the role accounts as the policy requires.
check_sshd() {
    used=no listens=no
    for asked in "$work"/sshd/*; do
        choose "$asked"
        is_valid || die "$which does not accept its configuration: $(cat "$work/error")"
        find_keys
        if grep -qE "^listenaddress .*:$port\$" "$work/now"; then listens=yes; fi
        scan "$config" '' '' 0 > "$work/rows" || exit 1
        exact=no
        for source in $sources; do
            matches "Address $source" root "${source%/*}" || die "$source is not an IP address or network"
            is_single "$source" || exact=networks
            [ "$exact" = networks ] || exact=single
        done
        points=$(samples | tr '\n' ' ')
        names=$(cut -d ' ' -f 1 "$here/accounts")
        # An sshd that does not use our block may serve other purposes.
        if [ "$(ls "$work/sshd" | wc -l)" -gt 1 ]; then
            for name in $names $shared; do
                effective "$name" > "$work/now"
                grep -qxiF "trustedusercakeys $own/ca.pub" "$work/now" || {
                    say "note: $which does not use $snippet: agents do not come in there"
                    continue 2
                }
            done
        fi
        used=yes
        keywords=$(awk 'NF && $1 !~ /^#/ && $1 != "Match" { print tolower($1) }' "$snippet" | sort -u | tr '\n' ' ')
        for name in $names $shared; do
            for address in 127.0.0.1 ::1 $points; do
                if has "$shared" "$name"; then
                    check_shared "$name" "$address"
                else
                    check_block "$name" "$address" "$keywords"
                fi
                check_limits "$name" "$address"
                if has "$points" "$address"; then check_gates "$name" "$address"; fi
            done
            [ -n "$points" ] || check_gates "$name" ''
            if has "$shared" "$name"; then
                # Our block does not set these, so a block after it counts too.
                check_unseen "$name" "$of_shared" anywhere
            else
                check_unseen "$name" "$keywords" before
            fi
        done
    done
    [ "$used" = yes ] || die "no sshd on this host uses $snippet"
    [ "$listens" = yes ] || say "note: sshd does not listen on port $port, the port of $target in the policy: correct only if" \
        "connections to it are forwarded"
    [ ! -e /etc/ssh/sshrc ] || say "note: /etc/ssh/sshrc runs before each command of a role; its standard" \
        "error is mixed with the command's, its standard output is dropped"
}

# Dies if a home contains a file that a user other than root owns or can write: shells and sshd read files there.
check_home() { # ACCOUNT SYSTEM HOME SHELL
    [ -d "$3" ] || return 0
    loose=$(find "$3" -xdev \( ! -user root -o ! -type l -perm /022 \) | head -n 1)
    [ -z "$loose" ] || die "$loose is not root's alone; shells and sshd read files in the home of $1;" \
        "remove it, or make root its owner and only writer"
}
