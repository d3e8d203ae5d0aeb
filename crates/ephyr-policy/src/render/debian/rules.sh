# Whether sshd does for the accounts of roles what the policy says. install.sh and check.sh share this file; sshd.sh asks.

# Keywords whose lists sshd adds up over all blocks that match, so that a block after ours counts too.
lists=' acceptenv allowusers denyusers allowgroups denygroups '
# Keywords that the block leaves as they are and that can keep a role out.
limits=' maxsessions maxauthtries refuseconnection '
# What is checked for an account that a role shares with the operator: what would replace a sealed command, or keep it out.
of_shared="trustedusercakeys authorizedprincipalsfile revokedkeys forcecommand chrootdirectory permitrootlogin \
pubkeyauthentication casignaturealgorithms pubkeyacceptedalgorithms authenticationmethods"

# An address of each network that connections come from, and of each network inside it that the configuration names.
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

# Sorts the criteria of a Match into those about the account, `$about`, and those about a connection that the addresses
# which are asked for do not decide, `$undecided`.
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

# The place of the line that decides a keyword for an account from an address: of a block, or with `all` of any line.
decides() { # KEYWORD ACCOUNT ADDRESS [all]
    while IFS=$us read -r file number criteria place keyword written words; do
        if [ "$keyword" != "$1" ] || [ "$file" = "$snippet" ] || [ -z "$criteria" ]; then continue; fi
        if matches "$criteria" "$2" "$3"; then
            echo "$file:$number: $written $words (below \`Match $criteria\`, $place)"
            return
        fi
    done < "$work/rows"
    [ "${4:-}" = all ] || return 0
    awk -F "$us" -v keyword="$1" '$5 == keyword && $3 == "" { print $1 ":" $2 ": " $6 " " $7; exit }' "$work/rows"
}

advice() { # KEYWORD ACCOUNT
    if has "$lists$limits" "$1"; then
        echo "Take the role's account out of that block (\`Match … User \"*,!$2\"\`)"
    else
        echo "Put that block into a file that is read after $snippet, such as /etc/ssh/sshd_config.d/60-local.conf, or" \
            "take the role's account out of it (\`Match … User \"*,!$2\"\`)"
    fi
}

# The lines of an answer of sshd about these keywords, in one order.
about_keywords() { # KEYWORDS FILE
    awk -v keywords="$1" 'BEGIN { n = split(keywords, list, " "); for (i = 1; i <= n; i++) of[list[i]] } $1 in of' "$2" | sort
}

# Dies if a line of the block is not in force for an account of ours from an address. Leaves sshd's answer in `$work/now`.
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
        [ -n "$place" ] || die "$which does not use $snippet for $1: it has \"${found_lines% }\". Is" \
            "\`Include /etc/ssh/sshd_config.d/*.conf\` at the top of $config, and in no Match block?"
        die "$place decides what $which does for $1 from $2: \"${found_lines% }\" in place of \"${wanted_lines% }\"." \
            "$(advice "$checked" "$1")"
    done
}

# Dies if a limit keeps an account out. Reads `$work/now`.
check_limits() { # ACCOUNT ADDRESS
    for wrong in 'maxsessions 0' 'maxauthtries 0' 'refuseconnection yes'; do
        if grep -qx "$wrong" "$work/now"; then
            die "$1 cannot log in from $2: sshd has \"$wrong\" for it ($(decides "${wrong% *}" "$1" "$2" all))"
        fi
    done
}

# Whether a word of sshd's patterns, with * and ?, fits.
fits() { # PATTERN TEXT
    glob=$(printf '%s' "$1" | sed 's/[][\\]/\\&/g')
    # shellcheck disable=SC2254
    case $2 in $glob) return 0 ;; esac
    return 1
}

# Whether a word of AllowUsers or DenyUsers is about the account from the address; without an address: from any.
is_about() { # PATTERN ACCOUNT ADDRESS
    fits "${1%%@*}" "$2" || return 1
    case $1 in *@*) [ -z "$3" ] || matches "Address ${1#*@}" "$2" "$3" ;; esac
}

# Dies if AllowUsers, AllowGroups and the like do not let an account in. Reads `$work/now`.
check_gates() { # ACCOUNT ADDRESS-OR-NOTHING
    for gate in denyusers allowusers denygroups allowgroups; do
        sed -n "s/^$gate //p" "$work/now" > "$work/gate"
        [ -s "$work/gate" ] || continue
        named=no
        while read -r pattern; do
            case $gate in
                *users)
                    # Where the appliance comes from is not known: it may be from there, or not.
                    case $gate,$2,$pattern in denyusers,,*@*) continue ;; esac
                    if is_about "$pattern" "$1" "$2"; then named=yes; fi
                    ;;
                *)
                    if ! id "$1" > /dev/null 2>&1; then
                        say "note: $gate is not compared with the groups of $1, which is no account here"
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

