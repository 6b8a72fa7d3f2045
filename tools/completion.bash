# Completion of hippocamp's commands and options in bash. The options come from the program itself.
_hippocamp() {
    local word=${COMP_WORDS[COMP_CWORD]}
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W 'serve health cache top measure simulate --help --version' -- "$word")
    elif ((COMP_CWORD == 2)) && [[ ${COMP_WORDS[1]} == cache ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'ls show purge warm' -- "$word")
    elif [[ $word == --*=* || $word != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "${word#*=}")
        compopt -o filenames
    else
        mapfile -t COMPREPLY < <(compgen -W "$(hippocamp "${COMP_WORDS[1]}" --help | grep -oE '^  (-., )?--[a-z-]+=?' | grep -oE -- '--.*' | sort -u)" -- "$word")
        compopt -o nospace
    fi
}
complete -F _hippocamp hippocamp