# Dies if an account that a role shares with the operator would not run what its certificate is sealed to, or not come in.
check_shared() { # ACCOUNT ADDRESS
    check_block "$1" "$2" 'trustedusercakeys authorizedprincipalsfile revokedkeys'
    refused='' keyword=''
    value() { sed -n "s/^$1 //p" "$work/now" | tr '\n' ' '; }
    for keyword in forcecommand chrootdirectory; do
        [ "$(value "$keyword")" = 'none ' ] || refused=$keyword
    done
    [ "$(value permitrootlogin)" != 'no ' ] || refused=permitrootlogin
    [ "$(value pubkeyauthentication)" = 'yes ' ] || refused=pubkeyauthentication
    has "$(value casignaturealgorithms | tr ',' ' ')" ssh-ed25519 || refused=casignaturealgorithms
    has "$(value pubkeyacceptedalgorithms | tr ',' ' ')" ssh-ed25519-cert-v01@openssh.com || refused=pubkeyacceptedalgorithms
    case " $(value authenticationmethods)" in *' any '* | *' publickey '*) ;; *) refused=authenticationmethods ;; esac
    set -f
    for pattern in $(value acceptenv); do
        case $pattern in LANG | LANGUAGE | LC_* | COLORTERM | NO_COLOR | EPHYR_NONE) ;; *) refused=acceptenv ;; esac
    done
    set +f
    [ -z "$refused" ] || die "a role has the account $1, and $which has \"$refused $(value "$refused")\" for it from $2" \
        "($(decides "$refused" "$1" "$2" all)): what a certificate is sealed to would not run, or not as it is." \
        "Change that for $1, or give the role an account of its own"
}

# Dies if a block could take the place of ours for connections other than those that are asked for.
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
            # It says the same as ours, or as what holds.
            continue
        fi
        sort_criteria "$criteria"
        [ -n "$undecided" ] || continue
        if [ -n "$about" ]; then
            matches "$about" "$1" 127.0.0.1 || [ $? -eq 2 ] || continue
        fi
        die "$file:$number: $written $words (below \`Match $criteria\`, $place) would hold for $1 on some connections" \
            "from the appliance. $(advice "$keyword" "$1"). If the appliance never comes so, name its addresses:" \
            "source_address of the target in the policy, or --from ADDRESS"
    done < "$work/rows"
}

# Dies unless each sshd here does for the accounts of roles what the policy says.
check_sshd() {
    used=no listens=no
    for asked in "$work"/sshd/*; do
        choose "$asked"
        is_valid || die "$which does not accept its configuration: $(cat "$work/error")"
        find_keys
        if grep -qE "^listenaddress .*:$port\$" "$work/now"; then listens=yes; fi
        scan "$config" '' '' 0 > "$work/rows"
        exact=no
        for source in $sources; do
            matches "Address $source" root "${source%/*}" || die "$source is no address or network"
            is_single "$source" || exact=networks
            [ "$exact" = networks ] || exact=single
        done
        points=$(samples | tr '\n' ' ')
        names=$(cut -d ' ' -f 1 "$here/accounts")
        # Another sshd may be none of the appliance's business.
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
                # Ours leaves these as they are, so that a block after it counts too.
                check_unseen "$name" "$of_shared" anywhere
            else
                check_unseen "$name" "$keywords" before
            fi
        done
    done
    [ "$used" = yes ] || die "no sshd that runs here uses $snippet"
    [ "$listens" = yes ] || say "note: sshd does not listen on port $port, which the policy says $target has: right only if" \
        "connections to it are forwarded"
    [ ! -e /etc/ssh/sshrc ] || say "note: /etc/ssh/sshrc runs before each command of a role, and its output is part of the command's"
}

# Dies if a home holds what is not root's alone: shells and sshd read files there.
check_home() { # ACCOUNT SYSTEM HOME SHELL
    [ -d "$3" ] || return 0
    loose=$(find "$3" -xdev \( ! -user root -o ! -type l -perm /022 \) | head -n 1)
    [ -z "$loose" ] || die "$loose is not root's alone, and it lies in the home of $1, where shells and sshd read files;" \
        "remove it, or give it to root"
}
